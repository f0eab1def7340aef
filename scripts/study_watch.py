"""`reasoner watch` under load and under SIGKILL, with a cache and an Ollama of its own.

    .venv/bin/python scripts/study_watch.py FOLDER [--profile pocket] [--kills 50] [--steps 60] [--every 5] [--seed 0]

First `watch --with train` with a request loop on the public tag and an open chat, across all promotions. Then the same
run gets one new checkpoint after another, and its watcher is killed at a random moment after its first event; the last
one finishes. Last, as root on Linux, a checkpoint whose export has a disk of its own that is too small (a tmpfs).
`--kills 0` ends after the first part. Prints one JSON object: what was asked and failed, how each checkpoint ended, and
what was left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from conftest import World  # noqa: E402

RUN = "watched"
QUESTION = "Mia has 12 apples. She buys 5 more. How many apples does Mia have now?"
ENDS = ("skipped", "promoted", "kept", "failed")


def ask(world: World, **more: Any) -> str:
    body = {"model": "reasoner", "messages": [{"role": "user", "content": QUESTION}], "stream": False, **more}
    answer = httpx.post(f"http://127.0.0.1:{world.port}/api/chat", json=body, timeout=120)
    answer.raise_for_status()
    return str(answer.json()["message"]["content"])


def is_public(world: World) -> bool:
    try:
        tags = httpx.get(f"http://127.0.0.1:{world.port}/api/tags", timeout=10).json()["models"]
    except httpx.HTTPError:
        return False
    return any(one["name"] == "reasoner:latest" for one in tags)


class Asking:
    """Asks the public tag again and again: one asker of whole answers, and one that reads a stream slowly."""

    def __init__(self, world: World, pause_s: float) -> None:
        self.asked: Counter[str] = Counter()
        self.failed: list[str] = []
        self._world, self._over, self._pause_s = world, threading.Event(), pause_s
        self._threads = [threading.Thread(target=self._work, args=(kind,), daemon=True) for kind in ("plain", "stream")]
        for thread in self._threads:
            thread.start()

    def _work(self, kind: str) -> None:
        while not is_public(self._world) and not self._over.wait(2):  # a client anew costs 0.1 s of CPU time
            pass
        while not self._over.wait(self._pause_s):
            self.asked[kind] += 1
            try:
                if kind == "plain":
                    assert ask(self._world), "an empty answer"
                else:
                    self._stream()
            except (httpx.HTTPError, AssertionError, ValueError, KeyError) as error:
                self.failed.append(f"{kind}: {type(error).__name__}: {error}")

    def _stream(self) -> None:
        body = {"model": "reasoner", "messages": [{"role": "user", "content": QUESTION}]}
        url = f"http://127.0.0.1:{self._world.port}/api/chat"
        with httpx.stream("POST", url, json=body, timeout=120) as answer:
            answer.raise_for_status()
            last = {}
            for line in answer.iter_lines():
                last = json.loads(line)
                time.sleep(0.05)
            assert last.get("done"), "a stream that was cut"

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def history(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (world.runs / RUN / "history.jsonl").read_text().splitlines()]


def ends(rows: list[dict[str, Any]]) -> dict[int, str]:
    """How each step ended; `seen` where it did not."""
    found: dict[int, str] = {}
    for row in rows:
        if row["event"] == "seen":
            found.setdefault(row["step"], "seen")
        elif row["event"] in ENDS and row.get("final", True):
            found[row["step"]] = row["event"]
    return found


def left_behind(world: World) -> list[str]:
    """Files, tags and blobs that nothing names."""
    run, store = world.runs / RUN, Path(world.env["OLLAMA_MODELS"])
    found = [f"file {path.relative_to(run)}" for path in run.rglob("*partial*")]
    named, tags = set(), set()
    for path in store.glob("manifests/*/library/*/*"):
        tags.add(f"{path.parent.name}:{path.name}")
        value = json.loads(path.read_text())
        named |= {layer["digest"].replace(":", "-") for layer in [value["config"], *value["layers"]]}
    found += [f"blob {path.name}" for path in store.glob("blobs/*") if path.name not in named]
    exported = {f"reasoner:{path.parent.name}" for path in run.glob("exports/*/register.json")}
    found += [f"tag {tag}" for tag in sorted(tags - exported - {"reasoner:latest", "reasoner:base"})]
    found += [f"export without a tag: {tag}" for tag in sorted(exported - tags)]
    known = json.loads((world.cache / "registered.json").read_text())
    found += [f"ledger {key}: {value}" for key, value in known.items() if value.startswith("pending:")]
    return found


def promotions(world: World, profile: str, steps: int, every: int, pause_s: float) -> dict[str, Any]:
    """`watch --with train` beside the request loop."""
    settings = {
        "train.steps": steps, "train.save_every": every, "train.keep_checkpoints": 2,
        "gate.num_problems": 100, "gate.min_problems": 50,
    }  # fmt: skip
    argv = [world.program, "watch", RUN, "--with", "train", "--profile", profile, "--every", str(every), "--json"]
    argv += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    asking = Asking(world, pause_s)
    started = time.monotonic()
    try:
        done = world.call(*argv, timeout=None)
    finally:
        asking.end()
    (world.folder / "watch.log").write_text(done.stderr)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    promoted = [row for row in rows if row["event"] == "promoted"]
    return {
        "exit": done.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "ends": Counter(ends(rows).values()),
        "routes": Counter(row["route"] for row in rows if row["event"] == "exported"),
        "export_seconds": {row["step"]: row["seconds"] for row in rows if row["event"] == "exported"},
        "scored_seconds": {row["step"]: row["seconds"] for row in rows if row["event"] == "scored"},
        "promoted": [(row["step"], row["score"], row["points"]) for row in promoted],
        "asked": dict(asking.asked),
        "failed_requests": asking.failed,
        "left_behind": left_behind(world),
    }


def next_checkpoint(world: World, source: Path, step: int, factor: float) -> None:
    """A copy of a checkpoint's adapter under a later step, its B a little larger so that it is another model."""
    from safetensors.torch import load_file, save_file

    made = world.runs / RUN / "checkpoints" / f"checkpoint-{step}"
    shutil.copytree(source, made)
    path = made / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({k: v * factor if ".lora_B." in k else v for k, v in tensors.items()}, path)
    (made / "DONE").touch()


def kills(world: World, num: int, steps: int, seed: int, most_s: float) -> dict[str, Any]:
    chance = random.Random(seed)
    source = world.folder / "source"
    shutil.copytree(world.runs / RUN / "checkpoints" / f"checkpoint-{steps}", source)
    (source / "DONE").unlink()
    argv = [world.program, "watch", RUN, "--every", "1", "--json"]
    argv += ["--set", "gate.margin=50"]  # each becomes public, so that a kill may fall into a promotion

    def whole() -> tuple[float, int]:
        started = time.monotonic()
        code = world.call(*argv, timeout=None).returncode
        return time.monotonic() - started, code

    next_checkpoint(world, source, steps + 1, 1.01)
    whole()
    first = [datetime.fromisoformat(row["time"]) for row in history(world) if row["step"] == steps + 1]
    work_s = (first[-1] - first[0]).total_seconds()
    killed: list[dict[str, Any]] = []
    asking = Asking(world, 0.1)
    begun = time.monotonic()
    for at in range(num):
        if time.monotonic() - begun > most_s:
            break
        next_checkpoint(world, source, steps + 2 + at, 1.02 + at / 1000)
        known, after = len(history(world)), chance.uniform(0, 1.2 * work_s)
        with (world.folder / "kills.log").open("a") as log:
            process = subprocess.Popen(argv, cwd=ROOT, env=world.env, stdout=subprocess.DEVNULL, stderr=log)
            while process.poll() is None and len(history(world)) == known:
                time.sleep(0.02)
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed.append({"after_s": round(after, 2), "last": history(world)[-1]["event"]})
    seconds, code = whole()
    asking.end()
    rows = history(world)
    found = ends(rows)
    return {
        "kills": len(killed),
        "work_s": round(work_s, 1),
        "last_event_before_the_kill": Counter(one["last"] for one in killed),
        "promotions": sum(row["event"] == "promoted" for row in rows),
        "asked": dict(asking.asked),
        "failed_requests": asking.failed,
        "last_watch": {"seconds": round(seconds, 1), "exit": code},
        "ends": Counter(found.values()),
        "without_an_end": [step for step, event in found.items() if event == "seen"],
        "answers": bool(ask(world)),
        "left_behind": left_behind(world),
    }


def full_disk(world: World, step: int) -> dict[str, Any]:
    """A checkpoint whose export runs out of room: how it ended, and whether the public tag still answers."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return {"not run": "a disk of its own is mounted by root on Linux only"}
    run = world.runs / RUN
    source, export = world.folder / "source", run / "exports" / f"step-{step:06d}"
    adapter = sum((source / name).stat().st_size for name in ("adapter_model.safetensors", "adapter_config.json"))
    model = min(path.stat().st_size for path in (run / "base").glob("reference.*.gguf"))
    next_checkpoint(world, source, step, 1.5)
    export.mkdir(parents=True)
    size = f"size={(adapter + model // 2) // 1024}k,mode=700"  # the copied adapter, and half a model
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", export], check=True)
    try:
        done = world.call(world.program, "watch", RUN, "--every", "1", "--set", "watch.retry_s=0.1", "--json")
    finally:
        subprocess.run(["umount", export], check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if not any(export.iterdir()):
        export.rmdir()  # it was the mount's
    return {
        "exit": done.returncode,
        "events": [row["event"] for row in rows],
        "reason": rows[-1].get("reason"),
        "answers": bool(ask(world)),
        "left_behind": left_behind(world),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--profile", default="pocket")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.1, help="Seconds between two questions of an asker.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-seconds", type=float, default=3600, help="No further kill after this.")
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    world = World(given.folder)
    try:
        found = {"promotions": promotions(world, given.profile, given.steps, given.every, given.pause)}
        print(json.dumps(found), file=sys.stderr, flush=True)
        if given.kills:
            found["kills"] = kills(world, given.kills, given.steps, given.seed, given.most_seconds)
            found["full_disk"] = full_disk(world, given.steps + given.kills + 10)
    finally:
        world.reasoner("serve", "--stop")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
