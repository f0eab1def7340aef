"""Programs end well, fail with their last words, or are ended with everything they started."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from reasoner.errors import FAILED, MISSING, ReasonerError
from reasoner.machine import processes


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text() if Path("/proc").exists() else ""
        os.kill(pid, 0)
    except OSError:
        return False
    return ") Z " not in status


def wait_until(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_log_holds_command_output_and_exit(tmp_path):
    seen = []
    log = tmp_path / "logs" / "a.log"
    processes.run(python("print('one'); import sys; print('two', file=sys.stderr)"), log=log, on_line=seen.append)
    processes.run(python("print('bar 10%\\rbar 100%')"), log=log, on_line=seen.append)
    text = log.read_text()
    assert sorted(seen[:2]) == ["one", "two"]
    assert seen[2:] == ["bar 10%", "bar 100%"]
    assert text.startswith("$ ") and text.count("exit 0\n") == 2


def test_failure_shows_last_lines_and_log(tmp_path):
    log = tmp_path / "a.log"
    with pytest.raises(ReasonerError) as caught:
        processes.run(python("[print('line', i) for i in range(50)]; raise SystemExit(7)"), log=log)
    assert caught.value.code == FAILED
    assert "exit 7" in caught.value.what
    assert caught.value.why.splitlines() == [f"line {i}" for i in range(42, 50)]
    assert caught.value.log == log


def test_killed_program_names_the_signal(tmp_path):
    with pytest.raises(ReasonerError, match="SIGKILL: out of memory"):
        processes.run(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), log=tmp_path / "a.log")


def test_missing_program(tmp_path):
    with pytest.raises(ReasonerError, match="could not be started") as caught:
        processes.run([tmp_path / "nowhere"], log=tmp_path / "a.log")
    assert caught.value.code == MISSING


FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
print(child.pid, flush=True)
child.wait()
"""


def test_timeout_ends_the_whole_group(tmp_path):
    pids = []
    with pytest.raises(ReasonerError, match="still running after 0.5 s"):
        processes.run(python(FAMILY), log=tmp_path / "a.log", timeout_s=0.5, on_line=pids.append)
    assert pids and wait_until(lambda: not is_alive(int(pids[0])))


def test_interrupt_ends_the_whole_group(tmp_path):
    pids = []

    def on_line(line: str) -> None:
        pids.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.run(python(FAMILY), log=tmp_path / "a.log", on_line=on_line)
    assert wait_until(lambda: not is_alive(int(pids[0])))


def test_sigint_while_waiting_ends_the_whole_group(tmp_path):
    pids = []

    def on_line(line: str) -> None:
        pids.append(line)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        processes.run(python(FAMILY), log=tmp_path / "a.log", on_line=on_line)
    assert wait_until(lambda: not is_alive(int(pids[0])))
