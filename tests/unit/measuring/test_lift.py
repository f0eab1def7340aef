"""Paired differences, their tests, kinds, and losses beyond noise, each against the textbook."""

import doctest
import math
from dataclasses import replace

import pytest
from answers import asked, rows, under_strict
from made_up import answered

from reasoner.errors import ReasonerError
from reasoner.measuring import intervals, lift
from reasoner.measuring.figures import Counts, KindFigures, Missing


def test_lift_by_hand():
    base, tuned = rows(50, 50), rows(80, 20)
    found = lift.lift(base, tuned)
    assert (found.points, found.gained, found.lost) == (30, 30, 0)
    middle, half = 30 / 102, 1.959964 * math.sqrt(31 / 102**2 - (30 / 102) ** 2 / 102)
    assert found.ci95 == pytest.approx([100 * (middle - half), 100 * (middle + half)], abs=1e-3)
    assert found.p == pytest.approx(2 * 0.5**30)


def test_no_flip_gives_an_interval_that_still_has_width():
    found = lift.lift(rows(5, 5), rows(5, 5))
    assert (found.points, found.p) == (0, 1)
    assert found.ci95[0] < 0 < found.ci95[1]


def test_lift_leaves_out_problems_unscored_on_either_side():
    base, tuned = rows(1, 1), rows(2, 0)
    base[0] = replace(base[0], verdict="unscored")
    assert lift.lift(base, tuned).pairs == 1


def test_two_models_asked_different_problems_are_no_pair():
    with pytest.raises(ReasonerError, match="not asked the same problems"):
        lift.lift(rows(3, 0), rows(4, 0))


def test_the_stricter_rule_has_its_own_lift():
    base = under_strict(rows(4, 0), *["wrong"] * 4)
    tuned = under_strict(rows(4, 0), "right", "right", "wrong", "unscored")
    found = lift.lift(base, tuned, "strict")
    assert (found.points, found.pairs) == (pytest.approx(200 / 3), 3)


def test_the_smallest_detectable_difference_follows_from_the_flips_and_is_never_impossible():
    few, many = (lift.lift(rows(50, 50), tuned).detectable for tuned in (rows(51, 49), rows(90, 10)))
    assert few == pytest.approx(intervals.detectable(100, 2 / 102)) and many == intervals.detectable(100, 41 / 102)
    assert few < many
    assert lift.lift(rows(2, 3), rows(3, 2)).detectable is None
    for n in range(6, 40):
        for discordant in (0.001, 0.1, 0.9, 1.0):
            assert 0 < intervals.detectable(n, discordant) <= 100
    small = intervals.detectable(10, 0.001) / 100  # more than differ: then all of them flip one way
    assert intervals.detectable(10, small) == pytest.approx(100 * small)


def test_several_completions_are_compared_by_problem():
    base, tuned = asked("rwww", "wwww", "rrrr", "rrww"), asked("rrrw", "rrww", "rrrr", "rwww")
    found = lift.lift(base, tuned)
    assert found.points == pytest.approx(100 * (0.5 + 0.5 + 0 - 0.25) / 4)
    assert (found.gained, found.lost, found.pairs, found.test) == (2, 1, 4, "paired-permutation")
    assert found == lift.lift(base, tuned), "the same from call to call"
    assert found.ci95[0] < found.points < found.ci95[1]


def test_no_difference_anywhere_still_has_width():
    found = lift.lift(asked("rr", "ww"), asked("rr", "ww"))
    assert (found.points, found.p) == (0, 1)
    assert found.ci95[0] < 0 < found.ci95[1]


def of_kind(kind, verdicts):
    words = {"r": "right", "w": "wrong", "u": "unscored"}
    return [answered(f"{kind} {i}", words[v], kind=kind) for i, v in enumerate(verdicts)]


def test_one_step_problems_go_by_operation_in_the_usual_order():
    base = of_kind("*", "wwww") + of_kind("+", "rrww")
    tuned = of_kind("*", "rrrw") + of_kind("+", "wrwu")
    table = lift.by_kind(base, tuned)
    assert list(table) == ["addition", "product"]
    assert table["product"].base == Counts(right=0, scored=4)
    assert table["product"].tuned == Counts(right=3, scored=4)
    assert table["product"].lift.points == 75
    assert table["addition"].tuned == Counts(right=1, scored=3)
    assert (table["addition"].lift.pairs, table["addition"].lift.lost) == (3, 1)


def test_chains_go_by_steps_and_other_sources_by_their_own_names():
    chains = of_kind("+-", "r") + of_kind("*", "r") + of_kind("-+", "w")
    assert {name: cell.base.scored for name, cell in lift.by_kind(chains, chains).items()} == {
        "1 step": 1,
        "2 steps": 2,
    }
    own = of_kind("geometry", "r") + of_kind("+", "r") + of_kind("", "r")
    assert list(lift.by_kind(own, own)) == ["+", "geometry"]
    hostile = of_kind("a|b<script>\n## x`" + "y" * 99, "r")
    assert list(lift.by_kind(hostile, hostile)) == ["a?b?script???? x?" + "y" * 23]
    assert lift.by_kind(of_kind("", "r"), of_kind("", "r")) == {}


def test_a_kind_without_a_verdict_has_no_lift():
    table = lift.by_kind(of_kind("+", "rr"), of_kind("+", "uu"))
    assert table["addition"].lift is None
    assert below(table) == []


def test_holm_is_the_textbook_one():
    """R: p.adjust(c(0.01, 0.02, 0.03, 0.005), "holm")."""
    assert lift.holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert lift.holm([0.5, 0.9]) == [1.0, 1.0]
    assert lift.holm([]) == []


def lifted(lost, gained=0, n=100):
    base = of_kind("", "r" * lost + "w" * (n - lost))
    tuned = of_kind("", "w" * lost + "r" * gained + "w" * (n - lost - gained))
    return KindFigures(Counts(0, 0), Counts(0, 0), lift.lift(base, tuned))


def below(kinds, beside=()):
    return [one.name for one in lift.below_base(kinds, dict(beside))[0]]


def test_a_loss_beyond_noise_is_named_and_noise_is_not():
    kinds = {"addition": lifted(0, 50), "subtraction": lifted(12), "product": lifted(4, 2)}
    found, _, beside = lift.below_base(kinds, {"svamp": lifted(3, 1), "gsm8k": Missing("/nowhere")})
    assert [(row.name, row.points) for row in found] == [("subtraction", -12)]
    assert found[0].p_holm == pytest.approx(3 * 2 * 0.5**12)
    assert beside["svamp"].lift.p_holm == 1  # 2 x 5/16 = 0.625, the smaller of the last two, times 2
    assert beside["gsm8k"] == Missing("/nowhere")


def test_a_loss_that_is_noise_among_so_many_looks_is_not_a_loss():
    """6 lost of 6 flipped: p = 0.031, a loss alone, but not as one of three looks."""
    assert below({"subtraction": lifted(6)}) == ["subtraction"]
    others = {"addition": lifted(0), "product": lifted(0)}
    assert below({"subtraction": lifted(6), **others}) == []
    assert below({}, {"svamp": lifted(20)}) == ["svamp"]


def test_the_examples_hold():
    found = doctest.testmod(lift)
    assert found.attempted and not found.failed
