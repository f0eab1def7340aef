"""Rewards to try, and one step of a training: its completions go in, its line of metrics comes out."""

import types

from reasoner import config, files, runs
from reasoner.training import hooks
from reasoner.training.reward import Reward
from reasoner.verifiers import registry
from reasoner.verifiers.score import Score, Shares

EOS = 2


def make(tmp_path, checker=None, **overrides):
    """The reward of `pocket`."""
    found, _ = config.resolve("pocket", overrides)
    reward = Reward(found, checker or registry.load("number"), runs.Run(tmp_path))
    reward.eos_ids = {EOS}
    return reward


def make_strict(tmp_path):
    """One with a stricter rule beside it."""
    return make(tmp_path, registry.load("number-lenient"))


TESTS = {
    "solves": Score("right", shares=Shares(1.0, 1.0)),
    "half": Score("wrong", shares=Shares(1.0, 0.5)),
    "by heart": Score("wrong", shares=Shares(1.0, 0.0)),
    "no visible tests": Score("wrong", shares=Shares(None, 0.25)),
    "no hidden tests": Score("right", shares=Shares(1.0, None)),
    "no verdict": Score("unscored"),
}


def make_shares(tmp_path, **overrides):
    """One whose verdict is over many tests: a completion names its score in `TESTS`."""
    checker = registry.Verifier("tests", "1", lambda completion, answer: TESTS[completion], has_shares=True)
    return make(tmp_path, checker, **{"verifier.max_unscored": "1", **overrides})


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


def logged(tmp_path, reward, **overrides):
    """The line of metrics of one step; raises where an alarm goes off."""
    found, _ = config.resolve("pocket", overrides)
    trainer = types.SimpleNamespace(curriculum=None, chat=None)
    records = hooks.Records(found, runs.Run(tmp_path), trainer, reward, lambda metrics: None)
    logs = {"reward": 0.5, "completions/mean_length": 9.0, "completions/clipped_ratio": 0.0}
    records.on_log(None, types.SimpleNamespace(global_step=3), None, logs)
    return files.read_jsonl(tmp_path / "metrics.jsonl")[-1]
