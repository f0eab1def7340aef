"""The sandbox: runs a second beside a bare interpreter, a soak with a third of the runs hostile, a corpus of hacks.

    .venv/bin/python scripts/bench/sandbox.py speed  [--runs 1000] [--workers 2] [--rounds 3]
    .venv/bin/python scripts/bench/sandbox.py soak   [--runs 10000] [--workers 2]
    .venv/bin/python scripts/bench/sandbox.py corpus FOLDER

`speed` takes turns between the pool and `python -I -S -c`, on the same task and as many threads. `soak` checks every
answer, and that no process, descriptor, file or memory is left. `corpus` runs the submissions of a code-hacks folder
and checks what must not be seen outside (`must_not`); whether they are paid is the verifier's business.
"""

import argparse
import ast
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reasoner.sandbox import Call, Pool, Request, choose

TASK = """
def second_largest(numbers):
    seen = sorted(set(numbers))
    if len(seen) < 2:
        return None
    return seen[-2]
"""
LISTS = [[(i * 37 + j * j * 11) % 101 for j in range(20)] for i in range(10)]


def timed(count: int, workers: int, run: Callable[[], object]) -> list[float]:
    """Milliseconds of each run, and of the whole as the last."""

    def one(_: int) -> float:
        begun = time.perf_counter()
        run()
        return (time.perf_counter() - begun) * 1000

    begun = time.perf_counter()
    with ThreadPoolExecutor(workers) as threads:
        times = list(threads.map(one, range(count)))
    return [*times, (time.perf_counter() - begun) * 1000]


def speed(args: argparse.Namespace) -> None:
    request = Request(TASK, entry="second_largest", calls=tuple(Call((numbers,)) for numbers in LISTS))
    script = f"{TASK}\nprint([second_largest(one) for one in {LISTS}])"
    bare = [sys.executable, "-I", "-S", "-c", script]
    rows: dict[str, list[list[float]]] = {"sandbox": [], "bare python -I -S -c": []}
    with Pool(args.tier or choose(), args.workers) as pool:
        expected = [sorted(set(numbers))[-2] for numbers in LISTS]
        assert [answer.value for answer in pool.run(request).answers] == expected
        timed(args.workers * 4, args.workers, lambda: pool.run(request))
        for _ in range(args.rounds):
            rows["sandbox"].append(timed(args.runs, args.workers, lambda: pool.run(request)))
            rows["bare python -I -S -c"].append(
                timed(args.runs // 5, args.workers, lambda: subprocess.run(bare, check=True, stdout=subprocess.DEVNULL))
            )
        tier = pool.tier
    load = " ".join(Path("/proc/loadavg").read_text().split()[:2])
    print(f"tier {tier}, {args.workers} workers, {args.rounds} rounds of {args.runs}, load {load}")
    print(f"{'':<22} {'runs/s best':>12} {'mean':>6} {'min ms':>7} {'p50':>6} {'p90':>6} {'p99':>6}")
    for name, rounds in rows.items():
        rates = [1000 * (len(one) - 1) / one[-1] for one in rounds]
        times = sorted(ms for one in rounds for ms in one[:-1])
        parts = [times[min(len(times) - 1, int(len(times) * share))] for share in (0.5, 0.9, 0.99)]
        cells = "".join(f" {part:>6.1f}" for part in parts)
        print(f"{name:<22} {max(rates):>12.0f} {statistics.mean(rates):>6.0f} {times[0]:>7.1f}{cells}")


HOSTILE: dict[str, tuple[str, set[str]]] = {
    "fork": ("import os\ndef f(x):\n    return os.fork()", {"raised"}),
    "exit": ("import os\ndef f(x):\n    os._exit(0)", {"died"}),
    "sys.exit": ("import sys\ndef f(x):\n    sys.exit(0)", {"raised"}),
    "kill": ("import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n    os.kill(-1, 9)", {"raised", "died"}),
    "flood": ("def f(x):\n    while True:\n        print('x' * 9999)", {"output"}),
    "memory": ("def f(x):\n    return len([bytearray(1 << 26) for _ in range(64)])", {"memory"}),
    "files": ("def f(x):\n    for i in range(3000):\n        open(f'/tmp/{i}', 'w').write('x' * 9999)", {"raised"}),
    "frames": ("import gc\ndef f(x):\n    import mmap, os\n    for o in gc.get_objects():\n        for v in "
               "list(getattr(o, '__dict__', {}).values()):\n            if type(v) is mmap.mmap:\n"
               "                v[:] = os.urandom(len(v))\n    os._exit(0)", {"died", "none", "value", "raised"}),
    "sleep": ("import time\ndef f(x):\n    time.sleep(99)", {"wall"}),
    "threads": ("import threading, time\ndef f(x):\n    for _ in range(500):\n"
                "        threading.Thread(target=time.sleep, args=(99,)).start()", {"raised", "memory"}),
    "descriptors": ("import os\ndef f(x):\n    os.closerange(0, 99)\n    return 1", {"value"}),
    "equal": ("class A:\n    __eq__ = lambda *_: True\ndef f(x):\n    return A()", {"none"}),
    "crash": ("import ctypes\ndef f(x):\n    return ctypes.string_at(1)", {"died"}),
    "modules": ("import sys, os\ndef f(x):\n    os._exit = print\n    sys.modules.clear()\n    raise KeyError",
                {"raised", "died"}),
    "stop": ("import os, signal\ndef f(x):\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return 1", {"value", "wall"}),
    "nonblock": ("import os\ndef f(x):\n    os.set_blocking(1, False)\n    os.set_blocking(2, False)\n    return 1",
                 {"value"}),
}  # fmt: skip


def resident() -> float:
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def leftovers() -> set[str]:
    return {str(path) for place in ("/tmp", "/var/tmp", "/dev/shm") for path in Path(place).glob("*")}


def soak(args: argparse.Namespace) -> None:
    chance = random.Random(0)
    names = list(HOSTILE)
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    files = leftovers()

    def one(number: int) -> None:
        name = names[number // 3 % len(names)] if number % 3 == 0 else ""
        source, allowed = HOSTILE[name] if name else (TASK.replace("second_largest", "f"), {"value"})
        numbers = [chance.randrange(99) for _ in range(20)]
        calls = (Call((numbers,)),) if name else (Call((numbers,)), Call(([1],)))
        wall_s = 0.2 if name in ("sleep", "stop") else 20.0
        request = Request(source, entry="f", calls=calls, cpu_s=3, wall_s=wall_s, memory_bytes=1 << 28)
        result = pool.run(request)
        end = result.answers[0].kind if result.ended == "ok" else result.ended
        ends[f"{name or 'honest'}: {end}"] += 1
        right = [sorted(set(numbers))[-2], None] if not name else None
        if end not in allowed or (right and [answer.value for answer in result.answers] != right):
            wrong.append(f"{number} {name}: {result}")

    with Pool(args.tier or choose(), args.workers) as pool, ThreadPoolExecutor(args.workers) as threads:
        list(threads.map(one, range(200)))
        before = (pool.processes(), len(os.listdir("/proc/self/fd")), resident())
        begun = time.perf_counter()
        for first in range(0, args.runs, 200):  # in parts: ten thousand futures are megabytes of their own
            list(threads.map(one, range(first, min(first + 200, args.runs))))
        seconds = time.perf_counter() - begun
        after = (pool.processes(), len(os.listdir("/proc/self/fd")), resident())
    for name, count in sorted(ends.items()):
        print(f"  {name:<24} {count:>6}")
    print(
        f"tier {pool.tier}: {args.runs} runs in {seconds:.0f} s, {args.runs / seconds:.0f}/s; unexpected: {len(wrong)}"
    )
    for text in wrong[:10]:
        print(f"  {text}")
    print(
        f"processes {before[0]} -> {after[0]}, after closing {pool.processes()}; descriptors {before[1]} -> {after[1]}"
    )
    print(f"resident MiB {before[2]:.1f} -> {after[2]:.1f}; files left: {sorted(leftovers() - files) or 'none'}")


# -- a corpus -----------------------------------------------------------------------------------


def arguments(row: dict) -> list[Call]:
    """The calls of the entry point in a case's tests, where their arguments are literals."""
    found = []
    for test in [*row["tests"], *row["hidden_tests"]]:
        for node in ast.walk(ast.parse(test)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == row["entry_point"]:
                with contextlib.suppress(ValueError):
                    kwargs = {part.arg: ast.literal_eval(part.value) for part in node.keywords if part.arg}
                    found.append(Call(tuple(map(ast.literal_eval, node.args)), kwargs))
    return found


@contextlib.contextmanager
def listeners(rows: list[dict]) -> Iterator[dict[tuple[str, object], socket.socket]]:
    found: dict[tuple[str, object], socket.socket] = {}
    for rule in (rule for row in rows for rule in row["must_not"]):
        if rule["type"] in ("tcp", "udp"):
            kind = socket.SOCK_STREAM if rule["type"] == "tcp" else socket.SOCK_DGRAM
            key, family, address = (rule["type"], rule["port"]), socket.AF_INET, ("127.0.0.1", rule["port"])
        elif rule["type"] == "abstract_unix":
            name = rule.get("name", rule.get("path"))
            key, kind, family, address = ("abstract_unix", name), socket.SOCK_STREAM, socket.AF_UNIX, f"\0{name}"
        else:
            continue
        one = found[key] = socket.socket(family, kind)
        one.bind(address)
        one.setblocking(False)
        if kind == socket.SOCK_STREAM:
            one.listen()
    try:
        yield found
    finally:
        for one in found.values():
            one.close()


def corpus(args: argparse.Namespace) -> None:
    rows = [json.loads(line) for path in sorted(args.folder.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    seen: list[str] = []
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as home, listeners(rows) as open_:
        os.environ |= {"HOME": home, "REASONER_CANARY": "canary-9f3c1d7e"}
        with Pool(args.tier or choose(), args.workers) as pool:
            for row in rows:
                limits = {"cpu_s": 2.0}
                if row["mode"] == "stdio":
                    texts = tuple(test["stdin"] for test in [*row["tests"], *row["hidden_tests"]])
                    request = Request(row["submission"], stdin=texts, **limits)
                else:
                    request = Request(
                        row["submission"], entry=row["entry_point"], calls=tuple(arguments(row)), **limits
                    )
                result = pool.run(request)
                ends[f"{row['kind']}: {result.ended}"] += 1
                if row["kind"] == "honest_correct" and (
                    result.ended != "ok" or any(a.kind != "value" for a in result.answers)
                ):
                    seen.append(f"{row['id']}: honest code ended by {result.ended}: {result}")
                seen += [f"{row['id']}: {rule}" for rule in row["must_not"] if broken(rule, result, pool, open_)]
            print(f"tier {pool.tier}: {len(rows)} cases, {sum(len(row['must_not']) for row in rows)} must_not")
        print("left in the home:", sorted(str(path) for path in Path(home).iterdir()) or "nothing")
    for name, count in sorted(ends.items()):
        print(f"  {name:<28} {count:>4}")
    print("\n".join(seen) or "every must_not kept, every honest right answer came back")


def broken(rule: dict, result: object, pool: Pool, open_: dict[tuple[str, object], socket.socket]) -> bool:
    kind = rule["type"]
    if kind == "file":
        time.sleep(rule.get("after_s", 0))
        return Path(rule["path"]).expanduser().exists()
    if kind in ("tcp", "udp", "abstract_unix"):
        one = open_[kind, rule.get("port", rule.get("name", rule.get("path")))]
        with contextlib.suppress(BlockingIOError):
            if kind == "udp":
                one.recv(1)
            else:
                one.accept()[0].close()
            return True
        return False
    if kind == "env_leak":
        return os.environ[rule["name"]] in repr(result)
    if kind == "processes":
        return pool.processes() > pool.workers * (2 if pool.tier == "full" else 1)
    if kind == "time":
        return result.ms > 1000 * rule["max_s"]  # type: ignore[attr-defined]
    return False  # harness_alive: the next case; rss_mb: the limit on addresses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "soak", "corpus"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tier", choices=("full", "landlock"))
    args = parser.parse_args()
    {"speed": speed, "soak": soak, "corpus": corpus}[args.what](args)


if __name__ == "__main__":
    main()
