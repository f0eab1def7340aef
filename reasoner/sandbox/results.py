"""Says what is asked of the sandbox and what comes back, and decides what the end of a run means.

What a run left behind is its own to write, so it may be anything: nothing of it is trusted beyond its form.
"""

from __future__ import annotations

import mmap
import os
import signal
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from reasoner.machine import processes
from reasoner.sandbox import frames
from reasoner.sandbox.server import MAX_TEXT

Value = Any
"""None, bool, int, float, complex, str, bytes, and list, tuple, set, frozenset and dict of such values."""
Tier = Literal["full", "landlock"]
Ended = Literal["ok", "cpu", "wall", "memory", "output", "died", "syntax", "no entry"]


@dataclass(frozen=True)
class Call:
    """Holds the arguments of one call, plain values; `is_listed` sends an iterator that comes back as a list."""

    args: tuple[Value, ...] = ()
    kwargs: dict[str, Value] = field(default_factory=dict)
    is_listed: bool = False


@dataclass(frozen=True)
class Request:
    """Asks to run a program: calls of one of its functions in one process, or the whole on texts, a process each.

    The limits are those of one process. `wall_s` (default: 3 * cpu_s + 2) does not count the time for which the machine
    keeps it from a processor, up to `MOST_WALLS` of them; `memory_bytes` is beyond the interpreter's own.
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
    """Holds what a call returned, or the type and message of what it raised, or why there is neither.

    The value of a whole program is (what it printed, its exit code), whatever they are.
    """

    kind: Literal["value", "raised", "none"]
    value: Value = None
    text: str = ""


@dataclass(frozen=True)
class Result:
    """Holds one answer for each call or text, in order, and how the whole ended.

    Where code raised before any call could be made, every answer says so and the end is "ok": the process did end as
    its code says. `ms` counts waiting too; `cpu_s` is what its processes computed (of a repeated run, the second time).
    """

    answers: tuple[Answer, ...]
    ended: Ended
    why: str
    tier: str
    ms: float
    cpu_s: float


@dataclass
class Run:
    """Collects what a process left behind."""

    status: int = 0
    cpu_s: float = 0.0
    is_started: bool = False
    is_over: bool = False
    stopped: Literal["", "wall", "output"] = ""
    is_starved: bool = False
    """It may have been: the clock stopped it, on a kernel that does not tell whether it was kept from a processor."""
    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    out: bytes = b""
    err: bytes = b""
    lost: str = ""


def records(descriptor: int, size: int, most: int) -> list[tuple[bytes, bytes]]:
    """Reads the records that a run wrote, at most `most` of them within `size` bytes."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as data:
        while len(found) < most:
            length = int.from_bytes(data[at : at + 4], "big")
            if length == 0 or at + 4 + length > size:
                break
            found.append((data[at + 4 : at + 5], data[at + 5 : at + 4 + length]))
            at += 4 + length
    return found


def end_of(run: Run, request: Request, wall_s: float) -> tuple[Ended, str]:
    """Returns how a process ended, as the system saw it, and why."""
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
    return "died", f"its process was killed by {processes.ended(-number)}"


def _text(data: bytes) -> str:
    return data[:MAX_TEXT].decode("utf-8", "replace")


def answers_of(run: Run, count: int, ended: Ended, why: str) -> tuple[list[Answer], Ended, str]:
    """Returns the answers to `count` calls, and the end where the run's own last record changes it."""
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


def answer_of(run: Run, ended: Ended, why: str) -> tuple[Answer, Ended, str]:
    """Returns the answer of a whole program, and the end where the run's own last record changes it."""
    for letter, data in run.records[:1]:
        last, _, text = _text(data).partition("\n")
        if ended == "ok" and letter == b"e" and last in ("syntax", "memory"):
            ended, why = cast(Ended, last), text
    if ended != "ok":
        return Answer("none", text=f"{ended}: {why}"), ended, why
    code = os.WEXITSTATUS(run.status)
    last_line = _text(run.err[-MAX_TEXT:]).strip().rpartition("\n")[2] if code else ""
    return Answer("value", (run.out.decode("utf-8", "replace"), code), last_line), ended, why
