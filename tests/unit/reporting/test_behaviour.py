"""What is counted in completions, and what is not."""

import dataclasses

import pytest

from reasoner import files, runs
from reasoner.measuring.figures import Completion
from reasoner.reporting import behaviour
from reasoner.verifiers.working import StepCheck


def row(text, tokens=10, known=0, in_order=0):
    steps = StepCheck(0, 0, known, in_order) if known else None
    return Completion(problem_id="p", completion=text, finish_reason="stop", tokens=tokens, steps=steps)


def line(text):
    return {"problem_id": "p", "completion": text, "tokens": 10, "finish_reason": "stop", "verdict": "right"}


def count(*rows):
    return dataclasses.asdict(behaviour.figures(rows))


def test_completions_are_counted():
    found = count(row("3 + 4 = 7\n7 * 2 = 15\n#### 15", 12, 2, 1), row("The answer is 7.", 4, 1, 0))
    assert found == {
        "n": 2, "shows_working": 0.5, "length": 8.0, "numbers": pytest.approx((5 + 1) / 2), "equations": 2,
        "correct": 1, "known": 3, "in_order": 1, "corrects_itself": 0.0, "phrases": {},
    }  # fmt: skip
    assert behaviour.figures([]) is None
    assert count(row("x"))["known"] is None


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1,000 and 1000 and 1000.0", 1), ("007 and 7", 1), ("0 and 0.0", 1), ("2.50 and 2.5 and 25", 2), ("none", 0)],
)
def test_a_number_is_counted_once_however_it_is_written(text, numbers):
    assert count(row(text))["numbers"] == numbers


def test_phrases_of_self_correction_are_whole_words_and_counted_once_a_completion():
    found = count(
        row("Wait, no. Wait! Let’s check it."),
        row("She waits for the waiter."),
        row("I made a mistake, let me check"),
        row("Double-check: let me double-check"),
    )
    assert found["corrects_itself"] == 0.75
    assert found["phrases"] == {
        "wait": 1, "let's check": 1, "i made a mistake": 1, "let me check": 1, "double-check": 1,
        "let me double-check": 1,
    }  # fmt: skip


def test_each_step_of_training_is_read_once_and_again_where_it_has_grown(tmp_path, monkeypatch):
    for step, text in ((10, "1 + 1 = 2"), (2, "two"), (1, "one")):
        files.append_jsonl(tmp_path / f"{runs.step_name(step)}.jsonl", [line(text)])
    found = behaviour.training(tmp_path)
    assert [(step, one.n, one.equations) for step, one in found.items()] == [(1, 1, 0), (2, 1, 0), (10, 1, 1)]
    read = []
    monkeypatch.setattr(files, "read_jsonl", lambda path, real=files.read_jsonl: read.append(path) or real(path))
    assert behaviour.training(tmp_path) == found and read == []
    files.append_jsonl(tmp_path / f"{runs.step_name(10)}.jsonl", [line("2 + 2 = 4")])
    assert behaviour.training(tmp_path)[10].n == 2
    assert [path.stem for path in read] == ["step-000010"]


def test_of_a_long_training_evenly_spread_steps_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(behaviour, "MOST_STEPS", 5)
    for step in range(1, 42):
        files.append_jsonl(tmp_path / f"{runs.step_name(step)}.jsonl", [line("1")])
    assert list(behaviour.training(tmp_path)) == [1, 11, 21, 31, 41]
    assert behaviour.training(tmp_path / "none") == {}
