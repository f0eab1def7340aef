"""Shares, pass@k, majorities and refusals of one model's completions, by hand."""

import doctest
import itertools
from dataclasses import replace

import pytest
from answers import asked, rows, under_strict

from reasoner import files
from reasoner.errors import ReasonerError
from reasoner.measuring import scores


def test_wilson_interval_is_the_textbook_one():
    low, high = scores.measure(rows(10, 0)).ci95  # Wilson, 10 of 10: n / (n + z^2) to 1
    assert low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert high == pytest.approx(1)


def test_unscored_is_not_wrong():
    found = scores.measure(rows(5, 5, unscored=10))
    assert (found.pass_at_1, found.unscored, found.scored) == (0.5, 10, 10)


def test_the_stricter_rule_is_reported_beside_and_its_silence_is_not_wrong():
    found = rows(2, 2)
    assert scores.measure(found).strict is None
    assert scores.measure(under_strict(found, "right", "wrong", "wrong", "unscored")).strict == pytest.approx(1 / 3)


def test_a_thought_without_an_answer_is_empty_and_one_before_a_refusal_hides_it_not():
    found = [replace(row, completion=text) for row, text in zip(rows(0, 4), THOUGHTS, strict=True)]
    assert (scores.measure(found).empty, scores.measure(found).refused) == (0.5, 1)


THOUGHTS = ("<think>\n1 + 1", "<think>1</think>\n", "<think>Hm.</think>I cannot help with that.", "<think>1</think>2")


def test_nothing_scored_is_an_error_not_zero():
    with pytest.raises(ReasonerError, match="no completion could be scored"):
        scores.measure(rows(0, 0, unscored=3))


def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one():
    for n, right, k in ((5, 2, 3), (6, 1, 2), (4, 0, 2), (4, 4, 1), (8, 3, 7)):
        draws = list(itertools.combinations([True] * right + [False] * (n - right), k))
        assert scores.pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)
    with pytest.raises(ValueError, match="pass@3 of 2"):
        scores.pass_at_k(2, 1, 3)


def test_each_problem_weighs_the_same_and_an_unscored_completion_is_left_out():
    found = scores.measure(asked("rrrr", "wwuu", "rwww"))
    assert found.pass_at_1 == pytest.approx((1 + 0 + 0.25) / 3)
    assert (found.samples, found.scored, found.right, found.unscored) == (4, 10, 5, 2)
    assert found.pass_at_k["2"].value == pytest.approx((1 + 0 + 0.5) / 3)
    assert (found.pass_at_k["4"].value, found.pass_at_k["4"].problems) == (1, 2)
    assert "samples" not in files.as_json(scores.measure(asked("r", "w")))


def test_completions_of_one_problem_are_not_so_many_problems():
    many, once = scores.measure(asked("rrrr", "wwww")).ci95, scores.measure(asked("r", "w")).ci95
    assert many == pytest.approx(once)


@pytest.mark.parametrize(
    ("verdicts", "extracted", "value"),
    [
        ("rrw", ["7", " 7", "8"], 1),
        ("wwr", ["8", "8", "7"], 0),
        ("rw", ["7", "8"], 0.5),
        ("rww", ["7", "8", "9"], pytest.approx(1 / 3)),
        ("rwu", ["Seven", "8", "8"], 0.5),
        ("rww", ["7", None, None], 1),
        ("ww", [None, None], None),
    ],
)
def test_the_majority_counts_extracted_answers_and_a_tie_counts_in_parts(verdicts, extracted, value):
    assert scores.majority(asked(verdicts, extracted=[extracted])) == value


def test_a_completion_that_was_cut_has_no_vote():
    found = asked("rww", extracted=[["7", "8", "8"]])
    found[1:] = [replace(row, finish_reason="length") for row in found[1:]]
    assert scores.majority(found) == 1


def test_maj_at_k_stands_beside_pass_at_k():
    found = scores.measure(asked("rrw", "rww", extracted=[["1", "1", "2"], ["1", "2", "2"]]))
    assert (found.maj_at_k["3"].value, found.maj_at_k["3"].problems) == (0.5, 2)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.", "I cannot answer this question.", "I’m unable to assist you.",
        "Sorry, I can't solve this.", "As an AI language model, I cannot provide an answer.",
        "Unfortunately, I am not able to determine the number.", "I apologize, but I won't do that.",
    ],
)  # fmt: skip
def test_refusals(text):
    assert scores.refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "#### 4", "Sorry seems to be the hardest word: 4 letters.", "I can help: 4 + 4 = 8.",
        "I can't help but notice that 4 + 4 = 8.", "Ann cannot give what she has not. #### 0",
        "I cannot be 5 apples short, so it is 4.", "The box holds 4. I cannot help you further.",
    ],
)  # fmt: skip
def test_no_refusals(text):
    assert not scores.refused(text)


def test_a_refusal_is_counted_unless_the_answer_is_right():
    found = [replace(row, completion="I'm sorry, but I can't help with that.") for row in rows(1, 2)]
    assert scores.measure(found).refused == 2


def test_the_examples_hold():
    found = doctest.testmod(scores)
    assert found.attempted and not found.failed
