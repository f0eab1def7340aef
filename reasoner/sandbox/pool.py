"""Keeps servers of the sandbox ready; requests go in, results come out.

What is kept from a processor is run once more, alone; what its server did not live to answer, on a fresh one.
What it does not promise: that answers which depend on time or on addresses are the same when a request is run again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from reasoner.errors import ReasonerError
from reasoner.machine import cpu
from reasoner.sandbox import frames
from reasoner.sandbox.remote import Broken, Server
from reasoner.sandbox.results import Answer, Ended, Request, Result, Run, Tier, answer_of, answers_of, end_of
from reasoner.sandbox.server import CALLS, PROGRAM

MAX_RUNS = 2000  # after which a fresh server takes the place of one
BUSY = 0.75
"""A run that computed for more than this share of its wall time was not kept from a processor."""


class Pool:
    """Runs requests on servers of one tier, each started when it is first needed; threads may share a pool.

    `prelude` is a file of ours that imports nothing of ours. Each server calls its `ready()` before it is set apart, so
    that packages which no run can reach are in the memory of each; `_sandbox_` and the file's name is what it is there.
    """

    def __init__(self, tier: Tier, workers: int | None = None, prelude: Path | None = None) -> None:
        self.tier, self.prelude = tier, prelude
        self.workers = workers or max(1, cpu.free_cores() - 1)
        self._gate = threading.Condition()
        self._idle: list[Server | None] = [None] * self.workers
        self._busy: set[Server] = set()
        self._is_alone, self._closed = False, threading.Event()
        _pools.add(self)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, request: Request) -> Result:
        """Runs a request, however hostile, and returns its result; waits while every worker has one.

        Raises `ReasonerError` where the sandbox itself does not work, `FrameError` where arguments are no plain values.
        """
        begun = time.monotonic()
        if request.stdin is None:
            calls = [(call.args, call.kwargs, call.is_listed) for call in request.calls]
            answers, ended, why, cpu_s = self._one(request, CALLS, (request.source, request.entry or "", calls))
        else:
            answers, ended, why, cpu_s = self._program(request)
        return Result(tuple(answers), ended, why, self.tier, (time.monotonic() - begun) * 1000, cpu_s)

    def close(self) -> None:
        """Ends what runs, and every process; whoever waits for a run gets a `RuntimeError`."""
        with self._gate:
            self._closed.set()
            servers, self._idle = self._idle, []
            for server in self._busy:
                server.interrupt()
            self._gate.notify_all()
        for idle in servers:
            if idle is not None:
                idle.close()
        with self._gate:
            self._gate.wait_for(lambda: not self._busy)
        _pools.discard(self)

    def servers(self) -> list[Server]:
        with self._gate:
            return [server for server in (*self._idle, *self._busy) if server is not None]

    def processes(self) -> int:
        """Counts the processes of the servers, with everything below them."""
        parents: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                text = path.read_text(encoding="utf-8", errors="replace")
                parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
        left = [server.process.pid for server in self.servers()]
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
        if mode == PROGRAM:
            answer, ended, why = answer_of(run, *end_of(run, request, wall_s))
            return [answer], ended, why, run.cpu_s
        return *answers_of(run, len(request.calls), *end_of(run, request, wall_s)), run.cpu_s

    def _kept(self, data: bytes, request: Request, mode: int, wall_s: float, is_alone: bool) -> Run:
        """Runs once, and once more on a fresh server where the first did not live to tell the end."""
        for is_last in (False, True):
            with self._server(is_alone) as server:
                try:
                    run = server.run(data, request, mode, wall_s)
                    if run.is_started or run.stopped:
                        return run
                    server.is_sound = False
                except Broken as error:
                    server.is_sound = False
                    run = Run(lost=str(error))
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
    def _server(self, is_alone: bool) -> Iterator[Server]:
        """Lends the next free server; where it is to be alone, once all are free."""
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
            server = server or Server(self.tier, self.prelude)
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

    def forget(self) -> None:
        """Lets go of the servers, in a process forked from ours: they are not its own."""
        self._gate = threading.Condition()  # another thread may have held the old one
        for server in self.servers():
            server.abandon()
        self._idle, self._busy = [], set()
        self._closed.set()


# -- the end of our process ----------------------------------------------------------------------

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _after_fork() -> None:
    for pool in list(_pools):
        pool.forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
