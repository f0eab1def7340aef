"""The checker, checked: its table of cases, its limits, and that its failure is not a wrong answer."""

import doctest
import itertools
import json
import pickle
import random
from pathlib import Path

import pytest

from reasoner import verifiers
from reasoner.errors import ReasonerError
from reasoner.problems import stories
from reasoner.verifiers import Score, Verifier
from reasoner.verifiers import committed as committed_module
from reasoner.verifiers import number as number_module
from reasoner.verifiers import working as arithmetic_module
from reasoner.verifiers.committed import committed
from reasoner.verifiers.number import read_number
from reasoner.verifiers.working import StepCheck, steps

BOTH = ("number", "number-lenient")


def cases():
    for name in BOTH:
        table = Path(__file__).parent / f"{name}.jsonl"
        for row in map(json.loads, table.read_text().splitlines()):
            yield pytest.param(name, row, id=f"{name}:{row['completion'][:30]!r}:{row['answer'][:10]}")


@pytest.mark.parametrize(("name", "case"), list(cases()))
def test_table(name, case):
    score = verifiers.verify(verifiers.load(name), case["completion"], case["answer"])
    assert score.verdict == case["verdict"], score


def test_lenient_agrees_with_number_wherever_a_number_is_committed():
    for case in map(json.loads, (Path(__file__).parent / "number.jsonl").read_text().splitlines()):
        found = committed(case["completion"])
        if found and len(found.spans) == 1 and read_number(found.spans[0]) is not None:
            lenient = verifiers.verify(verifiers.load("number-lenient"), case["completion"], case["answer"])
            assert lenient == verifiers.verify(verifiers.load("number"), case["completion"], case["answer"])


@pytest.mark.parametrize(
    ("answer", "type_"),
    [("#### 1,234", "integer"), ("5.0", "integer"), ("-2.5", "decimal"), ("3/4", "rational"), ("50%", "integer")],
)
def test_a_score_says_the_type_of_the_reference(answer, type_):
    for name in BOTH:
        for completion in ("#### 3/4", "#### 5 or 6", "So it is 5.", ""):
            assert verifiers.load(name).function(completion, answer).type == type_


@pytest.mark.parametrize("name", BOTH)
def test_a_reference_committed_to_is_right(name):
    checker = verifiers.load(name)
    for answer in (
        "5",
        "... #### 1,234",
        "-2.5",
        "3/4",
        "$18.00",
        "50%",
        "1\\frac{1}{2}",
        "5 apples",
        "1.5e3",
        "70 000",
    ):
        assert checker.function(checker.commit(answer), answer).verdict == "right", answer


@pytest.mark.parametrize(
    ("completion", "is_accepted"),
    [
        ("#### 1,234", True),
        ("so\n#### 1234.00", True),
        ("\\boxed{1234}", True),
        ("#### +1234", True),
        ("#### 1234 pens", False),
        ("#### x = 1234", False),
        ("The answer is 1234.", False),
        ("<answer>1234</answer>", False),
        ("#### 1.234e3", False),
        ("#### 1235", False),
    ],
)
def test_the_stricter_rule_of_number(completion, is_accepted):
    assert (verifiers.load("number").strict(completion, "1234").verdict == "right") is is_accepted


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
    rows = stories.generate("train", 100)
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
    for row in stories.generate("train", 200):
        for completion in (row["answer"], stories.terse(row)):
            assert verifiers.verify(checker, completion, row["answer"]).verdict == "right"


def test_number_rejects_the_answers_of_other_problems():
    checker = verifiers.load("number")
    rows = stories.generate("train", 200)
    final = [row["answer"].rpartition("#### ")[2] for row in rows]
    for i, row in enumerate(rows):
        other = (i + 7) % len(rows)
        want = "right" if final[i] == final[other] else "wrong"
        assert verifiers.verify(checker, rows[other]["answer"], row["answer"]).verdict == want


@pytest.mark.parametrize("name", BOTH)
def test_hostile_text_is_judged_in_no_time(name, quick):
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
    hostile += [
        "$" * 10**6,
        "-" * 10**6,
        "1," * 500_000,
        "#### \n" * 200_000,
        "#### 7\n" * 150_000,
        "\U0001f600" * 300_000,
    ]
    hostile += [
        "\\boxed{" + unit * (20_000 // len(unit)) + "}" for unit in (*units, "1{,}", "{", "\\frac", "^{2}", "=1")
    ]
    hostile += [f"#### {unit * (190 // len(unit))}{end}" for unit in units for end in ("", "= 6", " x6", " pens")]
    checker = verifiers.load(name)
    for text in hostile:
        assert quick(0.25, verifiers.verify, checker, text, "5").verdict == "wrong"


# -- a fuzzer: completions from pieces that matter ------------------------------------------------

PIECES = [
    *"56789.,/-+=^*_~$%!?(){}[]<>:; \n", "5", "6", "7", "15", "5.0", "1,000", "5/6", "36/6", "½", "²", "−", "–",
    "５", "\u200b",
    "\\boxed{", "\\boxed ", "\\fbox{", "}", "\\frac{", "}{", "\\frac56", "\\text{", "\\times ", "\\cdot", "10^",
    "e3", "\\%", "\\$",
    "\\,", "{,}", "\\(", "\\)", "\\[", "\\]", "\\left(", "\\approx", "\\pm", "\\sqrt{", "\\displaystyle ",
    "\\color{red}", "\\quad",
    "\n#### ", "#### ", "\n####", "The answer is ", "Answer: ", "the final answer is: ", "answer", "<answer>",
    "</answer>",
    "<think>", "</think>", "<|im_end|>", "</s>", "**", "`", "~~", " or ", " and ", " not ", " to ", "about ",
    "x = ", " = ",
    " x ", "If ", "No, wait, ", "So Leo has ", " pens", " apples.", " dozen", " million", "five", "forty-two",
    "negative ",
    "$", "€", "km", " of CO2", "th", "Step 1: ", "1. ", "- ", "Question: ", "...", "correct", "\x00", "😀", "é",
    "\\", "<<5+1=6>>",
]  # fmt: skip
REFERENCES = ("5", "6", "-5", "5/6", "15")


def fuzz(n, quick, seed=0):
    """Judge `n` random completions and return how many were right; raises at the first broken promise.

    The promises: no exception; within a second; one text is right for one value at most; a stricter rule never
    accepts what the main one rejects; what the number verifier accepts the lenient one accepts too.
    """
    rng = random.Random(seed)
    strict, lenient, arithmetic = (verifiers.load(name) for name in ("number", "number-lenient", "arithmetic"))

    def num_right(text):
        right = [
            {answer for answer in REFERENCES if checker.function(text, answer).verdict == "right"}
            for checker in (strict, lenient)
        ]
        assert right[0] <= right[1], text
        assert len(right[1]) <= 1, text
        answer = next(iter(right[0]), "5")
        assert strict.strict(text, answer).verdict == "wrong" or answer in right[0], text
        assert arithmetic.function(text, answer) == strict.function(text, answer), text
        steps(text, [{"left": 5, "op": "+", "right": 1, "result": 6}])
        read_number(text, words=True)
        return len(right[1])

    texts = ("".join(rng.choices(PIECES, k=rng.randint(1, 14))) for _ in range(n))
    return sum(quick(1, num_right, text) for text in texts)


def test_fuzzed_completions_break_no_promise(quick):
    assert fuzz(2_000, quick) > 20  # some of them are right: the pieces reach the interesting branches


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


@pytest.mark.parametrize("module", [number_module, committed_module, arithmetic_module])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_verifiers_can_cross_to_a_worker_process():
    for name in (*BOTH, "arithmetic"):
        checker = pickle.loads(pickle.dumps(verifiers.load(name)))
        assert checker.name == name
        assert checker.strict(checker.commit("5"), "5").verdict == "right"


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


def test_arithmetic_is_paid_as_number_whatever_the_steps():
    number, arithmetic = verifiers.load("number"), verifiers.load("arithmetic")
    for row, other in itertools.pairwise(stories.generate("train", 50)):
        for completion in (
            row["answer"],
            stories.terse(row),
            "1 + 1 = 3\n" + stories.terse(row),
            "",
            "#### 7",
        ):
            for answer in (row["answer"], other["answer"], "no number"):
                assert arithmetic.function(completion, answer) == number.function(completion, answer)
