"""Our side of the sandbox: servers kept ready, requests in, results out.

A run's source and inputs go to its process in a file in memory, its answers come back in another, of a size that is
fixed; what it prints comes through two pipes that are read up to a limit. The clock is kept here, and so is the
decision what a run's end means. A server is started by `subprocess`, never by a fork of this process, which may hold
threads and a GPU; it ends when its socket closes, however this process ends.

What it does not promise: answers of a run that depend on time or on addresses are the same when it is run again.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import math
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from reasoner.errors import MISSING, ReasonerError
from reasoner.sandbox import frames
from reasoner.sandbox.server import CALLS, ENDED, JOB, MAX_TEXT, PROGRAM

Value = Any
"""None, bool, int, float, complex, str, bytes, and list, tuple, set, frozenset and dict of such values."""
Tier = Literal["full", "landlock"]
Ended = Literal["ok", "cpu", "wall", "memory", "output", "died", "syntax", "no entry"]

START_S = 20.0
MAX_RUNS = 2000
"""Runs of one server; then a fresh one takes its place."""
QUEUE = 16
"""Requests that may wait, for each worker, before `submit` does."""
MOST_WALLS = 4
"""Wall times that a run may take, the time included for which it was kept from a processor."""
BUSY = 0.75
"""Share of its wall time that a run computed above which it was not kept from a processor, whatever else is known."""
END_S = 10.0
"""For a server to end a run, or itself, when told."""
_ADD_SEALS, _FIXED_SIZE = 1033, 1 | 2 | 4  # F_ADD_SEALS: no more seals, no shrinking, no growing


@dataclass(frozen=True)
class Call:
    """Arguments of one call, plain values. `is_listed`: an iterator or a range that comes back is sent as a list."""

    args: tuple[Value, ...] = ()
    kwargs: dict[str, Value] = field(default_factory=dict)
    is_listed: bool = False


@dataclass(frozen=True)
class Request:
    """A program, and either calls of one of its functions in one process, or texts to run it on, a process each.

    The limits are those of one process. `wall_s`: 3 * cpu_s + 2, without the time for which the machine keeps it from
    a processor, up to `MOST_WALLS` of them; `memory_bytes`: beyond the interpreter's own.
    """

    source: str
    entry: str | None = None
    calls: tuple[Call, ...] = ()
    stdin: tuple[str, ...] | None = None
    cpu_s: float = 5.0
    wall_s: float | None = None
    memory_bytes: int = 1 << 30
    stdout_bytes: int = 1 << 20
    frame_bytes: int = 4 << 20


@dataclass(frozen=True)
class Answer:
    """What a call returned; or the type and message of what it raised; or why there is neither.

    Of a program: (what it printed, its exit code), whatever they are.
    """

    kind: Literal["value", "raised", "none"]
    value: Value = None
    text: str = ""


@dataclass(frozen=True)
class Result:
    """One answer for each call or text, in order, and how the whole ended. Where code raised before any call could be
    made, every answer says so and the end is "ok": the process did end as its code says. `ms` counts waiting too;
    `cpu_s` is what its processes computed; where a run was made again, the second time.
    """

    answers: tuple[Answer, ...]
    ended: Ended
    why: str
    tier: str
    ms: float
    cpu_s: float


class Broken(Exception):
    """A server ended, or could not do its part: never an answer of what it ran."""


class Refused(ReasonerError):
    """A tier cannot be built on this machine."""


class Pool:
    """Servers that run requests; threads may share it. A server is started when it is first needed."""

    def __init__(self, workers: int | None = None, tier: Tier | None = None) -> None:
        if tier is None:
            from reasoner.sandbox.selftest import choose

            tier = choose()
        self.tier: Tier = tier
        self.workers = workers or max(1, _processors() - 1)
        self._gate = threading.Condition()
        self._idle: list[_Server | None] = [None] * self.workers
        self._busy: set[_Server] = set()
        self._is_alone, self._closed = False, threading.Event()
        self._threads: list[threading.Thread] = []
        self._queue: queue.Queue[tuple[Future[Result], Request] | None] = queue.Queue(QUEUE * self.workers)
        _pools.add(self)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, request: Request) -> Result:
        """The result of a request, however hostile. Raises `ReasonerError` where the sandbox itself does not work,
        `FrameError` where the arguments are not plain values."""
        begun = time.monotonic()
        if request.stdin is None:
            calls = [(call.args, call.kwargs, call.is_listed) for call in request.calls]
            answers, ended, why, cpu_s = self._one(request, CALLS, (request.source, request.entry or "", calls))
        else:
            answers, ended, why, cpu_s = self._program(request)
        return Result(tuple(answers), ended, why, self.tier, (time.monotonic() - begun) * 1000, cpu_s)

    def submit(self, request: Request) -> Future[Result]:
        """`run`, later; waits here where too many wait already."""
        with self._gate:
            if not self._threads:
                self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self.workers)]
                for thread in self._threads:
                    thread.start()
        done: Future[Result] = Future()
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put((done, request), timeout=0.2)
                break
        if self._closed.is_set():  # perhaps after the queue was emptied
            done.cancel()
            raise RuntimeError("the pool is closed")
        return done

    def _serve(self) -> None:
        while (asked := self._queue.get()) is not None:
            done, request = asked
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(self.run(request))
            except BaseException as error:  # noqa: BLE001  (not swallowed: it goes to who waits for the result)
                done.set_exception(error)

    def close(self) -> None:
        """End what runs, and every process; what waits in the queue is cancelled."""
        with self._gate:
            self._closed.set()
            servers, self._idle = self._idle, []
            for server in self._busy:
                server.interrupt()
            self._gate.notify_all()
        for idle in servers:
            if idle is not None:
                idle.close()
        self._empty_queue()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        with self._gate:
            self._gate.wait_for(lambda: not self._busy)  # of threads that are not ours
        self._empty_queue()
        _pools.discard(self)

    def _empty_queue(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (asked := self._queue.get_nowait()) is not None:
                    asked[0].cancel()

    def processes(self) -> int:
        """How many processes the servers are, with everything below them."""
        parents: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                text = path.read_text(encoding="utf-8", errors="replace")
                parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
        with self._gate:
            left = [server.process.pid for server in (*self._idle, *self._busy) if server is not None]
        count = 0
        while left:
            left += parents.get(left.pop(), [])
            count += 1
        return count

    # -- one process ---------------------------------------------------------------------------

    def _program(self, request: Request) -> tuple[list[Answer], Ended, str, float]:
        answers: list[Answer] = []
        ended: Ended = "ok"
        why, cpu_s = "", 0.0
        for text in request.stdin or ():
            if ended not in ("ok", "died"):  # neither the rest's fault nor worth its time
                answers.append(Answer("none", text=f"not run: an earlier one ended by {ended}"))
                continue
            found, one, reason, seconds = self._one(request, PROGRAM, (request.source, text, ()))
            answers += found
            cpu_s += seconds
            if (one != "ok" and ended == "ok") or one not in ("ok", "died"):
                ended, why = one, reason
        return answers, ended, why, cpu_s

    def _one(self, request: Request, mode: int, content: object) -> tuple[list[Answer], Ended, str, float]:
        data = frames.encode(content, frames.Budget(1 << 40))
        wall_s = request.wall_s if request.wall_s is not None else 3 * request.cpu_s + 2
        run = self._kept(data, request, mode, wall_s, is_alone=False)
        if run.stopped == "wall" and run.is_starved and run.cpu_s < BUSY * wall_s:
            run = self._kept(data, request, mode, wall_s, is_alone=True)
        ended, why = _end_of(run, request, wall_s)
        if mode == PROGRAM:
            answer, ended, why = _printed(run, ended, why)
            return [answer], ended, why, run.cpu_s
        return *_answers(run, len(request.calls), ended, why), run.cpu_s

    def _kept(self, data: bytes, request: Request, mode: int, wall_s: float, is_alone: bool) -> _Run:
        """One run, and once more on a fresh server where its server did not live to tell its end."""
        for is_last in (False, True):
            with self._server(is_alone) as server:
                try:
                    run = server.run(data, request, mode, wall_s)
                    if run.is_started or run.stopped:
                        return run
                    server.is_sound = False
                except Broken as error:
                    server.is_sound = False
                    run = _Run(lost=str(error))
            if self._closed.is_set():
                raise RuntimeError("the pool was closed")
            if is_last and run.lost:
                return run
        raise ReasonerError(
            "the sandbox could not prepare a run",
            f"its process ended before the code was started (status {run.status})",
            "free memory and processes; then: reasoner sandbox selftest",
        )

    @contextlib.contextmanager
    def _server(self, is_alone: bool) -> Iterator[_Server]:
        """The next free server; where it is to be alone, once all are free."""
        with self._gate:
            self._gate.wait_for(lambda: self._closed.is_set() or (not self._is_alone and (is_alone or self._idle)))
            if is_alone and not self._closed.is_set():
                self._is_alone = True  # from here on nobody else begins
                self._gate.wait_for(lambda: self._closed.is_set() or len(self._idle) == self.workers)
            if self._closed.is_set():
                raise RuntimeError("the pool is closed")
            server = self._idle.pop()
        try:
            if server is not None and server.runs >= MAX_RUNS:
                server.close()
                server = None
            server = server or _Server(self.tier)
            with self._gate:
                self._busy.add(server)
                if self._closed.is_set():
                    server.interrupt()
            yield server
        finally:
            if server is not None and (self._closed.is_set() or not server.is_sound):
                server.close()
            with self._gate:
                if server is not None:
                    self._busy.discard(server)
                if is_alone:
                    self._is_alone = False
                if not self._closed.is_set():
                    self._idle.append(server if server is not None and server.is_sound else None)
                elif server is not None:
                    server.close()
                self._gate.notify_all()

    def _forget(self) -> None:
        """In a process forked from ours: the servers are not its own."""
        for server in {*self._idle, *self._busy} - {None}:
            assert server is not None
            server.abandon()
        self._idle, self._busy, self._threads = [], set(), []
        self._gate = threading.Condition()
        self._closed.set()


# -- one server --------------------------------------------------------------------------------


@dataclass
class _Run:
    """What a process left behind."""

    status: int = 0
    cpu_s: float = 0.0
    is_started: bool = False
    is_over: bool = False
    stopped: Literal["", "wall", "output"] = ""
    is_starved: bool = False
    """Perhaps: stopped by the clock, on a kernel that does not tell whether it was kept from a processor."""
    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    out: bytes = b""
    err: bytes = b""
    lost: str = ""


class _Server:
    """One server process: of a tier, with a socket."""

    def __init__(self, tier: Tier) -> None:
        if sys.platform != "linux":
            raise Refused(f"there is no sandbox for {sys.platform}", "it is built from parts of Linux", code=MISSING)
        self.runs, self.is_sound = 0, True
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = str(Path(__file__).with_name("server.py"))
        environment = {"PYTHONHASHSEED": "0"}  # why it is not -I, which would not read it
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        argv = [sys.executable, "-s", "-P", "-S", "-X", "utf8", *(["-B"] if sys.dont_write_bytecode else [])]
        try:
            self.process = subprocess.Popen(
                [*argv, script, tier, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            self.control.close()
            raise Refused("a sandbox server could not be started", str(error), code=MISSING) from error
        finally:
            theirs.close()
        self.version = self._await_ready(tier)

    def _await_ready(self, tier: str) -> int:
        self.control.settimeout(START_S)
        try:
            word = self.control.recv(4096)
            why = word[1:].decode("utf-8", "replace") if word else ""
        except TimeoutError:
            word, why = b"", f"it was not ready within {START_S:g} s"
        except OSError as error:
            word, why = b"", str(error)
        self.control.settimeout(None)
        if word[:1] == b"R":
            self._close_stderr()
            return int(why)
        if not word:
            self.process.kill()
            assert self.process.stderr is not None
            why = why or self.process.stderr.read(4096).decode("utf-8", "replace").strip() or "it ended at once"
        self.close()
        raise Refused(f"the sandbox tier `{tier}` cannot be built here", why, code=MISSING)

    def run(self, data: bytes, request: Request, mode: int, wall_s: float) -> _Run:
        """Raises `Broken` where the server ends, or says that it cannot."""
        self.runs += 1
        held: list[int] = []
        try:
            asked, told = os.memfd_create("request"), os.memfd_create("answers", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            held += (asked, told)
            _fill(asked, data)
            os.ftruncate(told, request.frame_bytes)
            fcntl.fcntl(told, _ADD_SEALS, _FIXED_SIZE)  # what it may take of memory is settled
            (out, out_in), (err, err_in) = os.pipe(), os.pipe()
            held += (out, out_in, err, err_in)
            job = JOB.pack(request.cpu_s, request.memory_bytes, request.frame_bytes, mode)
            try:
                socket.send_fds(self.control, [job], [asked, told, out_in, err_in])
            except OSError as error:
                raise Broken(f"the server is gone: {error}") from None
            for descriptor in (asked, out_in, err_in):
                held.remove(descriptor)
                os.close(descriptor)
            run = _Watch(self.control, {out: b"", err: b""}, request.stdout_bytes, wall_s).run
            run.records = _records(told, request.frame_bytes, len(request.calls) + 1)
            return run
        finally:
            for descriptor in held:
                os.close(descriptor)

    def interrupt(self) -> None:
        """Make the run that another thread waits for end with `Broken`."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it, and whatever runs in it: its namespaces end with it."""
        self.interrupt()
        self.control.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close_stderr()

    def abandon(self) -> None:
        """Let go of a server that belongs to the process we were forked from."""
        self.control.close()  # not shut down: the other process goes on with it
        self._close_stderr()
        self.process.returncode = 0  # not ours to wait for

    def _close_stderr(self) -> None:
        assert self.process.stderr is not None
        self.process.stderr.close()


def _fill(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


class _Watch:
    """From the start of a process to its end: what it prints, up to a limit, the clock, the server's word."""

    def __init__(self, control: socket.socket, printed: dict[int, bytes], most: int, wall_s: float) -> None:
        self.control, self.printed, self.most = control, printed, most
        self.run = _Run()
        poller = select.poll()
        poller.register(control, select.POLLIN)
        for descriptor in printed:
            os.set_blocking(descriptor, False)
            poller.register(descriptor, select.POLLIN)
        begun = time.monotonic()
        deadline = begun + wall_s
        is_over = False
        while not is_over:
            left = deadline - time.monotonic()
            if left <= 0:
                if self.run.stopped:
                    raise Broken("the server does not end a run")
                waited_s = self._waited_s()
                deadline = begun + min(wall_s + (waited_s or 0.0), MOST_WALLS * wall_s)
                left = deadline - time.monotonic()
                if left < wall_s / 20:
                    self.run.is_starved = waited_s is None
                    self._stop("wall")
            ready = poller.poll(max(1, math.ceil(left * 1000)) if not self.run.stopped else math.ceil(END_S * 1000))
            if self.run.stopped and not ready:
                raise Broken("the server does not end a run")
            for descriptor, _ in ready:
                if descriptor == control.fileno():
                    is_over = self._word()
                elif not self._read(descriptor):
                    poller.unregister(descriptor)
            if self.run.stopped:
                deadline = time.monotonic() + END_S
        for descriptor in printed:  # its writers are dead
            while self._read(descriptor):
                pass
        self.run.out, self.run.err = printed.values()

    def _word(self) -> bool:
        try:
            word = self.control.recv(4096)
        except OSError as error:
            raise Broken(f"the server is gone: {error}") from None
        if word[:1] == b"D":
            self.run.status, self.run.cpu_s, self.run.is_started, self.run.is_over = ENDED.unpack(word[1:])
            return True
        if word[:1] == b"P":
            return False
        raise Broken(word[1:].decode("utf-8", "replace") or "the server ended")

    def _read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return False
        room = self.most - len(self.printed[descriptor])
        self.printed[descriptor] += data[:room]
        if len(data) > room and not self.run.stopped:
            self._stop("output")
        return data != b"" and len(data) <= room

    def _stop(self, why: Literal["wall", "output"]) -> None:
        self.run.stopped = why
        with contextlib.suppress(OSError):  # then its end is read next
            self.control.send(b"K")

    def _waited_s(self) -> float | None:
        """For how long the run was kept from a processor; None where that cannot be known."""
        try:
            self.control.send(b"P")
            word, descriptors, _, _ = socket.recv_fds(self.control, 4096, 1)
        except OSError:
            return None
        if word[:1] != b"P" or not descriptors:
            return None  # it ended just now
        try:
            return _waited_s(descriptors[0])
        except (OSError, ValueError, IndexError, StopIteration):  # a kernel or a /proc that does not tell
            return None
        finally:
            os.close(descriptors[0])


def _waited_s(process: int) -> float:
    """Seconds that a process, or the thread of it that waited longest, was ready to run and did not."""
    lines = Path(f"/proc/self/fdinfo/{process}").read_text(encoding="ascii").splitlines()
    pid = next(line.split()[1] for line in lines if line.startswith("Pid:"))
    return max(int(path.read_text().split()[1]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


# -- what a run's end means ----------------------------------------------------------------------


def _records(descriptor: int, size: int, most: int) -> list[tuple[bytes, bytes]]:
    """The records of a run: its own, so they may be anything."""
    found: list[tuple[bytes, bytes]] = []
    data, at = bytearray(), 0
    while len(found) < most:
        for wanted in (at + 4, at + 4 + int.from_bytes(data[at : at + 4], "big")):
            while len(data) < min(wanted, size):
                data += os.pread(descriptor, max(1 << 14, wanted - len(data)), len(data))
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 0 or at + 4 + length > size:
            break
        found.append((bytes(data[at + 4 : at + 5]), bytes(data[at + 5 : at + 4 + length])))
        at += 4 + length
    return found


def _end_of(run: _Run, request: Request, wall_s: float) -> tuple[Ended, str]:
    """How a process ended, as the system saw it."""
    if run.lost:
        return "died", f"its server ended twice: {run.lost}"
    if run.stopped == "wall":
        return "wall", f"more than {wall_s:g} s by the clock, {run.cpu_s:.1f} s of them computing"
    if run.stopped == "output":
        return "output", f"printed more than {request.stdout_bytes:,} bytes"
    if os.WIFEXITED(run.status):
        return "ok", ""
    number = os.WTERMSIG(run.status)
    if run.is_over or (number == signal.SIGKILL and run.cpu_s > request.cpu_s):
        return "cpu", f"more than {request.cpu_s:g} s of processor"
    hint = ": out of memory?" if number == signal.SIGKILL else ""
    return "died", f"its process was killed by {_signal(number)}{hint}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _text(data: bytes) -> str:
    return data[:MAX_TEXT].decode("utf-8", "replace")


def _answers(run: _Run, count: int, ended: Ended, why: str) -> tuple[list[Answer], Ended, str]:
    found: list[Answer] = []
    budget = frames.Budget()
    rest, last = Answer("none", text=f"not reached: {why}"), ""
    for letter, data in run.records:
        if letter == b"e":
            last, _, text = _text(data).partition("\n")
            break
        if len(found) == count:
            break
        if letter == b"v":
            try:
                found.append(Answer("value", frames.decode(data, budget)))
            except frames.FrameError as error:
                found.append(Answer("none", text=f"what came back is no value: {error}"))
        elif letter in (b"r", b"n"):
            found.append(Answer("raised" if letter == b"r" else "none", text=_text(data)))
        else:
            break
    if ended == "ok":
        if last == "raised":
            rest, why = Answer("raised", text=text), f"raised before any call: {text}"
        elif last in ("syntax", "memory", "no entry"):
            ended, why = cast(Ended, last), text
            rest = Answer("none", text=f"not reached: {last}: {text}")
        elif last != "ok" or len(found) != count:
            ended, why = "died", f"its process ended before all calls were made, exit code {os.WEXITSTATUS(run.status)}"
            rest = Answer("none", text=f"not reached: {why}")
    return [*found, *[rest] * (count - len(found))], ended, why


def _printed(run: _Run, ended: Ended, why: str) -> tuple[Answer, Ended, str]:
    for letter, data in run.records[:1]:
        last, _, text = _text(data).partition("\n")
        if ended == "ok" and letter == b"e" and last in ("syntax", "memory"):
            ended, why = cast(Ended, last), text
    if ended != "ok":
        return Answer("none", text=f"{ended}: {why}"), ended, why
    code = os.WEXITSTATUS(run.status)
    last_line = _text(run.err[-MAX_TEXT:]).strip().rpartition("\n")[2] if code else ""
    return Answer("value", (run.out.decode("utf-8", "replace"), code), last_line), ended, why


# -- the end of our process ----------------------------------------------------------------------

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _after_fork() -> None:
    for pool in list(_pools):
        pool._forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
