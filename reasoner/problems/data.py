"""Problems, splits and prompts: generated, or read from a data set (`sources`).

Every source comes out as the same problems: the pipeline cannot tell them apart. The sets scored beside the main one
are generated, or read from files that the person has (SVAMP, GSM8K); where the files are not found, the set is left
out.

Where a run is scored on another source than it trains on (`eval.source`, `eval.beside`), `training` drops the problems
that an evaluated set asks too, and `contamination` is the record of that and of near copies.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from reasoner import files
from reasoner.config import Config, Data
from reasoner.errors import USAGE, ReasonerError
from reasoner.problems import one_liners, sources, stories
from reasoner.problems.sources import GENERATED, GENERATORS, LINETASKS, Read
from reasoner.problems.sources import Problem as Problem
from reasoner.problems.sources import sets_dir as sets_dir
from reasoner.verifiers.code import task as tasks


def load(data: Data, split: str, num: int | None) -> list[Problem]:
    """The first `num` problems of a split, in a fixed order; None takes all of them."""
    return _read(data, split, num).problems


def provenance(data: Data, split: str, num: int | None = None) -> dict[str, Any]:
    """The record of what `load` gives for the same arguments; None takes `data.num_train` for train, else all.

    `source`, `split`, `found` (files with their sha256, hub ids with their commit), `licence` (None: unknown),
    `verifier` (None: not paired), `rows` as read, `dropped` (reason -> count), `carved` (held-out split -> problems
    taken from train), `available` problems, and of those used `problems`, `kinds` (kind -> count) and `sha256`.
    """
    if num is None and split == "train":
        num = data.num_train
    found = _read(data, split, num)
    kinds = Counter(problem.kind for problem in found.problems if problem.kind)
    return {
        **found.record,
        "problems": len(found.problems),
        "kinds": dict(sorted(kinds.items())),
        "sha256": split_sha256(found.problems),
    }


def _read(data: Data, split: str, num: int | None) -> Read:
    if data.source in GENERATORS:
        problems = _line_tasks(data, split, num) if data.source == LINETASKS else _generated(data, split, num)
        found = Read(problems, _generator(data, split))
    else:
        whole = sources.read(data, split)
        found = Read(whole.problems[:num], {**whole.record, "available": len(whole.problems)})
    if not found.problems:
        carved = found.record["carved"]
        raise ReasonerError(
            f"{data.source} has no problems in split {split!r}",
            why=f"of {found.record['rows']} rows, {sum(carved.values())} are held out" if carved else None,
            fix="give it more problems, or train.jsonl and test.jsonl in a folder" if carved else "name another split",
            code=USAGE,
        )
    return found


def _size(row: dict[str, Any]) -> int:
    return max(int(step[key]) for step in row["steps"] for key in ("left", "right", "result"))


def check(data: Data, split: str) -> None:
    """Fail early where the source or the split is not there."""
    load(data, split, 1)


def check_held_out(config: Config) -> None:
    """Fail early where the main evaluation set is not there."""
    check(_held_out_data(config), config.eval.split)


def check_verifier(config: Config) -> None:
    """Refuse a verifier of another family than the source is paired with, in training or in evaluation."""
    for source in (config.data.source, config.eval.source):
        if source is not None:
            sources.check_verifier(source, config.verifier.name)


def training(config: Config) -> list[Problem]:
    """The training problems of a run: `data.num_train` of those that no evaluated set asks too."""
    whole = _whole_train(config)
    gone = _copies(whole, _evaluated(config))
    return [problem for place, problem in enumerate(whole) if place not in gone][: config.data.num_train]


def contamination(config: Config) -> dict[str, Any]:
    """What the training problems of a run share with each set that it is scored on.

    `rule`, `train` (problems trained on), `dropped` (training problems left out, as a set asks them too), `seconds`,
    and `sets`: by name (`held-out` is the main one) what `sources.overlap` finds, of the problems trained on and those
    left out together; None where the set's file is not found.
    """
    started = time.monotonic()
    whole, evaluated = _whole_train(config), _evaluated(config)
    gone = _copies(whole, evaluated)
    used = [problem for place, problem in enumerate(whole) if place not in gone][: config.data.num_train]
    looked_at = [*used, *(whole[place] for place in sorted(gone))]
    return {
        "rule": sources.RULE,
        "train": len(used),
        "dropped": len(gone),
        "sets": {
            name: None if problems is None else sources.overlap(looked_at, problems)
            for name, problems in evaluated.items()
        },
        "seconds": round(time.monotonic() - started, 3),
    }


def contamination_line(found: Mapping[str, Any]) -> str:
    """The record of `contamination` in one line."""
    parts = []
    for name, one in found["sets"].items():
        if one is None:
            parts.append(f"{name} not here when training began")
            continue
        share = f"{one['near']:,} of {one['held_out']:,}"
        parts.append(f"{name} {one['exact']:,} exact (dropped), {share} near")
    return f"overlap of {found['train']:,} training problems with {'; '.join(parts)}"


def _whole_train(config: Config) -> list[Problem]:
    is_generated = config.data.source in GENERATORS
    return load(config.data, "train", config.data.num_train if is_generated else None)


def _evaluated(config: Config) -> dict[str, list[Problem] | None]:
    return {"held-out": held_out(config), **{name: beside(config, name) for name in config.eval.beside}}


def _copies(train: Sequence[Problem], evaluated: Mapping[str, Sequence[Problem] | None]) -> set[int]:
    return {place for problems in evaluated.values() for place in sources.exact(train, problems or ())}


def held_out(config: Config) -> list[Problem]:
    """The main evaluation set."""
    return load(_held_out_data(config), config.eval.split, config.eval.num_problems)


def beside(config: Config, name: str) -> list[Problem] | None:
    """A set scored beside the main one: one of `eval.beside`. None where its file is not found.

    `two-step` is generated like the training set, with two steps each; `ood` likewise, in sentence patterns that no
    other split uses. The others are the test splits of these sources, read from their files alone: the order is a hash
    of name and id, so the first `eval.num_beside` are a fair sample, and a larger number only adds to it.
    """
    num = config.eval.num_beside
    if name in ("two-step", "ood"):
        if config.data.source not in GENERATORS:
            raise ReasonerError(
                f"the set {name!r} beside the main one is generated, but data.source is {config.data.source!r}",
                fix=f"leave {name!r} out of eval.beside, or set data.source={GENERATED}",
                code=USAGE,
            )
        if name == "ood":
            return load(_shorter(config), "ood", num)
        return load(config.data.model_copy(update={"min_steps": 2, "max_steps": 2}), "test", num)
    problems = sources.local(name, "test")
    return problems if problems is None else problems[:num]


def everyday(use: Literal["eval", "probe", "keep"]) -> list[dict[str, Any]]:
    """The fixed everyday prompts of one use: asked in evaluation, probed for drift while training, or in the KL term.

    A row has `id`, `use`, `kind` and `prompt`, all text; `expect` (a pattern) where there is a fact to get right, and
    `number_ok` where a bare number answers it.
    """
    text = (Path(__file__).parent / "everyday.jsonl").read_text(encoding="utf-8")
    return [row for row in map(json.loads, text.splitlines()) if row["use"] == use]


def _held_out_data(config: Config) -> Data:
    """Where the held-out problems come from: as in training, but for `eval.source` and `eval.max_steps`."""
    found = _shorter(config)
    if config.eval.source in (None, found.source):
        return found
    return found.model_copy(update={"source": config.eval.source, "subset": None, "revision": None})


def _shorter(config: Config) -> Data:
    most = config.eval.max_steps
    if most is None:
        return config.data
    least = config.data.min_steps
    return config.data.model_copy(update={"max_steps": most, "min_steps": min(least, most) if least else None})


def _dial(data: Data) -> dict[str, int]:
    return {k: v for k in ("min_steps", "max_steps", "max_value") if (v := getattr(data, k)) is not None}


def _generator(data: Data, split: str) -> dict[str, Any]:
    return {
        "source": data.source,
        "split": split,
        "found": [{"generator": data.source, "seed": data.seed, "balanced": data.balanced, **_dial(data)}],
        "licence": "this project's",
        "verifier": sources.verifier_for(data.source),
        "rows": None,
        "dropped": {},
        "carved": {},
        "available": None,
    }


def _generated(data: Data, split: str, num: int | None) -> list[Problem]:
    if num is None:
        raise ReasonerError(
            "generated problems have no end", fix="set data.num_train and eval.num_problems", code=USAGE
        )
    rows = stories.generate(split, num, data.seed, balanced=data.balanced, **_dial(data))
    return [
        Problem(row["id"], row["question"], row["answer"], row["kind"], _size(row), tuple(row["steps"])) for row in rows
    ]


def _line_tasks(data: Data, split: str, num: int | None) -> list[Problem]:
    if data.max_value is not None:
        raise ReasonerError(f"{LINETASKS} has no largest value", fix="set data.max_value=none", code=USAGE)
    num = one_liners.SIZES[split] if num is None else num
    dial = {k: v for k, v in _dial(data).items() if k != "max_value"}
    problems = []
    for row in one_liners.generate(split, num, data.seed, **dial):
        task = tasks.from_fields(
            {
                "entry_point": row["entry_point"],
                "tests": row["visible"],
                "hidden_tests": row["hidden"],
                "property": row["property"],
                "solution": row["code"],
            }
        )
        question = sources.asked(row["text"], task)
        problems.append(Problem(row["id"], question, task.to_answer(), row["kind"], prose=row["text"]))
    return problems


def messages(question: str, system: str | None) -> list[dict[str, str]]:
    """The chat that asks a question: the problem, after the profile's system message if it has one."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": question}]


def split_sha256(problems: Sequence[Problem]) -> str:
    """Identity of a split: ids, questions and references, in order."""
    return files.sha256_json([[p.id, p.question, p.answer] for p in problems])


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
