"""Judges hostile text in a process of its own, which is killed where it does not answer.

Not `verifiers.worker`: there a call within a call runs in place, so a verifier that uses the worker would lose its own
limit, and what it costs and what files it leaves could not be told from outside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner.audit.results import Case
from reasoner.errors import ReasonerError
from reasoner.verifiers import registry
from reasoner.verifiers.score import Score

KILL_S = 60.0
"""Wall time after which a check is killed, and has failed: long, so that it fails on no machine but for a hang."""
MOST_KILLED = 3
MEMORY_BYTES = 3_000_000_000  # that the process may ask for (Linux)
START_S = 60.0


@dataclass(frozen=True)
class Found:
    """Holds a score and what it cost: seconds, bytes grown, files that appeared."""

    score: Score
    seconds: float
    bytes: int
    files: list[str]
    failed: bool  # the verifier failed on it
    gone: bool = False  # so did the process


def judged(checker: registry.Verifier, cases: Sequence[Case], folder: Path) -> Iterator[Found]:
    """Gives what the verifier says of each case, in a process whose current folder is `folder`.

    One that does not answer in time is killed, and the next case gets another; after `MOST_KILLED` no more is tried.
    """
    child: subprocess.Popen[bytes] | None = None
    killed = 0
    try:
        for case in cases:
            child = child or _start(checker, folder)
            assert child.stdin is not None and child.stdout is not None
            started = time.monotonic()
            line, why = b"", ""
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(json.dumps([case.completion, case.answer]).encode() + b"\n")
                child.stdin.flush()
                if select.select([child.stdout], [], [], KILL_S)[0]:
                    line = child.stdout.readline()
                else:
                    why = f"no verdict after {KILL_S:g} s: killed"
            if line:
                found = json.loads(line)
                yield Found(**found | {"score": Score(**found["score"])})
                continue
            seconds = time.monotonic() - started
            code = _end(child)
            child = None
            why = why or f"its process ended ({code})"
            yield Found(Score("unscored", why=why), seconds, 0, _appeared(folder), failed=True, gone=True)
            killed += 1
            if killed == MOST_KILLED:
                return
    finally:
        if child is not None:
            _end(child)


def _start(checker: registry.Verifier, folder: Path) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).resolve().parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", "from reasoner.audit import child; child.serve()", checker.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))},
        start_new_session=True,
    )
    assert child.stdout is not None
    if not select.select([child.stdout], [], [], START_S)[0] or child.stdout.readline() != b"ready\n":
        _end(child)
        raise ReasonerError(
            f"the verifier {checker.name} cannot be loaded in a process of its own",
            fix="see that it can be imported without a terminal, and prints nothing",
        )
    return child


def _end(child: subprocess.Popen[bytes]) -> int:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    return code


def serve() -> None:
    """Is the other side of `judged`: one line of JSON in, one out. Standard output is ours alone."""
    import resource

    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    folder = Path.cwd()
    checker = registry.load(sys.argv[1])
    registry.verify(checker, "\\boxed{5}", "5")  # what is imported at the first call is no bomb's fault
    out.write(b"ready\n")
    for line in sys.stdin.buffer:
        completion, answer = json.loads(line)
        del line
        before, started = _peak_bytes(), time.perf_counter()
        score = registry.verify(checker, completion, answer)
        seconds, grown = time.perf_counter() - started, _peak_bytes() - before
        failed = score.verdict == "unscored" and score.why.startswith(f"{checker.name} failed: ")
        extracted = None if score.extracted is None else score.extracted[:200]
        kept = dataclasses.replace(score, extracted=extracted, why=score.why[:300], shares=None)
        found = Found(kept, seconds, grown, _appeared(folder), failed)
        out.write(json.dumps(dataclasses.asdict(found)).encode() + b"\n")


def _appeared(folder: Path) -> list[str]:
    """Names the files in a folder that was empty, and removes them, so that the next row is judged for itself."""
    found = sorted(path.name for path in folder.iterdir())
    for name in found:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    return found


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
