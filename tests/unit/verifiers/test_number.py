"""The checkers of one number, checked: their tables of cases, their limits, and a fuzzer."""

import doctest
import json
import random
from pathlib import Path

import pytest

from reasoner.problems import stories
from reasoner.verifiers import committed as committed_module
from reasoner.verifiers import number as number_module
from reasoner.verifiers import numerals, registry, sentence
from reasoner.verifiers.committed import committed
from reasoner.verifiers.numerals import read_number
from reasoner.verifiers.working import steps

BOTH = ("number", "number-lenient")


def cases(name):
    return map(json.loads, (Path(__file__).parent / f"{name}.jsonl").read_text().splitlines())


@pytest.mark.parametrize("name", BOTH)
def test_table(name):
    checker = registry.load(name)
    scores = [(case, registry.verify(checker, case["completion"], case["answer"])) for case in cases(name)]
    assert [(case, score) for case, score in scores if score.verdict != case["verdict"]] == []


def test_lenient_agrees_with_number_wherever_a_number_is_committed():
    for case in cases("number"):
        found = committed(case["completion"])
        if found and len(found.spans) == 1 and read_number(found.spans[0]) is not None:
            lenient = registry.verify(registry.load("number-lenient"), case["completion"], case["answer"])
            assert lenient == registry.verify(registry.load("number"), case["completion"], case["answer"])


@pytest.mark.parametrize(
    ("answer", "type_"),
    [("#### 1,234", "integer"), ("5.0", "integer"), ("-2.5", "decimal"), ("3/4", "rational"), ("50%", "integer")],
)
def test_a_score_says_the_type_of_the_reference(answer, type_):
    for name in BOTH:
        for completion in ("#### 3/4", "#### 5 or 6", "So it is 5.", ""):
            assert registry.load(name).function(completion, answer).type == type_


@pytest.mark.parametrize("name", BOTH)
def test_a_reference_committed_to_is_right(name):
    checker = registry.load(name)
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
    assert (registry.load("number").strict(completion, "1234").verdict == "right") is is_accepted


def test_lenient_takes_one_value_whatever_is_listed():
    """No text is right for two references: enumerating buys no second guess."""
    checker = registry.load("number-lenient")
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
    checker = registry.load("number-lenient")
    for i, row in enumerate(rows):
        *steps, _ = row["answer"].splitlines()
        value = row["steps"][-1]["result"]
        other = rows[(i + 7) % len(rows)]["steps"][-1]["result"]
        for telling in tellings:
            completion = telling.format(work=steps[-1], value=value)
            assert registry.verify(checker, completion, row["answer"]).verdict == "right", completion
            want = "right" if other == value else "wrong"
            assert registry.verify(checker, completion, str(other)).verdict == want, completion


def test_number_accepts_every_answer_of_its_data():
    checker = registry.load("number")
    for row in stories.generate("train", 200):
        for completion in (row["answer"], stories.terse(row)):
            assert registry.verify(checker, completion, row["answer"]).verdict == "right"


def test_number_rejects_the_answers_of_other_problems():
    checker = registry.load("number")
    rows = stories.generate("train", 200)
    final = [row["answer"].rpartition("#### ")[2] for row in rows]
    for i, row in enumerate(rows):
        other = (i + 7) % len(rows)
        want = "right" if final[i] == final[other] else "wrong"
        assert registry.verify(checker, rows[other]["answer"], row["answer"]).verdict == want


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
    checker = registry.load(name)
    for text in hostile:
        assert quick(0.25, registry.verify, checker, text, "5").verdict == "wrong"


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
    strict, lenient = map(registry.load, BOTH)

    def num_right(text):
        right = [
            {answer for answer in REFERENCES if checker.function(text, answer).verdict == "right"}
            for checker in (strict, lenient)
        ]
        assert right[0] <= right[1], text
        assert len(right[1]) <= 1, text
        answer = next(iter(right[0]), "5")
        assert strict.strict(text, answer).verdict == "wrong" or answer in right[0], text
        steps(text, [{"left": 5, "op": "+", "right": 1, "result": 6}])
        read_number(text, words=True)
        return len(right[1])

    texts = ("".join(rng.choices(PIECES, k=rng.randint(1, 14))) for _ in range(n))
    return sum(quick(1, num_right, text) for text in texts)


def test_fuzzed_completions_break_no_promise(quick):
    assert fuzz(2_000, quick) > 20  # some of them are right: the pieces reach the interesting branches


@pytest.mark.parametrize("module", [committed_module, number_module, numerals, sentence])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
