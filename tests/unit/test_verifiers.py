"""The checker, checked: its table of cases, its limits, and that its failure is not a wrong answer."""

import json
import pickle
import time
from pathlib import Path

import pytest

from reasoner import verifiers, wordproblems
from reasoner.errors import ReasonerError
from reasoner.verifiers import Score, Verifier
from reasoner.verifiers.number import committed, parse_number

BOTH = ("number", "number-lenient")


def cases():
    for name in BOTH:
        table = Path(__file__).parent / "verifiers" / f"{name}.jsonl"
        for row in map(json.loads, table.read_text().splitlines()):
            yield pytest.param(name, row, id=f"{name}:{row['completion'][:30]!r}:{row['answer'][:10]}")


@pytest.mark.parametrize(("name", "case"), list(cases()))
def test_table(name, case):
    score = verifiers.verify(verifiers.load(name), case["completion"], case["answer"])
    assert score.verdict == case["verdict"], score


def test_lenient_agrees_with_number_wherever_an_answer_is_committed():
    """Only a division left undone is treated otherwise: `#### 36/4` would be paid for not dividing."""
    for case in map(json.loads, (Path(__file__).parent / "verifiers" / "number.jsonl").read_text().splitlines()):
        taken, _ = committed(case["completion"])
        if taken is not None and parse_number(taken) is not None:
            lenient = verifiers.verify(verifiers.load("number-lenient"), case["completion"], case["answer"])
            assert lenient == verifiers.verify(verifiers.load("number"), case["completion"], case["answer"])
    assert [verifiers.verify(verifiers.load(name), "#### 36/4", "9").verdict for name in BOTH] == ["right", "wrong"]


def test_lenient_takes_one_value_whatever_is_listed():
    """No text is right for two references: enumerating buys no second guess."""
    checker = verifiers.load("number-lenient")
    listings = [
        joint.join(f"{start}{i}{end}" for i in range(12))
        for joint in (" ", ", ", "\n", ". ", " = ", " or ", "; ")
        for start in ("", "It is ", "x = ", "2 + 3 = ", "- ", "#### ", "**")
        for end in ("", ".", " pens", "**")
    ]
    for text in listings:
        assert sum(checker.function(text, str(i)).verdict == "right" for i in range(12)) <= 1, text


def test_lenient_reads_the_way_a_base_writes():
    rows = wordproblems.generate("train", 100)
    tellings = (
        "{work}.",
        "So the answer: {work} pens.",
        "Let us see.\n\nTherefore, \\( {work} \\).",
        "{work}\nSo there are {value} pens.",
        "First step done. 1. {work}\n\n**{value}**",
    )
    checker = verifiers.load("number-lenient")
    for i, row in enumerate(rows):
        *steps, _ = row["answer"].splitlines()
        value = row["steps"][-1]["result"]
        other = rows[(i + 7) % len(rows)]["steps"][-1]["result"]
        for telling in tellings:
            completion = telling.format(work=steps[-1], value=value)
            assert verifiers.verify(checker, completion, row["answer"]).verdict == "right", completion
            want = "right" if other == value else "wrong"
            assert verifiers.verify(checker, completion, str(other)).verdict == want, completion


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


@pytest.mark.parametrize("name", BOTH)
def test_hostile_text_is_judged_in_no_time(name):
    hostile = [
        "#### " + "9" * 1_000_000,
        "####" * 200_000,
        "\\boxed{" * 200_000,
        "the answer is " * 100_000,
        "\n" * 10**6,
    ]
    units = [
        "9",
        "1,",
        ",",
        "=",
        "1=1,",
        "1.",
        "a.",
        ".",
        "<<1",
        "3+",
        "7-",
        "\\(",
        "\\",
        "not",
        "*",
        "*a",
        "(",
        ".\"'",
    ]
    units += ["\\text{", "\\frac{1}", "x"]
    units += ["1 = ", "= 1 ", "or\n", "half of the ", "5, ", "$ ", "x ", "7 - ", " "]
    hostile += [unit * (20_000 // len(unit)) + end for unit in units for end in ("", "= 6", "x6")]
    # White space between a mark and what does not fit: once tried in every split of it, for minutes.
    hostile += ["####" + " " * 19_000 + "x" + "y" * 300, "\\boxed" + " " * 19_000, "answer is" + " " * 100 + "x" * 295]
    hostile += [
        "#### -" + " " * 180 + "x1",
        "= -" + " " * 300 + "x6",
        ", ".join(f"{i} + 1 = {i + 1}" for i in range(60, 5, -1)),
    ]
    checker = verifiers.load(name)
    for text in hostile:
        started = time.perf_counter()
        assert verifiers.verify(checker, text, "5").verdict == "wrong"
        assert time.perf_counter() - started < 0.25, text[:20]


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
    for name in BOTH:
        assert pickle.loads(pickle.dumps(verifiers.load(name))).name == name


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
    assert verifiers.shows_working(text) is shows
