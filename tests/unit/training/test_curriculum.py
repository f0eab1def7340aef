"""The curriculum follows the policy, forgets no admitted kind, and draws the same after a restart."""

from collections import Counter

import pytest

from reasoner.training.curriculum import FAMILY_FLOOR, Curriculum, kind

PROBLEMS = [("+", 9), ("+", 15), ("+", 25), ("-", 9), ("-", 19), ("*", 10), ("/", 8), ("+-", 20), ("*+", 9)] * 50
RATES = {
    "+ to 10": 0.2, "+ to 20": 0.05, "+ beyond": 0.05, "- to 10": 0.1, "- to 20": 0.02, "* to 10": 0.2,
    "/ to 10": 0.01, "2 steps": 0.02,
}  # fmt: skip
FIRST = {"+ to 10", "- to 10", "* to 10", "/ to 10"}


def made(**rates):
    return Curriculum(PROBLEMS, num_generations=8, seed=0, rates={**RATES, **rates})


def drawn(curriculum, steps=500, num=4):
    return Counter(kind(*PROBLEMS[i]) for step in range(steps) for i in curriculum.draw(step, num))


def test_harder_kinds_wait():
    curriculum = made()
    assert set(curriculum.shares()) == FIRST == set(drawn(curriculum))
    assert sum(curriculum.shares().values()) == pytest.approx(1)


def test_draws_follow_the_signal_and_no_family_is_left_out():
    counts = drawn(made())
    assert counts["+ to 10"] == pytest.approx(counts["* to 10"], rel=0.1)
    assert counts["+ to 10"] > counts["- to 10"] > counts["/ to 10"]
    signal = 1 - 0.8**8
    weights = [signal, signal, 1 - 0.9**8, FAMILY_FLOOR]
    assert counts["/ to 10"] == pytest.approx(2000 * FAMILY_FLOOR / sum(weights), rel=0.1)


def test_larger_numbers_are_let_in_where_the_smaller_are_solved():
    curriculum = made()
    curriculum.observe([("+ to 10", 1.0)] * 3)
    assert set(curriculum.shares()) == FIRST
    curriculum.observe([("+ to 10", 1.0)] * 3)
    assert set(curriculum.shares()) == {*FIRST, "+ to 20"}
    curriculum.observe([("+ to 20", 1.0)] * 9)
    assert set(curriculum.shares()) == {*FIRST, "+ to 20", "+ beyond"}
    curriculum.observe([("+ to 10", 0.0)] * 9)
    assert "+ to 20" in curriculum.shares(), "a kind once let in stays"


def test_more_steps_wait_for_all_of_fewer():
    curriculum = made()
    one_step = [name for name in RATES if name != "2 steps"]
    curriculum.observe([(name, 1.0) for name in one_step for _ in range(9) if name != "/ to 10"])
    curriculum.observe([("/ to 10", 0.0)] * 9)
    assert "2 steps" in curriculum.shares(), "their mean counts: one stubborn kind does not hold up the rest"
    fresh = made()
    fresh.observe([("+ to 10", 1.0)] * 20)
    assert "2 steps" not in fresh.shares()


def test_a_family_keeps_its_share_however_many_kinds_it_has():
    curriculum = made()
    curriculum.observe([(name, 1.0) for name in ("+ to 10", "+ to 20", "+ beyond") for _ in range(9)])
    shares = curriculum.shares()
    plus = sum(share for name, share in shares.items() if name.startswith("+"))
    assert plus < 0.35
    assert shares["* to 10"] > 0.2


def test_every_draw_has_the_asked_number_of_different_problems():
    curriculum = made()
    for step in range(200):
        for num in (1, 3, 4, 16):
            assert len(set(curriculum.draw(step, num))) == num


def test_draws_are_a_function_of_seed_step_and_rates():
    first, second = made(), made()
    assert [first.draw(s, 4) for s in range(20)] == [second.draw(s, 4) for s in range(20)]
    first.observe([("+ to 10", 1.0), ("- to 10", 0.5)] * 10)
    second.restore(first.state)
    assert second.base_rates == RATES
    assert [first.draw(s, 4) for s in range(20)] == [second.draw(s, 4) for s in range(20)]
    other = Curriculum(PROBLEMS, num_generations=8, seed=1, rates=RATES)
    assert [other.draw(s, 4) for s in range(20)] != [made().draw(s, 4) for s in range(20)]


def test_a_few_problems_of_a_kind_are_drawn_again():
    tiny = Curriculum([("+", 0), ("-", 0)], num_generations=4, seed=0, rates={"+": 0.5, "-": 0.5})
    assert Counter(tiny.draw(0, 8)) == {0: 4, 1: 4}


def test_problems_without_a_kind_are_one():
    plain = Curriculum([("", 0)] * 3, num_generations=4, seed=0, rates={"all": 0.1})
    assert plain.shares() == {"all": 1.0}
    assert sorted(plain.draw(1, 3)) == [0, 1, 2]


def test_kinds_in_words_are_as_hard_as_their_steps_and_not_as_long_as_their_names():
    problems = [("number", 0), ("list", 0), ("list in 2 steps", 0)] * 9
    curriculum = Curriculum(problems, num_generations=8, seed=0, rates={name: 0.1 for name, _ in problems})
    assert set(curriculum.shares()) == {"number", "list"}
    curriculum.observe([("number", 1.0), ("list", 1.0)] * 9)
    assert set(curriculum.shares()) == {"number", "list", "list in 2 steps"}
