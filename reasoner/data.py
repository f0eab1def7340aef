"""Problems, splits and prompts: generated, from a hub, or from the person's own files.

Every source comes out as the same rows, with the fields of `openai/gsm8k`: the pipeline cannot tell
them apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner import runs, wordproblems
from reasoner.config import Data
from reasoner.errors import MISSING, USAGE, ReasonerError

GENERATED = "wordproblems"


@dataclass(frozen=True)
class Problem:
    """One question and its reference answer; `kind` groups problems in reports."""

    id: str
    question: str
    answer: str
    kind: str = ""


def load(data: Data, split: str, num: int | None) -> list[Problem]:
    """The first `num` problems of a split, in a fixed order; None takes all of them."""
    rows = _generated(data, split, num) if data.source == GENERATED else _dataset(data, split, num)
    problems = []
    for index, row in enumerate(rows):
        missing = [name for name in ("question", "answer") if not isinstance(row.get(name), str)]
        if missing:
            raise ReasonerError(
                f"{data.source}: row {index} of {split} has no text field {' and '.join(missing)}",
                fix="give every row `question` and `answer`, as openai/gsm8k does",
                code=USAGE,
            )
        problems.append(
            Problem(
                str(row.get("id") or f"{split}-{index:06d}"),
                row["question"],
                row["answer"],
                row.get("kind") or "",
            )
        )
    if not problems:
        raise ReasonerError(f"{data.source} has no problems in split {split!r}", fix="name another split", code=USAGE)
    return problems


def check(data: Data, split: str) -> None:
    """Fail early where the source or the split is not there."""
    load(data, split, 1)


def _generated(data: Data, split: str, num: int | None) -> list[dict[str, Any]]:
    if num is None:
        raise ReasonerError(
            "generated problems have no end", fix="set data.num_train and eval.num_problems", code=USAGE
        )
    dial = {k: v for k in ("min_steps", "max_steps", "max_value") if (v := getattr(data, k)) is not None}
    return wordproblems.generate(split, num, data.seed, **dial)


def _dataset(data: Data, split: str, num: int | None) -> list[dict[str, Any]]:
    path = Path(data.source).expanduser()
    if path.is_file():
        rows = runs.read_jsonl(path)
        return rows[:num]
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    datasets.disable_progress_bars()
    source = str(path) if path.is_dir() else data.source
    try:
        loaded = datasets.load_dataset(
            source, data.subset if not path.is_dir() else None, split=split, revision=data.revision
        )
    except ValueError as error:
        raise ReasonerError(
            f"{data.source} has no split {split!r}",
            why=str(error),
            fix="set eval.split or data.source",
            code=USAGE,
        ) from None
    except (ConnectionError, OSError, HfHubHTTPError, datasets.exceptions.DatasetNotFoundError) as error:
        raise ReasonerError(
            f"the dataset {data.source} cannot be loaded",
            why=f"{type(error).__name__}: {str(error).splitlines()[0][:300]}",
            fix="connect to the hub, or set data.source to a folder or JSONL file you have"
            " (or use PROFILE=pocket, which needs none)",
            code=MISSING,
        ) from None
    return [dict(row) for row in (loaded if num is None else loaded.select(range(min(num, len(loaded)))))]


def messages(question: str, system: str | None) -> list[dict[str, str]]:
    """The chat that asks a question: the problem, after the profile's system message if it has one."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": question}]


def split_sha256(problems: Sequence[Problem]) -> str:
    """Identity of a split: ids, questions and references, in order."""
    return runs.sha256_json([[p.id, p.question, p.answer] for p in problems])


def shuffle_references(problems: Sequence[Problem], seed: int, reference: Callable[[str], str]) -> list[Problem]:
    """The control: every problem gets the reference of another one whose answer differs.

    The answers as a whole stay the same, so a policy gains only by guessing common answers.
    """
    order = random.Random(f"shuffle-{seed}").sample(range(len(problems)), len(problems))
    given = [problems[i].answer for i in order]
    for i, problem in enumerate(problems):
        if reference(given[i]) == reference(problem.answer):
            swap = next(
                (
                    j
                    for j in range(len(problems))
                    if reference(given[j]) != reference(problem.answer)
                    and reference(given[i]) != reference(problems[j].answer)
                ),
                None,
            )
            if swap is None:
                raise ReasonerError(
                    "the references are too much alike to shuffle", fix="take more problems", code=USAGE
                )
            given[i], given[swap] = given[swap], given[i]
    return [Problem(p.id, p.question, answer, p.kind) for p, answer in zip(problems, given, strict=True)]
