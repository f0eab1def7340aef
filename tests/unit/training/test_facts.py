"""What a training writes is what the others read."""

import pytest
from rewards import call, logged, make_shares

from reasoner import files, runs
from reasoner.errors import ReasonerError
from reasoner.training import facts
from reasoner.training.facts import Rollout, StepMetrics

OLD = {"step": 1, "steps": 9, "reward": 0.5, "signal": 1.0, "length": 7.5, "truncated": 0.0, "shows_working": 0.25}


def test_metrics_come_back_and_old_lines_lack_what_was_not_known(tmp_path):
    files.append_jsonl(tmp_path / "metrics.jsonl", [{**OLD, "a_key_of_another_version": 1}])
    line = logged(tmp_path, make_shares(tmp_path))
    old, new = facts.read_metrics(runs.Run(tmp_path))
    assert (old.step, old.reward, old.hidden_gap, old.rates) == (1, 0.5, None, None)
    assert files.as_json(new) == line
    assert not {"kinds", "rates", "chat_kl"} & line.keys()


def test_a_line_that_is_no_step_is_refused_by_name(tmp_path):
    files.append_jsonl(tmp_path / "metrics.jsonl", [{"step": 1}])
    with pytest.raises(ReasonerError, match=r"metrics\.jsonl holds a line that is no step"):
        facts.read_metrics(runs.Run(tmp_path))


def test_rollouts_come_back(tmp_path):
    call(make_shares(tmp_path), ["half", "no hidden tests", "no verdict"], ["x"] * 3)
    lines = files.read_jsonl(tmp_path / "rollouts" / "step-000001.jsonl")
    found = [files.parse(Rollout, line) for line in lines]
    assert [files.as_json(rollout) for rollout in found] == lines
    assert [(one.visible, one.hidden) for one in found] == [(1.0, 0.5), (1.0, None), (None, None)]


def test_a_window_is_the_mean_of_what_was_measured():
    steps = [StepMetrics(**{**OLD, "reward": reward, "hidden_gap": gap}) for reward, gap in ((0.25, None), (0.5, 0.2))]
    found = facts.window(steps)
    assert (found["reward"], found["hidden_gap"], found["length"]) == (0.375, 0.2, 7.5)
    assert "step_seconds" not in found
    assert facts.window([]) == {}


@pytest.mark.parametrize(
    ("reward", "signal", "num", "limit", "expected"),
    [
        (0.95, 0.2, 20, 0.9, True),
        (0.95, 0.2, 20, None, False),
        (0.95, 0.2, 19, 0.9, False),
        (0.85, 0.0, 20, 0.9, False),
        (0.95, 0.3, 20, 0.9, False),
    ],
)
def test_a_training_is_solved_where_it_is_right_and_groups_agree(reward, signal, num, limit, expected):
    def step(at, reward, signal):
        return facts.StepMetrics(
            step=at, steps=99, reward=reward, signal=signal, length=9, truncated=0, shows_working=1
        )

    early = [step(1, 0.0, 1.0)]
    newest = [step(at, reward, signal) for at in range(2, num + 2)]
    assert facts.is_solved((early if num == 20 else []) + newest, limit) is expected
