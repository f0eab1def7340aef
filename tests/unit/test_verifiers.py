"""The checker, checked: its table of cases, its limits, and that its failure is not a wrong answer."""

import json
import pickle
import time
from pathlib import Path

import pytest

from reasoner import verifiers, wordproblems
from reasoner.errors import ReasonerError
from reasoner.verifiers import Score, Verifier

CASES = [json.loads(line) for line in (Path(__file__).parent / "verifiers" / "number.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["completion"][:30].replace("\n", "|") or "empty")
def test_number_table(case):
    score = verifiers.verify(verifiers.load("number"), case["completion"], case["answer"])
    assert score.verdict == case["verdict"], score


def test_number_accepts_every_answer_of_its_data():
    checker = verifiers.load("number")
    for row in wordproblems.generate("train", 200):
        for completion in (row["answer"], wordproblems.terse(row)):
            assert verifiers.verify(checker, completion, row["answer"]).verdict == "right"


def test_number_rejects_the_answers_of_other_problems():
    checker = verifiers.load("number")
    rows = wordproblems.generate("train", 200)
    final = [row["answer"].rpartition("#### ")[2] for row in rows]
    for i, row in enumerate(rows):
        other = (i + 7) % len(rows)
        want = "right" if final[i] == final[other] else "wrong"
        assert verifiers.verify(checker, rows[other]["answer"], row["answer"]).verdict == want


@pytest.mark.parametrize(
    "text",
    ["#### " + "9" * 1_000_000, "####" * 200_000, "\\boxed{" * 200_000, "the answer is " * 100_000, "\n" * 10**6],
)
def test_number_is_fast_on_hostile_text(text):
    started = time.perf_counter()
    assert verifiers.verify(verifiers.load("number"), text, "5").verdict == "wrong"
    assert time.perf_counter() - started < 1


def test_a_broken_verifier_is_not_a_wrong_answer():
    def broken(completion: str, answer: str) -> Score:
        raise ZeroDivisionError("boom")

    score = verifiers.verify(Verifier("broken", "1", broken), "#### 5", "5")
    assert score.verdict == "unscored"
    assert score.reward is None
    assert "ZeroDivisionError: boom" in score.why


def test_cut_off_is_wrong_even_where_the_number_fits():
    score = verifiers.verify(verifiers.load("number"), "#### 5", "5", is_finished=False)
    assert (score.verdict, score.reward) == ("wrong", 0.0)


def test_cut_off_does_not_hide_a_broken_reference():
    assert verifiers.verify(verifiers.load("number"), "#### 5", "x", is_finished=False).verdict == "unscored"


def test_unknown_verifier_names_the_nearest():
    with pytest.raises(ReasonerError, match="did you mean `number`"):
        verifiers.load("numbr")


def test_verifiers_can_cross_to_a_worker_process():
    assert pickle.loads(pickle.dumps(verifiers.load("number"))).name == "number"


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("12 + 5 = 17\n#### 17", True),
        ("12+5=17\n#### 17", True),
        ("She has 3 x 4 = 12 pens, 12 - 2 = 10.\n#### 10", True),
        ("$4 * 3 = $12\n#### 12", True),
        ("#### 17", False),
        ("The answer is 17", False),
        ("x = 17\n#### 17", False),
        ("#### 3 + 4 = 7", False),
    ],
)
def test_shows_working(text, shows):
    assert verifiers.shows_working(text) is shows
