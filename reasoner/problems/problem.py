"""A problem: one question and its reference answer. The pipeline cannot tell sources apart: it sees only this."""

from __future__ import annotations

import dataclasses
import random
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from reasoner import files
from reasoner.errors import USAGE, ReasonerError


class Step(TypedDict):
    """Is one known step of a generated problem, such as 12 + 5 = 17."""

    left: int
    op: str
    right: int
    result: int


@dataclass(frozen=True)
class Problem:
    """Holds one question and its reference answer.

    `kind` is what reports and the curriculum go by: the operations of the steps (such as `+-`) where they are known,
    else the source's own word, such as a subject. `size` is the largest number in those steps (0: unknown).
    """

    id: str
    question: str
    answer: str
    kind: str = ""
    size: int = 0
    steps: tuple[Step, ...] = ()  # of a generated problem; for reports only
    prose: str = ""
    """What other sets are searched for, where the question says more than that, such as tests; empty: all of it."""


def messages(question: str, system: str | None) -> list[dict[str, str]]:
    """Returns the chat that asks a question: the question, after the profile's system message if it has one."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": question}]


def code_question(text: str, tests: Sequence[object]) -> str:
    """Returns what a model is asked where tests are shown, in the words of MBPP."""
    which = "these tests" if len(tests) > 1 else "this test"
    return "\n".join([text, f"Your code should pass {which}:", *map(str, tests)])


def normalised(question: str) -> str:
    """Returns what two copies of a question share: its characters without white space, case and Unicode variants.

    >>> normalised("What is  $\\log_8 2$?") == normalised("what is $\\log_82$?")
    True
    """
    return "".join(unicodedata.normalize("NFKC", question).casefold().split())


def split_sha256(problems: Sequence[Problem]) -> str:
    """Returns the identity of a split: the hash of its ids, questions and references, in order."""
    return files.sha256_json([[p.id, p.question, p.answer] for p in problems])


def shuffle_references(problems: Sequence[Problem], seed: int, reference: Callable[[str], str]) -> list[Problem]:
    """Returns the problems of a control run: each has the reference of another one whose answer differs.

    `reference` reads an answer; two answers are the same where it reads the same. The answers as a whole stay as they
    are, so a policy gains only by guessing common ones.
    """
    order = random.Random(f"shuffle-{seed}").sample(range(len(problems)), len(problems))
    given = [problems[i].answer for i in order]
    own = [reference(problem.answer) for problem in problems]
    for i in range(len(problems)):
        if reference(given[i]) != own[i]:
            continue
        fits = (j for j in range(len(problems)) if reference(given[j]) != own[i] and reference(given[i]) != own[j])
        if (swap := next(fits, None)) is None:
            raise ReasonerError("the references are too much alike to shuffle", fix="take more problems", code=USAGE)
        given[i], given[swap] = given[swap], given[i]
    return [dataclasses.replace(p, answer=answer) for p, answer in zip(problems, given, strict=True)]
