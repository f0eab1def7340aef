"""Problems that are made here: word problems (`stories`) and one-line functions to be written (`one_liners`)."""

from __future__ import annotations

from reasoner.config import Data
from reasoner.errors import USAGE, ReasonerError
from reasoner.problems import one_liners, stories
from reasoner.problems.problem import Problem, code_question
from reasoner.problems.splits import Provenance, Split
from reasoner.verifiers.code import task as tasks

WORDPROBLEMS, LINETASKS = "wordproblems", "linetasks"
GENERATORS = {WORDPROBLEMS: "number", LINETASKS: "code"}  # and the family of checkers that reads their references


def read(data: Data, split: str, num: int | None) -> Split:
    """Makes the first `num` problems of a split; None takes a fixed number of line tasks."""
    dial = {key: value for key in ("min_steps", "max_steps", "max_value") if (value := getattr(data, key)) is not None}
    problems = (_line_tasks if data.source == LINETASKS else _stories)(data, split, num, dial)
    found = {"generator": data.source, "seed": data.seed, "balanced": data.balanced, **dial}
    return Split(problems, Provenance(data.source, "this project's", GENERATORS[data.source], split, [found]))


def _stories(data: Data, split: str, num: int | None, dial: dict[str, int]) -> list[Problem]:
    if num is None:
        raise ReasonerError(
            "generated problems have no end", fix="set data.num_train and eval.num_problems", code=USAGE
        )
    problems = []
    for row in stories.generate(split, num, data.seed, balanced=data.balanced, **dial):
        size = max(max(step["left"], step["right"], step["result"]) for step in row["steps"])
        problems.append(Problem(row["id"], row["question"], row["answer"], row["kind"], size, tuple(row["steps"])))
    return problems


def _line_tasks(data: Data, split: str, num: int | None, dial: dict[str, int]) -> list[Problem]:
    if "max_value" in dial:
        raise ReasonerError(f"{LINETASKS} has no largest value", fix="set data.max_value=none", code=USAGE)
    problems = []
    for row in one_liners.generate(split, one_liners.SIZES[split] if num is None else num, data.seed, **dial):
        task = tasks.Task(
            row["entry_point"],
            tests=tuple(row["visible"]),
            hidden_tests=tuple(row["hidden"]),
            property=tasks.Property(row["property"]["args"], row["property"]["reference"]),
            solution=row["code"],
        )
        question = code_question(row["text"], task.tests)
        problems.append(Problem(row["id"], question, task.to_answer(), row["kind"], prose=row["text"]))
    return problems
