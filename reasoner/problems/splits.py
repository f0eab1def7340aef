"""Rows of a source become its splits: no question stands twice, and what is held out is never trained on.

A question that stands in two splits stays in the first of `PRIORITY`; white space, case and Unicode forms make no
difference. A test or dev split that the source lacks is carved from train by a hash of the question, so the same
problems are held out everywhere, whatever their order. Nothing is dropped uncounted. What is not promised: that two
problems which differ in one word or number are told apart from copies.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reasoner.errors import USAGE, ReasonerError
from reasoner.problems.problem import Problem, normalised, split_sha256

PRIORITY = ("test", "ood", "all", "dev", "train")  # `all` is a whole file, nothing held out
ALIASES = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",), "ood": ("ood",)}
"""What a split may be called in a folder or at a hub, the first name before the others."""
LINES = 3  # rows named, of each reason why some were dropped
MOST_CARVED = 500  # problems for one held-out split

Place = Mapping[str, str | int | None]
"""Where rows were found: a file's `path` and `sha256`, a folder's `path` and `subset`, a hub data set's `hub`, `subset`
and `revision`, or a `generator`'s name and settings."""


@dataclass(frozen=True)
class Provenance:
    """Records where a split came from, and which of its problems were taken.

    `licence` is None where it is unknown, `verifier` (the family of checkers that reads the references) where none is
    paired with the source. `rows` is how many were read (None: generated), `dropped` maps a reason to a count, `lines`
    to the first rows that it holds for, `columns` tells what a person's rows were read from, `carved` a held-out split
    to the problems that these rows gave to it. Of the `available` problems (None: no end) `problems` were taken, with
    these `kinds` and this hash.
    """

    source: str
    licence: str | None
    verifier: str | None
    split: str
    found: list[Place] = field(default_factory=list)
    rows: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    carved: dict[str, int] = field(default_factory=dict)
    available: int | None = None
    problems: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    sha256: str = ""


@dataclass(frozen=True)
class Split:
    """Holds problems in a fixed order, and where they came from."""

    problems: list[Problem]
    provenance: Provenance

    def first(self, num: int | None) -> Split:
        """Returns the first `num` problems (None: all), and their record."""
        taken = self.problems[:num]
        kinds = dict(sorted(Counter(problem.kind for problem in taken if problem.kind).items()))
        sha256 = split_sha256(taken)
        return Split(taken, dataclasses.replace(self.provenance, problems=len(taken), kinds=kinds, sha256=sha256))


@dataclass
class Pile:
    """Collects what the rows of one place give to one split."""

    split: str
    found: Place
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)


def settle(piles: Sequence[Pile], about: Provenance, *, may_carve_test: bool = True) -> Split:
    """Returns the split `about.split` of all the rows, and fills in what they say about it.

    Held-out splits that the source lacks are carved from train. Raises `ReasonerError` where there is no such split.
    """
    splits, dropped = _distinct(piles)
    lacking = [name for name in ("test", "dev") if name not in splits and (name == "dev" or may_carve_test)]
    carved = _carve(splits, lacking) if "train" in splits else {}
    if about.split not in splits:
        raise ReasonerError(
            f"{about.source} has no split {about.split!r}",
            why=f"it has {', '.join(name for name in reversed(PRIORITY) if name in splits)}",
            fix="name another split (eval.split, --split), or another data.source",
            code=USAGE,
        )
    read_from = "train" if about.split in carved else about.split
    places = [pile.found for pile in piles]
    found = dataclasses.replace(
        about,
        found=[place for index, place in enumerate(places) if place not in places[:index]],
        rows=sum(pile.rows for pile in piles if pile.split == read_from),
        dropped=dict(sorted(dropped[read_from].items())),
        lines={why: rows[:LINES] for pile in piles if pile.split == read_from for why, rows in pile.lines.items()},
        columns=next((pile.columns for pile in piles if pile.split == read_from), {}),
        carved=carved if read_from == "train" else {},
        available=len(splits[about.split]),
    )
    return Split(splits[about.split], found)


def _distinct(piles: Sequence[Pile]) -> tuple[dict[str, list[Problem]], dict[str, Counter[str]]]:
    """Returns the problems of each split, no question twice, and what was dropped from it."""
    splits: dict[str, list[Problem]] = {}
    dropped = {name: Counter[str]() for name in PRIORITY}
    first: dict[str, tuple[str, str]] = {}
    for name in PRIORITY:
        for pile in (pile for pile in piles if pile.split == name):
            kept = splits.setdefault(name, [])
            dropped[name].update(pile.dropped)
            for problem in pile.problems:
                key = normalised(problem.question)
                if key not in first:
                    first[key] = (name, problem.answer)
                    kept.append(problem)
                    continue
                where, answer = first[key]
                again = "repeated" if answer == problem.answer else "repeated with another answer"
                dropped[name][f"also in {where}" if where != name else again] += 1
    return splits, dropped


def _carve(splits: dict[str, list[Problem]], names: Sequence[str]) -> dict[str, int]:
    """Moves a tenth of train, at most `MOST_CARVED`, to each of the named splits; the order within stays."""
    train = splits["train"]
    size = min(MOST_CARVED, max(1, len(train) // 10))
    order = sorted(range(len(train)), key=lambda i: hashed(f"carve:{normalised(train[i].question)}"))
    taken = {index: name for k, name in enumerate(names) for index in order[k * size : (k + 1) * size]}
    for name in (*names, "train"):
        splits[name] = [problem for index, problem in enumerate(train) if taken.get(index, "train") == name]
    return {name: len(splits[name]) for name in names}


def hashed(text: str) -> bytes:
    """Returns what problems are ordered by where their own order would not be a fair one."""
    return hashlib.sha256(text.encode()).digest()
