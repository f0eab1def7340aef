"""Problems, splits and prompts: generated, from a hub, or from the person's own files.

Every source comes out as the same rows, with the fields of `openai/gsm8k`: the pipeline cannot tell
them apart. The sets scored beside the main one are generated, or read from files that the person has
(SVAMP, GSM8K); where the files are not found, the set is left out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reasoner import runs, wordproblems
from reasoner.config import Config, Data
from reasoner.errors import MISSING, USAGE, ReasonerError

GENERATED = "wordproblems"


@dataclass(frozen=True)
class Problem:
    """One question and its reference answer.

    `kind` is the operations of its steps (such as `+-`) where they are known, `size` the largest number in those
    steps (0: unknown); reports and curriculum go by them.
    """

    id: str
    question: str
    answer: str
    kind: str = ""
    size: int = 0


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
                _size(row) if data.source == GENERATED else 0,
            )
        )
    if not problems:
        raise ReasonerError(f"{data.source} has no problems in split {split!r}", fix="name another split", code=USAGE)
    return problems


def _size(row: dict[str, Any]) -> int:
    return max(int(step[key]) for step in row["steps"] for key in ("left", "right", "result"))


def check(data: Data, split: str) -> None:
    """Fail early where the source or the split is not there."""
    load(data, split, 1)


def held_out(config: Config) -> list[Problem]:
    """The main evaluation set."""
    return load(_held_out_data(config), config.eval.split, config.eval.num_problems)


def beside(config: Config, name: str) -> list[Problem] | None:
    """A set scored beside the main one: one of `eval.beside`. None where its file is not found.

    `two-step` is generated like the main set, with two steps each; `ood` likewise, in sentence patterns that no
    other split uses. `svamp` and `gsm8k` are read from `sets_dir()`, at `svamp/SVAMP.json` and `gsm8k/test.jsonl` as
    their authors published them, in an order fixed by a hash of the name and id: heads of these files are not like
    the rest, so the first `eval.num_beside` of the order are a fair sample, and a larger number only adds to it.
    """
    num = config.eval.num_beside
    if name in ("two-step", "ood"):
        if config.data.source != GENERATED:
            raise ReasonerError(
                f"the set {name!r} beside the main one is generated, but data.source is {config.data.source!r}",
                fix=f"leave {name!r} out of eval.beside, or set data.source={GENERATED}",
                code=USAGE,
            )
        if name == "ood":
            return load(_held_out_data(config), "ood", num)
        return load(config.data.model_copy(update={"min_steps": 2, "max_steps": 2}), "test", num)
    path, read = {
        "svamp": (sets_dir() / "svamp" / "SVAMP.json", _svamp),
        "gsm8k": (sets_dir() / "gsm8k" / "test.jsonl", _gsm8k),
    }[name]
    if not path.is_file():
        return None
    problems = read(path)
    if not problems:
        raise ReasonerError(f"{path} has no problems", fix="put the whole file there, or take it away", code=USAGE)
    return sorted(problems, key=lambda p: hashlib.sha256(f"{name}:{p.id}".encode()).digest())[:num]


def sets_dir() -> Path:
    """Where files of known data sets are looked for: `REASONER_DATA`, else `data` in the current folder."""
    return Path(os.environ.get("REASONER_DATA") or "data").expanduser()


def everyday(use: Literal["eval", "probe"]) -> list[dict[str, Any]]:
    """The fixed everyday prompts of one use: asked in evaluation, or probed for drift while training.

    A row has `id`, `use`, `kind` and `prompt`, all text; `expect` (a pattern) where there is a fact to get right, and
    `number_ok` where a bare number answers it.
    """
    text = (Path(__file__).parent / "everyday.jsonl").read_text(encoding="utf-8")
    return [row for row in map(json.loads, text.splitlines()) if row["use"] == use]


def _held_out_data(config: Config) -> Data:
    """The dial of the held-out problems: that of training, but for `eval.max_steps`."""
    most = config.eval.max_steps
    if most is None:
        return config.data
    least = config.data.min_steps
    return config.data.model_copy(update={"max_steps": most, "min_steps": min(least, most) if least else None})


_SVAMP_KINDS = {"Addition": "+", "Subtraction": "-", "Multiplication": "*", "Common-Division": "/"}


def _svamp(path: Path) -> list[Problem]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _malformed(path, str(error)) from None
    if not isinstance(rows, list):
        raise _malformed(path, "it is no JSON list")
    problems = []
    for index, row in enumerate(rows):
        id_, body, question = (_text(path, index, row, field) for field in ("ID", "Body", "Question"))
        answer = row.get("Answer")
        if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
            raise _malformed(path, f"row {index}: Answer is no number: {answer!r}")
        # A third of the bodies have no full stop ("If he had $ 4 at the start"): the question ends their sentence.
        body, question = body.strip(), question.strip()
        is_whole = body.endswith((".", "!", "?"))
        told = f"{body} {question}" if is_whole else f"{body}, {question[:1].lower()}{question[1:]}"
        value = str(answer) if answer % 1 else f"{answer:.0f}"
        kind = str(row.get("Type", "")).replace("Divison", "Division")  # the file spells one of them so
        problems.append(Problem(f"svamp-{id_}", told, value, _SVAMP_KINDS.get(kind, "")))
    return problems


def _gsm8k(path: Path) -> list[Problem]:
    problems = []
    # Not `splitlines`: it also splits at characters that JSON leaves inside a text.
    for index, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n")):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise _malformed(path, f"row {index}: {error}") from None
        question, answer = (_text(path, index, row, field) for field in ("question", "answer"))
        problems.append(Problem(f"gsm8k-test-{index:06d}", question, answer))
    return problems


def _text(path: Path, index: int, row: object, field: str) -> str:
    value = row.get(field) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise _malformed(path, f"row {index} has no text field {field}")
    return value


def _malformed(path: Path, why: str) -> ReasonerError:
    fix = "put the published file there, or take it away"
    return ReasonerError(f"{path} cannot be read as its data set", why=why, fix=fix, code=USAGE)


def _generated(data: Data, split: str, num: int | None) -> list[dict[str, Any]]:
    if num is None:
        raise ReasonerError(
            "generated problems have no end", fix="set data.num_train and eval.num_problems", code=USAGE
        )
    dial = {k: v for k in ("min_steps", "max_steps", "max_value") if (v := getattr(data, k)) is not None}
    return wordproblems.generate(split, num, data.seed, balanced=data.balanced, **dial)


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
    return [dataclasses.replace(p, answer=answer) for p, answer in zip(problems, given, strict=True)]
