"""Steps of generated problems: which equations a completion writes, and how they compare with the known steps."""

import doctest

import pytest

from reasoner.problems import stories
from reasoner.verifiers import working
from reasoner.verifiers.working import StepCheck, shows_working, steps


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(working).failed == 0


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("12 + 5 = 17\n#### 17", True),
        ("12+5=17\n#### 17", True),
        ("She has 3 x 4 = 12 pens, 12 - 2 = 10.\n#### 10", True),
        ("$4 * 3 = $12\n#### 12", True),
        ("\\( 3 \\times 4 = 12 \\)", True),
        ("#### 17", False),
        ("The answer is 17", False),
        ("x = 17\n#### 17", False),
        ("#### 3 + 4 = 7", False),
    ],
)
def test_shows_working(text, shows):
    assert shows_working(text) is shows


# -- steps of generated problems ------------------------------------------------------------------


def test_steps_of_a_reference_are_all_there():
    for row in stories.generate("train", 200):
        n = len(row["steps"])
        assert steps(row["answer"], row["steps"]) == StepCheck(equations=n, correct=n, known=n, in_order=n)
        assert steps(stories.terse(row), row["steps"]) == StepCheck(0, 0, known=n, in_order=0)


def test_a_corrupted_step_is_found():
    for row in stories.generate("train", 200):
        lines = row["answer"].splitlines()
        n = len(row["steps"])
        for i, step in enumerate(row["steps"]):
            wrong = [*lines]
            wrong[i] = f"{step['left']} {step['op']} {step['right']} = {step['result'] + 1}"
            check = steps("\n".join(wrong), row["steps"])
            assert (check.equations, check.correct, check.in_order) == (n, n - 1, n - 1)
            missing = steps("\n".join(lines[:i] + lines[i + 1 :]), row["steps"])
            assert (missing.equations, missing.in_order) == (n - 1, n - 1)


KNOWN = [
    {"left": 2, "op": "*", "right": 9, "result": 18},
    {"left": 18, "op": "-", "right": 4, "result": 14},
    {"left": 14, "op": "/", "right": 2, "result": 7},
]


@pytest.mark.parametrize(
    ("completion", "counts"),
    [
        ("2 x 9 = 18, 18 - 4 = 14, 14 / 2 = 7", (3, 3, 3)),
        ("\\(2 \\times 9 = 18\\), \\(18-4=14\\) and $14 \\div 2 = 7$", (3, 3, 3)),
        ("2 × 9 = 18; 18 − 4 = 14; 14 ÷ 2 = 7", (3, 3, 3)),
        ("2*9=<<2*9=18>>18\n18-4=<<18-4=14>>14\n14/2=<<14/2=7>>7", (3, 3, 3)),
        ("She has 2 boxes x 9 pens = 18 pens, then 18 pens - 4 pens = 14 pens.", (2, 2, 2)),
        ("$2 * $9 = $18.00", (1, 1, 1)),
        ("2 x 9 - 4 = 14", (1, 1, 0)),
        ("2 x 9 = 18 - 4 = 14 / 2 = 7", (3, 3, 3)),
        ("9 x 2 = 18", (1, 1, 1)),
        ("4 - 18 = 14", (1, 0, 0)),
        ("18 - 4 = 14\n2 x 9 = 18", (2, 2, 1)),
        ("2 x 9 = 18\n2 x 9 = 18", (2, 2, 1)),
        ("2 x 9 = 19", (1, 0, 0)),
        ("3 + 15 = 18", (1, 1, 0)),
        ("\\frac{14}{2} = 7", (1, 1, 1)),
        ("(2 x 9) = 18", (1, 1, 1)),
        ("2 + 3 x 4 = 14", (1, 1, 0)),
        ("2 + 3 x 4 = 20", (1, 0, 0)),
        ("14 / 0 = 7", (1, 0, 0)),
        ("1,000 + 1 = 1,001", (1, 1, 0)),
        ("1 / 3 = 0.33", (1, 0, 0)),
        ("x = 18, so there are 18", (0, 0, 0)),
        ("18 = 18", (0, 0, 0)),
        ("18 = 2 x 9", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_steps(completion, counts):
    check = steps(completion, KNOWN)
    assert (check.equations, check.correct, check.in_order) == counts
    assert check.known == 3


def test_steps_of_hostile_text_take_no_time(quick):
    for unit in (
        "1 + ",
        "1+1=2 ",
        "1 = ",
        "(",
        "1(",
        "\\frac{1}{",
        "9" * 50,
        " ",
        "= ",
        "1 pens x ",
        "<<",
        "x ",
        "1 x",
        "-",
        ",",
    ):
        quick(1, steps, unit * (200_000 // len(unit)), KNOWN)
