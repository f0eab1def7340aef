"""`train.report_to`: a real, short training, and what TensorBoard's own reader finds afterwards."""

import os

import pytest

from reasoner import config, files, runs
from reasoner.bases import locate
from reasoner.training import grpo

pytestmark = pytest.mark.slow

SETTINGS = {
    "train.steps": "2", "train.num_prompts": "2", "train.num_generations": "4", "train.max_completion_tokens": "16",
    "train.loop": "plain", "data.num_train": "16", "train.report_to": '["tensorboard"]',
}  # fmt: skip


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_finds_in_the_run_folder_what_metrics_has(tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    found, _ = config.resolve("pocket", SETTINGS)
    run = runs.Run(tmp_path / "tracked")
    grpo.check(found)
    job = grpo.TrainJob(found, run, locate.shipped()["pocket"], lambda *_: None)
    grpo.run(job, lambda text: None, lambda metrics: None)
    written = scalars(run.path / "trackers" / "tensorboard")
    rows = files.read_jsonl(run.path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    for tag, key in (("train/reward", "reward"), ("train/completions/mean_length", "length")):
        assert written[tag] == [(row["step"], pytest.approx(row[key])) for row in rows]
    assert not list(run.checkpoints_dir.rglob("events.out*"))
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ
