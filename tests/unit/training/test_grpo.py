"""The reward is the verdict, or a share of tests where that is asked for; alarms; early refusals; going on."""

import json
import os
import sys
import types

import pytest

from reasoner import config, files, runs
from reasoner.errors import ReasonerError
from reasoner.training import grpo
from reasoner.verifiers import registry
from reasoner.verifiers.score import Score, Shares

EOS = 2


@pytest.fixture
def reward(tmp_path):
    found, _ = config.resolve("pocket")
    tokenizer = types.SimpleNamespace(eos_token_id=EOS)
    return grpo.Reward(found, registry.load("number"), tokenizer, tmp_path / "rollouts")


def call(reward, texts, answers, finished=True, step=0):
    return reward(
        prompts=[[{"role": "user", "content": "q"}]] * len(texts),
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        completion_ids=[[5, EOS] if finished else [5, 6] for _ in texts],
        answer=answers,
        problem_id=[str(i) for i in range(len(texts))],
        kind=["+"] * len(texts),
        trainer_state=types.SimpleNamespace(global_step=step),
        log_metric=None,
    )


def test_working_earns_nothing_by_itself(reward):
    texts = ["1 + 1 = 2\n#### 2", "#### 2", "1 + 1 = 2\n1 + 2 = 3\n#### 3", "Let us think step by step. #### 2"]
    assert call(reward, texts, ["#### 2"] * 4) == [1.0, 1.0, 0.0, 0.0]
    assert reward.shows_working == 0.5


def test_a_completion_cut_off_earns_nothing(reward):
    assert call(reward, ["#### 2"], ["#### 2"], finished=False) == [0.0]


def test_no_verdict_is_none_and_counted(reward):
    texts = ["#### 2"] * 100
    answers = ["#### 2"] * 99 + ["unreadable"]
    assert call(reward, texts, answers)[-1] is None
    assert (reward.scored, reward.unscored) == (99, 1)


def test_a_broken_verifier_stops_the_run(reward, tmp_path):
    with pytest.raises(ReasonerError, match="gave no verdict on 4 of 4") as caught:
        call(reward, ["#### 2"] * 4, ["unreadable"] * 4)
    assert "not a number" in caught.value.why
    assert caught.value.log.exists()


def test_every_rollout_is_written_with_its_score(reward, tmp_path):
    call(reward, ["#### 2", "x"], ["#### 2", "#### 2"], step=6)
    rows = files.read_jsonl(tmp_path / "rollouts" / "step-000007.jsonl")
    assert [row["verdict"] for row in rows] == ["right", "wrong"]
    assert rows[0]["question"] == "q"
    assert rows[0]["finish_reason"] == "stop"


def strict_reward(tmp_path, **overrides):
    found, _ = config.resolve("pocket", overrides)
    checker = registry.load("number-lenient")
    return grpo.Reward(found, checker, types.SimpleNamespace(eos_token_id=EOS), tmp_path / "rollouts")


def test_what_was_accepted_is_judged_again_by_the_stricter_rule_and_earns_the_same(tmp_path):
    reward = strict_reward(tmp_path)
    texts = ["#### 2", "So there are 2 pens.", "That is 1 + 1 = 2.", "#### 3"]
    assert call(reward, texts, ["#### 2"] * 4) == [1.0, 1.0, 1.0, 0.0]
    assert reward.strict_gap.newest == pytest.approx(2 / 3)
    rows = files.read_jsonl(tmp_path / "rollouts" / "step-000001.jsonl")
    assert [row.get("strict") for row in rows] == ["right", "wrong", "wrong", None]
    assert [row["type"] for row in rows] == ["integer"] * 4
    assert rows[0]["rule"] == "hashes"
    call(reward, ["#### 3"], ["#### 2"])
    assert reward.strict_gap.newest is None  # nothing was accepted: no gap, which is not a gap of 0


def test_the_gap_is_told_over_the_last_steps_once_there_is_enough(tmp_path):
    reward = strict_reward(tmp_path)
    assert reward.strict_gap.recent is None
    call(reward, ["So there are 2 pens."] * 19, ["#### 2"] * 19)
    assert reward.strict_gap.recent is None
    call(reward, ["#### 2"] * 19, ["#### 2"] * 19)
    assert reward.strict_gap.recent == 0.5
    for _ in range(grpo.GAP_STEPS):
        call(reward, ["#### 2"] * 3, ["#### 2"] * 3)
    assert reward.strict_gap.recent == 0


def test_a_verifier_without_a_stricter_rule_has_no_gap(tmp_path):
    found, _ = config.resolve("pocket")
    plain = registry.Verifier("plain", "1", lambda completion, answer: Score("right"))
    reward = grpo.Reward(found, plain, types.SimpleNamespace(eos_token_id=EOS), tmp_path / "rollouts")
    assert call(reward, ["x"], ["x"]) == [1.0]
    assert (reward.strict_gap.newest, reward.strict_gap.recent) == (None, None)
    assert (reward.hidden_gap.newest, reward.visible_share, reward.hidden_share) == (None, None, None)


def test_of_many_accepted_a_fixed_number_is_judged_again(tmp_path, monkeypatch):
    monkeypatch.setattr(grpo, "RECHECKED", 4)
    reward = strict_reward(tmp_path)
    call(reward, ["#### 2"] * 10, ["#### 2"] * 10)
    rows = files.read_jsonl(tmp_path / "rollouts" / "step-000001.jsonl")
    assert [at for at, row in enumerate(rows) if "strict" in row] == [0, 2, 5, 7]


class Base:
    class TrainerCallback:
        pass


def logged(tmp_path, reward, **overrides):
    """The callback's log of one step."""
    found, _ = config.resolve("pocket", overrides)
    trainer = types.SimpleNamespace(curriculum=None, chat=None)
    records = grpo._callback(Base, runs.Run(tmp_path), found, trainer, reward, lambda row: None)
    state = types.SimpleNamespace(global_step=3)
    records.on_log(None, state, None, {"reward": 0.5})
    return files.read_jsonl(tmp_path / "metrics.jsonl")[-1]


def test_the_gap_is_a_metric_and_may_be_an_alarm(tmp_path):
    reward = strict_reward(tmp_path)
    call(reward, ["So there are 2 pens."] * 15 + ["#### 2"] * 5, ["#### 2"] * 20)
    row = logged(tmp_path, reward)
    assert (row["strict_gap"], row["unscored"]) == (0.75, 0)
    assert logged(tmp_path, reward, **{"alarms.max_strict_gap": "0.75"})["strict_gap"] == 0.75
    with pytest.raises(ReasonerError, match="the policy earns what the stricter rule rejects") as caught:
        logged(tmp_path, reward, **{"alarms.max_strict_gap": "0.5"})
    assert "75.0% (limit 0.5)" in caught.value.why


TESTS = {
    "solves": Score("right", shares=Shares(1.0, 1.0)),
    "half": Score("wrong", shares=Shares(1.0, 0.5)),
    "by heart": Score("wrong", shares=Shares(1.0, 0.0)),
    "no visible tests": Score("wrong", shares=Shares(None, 0.25)),
    "no hidden tests": Score("right", shares=Shares(1.0, None)),
    "no verdict": Score("unscored"),
}


def shares_reward(tmp_path, **overrides):
    found, _ = config.resolve("pocket", {"verifier.max_unscored": "1", **overrides})
    checker = registry.Verifier("tests", "1", lambda completion, answer: TESTS[completion], has_shares=True)
    return grpo.Reward(found, checker, types.SimpleNamespace(eos_token_id=EOS), tmp_path / "rollouts")


def test_shares_of_visible_and_hidden_tests_are_metrics(tmp_path):
    reward = shares_reward(tmp_path)
    assert call(reward, list(TESTS), ["x"] * 6) == [1.0, 0.0, 0.0, 0.0, 1.0, None]
    row = logged(tmp_path, reward)
    assert (row["visible_share"], row["hidden_share"], row["hidden_gap"]) == (1.0, 0.5, 0.5)  # of those with both
    rows = files.read_jsonl(tmp_path / "rollouts" / "step-000001.jsonl")
    assert [(row.get("visible"), row.get("hidden")) for row in rows[:4]] == [(1, 1), (1, 0.5), (1, 0), (None, 0.25)]
    assert "hidden" not in rows[5]
    call(reward, ["half"], ["x"], finished=False)
    assert reward.hidden_gap.newest is None  # cut off: no submission, so no shares


def test_the_gap_between_visible_and_hidden_tests_may_be_an_alarm(tmp_path):
    reward = shares_reward(tmp_path)
    call(reward, ["by heart", "half"] * 9, ["x"] * 18)
    assert logged(tmp_path, reward, **{"alarms.max_hidden_gap": "0.1"})["hidden_gap"] == 0.75  # too few to say
    call(reward, ["solves"] * 9, ["x"] * 9)
    assert logged(tmp_path, reward, **{"alarms.max_hidden_gap": "0.5"})["hidden_gap"] == 0
    with pytest.raises(ReasonerError, match="passes the tests it sees, and not the hidden ones") as caught:
        logged(tmp_path, reward, **{"alarms.max_hidden_gap": "0.4"})
    assert "50.0 points above that of the hidden ones (limit 40)" in caught.value.why
    for _ in range(grpo.GAP_STEPS):
        call(reward, ["solves"] * 3, ["x"] * 3)
    assert logged(tmp_path, reward, **{"alarms.max_hidden_gap": "0"})["hidden_gap"] == 0


def test_the_share_of_hidden_tests_can_be_the_reward_and_never_the_rate(tmp_path):
    reward = shares_reward(tmp_path, **{"verifier.reward": "share"})
    seen = []
    reward.curriculum = types.SimpleNamespace(observe=seen.extend)
    assert call(reward, list(TESTS), ["x"] * 6) == [1.0, 0.5, 0.0, 0.25, 1.0, None]
    assert seen == [("+", 1.0), ("+", 0.0), ("+", 0.0), ("+", 0.0), ("+", 1.0)]  # a curriculum goes by the verdict
    assert call(reward, ["half", "solves"], ["x"] * 2, finished=False) == [0.0, 0.0]


def test_a_share_is_refused_where_the_verifier_has_none():
    with pytest.raises(ReasonerError, match="the verifier number has no shares of tests") as caught:
        grpo.check(config.resolve("pocket", {"verifier.reward": "share"})[0])
    assert (caught.value.code, caught.value.fix) == (2, "--set verifier.reward=verdict")
    names = {"data.source": "linetasks", "verifier.name": "code", "verifier.reward": "share"}
    grpo.check(config.resolve("pocket", names)[0])


def test_micro_batch_must_divide_the_step():
    found, _ = config.resolve("pocket", {"train.micro_batch": "7"})
    with pytest.raises(ReasonerError, match="does not divide") as caught:
        grpo.check(found)
    assert caught.value.code == 2


def tracked(*names):
    return config.resolve("pocket", {"train.report_to": json.dumps(names)})[0]


def test_a_tracker_that_is_not_installed_is_refused_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ReasonerError, match="not installed: wandb") as refused:
        grpo.check(tracked("tensorboard", "wandb"))
    assert (refused.value.code, refused.value.fix.split(" -m ")[1]) == (
        3, "pip install wandb, or --set train.report_to=none",
    )  # fmt: skip
    grpo.check(tracked("tensorboard"))


def test_trackers_write_into_the_run_unless_the_person_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", "elsewhere")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    with grpo._tracked(tracked("wandb", "trackio"), runs.Run(tmp_path)):
        assert os.environ["WANDB_DIR"] == "elsewhere"
        assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackers" / "trackio")
        assert (tmp_path / "trackers" / "trackio").is_dir()
    assert "TRACKIO_DIR" not in os.environ
    assert os.environ["WANDB_DIR"] == "elsewhere"


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path):
    run = runs.Run(tmp_path)
    files.append_jsonl(tmp_path / "metrics.jsonl", [{"step": s} for s in range(1, 8)])
    for step in range(1, 8):
        files.write_text(tmp_path / "rollouts" / f"{runs.step_name(step)}.jsonl", "{}\n")
    grpo._forget_after(run, 5)
    assert [row["step"] for row in files.read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    assert len(list((tmp_path / "rollouts").iterdir())) == 5


def test_threads_are_the_cores_that_others_leave(monkeypatch):
    """Seconds of processor time since the last look: all of the machine, ours, and the time that went by."""
    seen = iter([(0.0, 0.0, 0.0), (10.0, 19.0, 19.0), (20.0, 38.0, 28.0), (30.0, 58.0, 28.0)])
    monkeypatch.setattr(grpo.Threads, "_now", staticmethod(lambda: next(seen)))
    monkeypatch.setattr(grpo.cpu, "free_cores", lambda: 2)
    watch = grpo.Threads()
    assert watch.free() == 2  # busy with ourselves alone
    assert watch.free() == 1  # another program takes one core
    assert watch.free() == 1  # and two: we still need one
