"""`reasoner watch`: good checkpoints reach the public tag, bad ones do not, whatever happens in between."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest
from flows import World, sets

from reasoner import files, runs

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp, pytest.mark.needs_ollama]

RUN = "watched"
QUESTION = "Mia has 12 apples. She buys 5 more. How many apples does Mia have now?"
SETTINGS = {
    "train.steps": 8, "train.save_every": 2, "train.keep_checkpoints": 1, "gate.num_problems": 40,
    "gate.min_problems": 20, "gate.margin": 50, "watch.retry_s": 1, "watch.settle_s": 1, "watch.poll_s": 0.2,
}  # fmt: skip
LATER = {key: value for key, value in SETTINGS.items() if not key.startswith("train.")}
STRICT = {**LATER, "gate.margin": 10}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One of its own: no tag is there but the watch's."""
    made = World(tmp_path_factory.mktemp("watch"))
    yield made
    made.close()


def argv(settings, *more):
    return ["watch", RUN, "--json", *more, *sets(*(f"{key}={value}" for key, value in settings.items()))]


def watch(world, settings, *more):
    done = world.reasoner(*argv(settings, *more))
    return done, [json.loads(line) for line in done.stdout.splitlines()]


def events(rows, step):
    return [row["event"] for row in rows if row["step"] == step]


def history(world):
    return files.read_jsonl(world.runs / RUN / "history.jsonl")


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def tags(world, host=None):
    answer = httpx.get(f"http://{host or world.env['OLLAMA_HOST']}/api/tags", timeout=30)
    return {one["name"]: one["digest"] for one in answer.json()["models"]}


def ask(world, host=None):
    body = {"model": "reasoner", "messages": [{"role": "user", "content": QUESTION}], "stream": False}
    answer = httpx.post(f"http://{host or world.env['OLLAMA_HOST']}/api/chat", json=body, timeout=120)
    answer.raise_for_status()
    return answer.json()["message"]["content"]


def left_behind(world):
    """Half-written files, tags without an export, and blobs that no tag names."""
    run, store = world.runs / RUN, world.folder / "models"
    manifests = [json.loads(path.read_text()) for path in store.glob("manifests/*/library/*/*")]
    named = {one["digest"].replace(":", "-") for m in manifests for one in [m["config"], *m["layers"]]}
    exported = {f"reasoner:{path.parent.name}" for path in run.glob("exports/*/register.json")}
    ours = {tag for tag in tags(world) if tag.startswith("reasoner:step-")}
    return [
        *(path.name for path in run.rglob("*partial*")),
        *(path.name for path in store.glob("blobs/*") if path.name not in named),
        *(exported ^ ours),
    ]


def checkpoint(world, source, step, change=lambda name, tensor: tensor, *, folder=None):
    """A copy of an adapter as a checkpoint of a later step, changed."""
    from safetensors.torch import load_file, save_file

    made = (folder or world.runs / RUN / "checkpoints") / f"checkpoint-{step}"
    shutil.copytree(source, made)
    path = made / "adapter_model.safetensors"
    save_file({name: change(name, tensor) for name, tensor in load_file(path).items()}, path)
    if folder is None:
        (made / "DONE").touch()
    return made


def scaled(factor):
    return lambda name, tensor: tensor * factor if ".lora_B." in name else tensor


@pytest.fixture(scope="module")
def watched(world, tmp_path_factory):
    """A run that was trained and watched in one command; its result, its events, and its last adapter."""
    done, rows = watch(world, SETTINGS, "--with", "train", "--profile", "pocket", "--every", "2")
    assert done.returncode == 0, done.stderr
    source = tmp_path_factory.mktemp("source") / "adapter"
    shutil.copytree(world.runs / RUN / "adapter", source)
    return rows, source


def test_every_checkpoint_of_a_training_is_accounted_for(world, watched):
    rows, _ = watched
    assert {row["step"] for row in rows} == {2, 4, 6, 8}
    assert all({"time", "step", "event"} <= row.keys() for row in rows)
    for step in (2, 4, 6, 8):
        assert events(rows, step)[0] == "seen"
        assert events(rows, step)[-1] in ("promoted", "kept", "skipped")
    routes = [row["route"] for row in rows if row["event"] == "exported"]
    assert routes[0] == "reference"
    assert set(routes[1:]) <= {"delta"}
    newest = [row for row in rows if row["event"] == "promoted"][-1]
    assert f"sha256:{tags(world)['reasoner:latest']}" == newest["digest"]
    assert ask(world)
    assert left_behind(world) == []
    shown = world.reasoner("history", RUN)
    first = [line.split("│")[1].strip() for line in shown.stdout.splitlines() if line.count("│") > 2]
    assert first == ["2", "4", "6", "8"]
    assert json.loads(world.reasoner("history", RUN, "--json").stdout)["promoted"] == newest


def test_no_bad_checkpoint_becomes_public(world, watched):
    """Worse, not numbers, cut in half, of another base: each is said once, and the watch goes on to the next."""
    _, source = watched
    before = tags(world)["reasoner:latest"]
    checkpoint(world, source, 101, scaled(-300.0))
    checkpoint(world, source, 102, scaled(float("nan")))
    half = checkpoint(world, source, 103) / "adapter_model.safetensors"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    checkpoint(world, source, 104, lambda name, tensor: tensor[:, :-1].contiguous() if "lora_A" in name else tensor)
    done, rows = watch(world, STRICT, "--every", "1")
    assert done.returncode == 0, done.stderr
    assert events(rows, 101) == ["seen", "exported", "scored", "kept"]
    for step, why in ((102, "not numbers"), (103, "is not whole"), (104, "another base")):
        assert events(rows, step) == ["seen", "skipped"]
        assert why in next(row["reason"] for row in rows if row["event"] == "skipped" and row["step"] == step)
    assert tags(world)["reasoner:latest"] == before
    assert left_behind(world) == []
    assert watch(world, STRICT, "--every", "1")[1] == []


def test_a_chat_goes_on_across_a_promotion_and_a_rollback(world, watched):
    _, source = watched
    checkpoint(world, source, 110, scaled(1.01))
    assert watch(world, LATER)[0].returncode == 0
    newest = tags(world)["reasoner:latest"]
    assert newest == tags(world)["reasoner:step-000110"]
    over, failed, asked = threading.Event(), [], []

    def talk():
        while not over.is_set():
            try:
                asked.append(ask(world))
            except Exception as error:  # noqa: BLE001  (an answer that is none fails as well)
                failed.append(error)

    body = {"model": "reasoner", "messages": [{"role": "user", "content": QUESTION}]}
    thread = threading.Thread(target=talk)
    thread.start()
    with httpx.stream("POST", f"http://127.0.0.1:{world.port}/api/chat", json=body, timeout=120) as answer:
        lines = answer.iter_lines()
        parts = [json.loads(next(lines))]
        back = world.reasoner("rollback", RUN)
        parts += [json.loads(line) for line in lines]
    assert back.returncode == 0, back.stderr
    assert parts[-1]["done"]
    assert tags(world)["reasoner:latest"] != newest
    again = world.reasoner("promote", RUN, "110")
    over.set()
    thread.join()
    assert again.returncode == 0, again.stderr
    assert tags(world)["reasoner:latest"] == newest
    assert asked
    assert not failed


def test_a_full_disk_leaves_nothing_half_written(world, watched):
    """The largest file it may write is smaller than the model: what is refused, and when, is as on a full disk."""
    _, source = watched
    checkpoint(world, source, 120, scaled(1.02))
    before = tags(world)
    size = min(path.stat().st_size for path in (world.runs / RUN / "base").glob("reference.*.gguf"))
    done = world.call("prlimit", f"--fsize={size - 4096}", world.program, *argv({**LATER, "watch.retry_s": 0.1}))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert events(rows, 120) == ["seen", "failed", "failed", "failed"], done.stderr
    assert "File too large" in rows[-1]["reason"]
    assert tags(world) == before
    assert left_behind(world) == []
    assert ask(world)


def test_a_killed_watcher_is_gone_on_with(world, watched):
    _, source = watched
    checkpoint(world, source, 130, scaled(1.03))
    process = world.start(*argv(LATER), log=world.folder / "killed.log")
    wait_for(lambda: list((world.runs / RUN / "exports" / "step-000130").glob("*gguf*")))
    process.kill()
    process.wait()
    assert ask(world)
    done, _ = watch(world, LATER)
    assert done.returncode == 0, done.stderr
    assert events(history(world), 130)[-1] in ("promoted", "kept")
    assert ask(world)
    assert left_behind(world) == []


def test_a_further_server_that_was_down_is_caught_up(world, watched, tmp_path):
    _, source = watched
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {**LATER, "serve.hosts": json.dumps([host])}
    checkpoint(world, source, 135, scaled(1.035))
    done, rows = watch(world, settings)
    assert done.returncode == 0, done.stderr
    assert events(rows, 135)[-1] == "promoted"
    assert f"{host} is behind" in done.stderr
    env = {**world.env, "OLLAMA_HOST": host, "OLLAMA_MODELS": str(tmp_path / "models")}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([world.ollama, "serve"], env=env, stdout=log, stderr=log)
    try:
        wait_for(lambda: "Listening on" in (tmp_path / "log").read_text(), 60)
        done, rows = watch(world, settings)
        assert done.returncode == 0, done.stderr
        assert rows == []
        assert tags(world, host) == {name: tags(world)[name] for name in ("reasoner:latest", "reasoner:step-000135")}
        assert ask(world, host)
        assert json.loads((world.runs / RUN / "hosts.json").read_text())[host]["error"] is None
    finally:
        server.terminate()
        server.wait(60)


def test_another_trainers_folder_an_ollama_that_stops_a_second_watcher_and_a_moved_run(world, watched, tmp_path):
    _, source = watched
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    settings = {**LATER, "watch.checkpoints": theirs}
    process = world.start(*argv(settings), log=tmp_path / "log")
    try:
        wait_for(lambda: runs.is_locked(runs.Run(world.runs / RUN), "watch"))
        second, _ = watch(world, settings)
        assert second.returncode == 1
        assert f"process {process.pid} is watching it" in second.stderr

        assert world.reasoner("serve", "--stop").returncode == 0
        made = checkpoint(world, source, 140, scaled(1.04), folder=theirs)
        wait_for(lambda: "seen" in events(history(world), 140))
        wait_for(lambda: (world.runs / RUN / "exports" / "step-000140" / "adapter").exists())
        shutil.rmtree(made)  # as a trainer prunes
        wait_for(lambda: {"promoted", "kept"} & set(events(history(world), 140)))
        assert ask(world)

        moved = world.runs / "moved"
        (world.runs / RUN).rename(moved)
        assert process.wait(300) == 1
        assert f"the folder of run {RUN} is gone" in (tmp_path / "log").read_text()
        assert not (world.runs / RUN).exists()
        moved.rename(world.runs / RUN)
        assert watch(world, LATER)[0].returncode == 0  # ends what the move may have cut off
        assert left_behind(world) == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
