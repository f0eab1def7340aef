"""A gap or a drift above its limit stops the training, after the step is written down."""

import pytest
from rewards import call, logged, make, make_shares, make_strict

from reasoner import config, files, runs
from reasoner.errors import ReasonerError
from reasoner.training import alarms
from reasoner.training.facts import StepMetrics


def test_the_gap_is_a_metric_and_may_be_an_alarm(tmp_path):
    reward = make_strict(tmp_path)
    call(reward, ["So there are 2 pens."] * 15 + ["#### 2"] * 5, ["#### 2"] * 20)
    row = logged(tmp_path, reward)
    assert (row["strict_gap"], row["unscored"]) == (0.75, 0)
    assert logged(tmp_path, reward, **{"alarms.max_strict_gap": "0.75"})["strict_gap"] == 0.75
    with pytest.raises(ReasonerError, match="the policy earns what the stricter rule rejects") as caught:
        logged(tmp_path, reward, **{"alarms.max_strict_gap": "0.5"})
    assert "75.0% (limit 0.5)" in caught.value.why


def test_the_gap_between_visible_and_hidden_tests_may_be_an_alarm(tmp_path):
    reward = make_shares(tmp_path)
    call(reward, ["by heart", "half"] * 9, ["x"] * 18)
    assert logged(tmp_path, reward, **{"alarms.max_hidden_gap": "0.1"})["hidden_gap"] == 0.75  # too few to say
    call(reward, ["solves"] * 9, ["x"] * 9)
    assert logged(tmp_path, reward, **{"alarms.max_hidden_gap": "0.5"})["hidden_gap"] == 0
    with pytest.raises(ReasonerError, match="passes the tests it sees, and not the hidden ones") as caught:
        logged(tmp_path, reward, **{"alarms.max_hidden_gap": "0.4"})
    assert "50.0 points above that of the hidden ones (limit 40)" in caught.value.why
    for _ in range(alarms.GAP_STEPS):
        call(reward, ["solves"] * 3, ["x"] * 3)
    assert logged(tmp_path, reward, **{"alarms.max_hidden_gap": "0"})["hidden_gap"] == 0


def test_drift_of_the_chat_is_an_alarm_that_says_what_is_kept(tmp_path):
    run = runs.Run(tmp_path)
    files.write_text(run.checkpoints_dir / "checkpoint-20" / "DONE", "")
    limits = config.resolve("pocket", {"alarms.max_chat_kl": "0.25"})[0].alarms
    values = {"max_strict_gap": 1.0, "max_hidden_gap": 1.0, "max_chat_kl": 0.25}
    alarms.check_step(limits, run, 25, values)
    alarms.check_step(limits, run, 25, values | {"max_chat_kl": None})  # not measured at this step
    with pytest.raises(ReasonerError, match="stopped at step 25: the model forgets how to chat") as caught:
        alarms.check_step(limits, run, 25, values | {"max_chat_kl": 0.2512})
    assert "is 0.251 nats a token (limit 0.25)" in caught.value.why
    assert "checkpoints up to step 20 are kept" in caught.value.fix
    assert caught.value.log == tmp_path / "metrics.jsonl"


def test_an_alarm_waits_for_the_line_of_its_step(tmp_path):
    reward = make(tmp_path)
    reward.strict_gap.add([1.0] * 20)
    with pytest.raises(ReasonerError):
        logged(tmp_path, reward, **{"alarms.max_strict_gap": "0.5"})
    assert files.read_jsonl(tmp_path / "metrics.jsonl")[-1]["step"] == 3


@pytest.mark.parametrize(
    ("truncated", "signal", "reward", "says"),
    [
        (1.0, 0.0, 0.0, "the completions do not come to an end"), (0.95, 0.5, 0.1, "do not come to an end"),
        (0.1, 0.0, 0.0, "nothing in it to learn from"), (0.0, 0.0, 1.0, "nothing in it to learn from"),
        (0.5, 0.1, 0.0, None),
    ],
)  # fmt: skip
def test_first_steps_that_teach_nothing_stop_the_training(tmp_path, truncated, signal, reward, says):
    told = {
        "steps": 20,
        "length": 8.0,
        "shows_working": 0.0,
        "truncated": truncated,
        "signal": signal,
        "reward": reward,
    }
    rows = [StepMetrics(step=number, **told) for number in range(1, 11)]
    alarms.check_first(runs.Run(tmp_path), rows[:9], 8)
    if says is None:
        alarms.check_first(runs.Run(tmp_path), rows, 8)
        return
    with pytest.raises(ReasonerError, match=says) as caught:
        alarms.check_first(runs.Run(tmp_path), rows, 8)
    assert "step 10" in str(caught.value)


@pytest.mark.parametrize(
    ("whole", "asked", "fix"),
    [
        ([30] * 8, 8, "max_completion_tokens=32,"), ([33, 40, 9, 12, 900], 8, "max_completion_tokens=928,"),
        ([10] * 18 + [99, 700], 20, "max_completion_tokens=32,"), ([2000] * 4, 8, "max_completion_tokens=2008,"),
        ([30] * 3, 8, "an instruct model"), ([], 8, "an instruct model"),
    ],
)  # fmt: skip
def test_the_limit_that_is_proposed_is_one_that_most_answers_keep(whole, asked, fix):
    error = alarms.too_short(0.95, 8, whole, asked, room=2008)
    assert fix in error.fix
    assert f"{len(whole)} of {asked} end within the 2008 tokens" in error.why
