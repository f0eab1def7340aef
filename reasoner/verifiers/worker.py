"""Runs what can take long in a process that is killed at its limit; the next call gets a new one.

`call` runs `module:function` there. One worker per module lives on between calls, so its imports are paid once; calls
of several threads take turns. Arguments and results are JSON over two pipes, never pickle: what comes back from a
process that read hostile text is data.

In the worker, before anything of the target's runs: limits on memory, on processor time and on the size of a new file,
no core dump, an empty folder as current and as home folder, an environment of almost nothing, one thread per maths
library, a fixed hash seed, and standard streams that lead nowhere. It ends with its process group when ours ends,
however ours ends. It is replaced after `MAX_CALLS`, once it has grown by `MAX_GROWTH_BYTES`, after running out of
memory, and when a call leaves a process of its own behind.

What it is not: a sandbox for code that someone hostile wrote. It can read what we can read, and reach the network.

This file is also the worker's program, started by its path: it imports nothing of ours.
"""

import atexit
import contextlib
import importlib
import io
import json
import math
import os
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

START_S = 60.0  # for starting Python and importing the target's module; a call's own limit runs from when it is ready
MEMORY_BYTES = 1_500_000_000  # most memory that the worker may ask for, imports included; Linux, see `_limit`
MAX_CALLS = 10_000
MAX_GROWTH_BYTES = 256_000_000  # growth since the worker's first answer, in resident memory
MAX_RESULT_BYTES = 1_000_000
MAX_FILE_BYTES = 1_000_000

_OUT_OF_MEMORY = 97
_INSIDE = "REASONER_WORKER"
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "PYTHONHOME", "TZ")
_HEADER = struct.Struct(">I")


class TimedOut(Exception):
    """Is raised when the limit has passed. The worker and everything that it started are gone."""


class Broken(Exception):
    """Is raised when the function raised, the worker died, or its result cannot be sent; the text says which."""


def call(target: str, *args: object, timeout: float) -> object:
    """Runs `module:function` with JSON-able arguments in a worker process, and returns its JSON-able result.

    `timeout` is in seconds of wall time. Waiting for another thread's call, and starting a worker (`START_S`), is not
    counted. Called in a worker, the function runs in place, under the limit of the call that it is part of.
    """
    if _INSIDE in os.environ:
        return _in_place(target, args)
    slot = _slots.setdefault(target.partition(":")[0], _Slot())
    with slot.lock:
        return slot.call(target, args, timeout)


# -- our side ----------------------------------------------------------------------------------


class _Slot:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: _Worker | None = None

    def call(self, target: str, args: tuple[object, ...], timeout: float) -> object:
        worker = self.worker = self.worker or _Worker()
        keep, limit_s = False, START_S  # kept only after a whole answer: else its pipes may be out of step
        try:
            if target not in worker.ready:
                is_ok, value, keep = worker.ask([target, None, limit_s], limit_s)
                if not is_ok:
                    raise Broken(str(value))
                worker.ready.add(target)
            keep, limit_s = False, timeout
            is_ok, value, keep = worker.ask([target, args, limit_s], limit_s)
        except TimeoutError:
            doing = "" if target in worker.ready else " to load"
            raise TimedOut(f"{target} took longer than {limit_s:g} s{doing}") from None
        except EOFError:
            raise Broken(worker.end()) from None
        finally:
            if not keep:
                self.worker = None
                worker.end()
        if not is_ok:
            raise Broken(str(value))
        return value


class _Worker:
    def __init__(self) -> None:
        self.ready: set[str] = set()
        self._ended = ""
        try:
            self.folder = tempfile.mkdtemp(prefix="reasoner-worker-")
            life, ours = os.pipe()  # nothing is written to it: the worker reads its end when we are gone
        except OSError as error:
            raise Broken(f"a worker has nowhere to be: {error}") from error
        self._life = io.FileIO(ours, "w")
        path = [os.path.abspath(entry) for entry in sys.path]
        argv = [sys.executable, "-s", "-P", *(["-B"] if sys.dont_write_bytecode else []), os.path.abspath(__file__)]
        try:
            self.process = subprocess.Popen(
                [*argv, str(life), json.dumps(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, bufsize=0, cwd=self.folder, env=_environment(self.folder),
                pass_fds=(life,), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._life.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Broken(f"a worker could not be started: {error}") from error
        finally:
            os.close(life)
        assert self.process.stdin is not None and self.process.stdout is not None
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        self._writable, self._readable = _poll(self._in, select.POLLOUT), _poll(self._out, select.POLLIN)

    def ask(self, message: object, limit_s: float) -> tuple[bool, object, bool]:
        """Returns (did it work, result or what went wrong, does it go on); EOFError where it is gone."""
        data = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
        deadline = time.monotonic() + limit_s
        left = memoryview(_HEADER.pack(len(data)) + data)
        while left:
            try:
                left = left[os.write(self._in, left) :]
            except BlockingIOError:
                _wait(self._writable, deadline)
            except BrokenPipeError:
                raise EOFError from None
        is_ok, value, goes_on = json.loads(self._receive(deadline))
        return is_ok, value, goes_on

    def _receive(self, deadline: float) -> bytes:
        found = bytearray()
        size = _HEADER.size
        while len(found) < size:
            _wait(self._readable, deadline)
            part = os.read(self._out, 1 << 16)
            found += part
            if len(found) >= _HEADER.size:
                size = _HEADER.size + _HEADER.unpack_from(found)[0]
            if not part or size > MAX_RESULT_BYTES + 1000:
                raise EOFError
        return bytes(found[_HEADER.size :])

    def end(self) -> str:
        """Kills its whole process group, whatever is in it, and says how it ended."""
        if self._ended:
            return self._ended
        # Before it is waited for: until then nobody else's group can have this number. (macOS: EPERM for a dead one.)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        self._close()
        shutil.rmtree(self.folder, ignore_errors=True)  # a folder that stays is no reason to lose an answer
        if code < 0:
            name = signal.Signals(-code).name
            self._ended = f"the worker was killed ({name}{': out of memory?' if name == 'SIGKILL' else ''})"
        elif code == _OUT_OF_MEMORY:
            self._ended = f"out of memory (limit {MEMORY_BYTES / 1e9:g} GB)"
        else:
            self._ended = f"the worker ended (exit {code})"
        return self._ended

    def abandon(self) -> None:
        """Lets go of a worker that belongs to the process we were forked from."""
        self._close()
        self.process.returncode = 0  # not ours to wait for

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self._life):
            assert pipe is not None
            pipe.close()


def _poll(pipe: int, event: int) -> select.poll:
    os.set_blocking(pipe, False)
    poller = select.poll()
    poller.register(pipe, event)
    return poller


def _wait(poller: select.poll, deadline: float) -> None:
    while (left := deadline - time.monotonic()) > 0:
        if poller.poll(math.ceil(left * 1000)):
            return
    raise TimeoutError


def _environment(folder: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    python = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    return kept | threads | python | {"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, _INSIDE: "1"}


_slots: dict[str, _Slot] = {}


def end_all() -> None:
    """Ends every worker; the next call starts another."""
    for slot in list(_slots.values()):
        if slot.worker is not None:
            slot.worker.end()
            slot.worker = None


def _after_fork() -> None:
    for slot in _slots.values():
        if slot.worker is not None:
            slot.worker.abandon()
    _slots.clear()


if __name__ != "__main__":
    atexit.register(end_all)
    os.register_at_fork(after_in_child=_after_fork)


# -- the worker's side -------------------------------------------------------------------------


def _serve(life: int, path: list[str]) -> NoReturn:
    _limit()
    requests, replies = os.dup(0), os.dup(1)  # not inherited by what a target starts
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    threading.stack_size(256 * 1024)
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    threading.stack_size(0)
    sys.path[:] = path
    try:
        for reply in _replies(requests):
            data = memoryview(_HEADER.pack(len(reply)) + reply)
            while data:
                data = data[os.write(replies, data) :]
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except BrokenPipeError:
        pass
    _end_here()


def _replies(requests: int) -> Iterator[bytes]:
    known: dict[str, Callable[..., object]] = {}
    pid, calls, first_bytes = os.getpid(), 0, 0
    with open(requests, "rb") as stream:
        while header := stream.read(_HEADER.size):
            target, args, limit_s = json.loads(stream.read(_HEADER.unpack(header)[0]))
            _limit_processor(limit_s)
            is_ok, text, goes_on = _answer(known, target, args)
            if os.getpid() != pid:  # the target forked, and came back twice
                os._exit(0)
            if args is not None:
                calls += 1
                first_bytes = first_bytes or _resident_bytes(0)
                grown = _resident_bytes(first_bytes + MAX_GROWTH_BYTES) > first_bytes + MAX_GROWTH_BYTES
                goes_on = goes_on and calls < MAX_CALLS and not grown and not _has_children()
            yield f"[{json.dumps(is_ok)}, {text}, {json.dumps(goes_on)}]".encode("ascii")


def _answer(known: dict[str, Callable[..., object]], target: str, args: list[object] | None) -> tuple[bool, str, bool]:
    """Returns (did it work, JSON of the result or of what went wrong, go on); without `args` it only gets ready."""
    try:
        if target not in known:
            module, _, name = target.partition(":")
            known[target] = getattr(importlib.import_module(module), name)
        text = "null" if args is None else json.dumps(known[target](*args))
        if len(text) > MAX_RESULT_BYTES:
            return False, json.dumps(f"the result is too large: {len(text):,} bytes"), True
        return True, text, True
    except MemoryError:
        return False, json.dumps(f"MemoryError: more than {MEMORY_BYTES / 1e9:g} GB"), False
    except BaseException as error:  # noqa: BLE001  (not swallowed: it crosses to our side, as `Broken`)
        return False, json.dumps(_said(error)), True


def _said(error: BaseException) -> str:
    """Names type, text and place of an exception, in one line of bounded length."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__, limit=-8) if frame.filename != __file__]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = str(error)
    return f"{type(error).__name__}{': ' if text else ''}{text[:1000]}{place}"


def _in_place(target: str, args: tuple[object, ...]) -> object:
    is_ok, text, _ = _answer({}, target, json.loads(json.dumps(args)))
    value: object = json.loads(text)
    if not is_ok:
        raise Broken(str(value))
    return value


def _limit() -> None:
    def most(what: int, value: int) -> None:
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))

    most(resource.RLIMIT_CORE, 0)
    most(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    if sys.platform == "linux":
        # Memory asked for, without the read-only mappings of large libraries, which RLIMIT_AS would count too.
        most(resource.RLIMIT_DATA, MEMORY_BYTES)
    # macOS enforces neither limit: there a memory bomb is stopped by the limit on time only.


def _limit_processor(limit_s: float) -> None:
    """Sets a second net, for when ours is gone and cannot kill: the kernel ends a call that computes for too long."""
    seconds = math.ceil(time.process_time() + 2 * limit_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _resident_bytes(unless_below: int) -> int:
    """Reads the resident memory. The highest so far is cheaper to read, and enough where it is below a limit."""
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if highest <= unless_below or sys.platform != "linux":
        return highest
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def _has_children() -> bool:
    """Says whether a call left a process behind that still runs; one that has ended is buried."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _end_with(life: int) -> None:
    os.read(life, 1)
    _end_here()


def _end_here() -> NoReturn:
    folder = os.environ["HOME"]
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), json.loads(sys.argv[2]))
