"""Trackers are there, and write where they should."""

import json
import os
import sys

import pytest

from reasoner import config, runs
from reasoner.errors import ReasonerError
from reasoner.training import engine


def tracked(*names):
    return config.resolve("pocket", {"train.report_to": json.dumps(names)})[0]


def test_a_tracker_that_is_not_installed_is_refused_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ReasonerError, match="not installed: wandb") as refused:
        engine.check_trackers(tracked("tensorboard", "wandb"))
    assert (refused.value.code, refused.value.fix.split(" -m ")[1]) == (
        3, "pip install wandb, or --set train.report_to=none",
    )  # fmt: skip
    engine.check_trackers(tracked("tensorboard"))


def test_trackers_write_into_the_run_unless_the_person_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", "elsewhere")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    with engine.tracked(tracked("wandb", "trackio"), runs.Run(tmp_path)):
        assert os.environ["WANDB_DIR"] == "elsewhere"
        assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackers" / "trackio")
        assert (tmp_path / "trackers" / "trackio").is_dir()
    assert "TRACKIO_DIR" not in os.environ
    assert os.environ["WANDB_DIR"] == "elsewhere"
