"""Runs one outside program, without a shell and without input: what it prints goes into a log, a failure is typed.

The program gets a process group of its own, so that Ctrl-C, a time limit or an error in a line callback ends it
together with everything it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from reasoner.errors import MISSING, ReasonerError

LAST_LINES = 8  # of a failed program's output that the error itself shows
GRACE_S = 5.0  # between asking a process group to end and killing it


def run(
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Runs a program and returns once it has ended well; anything else is a `ReasonerError`.

    The log is appended to, under a line with the command. `env` is the whole environment (None: ours). `on_line` sees
    every line as it is printed; progress bars that redraw with carriage returns arrive as lines too.
    """
    args = [str(part) for part in argv]
    name = Path(args[0]).name
    log.parent.mkdir(parents=True, exist_ok=True)
    last: deque[str] = deque(maxlen=LAST_LINES)
    with log.open("a", encoding="utf-8") as out:
        out.write(f"$ {shlex.join(args)}\n")
        out.flush()
        try:
            process = subprocess.Popen(
                args,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise ReasonerError(f"`{name}` could not be started", why=str(error), log=log, code=MISSING) from error
        with _watched(process, timeout_s) as (lines, is_late):
            for line in lines:
                out.write(line)
                out.flush()
                text = line.rstrip()
                if text:
                    last.append(text)
                if on_line:
                    on_line(text)
            code = process.wait()
        out.write(f"exit {code}\n")
    why = "\n".join(last) or None
    if is_late.is_set():
        raise ReasonerError(f"`{name}` was still running after {timeout_s:g} s", why=why, log=log)
    if code != 0:
        raise ReasonerError(f"`{name}` failed ({ended(code)})", why=why, log=log)


@contextlib.contextmanager
def _watched(process: subprocess.Popen[str], timeout_s: float | None) -> Iterator[tuple[IO[str], threading.Event]]:
    """Gives a program's output; ends its whole group where the block raises, or (the event says so) takes too long."""
    is_late = threading.Event()

    def stop() -> None:
        is_late.set()
        end_group(process.pid)

    timer = threading.Timer(timeout_s if timeout_s is not None else threading.TIMEOUT_MAX, stop)
    timer.daemon = True
    assert process.stdout is not None
    try:
        timer.start()
        yield process.stdout, is_late
    except BaseException:
        end_group(process.pid, process)
        raise
    finally:
        timer.cancel()
        process.stdout.close()


def end_group(pid: int, process: subprocess.Popen[str] | None = None) -> None:
    """Ends a process group that `run` (or anyone with `start_new_session`) started: asks, waits, kills."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            if process is not None and process.poll() is not None:  # the leader is gone, and reaped:
                deadline = min(deadline, time.monotonic() + 1)  # what is left may be zombies of a lazy init
            os.killpg(pid, 0)
            time.sleep(0.05)
        os.killpg(pid, signal.SIGKILL)
    if process is not None:
        process.wait()


def ended(code: int) -> str:
    """Says how a program ended, by its `returncode`."""
    if code >= 0:
        return f"exit {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name}: out of memory?" if name == "SIGKILL" else name
    return f"signal {-code}"


def give_back_memory() -> None:
    """Gives freed memory back to the system: the servers that come next need it, and glibc keeps freed pages."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)
