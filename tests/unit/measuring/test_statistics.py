"""Intervals, paired differences and tests, each against the textbook or a reference implementation."""

import doctest
import itertools
import math

import pytest

from reasoner.errors import ReasonerError
from reasoner.measuring import statistics


def rows(right, wrong, unscored=0):
    verdicts = ["right"] * right + ["wrong"] * wrong + ["unscored"] * unscored
    return [
        {
            "verdict": v, "strict": None, "completion": str(i), "shows_working": True, "finish_reason": "stop",
            "leaked": [], "extracted": "1", "tokens": 2, "why": "", "kind": "", "problem_id": str(i),
        }
        for i, v in enumerate(verdicts)
    ]  # fmt: skip


def test_wilson_interval_is_the_textbook_one():
    low, high = statistics.measure(rows(10, 0))["ci95"]  # Wilson, 10 of 10: n / (n + z^2) to 1
    assert low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert high == pytest.approx(1)


def test_unscored_is_not_wrong():
    found = statistics.measure(rows(5, 5, unscored=10))
    assert (found["pass_at_1"], found["unscored"], found["scored"]) == (0.5, 10, 10)


def test_the_stricter_rule_is_reported_beside_and_its_silence_is_not_wrong():
    found = rows(2, 2)
    assert statistics.measure(found)["strict"] is None
    for row, verdict in zip(found, ["right", "wrong", "wrong", "unscored"], strict=True):
        row["strict"] = verdict
    assert statistics.measure(found)["strict"] == pytest.approx(1 / 3)


def test_nothing_scored_is_an_error_not_zero():
    with pytest.raises(ReasonerError, match="no completion could be scored"):
        statistics.measure(rows(0, 0, unscored=3))


def test_lift_by_hand():
    base, tuned = rows(50, 50), rows(80, 20)
    found = statistics.lift(base, tuned)
    assert (found["points"], found["gained"], found["lost"]) == (30, 30, 0)
    middle, half = 30 / 102, 1.959964 * math.sqrt(31 / 102**2 - (30 / 102) ** 2 / 102)
    assert found["ci95"] == pytest.approx([100 * (middle - half), 100 * (middle + half)], abs=1e-3)
    assert found["p"] == pytest.approx(2 * 0.5**30)


def test_no_flip_gives_an_interval_that_still_has_width():
    found = statistics.lift(rows(5, 5), rows(5, 5))
    assert (found["points"], found["p"]) == (0, 1)
    assert found["ci95"][0] < 0 < found["ci95"][1]


def test_lift_leaves_out_problems_unscored_on_either_side():
    base, tuned = rows(1, 1), rows(2, 0)
    base[0]["verdict"] = "unscored"
    assert statistics.lift(base, tuned)["pairs"] == 1


def test_two_models_asked_different_problems_are_no_pair():
    with pytest.raises(ReasonerError, match="not asked the same problems"):
        statistics.lift(rows(3, 0), rows(4, 0))


def test_the_stricter_rule_has_its_own_lift():
    base, tuned = rows(4, 0), rows(4, 0)
    for row, verdict in zip([*base, *tuned], ["wrong"] * 4 + ["right", "right", "wrong", "unscored"], strict=True):
        row["strict"] = verdict
    found = statistics.lift(base, tuned, "strict")
    assert (found["points"], found["pairs"]) == (pytest.approx(200 / 3), 3)


def test_the_smallest_detectable_difference_follows_from_the_flips_and_is_never_impossible():
    few, many = (statistics.lift(rows(50, 50), tuned)["detectable"] for tuned in (rows(51, 49), rows(90, 10)))
    assert few == pytest.approx(statistics.detectable(100, 2 / 102)) and many == statistics.detectable(100, 41 / 102)
    assert few < many
    assert statistics.lift(rows(2, 3), rows(3, 2))["detectable"] is None
    for n in range(6, 40):
        for discordant in (0.001, 0.1, 0.9, 1.0):
            assert 0 < statistics.detectable(n, discordant) <= 100
    small = statistics.detectable(10, 0.001) / 100  # more than differ: then all of them flip one way
    assert statistics.detectable(10, small) == pytest.approx(100 * small)


# -- several completions a problem -------------------------------------------------------------


def asked(*problems, extracted=None):
    """Rows of problems given as strings, a letter for each completion: r, w, u."""
    return [
        {**row, "problem_id": f"p{at}", "extracted": extracted[at][i] if extracted else "1", "strict": None}
        for at, letters in enumerate(problems)
        for i, letter in enumerate(letters)
        for row in rows(letter == "r", letter == "w", letter == "u")
    ]


@pytest.mark.parametrize("values", [[1 / 3] * 50, [0.5] * 9 + [0.75]])
def test_problems_that_come_out_alike_are_no_more_than_their_completions(values):
    """Rounding, or a chance likeness of a few problems, would make any number of them of so little variance."""
    mean, (low, high) = statistics.share(values, 4 * len(values))
    least = statistics.wilson(mean, 4 * len(values))
    assert low <= least[0] + 1e-12 and high >= least[1] - 1e-12


def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one():
    for n, right, k in ((5, 2, 3), (6, 1, 2), (4, 0, 2), (4, 4, 1), (8, 3, 7)):
        draws = list(itertools.combinations([True] * right + [False] * (n - right), k))
        assert statistics.pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)
    with pytest.raises(ValueError, match="pass@3 of 2"):
        statistics.pass_at_k(2, 1, 3)


def test_each_problem_weighs_the_same_and_an_unscored_completion_is_left_out():
    found = statistics.measure(asked("rrrr", "wwuu", "rwww"))
    assert found["pass_at_1"] == pytest.approx((1 + 0 + 0.25) / 3)
    assert (found["samples"], found["scored"], found["right"], found["unscored"]) == (4, 10, 5, 2)
    assert found["pass_at_k"]["2"]["value"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert (found["pass_at_k"]["4"]["value"], found["pass_at_k"]["4"]["problems"]) == (1, 2)
    assert "samples" not in statistics.measure(asked("r", "w"))


def test_completions_of_one_problem_are_not_so_many_problems():
    many, once = statistics.measure(asked("rrrr", "wwww"))["ci95"], statistics.measure(asked("r", "w"))["ci95"]
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
    assert statistics.majority(asked(verdicts, extracted=[extracted])) == value


def test_a_completion_that_was_cut_has_no_vote():
    found = asked("rww", extracted=[["7", "8", "8"]])
    found[1]["finish_reason"] = found[2]["finish_reason"] = "length"
    assert statistics.majority(found) == 1


def test_maj_at_k_stands_beside_pass_at_k():
    found = statistics.measure(asked("rrw", "rww", extracted=[["1", "1", "2"], ["1", "2", "2"]]))
    assert (found["maj_at_k"]["3"]["value"], found["maj_at_k"]["3"]["problems"]) == (0.5, 2)


def test_several_completions_are_compared_by_problem():
    base, tuned = asked("rwww", "wwww", "rrrr", "rrww"), asked("rrrw", "rrww", "rrrr", "rwww")
    found = statistics.lift(base, tuned)
    assert found["points"] == pytest.approx(100 * (0.5 + 0.5 + 0 - 0.25) / 4)
    assert (found["gained"], found["lost"], found["pairs"], found["test"]) == (2, 1, 4, "paired-permutation")
    assert found == statistics.lift(base, tuned), "the same from call to call"
    assert found["ci95"][0] < found["points"] < found["ci95"][1]


def test_no_difference_anywhere_still_has_width():
    found = statistics.lift(asked("rr", "ww"), asked("rr", "ww"))
    assert (found["points"], found["p"]) == (0, 1)
    assert found["ci95"][0] < 0 < found["ci95"][1]


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.", "I cannot answer this question.", "I’m unable to assist you.",
        "Sorry, I can't solve this.", "As an AI language model, I cannot provide an answer.",
        "Unfortunately, I am not able to determine the number.", "I apologize, but I won't do that.",
    ],
)  # fmt: skip
def test_refusals(text):
    assert statistics.refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "#### 4", "Sorry seems to be the hardest word: 4 letters.", "I can help: 4 + 4 = 8.",
        "I can't help but notice that 4 + 4 = 8.", "Ann cannot give what she has not. #### 0",
        "I cannot be 5 apples short, so it is 4.", "The box holds 4. I cannot help you further.",
    ],
)  # fmt: skip
def test_no_refusals(text):
    assert not statistics.refused(text)


def test_a_refusal_is_counted_unless_the_answer_is_right():
    found = rows(1, 2)
    for row in found:
        row["completion"] = "I'm sorry, but I can't help with that."
    assert statistics.measure(found)["refused"] == 2


# -- seeds -------------------------------------------------------------------------------------


def test_three_seeds_give_a_wide_interval_and_one_none():
    found = statistics.over_seeds([67.0, 52.8, 67.8])
    assert (found["seeds"], found["least"], found["most"]) == (3, 52.8, 67.8)
    assert found["sd"] == pytest.approx(8.4388, abs=1e-4)
    half = 4.302653 * found["sd"] / math.sqrt(3)  # the table's t of 2 degrees of freedom
    assert found["ci95"] == pytest.approx([found["points"] - half, found["points"] + half], abs=1e-4)
    assert statistics.over_seeds([67.0])["ci95"] is None


def test_the_examples_hold():
    assert doctest.testmod(statistics).attempted > 3
    assert doctest.testmod(statistics).failed == 0


# -- by kind, beside, and the loss that forbids a promotion ------------------------------------


def of_kind(kind, verdicts):
    words = {"r": "right", "w": "wrong", "u": "unscored"}
    return [{"kind": kind, "problem_id": f"{kind} {i}", "verdict": words[v]} for i, v in enumerate(verdicts)]


def test_one_step_problems_go_by_operation_in_the_usual_order():
    base = of_kind("*", "wwww") + of_kind("+", "rrww")
    tuned = of_kind("*", "rrrw") + of_kind("+", "wrwu")
    table = statistics.by_kind(base, tuned)
    assert list(table) == ["addition", "product"]
    assert table["product"]["base"] == {"right": 0, "scored": 4}
    assert table["product"]["tuned"] == {"right": 3, "scored": 4}
    assert table["product"]["lift"]["points"] == 75
    assert table["addition"]["tuned"] == {"right": 1, "scored": 3}
    assert (table["addition"]["lift"]["pairs"], table["addition"]["lift"]["lost"]) == (3, 1)


def test_chains_go_by_steps_and_other_sources_by_their_own_names():
    chains = of_kind("+-", "r") + of_kind("*", "r") + of_kind("-+", "w")
    assert {name: cell["base"]["scored"] for name, cell in statistics.by_kind(chains, chains).items()} == {
        "1 step": 1,
        "2 steps": 2,
    }
    own = of_kind("geometry", "r") + of_kind("+", "r") + of_kind("", "r")
    assert list(statistics.by_kind(own, own)) == ["+", "geometry"]
    hostile = of_kind("a|b<script>\n## x`" + "y" * 99, "r")
    assert list(statistics.by_kind(hostile, hostile)) == ["a?b?script???? x?" + "y" * 23]
    assert statistics.by_kind(of_kind("", "r"), of_kind("", "r")) == {}


def test_a_kind_without_a_verdict_has_no_lift():
    table = statistics.by_kind(of_kind("+", "rr"), of_kind("+", "uu"))
    assert table["addition"]["lift"] is None
    assert statistics.below_base(table, {}) == []


def test_holm_is_the_textbook_one():
    """R: p.adjust(c(0.01, 0.02, 0.03, 0.005), "holm")."""
    assert statistics.holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert statistics.holm([0.5, 0.9]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def lifted(lost, gained=0, n=100):
    base = of_kind("", "r" * lost + "w" * (n - lost))
    tuned = of_kind("", "w" * lost + "r" * gained + "w" * (n - lost - gained))
    return {"lift": statistics.lift(base, tuned)}


def test_a_loss_beyond_noise_is_named_and_noise_is_not():
    kinds = {"addition": lifted(0, 50), "subtraction": lifted(12), "product": lifted(4, 2)}
    beside = {"svamp": lifted(3, 1), "gsm8k": {"missing": "/nowhere"}}
    found = statistics.below_base(kinds, beside)
    assert [(row["name"], row["points"]) for row in found] == [("subtraction", -12)]
    assert found[0]["p_holm"] == pytest.approx(3 * 2 * 0.5**12)
    assert beside["svamp"]["lift"]["p_holm"] == 1  # 2 x 5/16 = 0.625, the smaller of the last two, times 2
    assert beside["gsm8k"] == {"missing": "/nowhere"}


def test_a_loss_that_is_noise_among_so_many_looks_is_not_a_loss():
    """6 lost of 6 flipped: p = 0.031, a loss alone, but not as one of three looks."""
    assert statistics.below_base({"subtraction": lifted(6)}, {})[0]["name"] == "subtraction"
    others = {"addition": lifted(0), "product": lifted(0)}
    assert statistics.below_base({"subtraction": lifted(6), **others}, {}) == []
    assert statistics.below_base({}, {"svamp": lifted(20)})[0]["name"] == "svamp"
