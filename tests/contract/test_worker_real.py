"""The worker: its limits hold against everything that a function can do, and the next call works."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from reasoner.verifiers import worker
from reasoner.verifiers.worker import Broken, TimedOut, call

BOMBS = """
import ctypes, os, resource, subprocess, sys, time
from reasoner.verifiers import worker

kept = []

def echo(*values): return values[0] if len(values) == 1 else list(values)
def pid(): return os.getpid()
def spin():
    while True: pass
def tower(): return 10**10**10
def hoard():
    while True: kept.append(bytes(10**8))
def swell(size): kept.append(b"x" * size); return os.getpid()
def leave(code): os._exit(code)
def crash(): ctypes.string_at(0)
def shout():
    print("noise" * 10000)
    sys.stderr.write("x" * 10**6)
    os.write(1, b"raw")
    os.system("echo sub")
    return "quiet"
def fail(): raise ValueError("it is so: \\u00fc\\ud800")
def quit(): sys.exit("bye")
def dive(): return dive()
def set_(): return {1, 2}
def close(): os.closerange(0, 100); time.sleep(60)
def limit(name): return resource.getrlimit(getattr(resource, name))
def write(size): open("file", "wb").write(b"x" * size); return os.getcwd()
def facts(): return [os.getcwd(), os.listdir(), dict(os.environ), hash("seed")]
def twins():
    if os.fork() == 0: return "twin"
    os.wait()
    return "original"

def family(path, wait):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(path, "w") as file: file.write(f"{os.getpid()} {child.pid}")
    time.sleep(wait)
    return child.pid

def nested(): return [os.getpid(), worker.call("bombs:pid", timeout=1)]
def nested_fail(): return worker.call("bombs:fail", timeout=1)
"""


@pytest.fixture(autouse=True, scope="module")
def bombs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    (folder / "bombs.py").write_text(BOMBS)
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))
    worker.end_all()


def is_gone(pid, within_s=3.0):
    """Ended; a zombie that nobody buries (a lazy init) has ended too."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
                continue
        return True
    return False


def took(function, *args, **options):
    started = time.perf_counter()
    with pytest.raises((TimedOut, Broken)) as caught:
        function(*args, **options)
    return caught.value, time.perf_counter() - started


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(10**40),
        1.5,
        "",
        "ü 数 \U0001f600 \x00 \n",
        "\ud800",
        [1, ["a", None]],
        {"k": [1]},
        "x" * 900_000,
    ],
)
def test_values_cross_unchanged(value):
    assert call("bombs:echo", value, timeout=5) == value


def test_arguments_may_be_larger_than_a_pipe_and_than_a_result():
    assert call("builtins:len", "x" * 5_000_000, timeout=5) == 5_000_000


def test_a_worker_is_reused():
    assert len({call("bombs:pid", timeout=5) for _ in range(50)}) == 1


def test_a_call_costs_little():
    call("bombs:echo", 1, timeout=5)
    times = []
    for _ in range(300):
        started = time.perf_counter()
        call("bombs:echo", 1, timeout=5)
        times.append(time.perf_counter() - started)
    assert sorted(times)[150] < 0.003  # 0.05 ms on an idle core


@pytest.mark.parametrize("bomb", ["spin", "tower"])
def test_what_does_not_end_is_killed_in_time_even_in_c_code(bomb):
    pid = call("bombs:pid", timeout=5)
    error, seconds = took(call, f"bombs:{bomb}", timeout=0.2)
    assert isinstance(error, TimedOut)
    assert str(error) == f"bombs:{bomb} took longer than 0.2 s"
    assert 0.2 <= seconds < 1
    assert is_gone(pid)
    assert call("bombs:echo", "again", timeout=5) == "again"


@pytest.mark.parametrize(
    ("target", "args", "says"),
    [
        ("hoard", (), "MemoryError: more than 1.5 GB"),
        ("leave", (3,), "the worker ended (exit 3)"),
        ("leave", (0,), "the worker ended (exit 0)"),
        ("crash", (), "the worker was killed (SIGSEGV)"),
        ("fail", (), "ValueError: it is so: ü\ud800 (bombs.py:"),
        ("quit", (), "SystemExit: bye (bombs.py:"),
        ("dive", (), "RecursionError: maximum recursion depth exceeded"),
        ("set_", (), "TypeError: Object of type set is not JSON serializable"),
        ("echo", ("x" * 2_000_000,), "the result is too large: 2,000,002 bytes"),
        ("write", (2_000_000,), "OSError: [Errno 27] File too large"),
        ("nothing", (), "AttributeError: module 'bombs' has no attribute 'nothing'"),
    ],
)
def test_what_breaks_says_so_and_the_next_call_works(target, args, says):
    if target == "hoard" and sys.platform != "linux":
        pytest.skip("no limit on memory here")
    with pytest.raises(Broken) as caught:
        call(f"bombs:{target}", *args, timeout=10)
    assert str(caught.value).startswith(says)
    assert call("bombs:echo", "again", timeout=5) == "again"


def test_no_such_module():
    with pytest.raises(Broken, match="ModuleNotFoundError: No module named 'no_such_module'"):
        call("no_such_module:f", timeout=5)


def test_an_exception_keeps_the_worker():
    pid = call("bombs:pid", timeout=5)
    with pytest.raises(Broken):
        call("bombs:fail", timeout=5)
    assert call("bombs:pid", timeout=5) == pid


def test_a_worker_that_closes_its_pipes_is_broken():
    with pytest.raises(Broken):
        call("bombs:close", timeout=5)
    assert call("bombs:echo", 1, timeout=5) == 1


def test_printing_does_not_disturb():
    assert call("bombs:shout", timeout=5) == "quiet"
    assert call("bombs:echo", 1, timeout=5) == 1


def test_a_fork_that_comes_back_does_not_answer_twice():
    assert call("bombs:twins", timeout=5) == "original"
    assert call("bombs:echo", 1, timeout=5) == 1


def test_what_it_started_goes_with_it(tmp_path):
    """On a time limit, and after a call that returned and left a process behind."""
    for wait, limit in ((60, 0.5), (0, 10)):
        with contextlib.suppress(TimedOut):
            call("bombs:family", str(tmp_path / "pids"), wait, timeout=limit)
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            assert is_gone(pid)


PARENT = """
import os, signal, sys, threading
from reasoner.verifiers import worker
sys.path.append({folder!r})
end = sys.argv[1]
if end == "kill":
    threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGKILL)).start()
try:
    print(worker.call("bombs:pid", timeout=5), worker.call("bombs:facts", timeout=5)[0], flush=True)
    worker.call("bombs:family", sys.argv[2], 0 if end == "exit" else 60, timeout=60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("end", ["exit", "kill", "interrupt"])
def test_a_worker_ends_when_ours_ends(bombs, tmp_path, end):
    pids = tmp_path / "pids"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(folder=str(bombs)), end, str(pids)], stdout=subprocess.PIPE
    ) as ours:
        _, folder = ours.stdout.readline().decode().split()
        deadline = time.monotonic() + 10
        while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        if end == "interrupt":
            ours.send_signal(signal.SIGINT)
        code = ours.wait(timeout=20)
    assert code == {"exit": 0, "kill": -signal.SIGKILL, "interrupt": 130}[end]
    for pid in map(int, pids.read_text().split()):
        assert is_gone(pid)
    deadline = time.monotonic() + 3
    while os.path.exists(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(folder)


@pytest.mark.slow
def test_c_code_ends_by_the_processor_limit_when_ours_is_gone(bombs):
    """Nobody is left to kill it, and the thread that would notice cannot run."""
    code = f"""
import os, signal, sys, threading
from reasoner.verifiers import worker
sys.path.append({str(bombs)!r})
print(worker.call("bombs:pid", timeout=5), worker.call("bombs:facts", timeout=5)[0], flush=True)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
worker.call("bombs:tower", timeout=0.8)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL
    pid, folder = done.stdout.decode().split()
    assert is_gone(int(pid), within_s=20)
    os.rmdir(folder)  # the one way to leave it behind


def test_threads_take_turns():
    found = []

    def many(name):
        found.extend(call("bombs:echo", [name, i], timeout=5) == [name, i] for i in range(50))

    threads = [threading.Thread(target=many, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 400


def test_a_worker_outlives_the_thread_that_started_it():
    pids = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: pids.append(call("bombs:pid", timeout=5)))
        thread.start()
        thread.join()
    assert pids[0] == pids[1] == call("bombs:pid", timeout=5)


def test_waiting_for_another_thread_is_not_counted():
    thread = threading.Thread(target=lambda: call("time:sleep", 0.5, timeout=5))
    thread.start()
    time.sleep(0.1)
    assert call("time:strftime", "x", timeout=0.2) == "x"
    thread.join()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_each_side_has_its_own():
    pid = call("bombs:pid", timeout=5)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps([call("bombs:pid", timeout=5), call("bombs:echo", "c", timeout=5)]).encode())
        finally:
            os._exit(0)
    assert call("bombs:pid", timeout=5) == pid
    os.waitpid(child, 0)
    theirs, text = json.loads(os.read(read, 1000))
    os.close(read)
    os.close(write)
    assert (theirs != pid, text) == (True, "c")
    assert is_gone(theirs)
    assert call("bombs:pid", timeout=5) == pid


def test_it_is_replaced_after_many_calls():
    pids = [call("os:getpid", timeout=5) for _ in range(worker.MAX_CALLS + 1)]
    assert len(set(pids[:-1])) == 1
    assert pids[-1] != pids[0]


def test_it_is_replaced_once_it_has_grown():
    assert call("bombs:echo", 1, timeout=5) == 1
    assert call("bombs:swell", worker.MAX_GROWTH_BYTES + 50_000_000, timeout=10) != call("bombs:pid", timeout=5)


def test_limits_are_set_before_anything_runs():
    assert call("bombs:limit", "RLIMIT_CORE", timeout=5) == [0, 0]
    assert call("bombs:limit", "RLIMIT_FSIZE", timeout=5) == [worker.MAX_FILE_BYTES] * 2
    if sys.platform == "linux":
        assert call("bombs:limit", "RLIMIT_DATA", timeout=5) == [worker.MEMORY_BYTES] * 2


def test_it_stands_in_an_empty_folder_with_almost_no_environment(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    with contextlib.suppress(TimedOut):
        call("bombs:spin", timeout=0.1)
    folder, files, environment, seed = call("bombs:facts", timeout=5)
    assert files == []
    assert "SECRET_TOKEN" not in environment
    assert environment["HOME"] == environment["TMPDIR"] == folder or sys.platform == "darwin"
    call("bombs:write", 10, timeout=5)
    with contextlib.suppress(TimedOut):
        call("bombs:spin", timeout=0.1)
    assert not os.path.exists(folder)
    assert call("bombs:facts", timeout=5)[3] == seed


def test_a_call_within_a_worker_runs_in_place():
    mine, inner = call("bombs:nested", timeout=5)
    assert mine == inner
    with pytest.raises(Broken, match="Broken: ValueError: it is so"):
        call("bombs:nested_fail", timeout=5)
