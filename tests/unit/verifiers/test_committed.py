"""Where a completion commits to its answer: the rules one by one, what is no answer, and that no text takes long."""

import pytest

from reasoner.verifiers.committed import CLAUSE_WINDOW, LOOK_BACK, MAX_BOX, MAX_SPAN, Committed, committed, spoken


def boxed(*spans):
    return Committed(spans, "boxed")


def hashes(span):
    return Committed((span,), "hashes")


def phrase(span):
    return Committed((span,), "phrase")


def tag(span):
    return Committed((span,), "tag")


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        # Boxes: the last one, whatever is inside it.
        (r"\boxed{3}, so the total is $3 \cdot 4 = \boxed{12}$", boxed("12")),
        (r"\boxed{\frac{1}{\sqrt{2}}}", boxed(r"\frac{1}{\sqrt{2}}")),
        (r"\boxed{\{1, 2\}}", boxed(r"\{1, 2\}")),
        ("\\boxed{\n42\n}", boxed("42")),
        (r"\boxed {5}", boxed("5")),
        (r"\\boxed{5}", boxed("5")),
        (r"\fbox{5}", boxed("5")),
        (r"$\boxed 5$", boxed("5")),
        (r"$\boxed-12.5$.", boxed("-12.5")),
        (r"\boxed\frac12", boxed(r"\frac12")),
        (r"\boxed{4}2", boxed("4")),
        (r"\boxed{\boxed{5}}", boxed(r"\boxed{5}")),
        (r"\boxed{5 \text{ or } \boxed{6}}", boxed(r"5 \text{ or } \boxed{6}")),
        (r"\boxed{5} \boxed{6 \boxed{7} \boxed{8}}", boxed("5", r"6 \boxed{7} \boxed{8}")),
        ("\\boxed{5}\nThe answer is 6.\n#### 7", boxed("5")),
        # Neighbours are one list; equal ones are one answer.
        (r"$\boxed{5}$, $\boxed{6}$, $\boxed{7}$.", boxed("5", "6", "7")),
        (r"\boxed{5} or \boxed{6}", boxed("5", "6")),
        (r"\boxed{5}, or perhaps it is \boxed{6}", boxed("5", "6")),
        (r"\boxed{5}\quad\text{and}\quad\boxed{6}", boxed("5", "6")),
        ("(a) \\boxed{5}\n(b) \\boxed{6}", boxed("5", "6")),
        (r"$x = \boxed{5}$ and $y = \boxed{6}$", boxed("5", "6")),
        (r"\boxed{5} apples and \boxed{6} pears", boxed("5", "6")),
        ("\\boxed{5}\n\n\\boxed{5}", boxed("5")),
        ("\\boxed{3}\n\n**Final answer**\n\n\\boxed{12}", boxed("12")),
        (r"\boxed{10}, or rather, \boxed{12}", boxed("12")),
        (r"\boxed{6/2} = \boxed{3}", boxed("3")),
        # Nothing inside, or never closed.
        (r"\boxed{5} stands in \boxed{} as asked", boxed("5")),
        (r"\boxed{5} stands in \boxed.", boxed("5")),
        (r"\boxed{...}", None),
        (r"\boxed{\text{your answer}}", None),
        (r"\boxed{5", None),
        (r"\boxed{4}, and so \boxed{5", None),
        ("\\boxed{4 \n#### 5", hashes("5")),
        (r"\boxedx{5}", None),
        # Lines: the last one that holds an answer.
        ("2 + 3 = 5\n#### 5", hashes("5")),
        ("####5", hashes("5")),
        ("  #### 5 \r\n", hashes("5")),
        ("#### 5\n#### 6\n#### 7", hashes("7")),
        ("#### 5\n####\n", hashes("5")),
        ("#### **5**.", hashes("5")),
        ("#### $18", hashes("$18")),
        ("#### $18$", hashes("18")),
        ("#### 5 ####", hashes("5")),
        ("#### The final answer is 5.", hashes("5")),
        ("#### 5 or 6", hashes("5 or 6")),
        ("#### 2**9", hashes("2**9")),
        ("#### Evelyn", hashes("Evelyn")),
        ("#### 42<|im_end|>", hashes("42")),
        ("#### 42</s></s>", hashes("42")),
        ("#### 42\n\nLet me check: 6 * 7 = 42.", hashes("42")),
        ("#### 42\nThe answer is 43.", hashes("42")),
        ("We write #### 42", None),
        ("##### 42", None),
        ("### 42", None),
        ("#### <answer>", None),
        ("#### [number]\n", None),
        ("#### Solution\n2 x 9 = 18", None),
        ("#### 5\n\n#### Explanation\nBecause.", hashes("5")),
        ("#### 1. Find x\nx is 4.\n#### 2. Find y\ny is 26.\nFinal answer: 30", phrase("30")),
        ("#### Step 2: Add\nSo 30.", None),
        ("#### Find the cost of 9 days\nSo 30.", None),
        ("#### Result:\n30", None),
        # Clauses.
        ("The answer is 7, not 8.", phrase("7")),
        ("The answer is 42. I hope this helps! Have a great 2024!", phrase("42")),
        ("The final answer is $\\frac{1}{2}$. I hope it is correct.", phrase(r"\frac{1}{2}")),
        ("Final Answer: The final answer is $5$.", phrase("5")),
        ("The answer is **42**.", phrase("42")),
        ("**Answer:** `42`", phrase("42")),
        ("answer: 18?", phrase("18?")),
        ("the answer to this question is $18.00.", phrase("$18.00")),
        ("The answer is:\n\n\\[\n42\n\\]", phrase("42")),
        ("**Final Answer**\n\n42", phrase("42")),
        ("The answer is <b>42</b>", phrase("42")),
        ("The answer is therefore 42.", phrase("42")),
        ("Answer (in dollars): 42", phrase("42")),
        ("The answer is 5. Let me double-check: 3 + 2 = 5.", phrase("5")),
        ("The answer is 5. Hmm, let me recompute.", None),
        ("The answer is ~~41~~ 42.", phrase("42")),
        ("The answer is 5 or 6.", phrase("5 or 6")),
        ("The answer is not 5 but 7.", phrase("7")),
        ("The answer is 5. The answer is 7.", phrase("7")),
        ("The answer is 7. If the answer is 5, we lose.", phrase("7")),
        ("The answer is 7. The expected answer is 5.", phrase("7")),
        ("He is 5 years old\nAnswer: 5", phrase("5")),
        ("The answer is not 5.", None),
        ("The answer is 6. The answer is not 6.", None),
        ("The answer isn't 5.", None),
        ("The answer is no longer 5.", None),
        ("I don't think the answer is 5.", None),
        ("Suppose the answer is 5.", None),
        ("The answer is 5. No, wait, it is 7.", None),
        ("The answer is 5.\n\nActually, it is 7.", None),
        ("The answer is", None),
        ("The answer is ...", None),
        ("The answer equals the reference answer.", None),
        ("She answered 5.", None),
        ("Answer: 3 + 4 = 7. Then 7 - 2 = 5.", None),
        ("Answer: 5\nCheck: 3 + 2 = 5", phrase("5")),
        # Tags, ranked with clauses by place.
        ("<answer>\n7\n</answer>", tag("7")),
        ("<answer>5</answer> Correction: <answer>7</answer>", tag("7")),
        ("<answer>The answer is 7.</answer>", phrase("7")),
        ("<answer>5</answer> So the answer is 7.", phrase("7")),
        ("The answer is 5. <answer>7</answer>", tag("7")),
        ("<answer>7", None),
        ("<answer>\\boxed{7}</answer>", boxed("7")),
        # Thoughts.
        ("<think>\\boxed{5}?</think>The answer is $\\boxed{7}$.", boxed("7")),
        ("<think>5 + 2</think><answer>7</answer>", tag("7")),
        ("<think>\\boxed{5}</think>", None),
        ("<think>\n#### 5", None),
        ("<think>a</think>#### 4\n<think>\n#### 5", None),
        ("no opening</think>\n#### 5", hashes("5")),
        # Nothing at all.
        ("", None),
        ("5", None),
        ("\x00", None),
    ],
)
def test_committed(completion, answer):
    assert committed(completion) == answer


def test_spoken_leaves_plain_text_alone():
    text = "a <b> ~ c > d </i>"
    assert spoken(text) is text


def test_what_comes_before_does_not_matter():
    """A box, a line and a clause are found behind a million characters of anything."""
    for clutter in (
        "Let me think. ",
        "\\boxed{",
        "{",
        "#### ",
        "$",
        "the answer is ",
        "<answer>",
        "~~",
        "9",
        "\n",
        "é",
    ):
        for ending, answer in (("\\boxed{5}", boxed("5")), ("#### 5", hashes("5")), ("The answer is 5.", phrase("5"))):
            if "boxed" in clutter and "boxed" not in ending:
                continue
            assert committed(clutter * (1_000_000 // len(clutter)) + "\n\nSo then:\n" + ending) == answer, clutter


def test_limits_hold_as_stated():
    assert committed(f"\\boxed{{{'x' * (MAX_BOX + 1)}}}") is None
    assert committed(f"\\boxed{{{'x' * (MAX_BOX - 100)}}}") is not None
    assert committed(f"\\boxed{{5}}{' ' * LOOK_BACK}\\boxed{{6}}") == boxed("6")
    assert committed(f"#### {'x' * MAX_SPAN}") is None
    assert committed(f"The answer is 5.{' ' * CLAUSE_WINDOW}") is None
    assert committed(f"The answer is 5.{' ' * (CLAUSE_WINDOW - 100)}") == phrase("5")


HOSTILE = [
    "\\boxed{", "\\boxed{}", "\\boxed{5}", "\\boxed{5} or ", "\\boxed5", "\\boxed ", "\\fbox", "boxed", "{", "}",
    "\\", "$", "-",
    "1,", "#", "#### ", "####", "#### \n", "#### 5\n", "#### a b ", "#### a b\n", "the answer is ", "answer", "answer ",
    "answer:\n", "answer: ", "if the answer is 5. ", "isn't the answer not ", "<answer>", "</answer>",
    "<answer>5</answer>",
    "<think>", "</think>", "~", "~~a", "</s>", "<e", "|>", "\n", " ", "*", "`", "😀", "No, wait. ", ". no so", "9",
    "9\n", "\t\n",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_million_characters_take_no_time(unit, quick):
    body = unit * (1_000_000 // len(unit))
    for text in (body, "\\boxed{" + body, "answer: 5. " + body, body[:-20_000] + "answer: 5" + body[:9_000]):
        quick(0.1, committed, text)
