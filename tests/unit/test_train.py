"""The reward is the verdict and nothing else; early refusals; what an interrupted attempt leaves."""

import types

import pytest

from reasoner import config, runs, train, verifiers
from reasoner.errors import ReasonerError

EOS = 2


@pytest.fixture
def reward(tmp_path):
    found, _ = config.resolve("pocket")
    tokenizer = types.SimpleNamespace(eos_token_id=EOS)
    return train.Reward(found, verifiers.load("number"), tokenizer, tmp_path / "rollouts")


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
    rows = runs.read_jsonl(tmp_path / "rollouts" / "step-000007.jsonl")
    assert [row["verdict"] for row in rows] == ["right", "wrong"]
    assert rows[0]["question"] == "q"
    assert rows[0]["finish_reason"] == "stop"


def test_micro_batch_must_divide_the_step():
    found, _ = config.resolve("pocket", {"train.micro_batch": "7"})
    with pytest.raises(ReasonerError, match="does not divide") as caught:
        train.check(found)
    assert caught.value.code == 2


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path):
    run = runs.Run(tmp_path)
    runs.append_jsonl(tmp_path / "metrics.jsonl", [{"step": s} for s in range(1, 8)])
    for step in range(1, 8):
        runs.write_text(tmp_path / "rollouts" / f"{runs.step_name(step)}.jsonl", "{}\n")
    train._forget_after(run, 5)
    assert [row["step"] for row in runs.read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    assert len(list((tmp_path / "rollouts").iterdir())) == 5


def test_threads_are_the_cores_that_others_leave(monkeypatch):
    """Seconds of processor time since the last look: all of the machine, ours, and the time that went by."""
    seen = iter([(0.0, 0.0, 0.0), (10.0, 19.0, 19.0), (20.0, 38.0, 28.0), (30.0, 58.0, 28.0)])
    monkeypatch.setattr(train.Threads, "_now", staticmethod(lambda: next(seen)))
    monkeypatch.setattr(train, "_cores", lambda: 2)
    watch = train.Threads()
    assert watch.free() == 2  # busy with ourselves alone
    assert watch.free() == 1  # another program takes one core
    assert watch.free() == 1  # and two: we still need one
