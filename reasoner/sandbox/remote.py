"""Starts one server of the sandbox, gives it a run and watches that to its end. This is our side of the wall.

A run's source and inputs go to its process in a file in memory, its answers come back in another, of a size that is
fixed; what it prints comes through two pipes that are read up to a limit. The clock is kept here. A server is started
by `subprocess`, never by a fork of this process, which may hold threads and a GPU; it ends when its socket closes,
however this process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from reasoner.errors import MISSING, ReasonerError
from reasoner.sandbox.results import Request, Run, Tier, records
from reasoner.sandbox.server import ENDED, JOB

START_S = 120.0  # with a prelude it loads a package, on a machine that may be busy
MOST_WALLS = 4  # wall times that a run may take, with the time for which it was kept from a processor
END_S = 10.0  # in which a server ends a run, or itself, when told
_ADD_SEALS, _FIXED_SIZE = 1033, 1 | 2 | 4  # F_ADD_SEALS: no more seals, no shrinking, no growing


class Broken(Exception):
    """Is raised where a server ended or could not do its part: never an answer of what it ran."""


class Refused(ReasonerError):
    """Is raised where a tier cannot be built on this machine."""


class Server:
    """Holds one server process of a tier, and our end of its socket; for `prelude` see `Pool`."""

    def __init__(self, tier: Tier, prelude: Path | None = None) -> None:
        if sys.platform != "linux":
            raise Refused(f"there is no sandbox for {sys.platform}", "it is built from parts of Linux", code=MISSING)
        self.runs, self.is_sound = 0, True
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = str(Path(__file__).with_name("server.py"))
        environment = {"PYTHONHASHSEED": "0"}  # why it is not -I, which would not read it
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        more = [str(prelude), *filter(os.path.isabs, sys.path)] if prelude else []
        argv = [sys.executable, "-s", "-P", "-S", "-X", "utf8", *(["-B"] if sys.dont_write_bytecode else [])]
        try:
            self.process = subprocess.Popen(
                [*argv, script, tier, str(theirs.fileno()), *more],
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
        assert self.process.stderr is not None
        self.stderr = self.process.stderr
        self._await_ready(tier)

    def _await_ready(self, tier: str) -> None:
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
            self.stderr.close()
            return
        if not word:
            self.process.kill()
            why = why or self.stderr.read(4096).decode("utf-8", "replace").strip() or "it ended at once"
        self.close()
        raise Refused(f"the sandbox tier `{tier}` cannot be built here", why, code=MISSING)

    def run(self, data: bytes, request: Request, mode: int, wall_s: float) -> Run:
        """Runs one process and returns what it left; raises `Broken` where the server ends, or says that it cannot."""
        self.runs += 1
        held: list[int] = []
        try:
            asked, told = os.memfd_create("request"), os.memfd_create("answers", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            held += (asked, told)
            with open(asked, "wb", closefd=False) as file:
                file.write(data)
            os.lseek(asked, 0, os.SEEK_SET)
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
            run = Watch(self.control, (out, err), request.stdout_bytes, wall_s).until_end()
            run.records = records(told, request.frame_bytes, len(request.calls) + 1)
            return run
        finally:
            for descriptor in held:
                os.close(descriptor)

    def interrupt(self) -> None:
        """Makes the run that another thread waits for end with `Broken`."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends the server and whatever runs in it: its namespaces end with it."""
        self.interrupt()
        self.control.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stderr.close()

    def abandon(self) -> None:
        """Lets go of a server that belongs to the process we were forked from."""
        self.control.close()  # not shut down: the other process goes on with it
        self.stderr.close()
        self.process.returncode = 0  # not ours to wait for


class Watch:
    """Follows one run from its start to its end: what it prints, up to a limit, the clock, the server's word."""

    def __init__(self, control: socket.socket, printed: tuple[int, int], most: int, wall_s: float) -> None:
        self.control, self.most, self.wall_s = control, most, wall_s
        self.printed = dict.fromkeys(printed, b"")
        self.run = Run()

    def until_end(self) -> Run:
        """Waits for the run's end and ends it where it meets a limit; raises `Broken` where the server does not."""
        poller = select.poll()
        poller.register(self.control, select.POLLIN)
        for descriptor in self.printed:
            os.set_blocking(descriptor, False)
            poller.register(descriptor, select.POLLIN)
        begun = time.monotonic()
        deadline = begun + self.wall_s
        is_over = False
        while not is_over:
            left = deadline - time.monotonic()
            if left <= 0:
                if self.run.stopped:
                    raise Broken("the server does not end a run")
                waited_s = self.waited_s()
                deadline = begun + min(self.wall_s + (waited_s or 0.0), MOST_WALLS * self.wall_s)
                left = deadline - time.monotonic()
                if left < self.wall_s / 20:
                    self.run.is_starved = waited_s is None
                    self._stop("wall")
            ready = poller.poll(max(1, math.ceil(left * 1000)) if not self.run.stopped else math.ceil(END_S * 1000))
            if self.run.stopped and not ready:
                raise Broken("the server does not end a run")
            for descriptor, _ in ready:
                if descriptor == self.control.fileno():
                    is_over = self._word()
                elif not self._read(descriptor):
                    poller.unregister(descriptor)
            if self.run.stopped:
                deadline = time.monotonic() + END_S
        for descriptor in self.printed:  # its writers are dead
            while self._read(descriptor):
                pass
        self.run.out, self.run.err = self.printed.values()
        return self.run

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

    def waited_s(self) -> float | None:
        """Returns for how many seconds the run was kept from a processor; None where that cannot be known."""
        try:
            self.control.send(b"P")
            word, descriptors, _, _ = socket.recv_fds(self.control, 4096, 1)
        except OSError:
            return None
        if word[:1] != b"P" or not descriptors:
            return None  # it ended just now
        try:  # its thread that was ready to run, and did not, for longest
            lines = Path(f"/proc/self/fdinfo/{descriptors[0]}").read_text(encoding="ascii").splitlines()
            pid = next(line.split()[1] for line in lines if line.startswith("Pid:"))
            return max(int(path.read_text().split()[1]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
        except (OSError, ValueError, IndexError, StopIteration):  # a kernel or a /proc that does not tell
            return None
        finally:
            os.close(descriptors[0])
