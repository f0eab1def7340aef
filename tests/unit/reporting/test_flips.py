"""Completions are paired by problem, in an order that nobody picked."""

import pytest
from stored_run import changed, rows

from reasoner.reporting import flips
from reasoner.reporting.flips import GAINED
from reasoner.verifiers.code import task


def test_flips_are_paired_by_problem_and_the_lost_come_first():
    base = rows(["right", "wrong", "wrong", "wrong", "right", "unscored", "right"])
    tuned = rows(["right", "right", "right", "wrong", "wrong", "right", "right"])
    found = flips.flips({"base": base, "tuned": [*reversed(tuned), changed(tuned[4], problem_id="of no base")]})
    assert [(one.title.split(":")[0], [b.problem_id for b, _ in one.pairs], one.n) for one in found] == [
        ("Lost", ["4"], 1), ("Gained", ["1", "2"], 2), ("Right both times", ["0", "6"], 2),
        ("Wrong both times", ["3"], 1),
    ]  # fmt: skip
    assert all(b.problem_id == t.problem_id for one in found for b, t in one.pairs)


def test_a_completion_that_is_not_judged_yet_is_no_flip():
    waiting = rows([None])
    assert flips.flips({"base": rows(["wrong"]), "tuned": waiting}) == []


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("$x = \\frac12$", "$x = \\frac12$"),
        ('{"schema": 7}', '{"schema": 7}'),
        (
            task.Task("f", tests=("assert f(1) == 2",), hidden_tests=("assert f(2) == 3",), solution="def f(x): ..."),
            "def f(x): ...\n\nassert f(2) == 3",
        ),
        (task.Task(None, "stdio", hidden_tests=(task.Stdio("1\n", "2\n"),)), r"'1\n' -> '2\n'"),
    ],
)
def test_a_reference_is_shown_as_people_read_it(answer, read):
    assert flips.reference(answer if isinstance(answer, str) else answer.to_answer()) == read


def test_a_problem_asked_more_than_once_is_one_pair():
    twice = {"base": rows(["wrong", "wrong"]) * 2, "tuned": rows(["right", "right"]) + rows(["wrong", "wrong"])}
    (group,) = flips.flips(twice)
    assert (group.title, group.n) == (GAINED, 2)


def test_the_example_at_the_end_is_one_that_was_gained():
    base, tuned = rows(["right", "wrong", "wrong"]), rows(["wrong", "wrong", "right"])
    assert [row.problem_id for row in flips.example({"base": base, "tuned": tuned})] == ["2", "2"]
    assert [row.problem_id for row in flips.example({"base": base[:2], "tuned": tuned[:2]})] == ["0", "0"]
    assert flips.example({"base": base}) is None
