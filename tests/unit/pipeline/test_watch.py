"""Which checkpoint counts, what becomes of it, what a killed watcher leaves; stand-ins export and score."""

import io
import json
import os
import shutil
import threading
import types

import adapter_files
import fake_ollama
import pytest

from reasoner import config, files, runs
from reasoner.bases import locate
from reasoner.cli import screen
from reasoner.errors import ReasonerError
from reasoner.export import adapters
from reasoner.measuring.figures import GateFacts
from reasoner.pipeline import checkpoint, outlets, watch
from reasoner.pipeline.job import Job
from reasoner.serving import history, tags
from reasoner.serving.tags import Registered, Tagged


class World:
    """A run, its trainer and its server; `scores` by step decide at the gate, `fails` how often an export fails."""

    def __init__(self, folder, monkeypatch):
        self.run, self.server = runs.Run(folder / "runs" / "demo"), fake_ollama.FakeOllama()
        self.client = self.server.quick_client()
        self.base = adapter_files.base(folder / "base")
        self.scores, self.fails, self.exported = {}, {}, []
        self.events, self.said = [], []
        self.settings = {"watch.poll_s": "0.02", "watch.settle_s": "0.05", "watch.retry_s": "0.01"}
        monkeypatch.setattr(checkpoint, "export", self.export)
        monkeypatch.setattr(checkpoint, "gate", self.gate)
        monkeypatch.setattr(checkpoint, "promote_step", self.promote)
        files.write_text(self.run.config_path, "{}")

    def job(self):
        made = Job(config.resolve("pocket", self.settings)[0], self.run)
        made.__dict__ |= {"client": self.client, "base": locate.Base("pocket", self.base, "x", 1, {})}
        at = made.at

        def with_client(step):
            one = at(step)
            one.__dict__ |= {"client": self.client, "base": made.base}
            return one

        made.at = with_client
        return made

    def checkpoint(self, step, made=None, *, is_done=True, folder=None):
        path = adapter_files.write((folder or self.run.checkpoints_dir) / f"checkpoint-{step}", made)
        if is_done:
            (path / "DONE").touch()
        return path

    def export(self, job, route="auto"):
        self.exported.append(job.step)
        assert adapters.is_whole(job.adapter / adapters.WEIGHTS)
        files.write_text(job.export / f"partial-model-{job.step}.gguf", "half")
        if self.fails.get(job.step, 0):
            self.fails[job.step] -= 1
            raise OSError(28, "No space left on device")
        tag = tags.step_tag(job.config, job.step)
        (job.export / f"partial-model-{job.step}.gguf").rename(job.export / "model.gguf")
        self.server.put(tag, f"sha256:d{job.step}")
        tags.remember(self.client, tag)
        file = checkpoint.Gguf(str(job.export / "model.gguf"), "Q8_0", 1, "ab")
        return checkpoint.Exported("demo", job.step, "delta", "", file, tag, f"sha256:d{job.step}", "linked", {}, 0.1)

    def gate(self, job):
        score = self.scores.get(job.step, 0.5 + job.step / 1000)
        best = max((one.score for one in history.promotions(self.run)), default=0.0)
        return GateFacts(
            candidate=Tagged(tags.step_tag(job.config, job.step), f"sha256:d{job.step}"),
            against=Tagged("reasoner:latest", "sha256:public"), metric="pass_at_1", n=200, split_sha256="s",
            score=score, score_ci95=(score - 0.1, score + 0.1), against_score=best, points=100 * (score - best),
            lower=-1.0, passed=score >= best, why=[] if score >= best else ["worse"],
        )  # fmt: skip

    def promote(self, job, by, passed):
        tag = tags.step_tag(job.config, job.step)
        model = Tagged(tag, self.server.tags[tag])
        return history.publish(job.config, self.client, self.run, model, job.step, by=by, score=passed.score)

    def watch(self, is_over=lambda: True, **how):
        self.events.clear()
        one = watch.Watcher(self.job, self.record, self.said.append, **how)
        with runs.lock(self.run, "watch"):
            one.watch(is_over)
        return one

    def record(self, event):
        self.events.append(event.as_json())

    @property
    def ends(self):
        return {row["step"]: (row["event"], row.get("reason")) for row in self.events if row["event"] in watch.ENDS}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path, monkeypatch)
    yield made
    made.server.close()


# -- discovery


def test_each_checkpoint_is_accounted_for_once(world):
    for step in (2, 4, 6):
        world.checkpoint(step)
    world.watch()
    assert world.exported == [6]
    assert world.ends == {
        2: ("skipped", "superseded by step 6"),
        4: ("skipped", "superseded by step 6"),
        6: ("promoted", None),
    }
    assert [row["event"] for row in world.events if row["step"] == 6] == ["seen", "exported", "scored", "promoted"]
    assert all({"time", "step", "event"} <= row.keys() for row in world.events)
    world.watch()
    assert world.events == []
    assert not (world.run.export_dir(2)).exists()


@pytest.mark.parametrize(
    ("how", "exported"),
    [({"every": 2}, [2, 4]), ({"keep": 2}, [3, 4]), ({"every": 2, "keep": 1}, [4]), ({"keep": 9}, [1, 2, 3, 4])],
)
def test_every_and_keep_say_which_of_those_that_piled_up(world, how, exported):
    for step in (1, 2, 3, 4):
        world.checkpoint(step)
    world.watch(**how)
    assert world.exported == exported
    assert {step for step, (event, _) in world.ends.items() if event == "skipped"} == {1, 2, 3, 4} - set(exported)


def test_our_trainers_folder_counts_with_its_marker_only(world):
    files.write_text(world.run.path / "metrics.jsonl", "{}\n")
    world.checkpoint(2, is_done=False)
    world.checkpoint(4)
    one = world.watch()
    assert world.exported == [4]
    one._still[2] = (one._still[2][0], -1e9)  # long still
    one.scan()
    one.scan()
    assert world.ends[2] == ("skipped", "never completed, and a newer one is")
    assert sum(row["step"] == 2 for row in world.events) == 2  # seen, skipped


def test_another_trainers_folder_counts_once_it_is_whole_and_still(world, tmp_path, monkeypatch):
    folder = tmp_path / "theirs"
    world.settings["watch.checkpoints"] = str(folder)
    world.settings["watch.settle_s"] = "5"
    path = world.checkpoint(10, is_done=False, folder=folder)
    whole = (path / adapters.WEIGHTS).read_bytes()
    (path / adapters.WEIGHTS).write_bytes(whole[:-4])
    os.utime(path / adapters.WEIGHTS, (0, 0))  # an old file time says nothing
    clock = [100.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    one = watch.Watcher(world.job, world.record, world.said.append)
    one._sink = lambda row: None
    one.scan()
    clock[0] += 6
    one.scan()
    one.scan()
    assert one.pending == {}
    assert world.said == ["step 10 is still and not whole: it is passed over unless it completes"]
    (path / adapters.WEIGHTS).write_bytes(whole)
    one.scan()
    clock[0] += 4
    one.scan()
    assert one.pending == {}
    (path / "optimizer.pt").write_bytes(b"more")
    one.scan()
    clock[0] += 4
    one.scan()
    assert one.pending == {}
    clock[0] += 1
    one.scan()
    assert list(one.pending) == [10]
    shutil.rmtree(path)
    assert adapters.is_whole(one.pending[10] / adapters.WEIGHTS)


def test_checkpoints_saved_during_the_watch_are_found_and_outlive_their_folder(world):
    saved = threading.Event()
    over = []

    def trainer():
        for step in (2, 4):
            path = world.checkpoint(step)
            while not any(row["step"] == step and row["event"] in watch.ENDS for row in list(world.events)):
                saved.wait(0.01)
            shutil.rmtree(path)
        over.append(1)

    thread = threading.Thread(target=trainer)
    thread.start()
    world.watch(is_over=lambda: bool(over), every=2)
    thread.join()
    assert world.ends == {2: ("promoted", None), 4: ("promoted", None)}


@pytest.mark.parametrize("missing", [adapters.SHAPE, adapters.WEIGHTS, None])
def test_a_folder_that_goes_or_lacks_a_file_is_said_once(world, monkeypatch, missing):
    path = world.checkpoint(2)
    real = checkpoint.take

    def late(job, source):
        (source / missing).unlink() if missing else shutil.rmtree(path)
        real(job, source)

    monkeypatch.setattr(checkpoint, "take", late)
    world.watch()
    world.watch()
    rows = history.events(world.run)
    assert [row.event for row in rows] == ["seen", "skipped"]
    assert (missing or "vanished before it could be copied") in rows[1].reason
    assert not world.run.export_dir(2).exists()


def test_no_room_for_the_copy_is_no_end(world, monkeypatch):
    world.checkpoint(2)
    real, full = checkpoint.take, [1, 1]

    def take(job, source):
        if full:
            full.pop()
            raise OSError(28, "No space left on device")
        real(job, source)

    monkeypatch.setattr(checkpoint, "take", take)
    world.watch(is_over=lambda: bool(world.exported))
    assert world.ends == {2: ("promoted", None)}
    assert len(world.said) == 1


def test_bad_checkpoints_do_not_end_the_watch(world):
    bad = {
        1: (adapter_files.pair(fill=float("nan")), "2 of 2 tensors hold values that are not numbers"),
        2: (adapter_files.pair("model.layers.9.self_attn.q_proj"), "another base: this one has no"),
        3: (adapter_files.pair(fill=0.0), "the adapter changes nothing"),
        4: (dict([adapter_files.pair().popitem()]), "the file lacks 1 of the 2 tensors"),
    }
    for step, (made, _) in bad.items():
        world.checkpoint(step, made)
    cut = world.checkpoint(20) / adapters.WEIGHTS
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    world.checkpoint(30)
    world.watch()
    assert world.exported == [30]
    assert world.ends[20] == ("skipped", f"{adapters.WEIGHTS} is not whole")
    for step, (_, why) in bad.items():
        assert world.ends[step][0] == "skipped" and why in world.ends[step][1]
    assert world.server.tags["reasoner:latest"] == "sha256:d30"


def test_what_was_passed_over_is_tried_again_only_when_its_file_has_changed(world):
    path = world.checkpoint(2, dict([adapter_files.pair().popitem()]))
    for _ in range(2):  # once, and not by a second watcher
        one = world.watch()
        one.scan()
        one.scan()
    assert [row.event for row in history.events(world.run)] == ["seen", "skipped"]
    (path / "optimizer.pt").write_bytes(b"more")  # not the adapter's
    world.watch()
    assert world.events == []
    adapter_files.write(path)
    world.watch(is_over=lambda: bool(world.exported))
    assert [row.event for row in history.events(world.run)][2:] == [
        "seen",
        "exported",
        "scored",
        "promoting",
        "promoted",
    ]
    world.watch()
    assert world.events == []


@pytest.mark.parametrize(
    ("name", "says"), [("adapter_model.bin", "is a pickle"), ("model.safetensors", "a whole model, not an adapter")]
)
def test_a_folder_that_will_never_hold_an_adapter_is_said_once(world, tmp_path, name, says):
    folder = tmp_path / "theirs"
    world.settings["watch.checkpoints"] = str(folder)
    path = folder / "checkpoint-2"
    path.mkdir(parents=True)
    (path / name).write_bytes(b"x")
    world.checkpoint(4, folder=folder)
    world.watch(is_over=lambda: len(world.ends) == 2)
    assert says in world.ends[2][1] and world.exported == [4]
    world.watch()
    assert world.events == []


def test_an_adapter_with_names_of_another_version_is_repaired_in_our_copy_only(world):
    made = {name.replace("base_model.model.", ""): tensor for name, tensor in adapter_files.pair().items()}
    path = world.checkpoint(2, made)
    before = (path / adapters.WEIGHTS).read_bytes()
    world.watch()
    assert world.exported == [2]
    from safetensors.torch import load_file

    assert load_file(world.job().at(2).adapter / adapters.WEIGHTS).keys() == adapter_files.pair().keys()
    assert (path / adapters.WEIGHTS).read_bytes() == before


# -- what becomes of one


def test_an_export_that_fails_is_tried_again_and_given_up_in_the_end(world):
    world.fails = {2: 1}
    world.checkpoint(2)
    world.watch()
    assert [row["event"] for row in world.events] == ["seen", "failed", "exported", "scored", "promoted"]
    world.fails = {4: 99}
    world.checkpoint(4)
    world.watch()
    failed = [row for row in world.events if row["event"] == "failed"]
    assert [(row["attempt"], row["final"]) for row in failed] == [(1, False), (2, False), (3, True)]
    assert "No space left" in failed[0]["reason"]
    assert not world.run.export_dir(4).exists()
    assert world.server.tags == {"reasoner:step-000002": "sha256:d2", "reasoner:latest": "sha256:d2"}
    world.checkpoint(6)
    world.watch()
    assert world.exported[-1] == 6


def test_a_server_that_is_away_is_waited_for_and_costs_no_checkpoint(world, monkeypatch):
    world.checkpoint(2)
    away, begun = [], []

    def version():
        if away:
            away.pop()
            raise ReasonerError("Ollama is away")
        return "0.34.4"

    def gate(job):
        if not begun:
            begun.append(1)
            away.extend([1] * 9)
        world.client.version()
        return world.gate(job)

    monkeypatch.setattr(world.client, "version", version)
    monkeypatch.setattr(checkpoint, "gate", gate)
    world.watch()
    assert world.ends[2] == ("promoted", None)
    failed = [row for row in world.events if row["event"] == "failed"]
    assert [(row["attempt"], row["final"]) for row in failed] in ([(0, False)], [(0, False), (1, False)])
    assert world.said == ["waiting for Ollama: Ollama is away"]


def test_a_newer_checkpoint_makes_the_next_attempt_needless(world):
    world.settings["watch.retry_s"] = "30"
    world.fails = {2: 9}
    world.checkpoint(2)

    def is_over():
        return True

    timer = threading.Timer(0.2, lambda: world.checkpoint(4))
    timer.start()
    world.watch(is_over)
    timer.join()
    assert world.exported == [2, 4]
    assert world.ends[2] == ("skipped", "superseded by step 4")


def test_one_that_scores_worse_is_kept_and_not_public(world):
    world.scores = {2: 0.6, 4: 0.4}
    for step in (2, 4):
        world.checkpoint(step)
    world.watch(every=2)
    assert world.ends == {2: ("promoted", None), 4: ("kept", "worse")}
    assert world.server.tags["reasoner:latest"] == "sha256:d2"


def test_public_previous_and_best_stay_and_a_persons_tag_too(world):
    world.scores = {1: 0.5, 2: 0.1, 3: 0.45, 4: 0.6, 5: 0.55, 6: 0.2, 7: 0.7}
    for step in world.scores:
        world.checkpoint(step)
    world.server.put("mine", "sha256:d2")
    world.server.put("reasoner:step-000099", "sha256:a person's")
    world.watch(every=1)
    steps = {tag for tag in world.server.tags if "step-" in tag}
    # public 7, before it 4; of the others 5 (0.55) and 1 (0.5) are the best two
    assert steps == {f"reasoner:step-{n:06d}" for n in (1, 4, 5, 7, 99)}
    assert world.server.tags["mine:latest"] == "sha256:d2"
    assert {path.name for path in (world.run.path / "exports").iterdir()} == {f"step-{n:06d}" for n in (1, 4, 5, 7)}
    world.server.put("reasoner:step-000005", "sha256:a person's now")
    world.settings["watch.keep_best"] = "0"
    world.watch()
    assert world.server.tags["reasoner:step-000005"] == "sha256:a person's now"
    assert "reasoner:step-000001" not in world.server.tags


# -- a watcher that was killed


def test_a_killed_watchers_step_is_gone_on_with(world):
    world.checkpoint(2)
    job = world.job().at(2)
    history.tell(world.run, 2, "seen")
    checkpoint.take(job, world.run.checkpoints_dir / "checkpoint-2")
    shutil.rmtree(world.run.checkpoints_dir)
    files.write_text(job.export / "partial-model.gguf", "half")
    files.write_text(job.export / "merged.partial" / "model.safetensors", "half")
    files.write_text(world.run.path / "base" / "partial-reference.Q8_0.gguf", "half")
    world.watch()
    assert world.ends == {2: ("promoted", None)}
    assert not [path for path in world.run.path.rglob("*partial*")]


def test_a_promotion_cut_off_after_the_tag_moved_is_told(world):
    for tag in ("reasoner:step-000002", "reasoner:latest"):
        world.server.put(tag, "sha256:d2")
    adapter_files.write(world.run.export_dir(2) / "adapter")
    history.tell(world.run, 2, "seen")
    history.tell(world.run, 2, "promoting", tag="reasoner:latest", digest="sha256:d2", previous=None, score=0.5)
    world.watch()
    assert world.exported == []
    assert [row["event"] for row in world.events] == ["promoted"]


def test_what_a_killed_watcher_could_not_clear_up_goes(world):
    tag = "reasoner:step-000002"
    world.server.put(tag, "sha256:d2")
    tags.remember(world.client, tag)
    adapter_files.write(world.run.export_dir(2) / "adapter")
    history.tell(world.run, 2, "seen")
    history.tell(world.run, 2, "skipped", reason="superseded by step 4")
    history.tell(world.run, 3, "seen")  # killed before it was copied, and pruned since
    world.watch()
    assert world.server.tags == {}
    assert not world.run.export_dir(2).exists()
    assert world.ends == {3: ("skipped", "its checkpoint is gone since the last watch")}


def test_what_a_person_exported_outlives_a_watch(world):
    job = world.job().at(2)
    history.tell(world.run, 2, "seen")
    history.tell(world.run, 2, "skipped", reason="superseded by step 4")
    checkpoint.take(job, world.checkpoint(2))
    files.write_text(job.export / "model.gguf", "a person's")
    world.server.put("reasoner:step-000002", "sha256:d2")
    tags.remember(world.client, "reasoner:step-000002")
    history.tell(world.run, 2, "exported", by="reasoner export", tag="reasoner:step-000002", digest="sha256:d2")
    shutil.rmtree(world.run.checkpoints_dir)
    world.watch()
    assert (job.export / "model.gguf").read_text() == "a person's"
    assert world.server.tags == {"reasoner:step-000002": "sha256:d2"}


def test_a_second_watcher_says_so_and_leaves(world):
    with runs.lock(world.run, "watch"), pytest.raises(ReasonerError) as caught:
        world.watch()
    assert "is watched already" in str(caught.value)
    assert f"process {os.getpid()} is watching it" in str(caught.value)


def test_a_run_folder_that_was_moved_is_not_begun_anew(world, monkeypatch):
    world.checkpoint(2)
    elsewhere = world.run.path.with_name("moved")

    def export(job, route="auto"):
        world.run.path.rename(elsewhere)
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr(checkpoint, "export", export)
    with pytest.raises(ReasonerError, match="the folder of run demo is gone"):
        world.watch()
    assert not (world.run.path / "history.jsonl").exists()
    monkeypatch.setattr(checkpoint, "export", world.export)
    world.run = runs.Run(elsewhere)
    world.watch()
    assert world.ends == {2: ("promoted", None)}


def test_a_run_folder_that_is_moved_while_old_exports_go_is_named(world, monkeypatch):
    def retain(watcher, job):
        world.run.path.rename(world.run.path.with_name("moved"))
        (world.run.path / "exports" / "gguf.json").unlink()

    world.checkpoint(2)
    monkeypatch.setattr(watch.Watcher, "_retain", retain)
    with pytest.raises(ReasonerError, match="the folder of run demo is gone"):
        world.watch()
    assert not world.run.path.exists()


def test_a_reader_that_goes_away_is_no_failure_of_the_watch(world):
    def gone(row):
        raise BrokenPipeError

    world.checkpoint(2)
    one = watch.Watcher(world.job, gone, world.said.append)
    with runs.lock(world.run, "watch"), pytest.raises(BrokenPipeError):
        one.watch(lambda: True)


def test_a_disk_that_fails_between_checkpoints_is_said(world, monkeypatch):
    def retain(watcher, job):
        raise OSError(28, "No space left on device")

    world.checkpoint(2)
    monkeypatch.setattr(watch.Watcher, "_retain", retain)
    with pytest.raises(ReasonerError, match="the watch cannot go on") as caught:
        world.watch()
    assert "No space left" in str(caught.value)


# -- further servers, notification, the table


def test_further_servers_get_each_promoted_model_and_one_that_was_down_is_caught_up(world, monkeypatch):
    fakes = [fake_ollama.FakeOllama() for _ in range(2)]
    there, away = fakes
    world.settings["serve.hosts"] = json.dumps([one.host for one in fakes])
    away.is_up = False

    def put(settings, client, tag, made, say):
        client.version()
        next(one for one in fakes if one.host == str(client.host)).put(tag, world.server.tags[tag])
        return Tagged(tag, world.server.tags[tag])

    def record(job, stage):
        tuned = Registered(tags.step_tag(job.config, job.step), "", "x", "linked", 1)
        facts = types.SimpleNamespace(tuned=tuned, pinned={})
        return runs.Record(stage.name, {}, {}, {}, {}, facts, 1.0, "")

    monkeypatch.setattr(outlets.register, "put", put)
    monkeypatch.setattr(Job, "need", record)
    for step in (2, 4, 6):
        world.checkpoint(step)
    world.watch(every=1)
    assert there.tags["reasoner:latest"] == "sha256:d6"
    assert away.tags == {}
    states = json.loads((world.run.path / "hosts.json").read_text())
    assert states[there.host]["digest"] == "sha256:d6"
    assert states[there.host]["error"] is None
    assert states[away.host]["error"] == f"the Ollama server at {away.host} went away during its version"
    assert sum("behind" in text for text in world.said) == 1
    away.is_up = True
    world.settings["watch.retry_s"] = "3600"  # the end of a watch asks all the same
    world.watch()
    assert away.tags == {"reasoner:step-000006": "sha256:d6", "reasoner:latest": "sha256:d6"}
    assert {row["event"] for row in world.events} == set()  # no word of the stream's contract


def test_the_notified_command_gets_the_event_on_its_input_and_no_shell(world, monkeypatch):
    calls = []

    def run(argv, **how):
        calls.append((argv, how["input"], how.get("shell")))
        return outlets.subprocess.CompletedProcess(argv, 3)

    monkeypatch.setattr(outlets.subprocess, "run", run)
    world.settings["watch.notify"] = "notify-me 'two words' $(reboot) ;reboot"
    world.checkpoint(2)
    world.watch()
    assert [json.loads(text)["event"] for _, text, _ in calls] == ["seen", "exported", "scored", "promoted"]
    assert {tuple(argv) for argv, *_ in calls} == {("notify-me", "two words", "$(reboot)", ";reboot")}
    assert not any(shell for *_, shell in calls)
    assert world.said == ["watch.notify: `notify-me` ended with 3"]
    world.settings["watch.notify"] = "notify 'open"
    with pytest.raises(ReasonerError, match="no command"):
        world.watch()


def test_the_table_has_a_row_a_step_and_no_control_characters(world):
    from rich.console import Console

    world.scores = {2: 0.6, 4: 0.4}
    for step in (2, 4):
        world.checkpoint(step)
    world.watch(every=2)
    history.tell(world.run, 6, "skipped", reason="'\x1b[31m' cannot\nbe read")
    shown = screen.rows(history.events(world.run))
    assert [(row.step, row.stage, row.tag) for row in shown] == [
        (2, "promoted", "reasoner:step-000002"),
        (4, "kept", "reasoner:step-000004"),
        (6, "skipped", ""),
    ]
    assert shown[1].score == "40.0 % (30.0 to 50.0), -20.0"
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(screen.table(history.events(world.run), "\x1b[2J"))
    text = console.export_text()
    assert "\x1b" not in text
    assert "\\x1b[31m" in text
