"""The reward is the verdict, or a share of tests where that is asked for; gaps are measured beside it."""

import types

import pytest
from rewards import TESTS, call, logged, make, make_shares, make_strict

from reasoner import files
from reasoner.errors import ReasonerError
from reasoner.training import alarms
from reasoner.training import reward as reward_module
from reasoner.verifiers import registry
from reasoner.verifiers.score import Score


@pytest.fixture
def reward(tmp_path):
    return make(tmp_path)


def test_working_earns_nothing_by_itself(reward):
    texts = ["1 + 1 = 2\n#### 2", "#### 2", "1 + 1 = 2\n1 + 2 = 3\n#### 3", "Let us think step by step. #### 2"]
    assert call(reward, texts, ["#### 2"] * 4) == [1.0, 1.0, 0.0, 0.0]
    assert reward.shows_working == 0.5


def test_a_completion_cut_off_earns_nothing(reward):
    assert call(reward, ["#### 2"], ["#### 2"], finished=False) == [0.0]


def test_a_thought_that_the_prompt_begins_is_judged_with_the_completion(reward, tmp_path):
    reward.begun = "<think>\n"
    texts = ["1 + 1 = 2</think>#### 2", "1 + 1 = 2 #### 2", "</think>\n#### 2"]
    assert call(reward, texts, ["#### 2"] * 3) == [1.0, 0.0, 1.0]
    assert reward.shows_working == pytest.approx(2 / 3)
    rows = files.read_jsonl(tmp_path / "rollouts" / "step-000001.jsonl")
    assert [row["completion"] for row in rows] == ["<think>\n" + text for text in texts]


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


def test_what_was_accepted_is_judged_again_by_the_stricter_rule_and_earns_the_same(tmp_path):
    reward = make_strict(tmp_path)
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
    reward = make_strict(tmp_path)
    assert reward.strict_gap.recent is None
    call(reward, ["So there are 2 pens."] * 19, ["#### 2"] * 19)
    assert reward.strict_gap.recent is None
    call(reward, ["#### 2"] * 19, ["#### 2"] * 19)
    assert reward.strict_gap.recent == 0.5
    for _ in range(alarms.GAP_STEPS):
        call(reward, ["#### 2"] * 3, ["#### 2"] * 3)
    assert reward.strict_gap.recent == 0


def test_a_verifier_without_a_stricter_rule_has_no_gap(tmp_path):
    reward = make(tmp_path, registry.Verifier("plain", "1", lambda completion, answer: Score("right")))
    assert call(reward, ["x"], ["x"]) == [1.0]
    assert (reward.strict_gap.newest, reward.strict_gap.recent) == (None, None)
    assert (reward.hidden_gap.newest, reward.visible_share, reward.hidden_share) == (None, None, None)


def test_of_many_accepted_a_fixed_number_is_judged_again(tmp_path, monkeypatch):
    monkeypatch.setattr(reward_module, "RECHECKED", 4)
    reward = make_strict(tmp_path)
    call(reward, ["#### 2"] * 10, ["#### 2"] * 10)
    rows = files.read_jsonl(tmp_path / "rollouts" / "step-000001.jsonl")
    assert [at for at, row in enumerate(rows) if "strict" in row] == [0, 2, 5, 7]


def test_shares_of_visible_and_hidden_tests_are_metrics(tmp_path):
    reward = make_shares(tmp_path)
    assert call(reward, list(TESTS), ["x"] * 6) == [1.0, 0.0, 0.0, 0.0, 1.0, None]
    row = logged(tmp_path, reward)
    assert (row["visible_share"], row["hidden_share"], row["hidden_gap"]) == (1.0, 0.5, 0.5)  # of those with both
    rows = files.read_jsonl(tmp_path / "rollouts" / "step-000001.jsonl")
    assert [(row.get("visible"), row.get("hidden")) for row in rows[:4]] == [(1, 1), (1, 0.5), (1, 0), (None, 0.25)]
    assert "hidden" not in rows[5]
    call(reward, ["half"], ["x"], finished=False)
    assert reward.hidden_gap.newest is None  # cut off: no submission, so no shares


def test_the_share_of_hidden_tests_can_be_the_reward_and_never_the_rate(tmp_path):
    reward = make_shares(tmp_path, **{"verifier.reward": "share"})
    seen = []
    reward.curriculum = types.SimpleNamespace(observe=seen.extend)
    assert call(reward, list(TESTS), ["x"] * 6) == [1.0, 0.5, 0.0, 0.25, 1.0, None]
    assert seen == [("+", 1.0), ("+", 0.0), ("+", 0.0), ("+", 0.0), ("+", 1.0)]  # a curriculum goes by the verdict
    assert call(reward, ["half", "solves"], ["x"] * 2, finished=False) == [0.0, 0.0]
