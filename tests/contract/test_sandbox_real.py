"""What the sandbox promises, on this machine: each test runs hostile code, in it. Skipped where no tier holds."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from reasoner.errors import MISSING, ReasonerError
from reasoner.sandbox import Call, Pool, Request, attacks, choose, kernel, pool, remote, selftest, server

try:
    TIER = choose()
except ReasonerError as error:
    if os.environ.get("CI"):
        raise  # CI is expected to have one
    pytest.skip(f"no sandbox here: {error}", allow_module_level=True)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two():
    with Pool(TIER, 2) as pool:
        yield pool


def calls(pool, source, *args, entry="f", **limits):
    return pool.run(Request(source, entry=entry, calls=tuple(Call(one) for one in args), **limits))


def aside(pool, request):
    """Runs a request in a thread of its own."""
    return ThreadPoolExecutor(1).submit(pool.run, request)


def kinds(result):
    return [answer.kind for answer in result.answers]


def values(result):
    return [answer.value for answer in result.answers]


# -- calls and programs --------------------------------------------------------------------------


def test_calls_are_made_in_order_in_one_process(two):
    result = calls(two, "seen = []\ndef f(x):\n    seen.append(x)\n    return list(seen)", (1,), (2,))
    assert (values(result), result.ended, result.tier) == ([[1], [1, 2]], "ok", TIER)


def test_keywords_and_listed_iterators(two):
    request = Request(
        "def f(n, *, step=1):\n    return range(0, n, step)",
        entry="f",
        calls=(Call((4,), {"step": 2}, is_listed=True), Call((3,))),
    )
    first, second = two.run(request).answers
    assert first.value == [0, 2]
    assert (second.kind, second.text) == ("none", "range is not a plain value")


def test_an_exception_is_one_calls_answer(two):
    result = calls(two, "import sys\ndef f(x):\n    return sys.exit(0) if x else 1 // x + 5 * x", (1,), (0,))
    assert [(a.kind, a.text.partition(":")[0]) for a in result.answers] == [
        ("raised", "SystemExit"),
        ("raised", "ZeroDivisionError"),
    ]
    assert result.ended == "ok"


@pytest.mark.parametrize(
    ("source", "ended", "kind", "why"),
    [
        ("def f(x:\n", "syntax", "none", "SyntaxError"),
        ("x = '\ud800'", "syntax", "none", "surrogates"),
        ("g = 1", "no entry", "none", "`f` is not defined"),
        ("import numpy_that_is_not_there", "ok", "raised", "No module named 'numpy_that_is_not_there'"),
        ("raise SystemExit(0)", "ok", "raised", "SystemExit"),
        ("import os\nos._exit(0)", "died", "none", "exit code 0"),
        ("import ctypes\nctypes.string_at(0)", "died", "none", "SIGSEGV"),
        ("def f(x):\n    raise MemoryError", "memory", "raised", "MemoryError"),
    ],
)
def test_ends_are_told_apart(two, source, ended, kind, why):
    result = calls(two, source, (1,))
    assert (result.ended, kinds(result)) == (ended, [kind])
    assert why in result.why


def test_answers_before_the_end_are_kept(two):
    result = calls(two, "import os\ndef f(x):\n    return x if x < 3 else os._exit(0)", (1,), (2,), (3,), (4,))
    assert kinds(result) == ["value", "value", "none", "none"] and result.ended == "died"


def test_a_main_guard_is_run_in_a_program_only(two):
    source = "def f(x):\n    return __name__\nif __name__ == '__main__':\n    print(int(input()) + 1)"
    assert values(calls(two, source, (1,))) == ["submission"]
    result = two.run(Request(source, stdin=("4\n", "x\n")))
    assert result.answers[0].value == ("5\n", 0)
    assert result.answers[1].value == ("", 1) and "ValueError" in result.answers[1].text
    assert result.ended == "ok"


def test_programs_read_and_write_as_usual(two):
    for source in ("print(open(0).read())", "import sys\nprint(sys.stdin.read())", "print(input())"):
        assert two.run(Request(source, stdin=("é",))).answers[0].value == ("é\n", 0)
    source = "import sys, threading, atexit\natexit.register(print, 'last')\n" \
             "threading.Timer(0.05, print, ['later']).start()\nsys.exit('why')"  # fmt: skip
    (answer,) = two.run(Request(source, stdin=("",))).answers
    assert (answer.value, answer.text) == (("later\nlast\n", 1), "why")
    if TIER == "full":
        assert two.run(Request("print(open('/dev/stdin').read())", stdin=("a",))).answers[0].value == ("a\n", 0)


def test_a_program_that_meets_a_limit_is_not_run_on_the_rest(two):
    result = two.run(Request("import time\nif input() == 'b':\n    time.sleep(9)", stdin=("a", "b", "c"), wall_s=0.4))
    assert kinds(result) == ["value", "none", "none"] and result.ended == "wall"


def test_modules_are_real_ones(two):
    source = """
from __future__ import annotations
import dataclasses, enum, pickle, typing
@dataclasses.dataclass
class Point:
    x: typing.ClassVar[int] = 1
    y: int = 2
def f(x):
    typing.get_type_hints(Point)
    return dataclasses.asdict(pickle.loads(pickle.dumps(Point(x))))
"""
    assert values(calls(two, source, (5,))) == [{"y": 5}]


def test_the_same_submission_has_the_same_answers():
    source = "import random\ndef f():\n    return [random.random(), hash('a'), list({'a', 'b', 'c'})]"
    found = []
    for _ in range(2):
        with Pool(TIER, 1) as pool:
            found += [values(calls(pool, source, ())), values(calls(pool, source, ()))]
    assert all(one == found[0] for one in found)


def test_every_module_of_the_standard_library_can_be_imported(two):
    """All that can be imported here: what needs a screen, a terminal's library or a socket at import does not count."""
    known = sorted(sys.stdlib_module_names - {"antigravity", "this", "idlelib", "turtle", "tkinter", "_tkinter"})
    source = "def f(name):\n    __import__(name)\n    return True"
    here = [name for name in known if subprocess_free_import(name)]
    result = calls(two, source, *((name,) for name in here), cpu_s=30, stdout_bytes=1 << 20)
    failed = {name: a.text for name, a in zip(here, result.answers, strict=True) if a.value is not True}
    assert failed == {}


def subprocess_free_import(name):
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None and not name.startswith(("_x", "_test", "nis", "msilib"))
    except ValueError:
        return name == "__main__"


# -- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", selftest.TIERS)
def test_no_attack_gets_through_a_tier_that_can_be_built(tier):
    report = selftest.report(tier)
    if report.refused:
        pytest.skip(f"{tier} cannot be built: {report.refused}")
    failed = {one.name: one.text for one in report.outcomes if not one.held}
    if tier != TIER and set(failed) <= {"honest code", "new processes", "signals to others"}:
        pytest.skip("the interpreter lies where this tier's user may not read")
    assert failed == {}
    assert len(report.outcomes) > 20


def test_nothing_of_one_run_is_seen_by_the_next(two):
    spoil = """
import builtins, os, random, sys
os.set_blocking(1, False)
os.set_blocking(2, False)
random.seed(9)
sys.modules["json"] = builtins.sum = None
if os.access("/tmp", os.W_OK):
    open("/tmp/left", "w").close()
def f(x):
    return 1
"""
    look = "import json, os\ndef f(x):\n    return [sum((1, 1)), os.path.exists('/tmp/left'), os.get_blocking(1)]"
    for _ in range(4):
        assert values(calls(two, spoil, (1,))) == [1]
    for _ in range(4):
        assert values(calls(two, look, (1,))) == [[2, False, True]]


def test_one_slow_run_does_not_hold_the_others(two):
    slow = aside(two, Request("import time\ntime.sleep(30)", entry="f", calls=(Call(),), wall_s=1.5))
    begun = time.monotonic()
    for _ in range(5):
        assert values(calls(two, "def f(x):\n    return x", (1,))) == [1]
    assert time.monotonic() - begun < 1.4
    assert slow.result().ended == "wall"


def test_many_threads_share_a_pool(two):
    def one(number):
        return values(calls(two, "def f(x):\n    return x * 2", (number,)))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(60))) == [[2 * number] for number in range(60)]


# -- servers come and go -------------------------------------------------------------------------


def test_a_server_killed_between_runs_is_replaced():
    with Pool(TIER, 1) as pool:
        calls(pool, "def f(x):\n    return x", (1,))
        (server,) = pool.servers()
        server.process.kill()
        assert values(calls(pool, "def f(x):\n    return x", (2,))) == [2]


def test_a_server_killed_during_a_run_loses_no_verdict():
    with Pool(TIER, 1) as pool:
        calls(pool, "def f(x):\n    return x", (1,))
        source = "import time\ndef f(x):\n    time.sleep(0.5)\n    return x"
        done = aside(pool, Request(source, "f", (Call((3,)),)))
        time.sleep(0.2)
        (server,) = pool.servers()
        server.process.kill()
        assert values(done.result(20)) == [3]


def test_a_run_whose_server_dies_twice_has_died():
    with Pool(TIER, 1) as pool:
        done = aside(pool, Request("import time\ntime.sleep(9)", "f", (Call((3,)), Call())))
        killed = set()
        while not done.done():
            for server in pool.servers():
                if server.process.pid not in killed and server.runs:
                    time.sleep(0.1)
                    killed.add(server.process.pid)
                    server.process.kill()
            time.sleep(0.01)
        assert done.result().ended == "died" and kinds(done.result()) == ["none", "none"]
        assert len(killed) == 2


def test_servers_are_replaced_after_many_runs(monkeypatch):
    monkeypatch.setattr(pool, "MAX_RUNS", 3)
    with Pool(TIER, 1) as small:
        seen = set()
        for _ in range(8):
            assert values(calls(small, "def f(x):\n    return x", (1,))) == [1]
            seen |= {server.process.pid for server in small.servers()}
        assert len(seen) == 3 and small.processes() == (2 if TIER == "full" else 1)


def test_closing_leaves_nothing(tmp_path):
    gc.collect()  # what earlier tests left open is closed now, not in between
    before = len(os.listdir("/proc/self/fd"))
    small = Pool(TIER, 2)
    for _ in range(3):
        calls(small, "def f(x):\n    return x", (1,))
    waiting = [aside(small, Request("import time\ntime.sleep(60)", "f", (Call(),))) for _ in range(4)]
    time.sleep(0.3)
    pids = [server.process.pid for server in small.servers()]
    small.close()
    assert not wait(waiting, 5).not_done
    assert all("closed" in str(done.exception()) for done in waiting)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(RuntimeError, match="closed"):
        calls(small, "", ())


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(0)", "sys.exit(0)", "raise ValueError"])
def test_servers_end_with_our_process_however_it_ends(end):
    code = f"""
import os, sys, threading, time
from reasoner.sandbox import Call, Pool, Request
pool = Pool({TIER!r}, 1)
pool.run(Request("def f():\\n    return 1", "f", (Call(),)))
request = Request("import time\\ntime.sleep(60)", "f", (Call(),))
threading.Thread(target=pool.run, args=(request,), daemon=True).start()
time.sleep(0.2)
print(*[server.process.pid for server in pool.servers()], flush=True)
{end}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    (pid,) = map(int, done.stdout.split())
    for _ in range(200):
        if not is_running(pid):
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the server lives on")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_forked_process_lets_go_of_the_servers(two):
    calls(two, "def f(x):\n    return x", (1,))
    pid = os.fork()
    if pid == 0:
        try:
            two.run(Request(""))
        except RuntimeError:  # the pool is closed
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert values(calls(two, "def f(x):\n    return x", (1,))) == [1]


def test_a_run_kept_from_a_processor_is_run_once_more(two, monkeypatch):
    seen = []
    run = remote.Server.run

    def spy(self, *args):
        found = run(self, *args)
        seen.append(threading.get_ident())
        found.is_starved = found.stopped == "wall"
        return found

    monkeypatch.setattr(remote.Server, "run", spy)
    assert calls(two, "import time\ntime.sleep(9)", (1,), wall_s=0.2).ended == "wall"
    assert len(seen) == 2
    assert values(calls(two, "def f(x):\n    return x", (1,))) == [1]


def test_a_sleeper_is_not_starved(two):
    begun = time.monotonic()
    result = calls(two, "import time\ntime.sleep(9)", (1,), wall_s=1.0)
    assert result.ended == "wall" and time.monotonic() - begun < 1.9


def test_time_for_which_a_run_is_kept_from_a_processor_does_not_count(two, monkeypatch):
    source = "import time\ndef f(x):\n    time.sleep(x)\n    return x\n"
    waited = {"s": 0.0}
    monkeypatch.setattr(remote.Watch, "waited_s", lambda self: waited["s"])
    assert calls(two, source, (0.6,), wall_s=0.3).ended == "wall"
    waited["s"] = 2.0
    assert values(calls(two, source, (0.6,), wall_s=0.5)) == [0.6]
    begun = time.monotonic()
    assert calls(two, source, (30,), wall_s=0.5).ended == "wall"  # but not for ever
    assert remote.MOST_WALLS * 0.5 - 0.1 < time.monotonic() - begun < 10


def test_what_computed_most_of_its_time_was_not_kept_waiting(two, monkeypatch):
    runs, run = [], remote.Server.run

    def spy(self, *args):
        found = run(self, *args)
        found.is_starved, found.cpu_s = True, 0.9 * 0.2
        runs.append(found)
        return found

    monkeypatch.setattr(remote.Server, "run", spy)
    result = calls(two, "import time\ntime.sleep(9)", (1,), wall_s=0.2)
    assert (result.ended, result.cpu_s, len(runs)) == ("wall", 0.9 * 0.2, 1)


def test_seconds_of_processor_are_told(two):
    source = "import time\ndef f(x):\n    end = time.process_time() + x\n    while time.process_time() < end: pass\n"
    result = calls(two, source, (0.2,))
    assert 0.2 <= result.cpu_s < 0.5
    program = "import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n"
    assert 0.2 <= two.run(Request(program, stdin=("", ""))).cpu_s < 0.6  # of both


# -- refusing ------------------------------------------------------------------------------------


def test_without_a_tier_nothing_runs_and_what_would_help_is_said(monkeypatch):
    monkeypatch.setattr(selftest, "report", lambda tier: selftest.Report(tier, (), f"{tier}: no"))
    with pytest.raises(ReasonerError) as caught:
        choose()
    assert caught.value.code == MISSING and "full: no" in str(caught.value) and caught.value.fix


def test_an_attack_that_gets_through_is_named(monkeypatch):
    leak = attacks.Attack("leak", "def attack(facts):\n    return ['read the key']")
    monkeypatch.setattr(attacks, "ATTACKS", (leak,))
    report = selftest.try_tier(TIER, False)
    assert not report.passed and report.why == "leak: could read the key"


def test_other_systems_are_refused_with_a_reason(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ReasonerError, match="no sandbox for darwin"):
        remote.Server("full")


def test_a_server_that_cannot_start_is_a_refusal(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ReasonerError, match="could not be started"):
        remote.Server("full")


def test_the_tier_without_namespaces_holds_wherever_the_interpreter_lies(tmp_path):
    """As root, below a folder that only root may enter."""
    if kernel.landlock_version() < server.LANDLOCK_MIN:
        pytest.skip("this kernel's Landlock is too old")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    standard = Path(sysconfig.get_path("stdlib"))
    left_out = shutil.ignore_patterns("site-packages", "test", "__pycache__", "idlelib", "config-*", "ensurepip", "*.a")
    shutil.copytree(standard, home / "lib" / standard.name, ignore=left_out)
    (home / "bin").mkdir()
    shutil.copy(Path(sys.executable).resolve(), home / "bin" / "python3")
    code = "from reasoner.sandbox import selftest; r = selftest.report('landlock'); print(r.passed, r.why)"
    environment = {
        "PYTHONPATH": str(REPOSITORY),
        "PATH": os.defpath,
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
    }
    done = subprocess.run(
        [home / "bin" / "python3", "-B", "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout.strip() == "True", done.stdout + done.stderr
