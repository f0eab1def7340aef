"""Counts what reward did to the model without anybody asking for it: how completions look, in training and at the end.

These are counts of text, never part of a reward; all figures of the report about behaviour are made here. Completions
of training are sampled at the training temperature, those of the end are served greedily: the first are read along the
steps, the second base against tuned; one is not compared with the other.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reasoner import files
from reasoner.measuring.figures import Completion
from reasoner.verifiers import working as arithmetic

PHRASES = (
    "wait", "hold on", "hmm", "let me check", "let's check", "let me double-check", "double-check", "let me verify",
    "let's verify", "let me re-read", "let me reconsider", "let me try again", "let's try again", "on second thought",
    "i made a mistake", "that's not right", "that is not right", "that can't be right", "actually,", "correction:",
)  # fmt: skip
"""Phrases of self-correction. A word problem may have one of its own ("how long does Ann wait"): a share that was there
from the start says nothing, one that grows does."""
MOST_STEPS = 200
"""Steps of training that are looked at, evenly spread where there are more."""

_PHRASE = re.compile(
    "|".join(rf"(?<!\w){re.escape(p)}(?!\w)" for p in sorted(PHRASES, key=len, reverse=True)), re.IGNORECASE
)
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Figures:
    """Is what `n` completions look like. Shares are 0-1."""

    n: int
    shows_working: float  # share with a worked equation before the answer line
    length: float  # mean tokens
    numbers: float  # mean count of different numbers written in one completion, a repeated one counted once
    equations: int  # calculations written (`3 + 4 = 7`)
    correct: int  # those of them that hold exactly
    known: int | None  # steps of the problems that are known; None where none is
    in_order: int | None  # known steps that were found in their order
    corrects_itself: float  # share with at least one of `PHRASES`
    phrases: dict[str, int]  # completions that hold each


def figures(completions: Iterable[Completion]) -> Figures | None:
    """Returns what these completions look like; None without any."""
    n = tokens = numbers = working = correcting = equations = correct = known = in_order = 0
    phrases: Counter[str] = Counter()
    for one in completions:
        n, tokens = n + 1, tokens + one.tokens
        numbers += len({_plain(found) for found in _NUMBER.findall(one.completion)})
        working += arithmetic.shows_working(one.completion)
        spoken = {found.lower() for found in _PHRASE.findall(one.completion.replace("’", "'"))}
        phrases.update(spoken)
        correcting += bool(spoken)
        checked = arithmetic.steps(one.completion, ())
        equations, correct = equations + checked.equations, correct + checked.correct
        if one.steps:
            known, in_order = known + one.steps.known, in_order + one.steps.in_order
    if not n:
        return None
    return Figures(
        n, working / n, tokens / n, numbers / n, equations, correct, known or None, in_order if known else None,
        correcting / n, dict(phrases.most_common()),
    )  # fmt: skip


def pooled(parts: Sequence[Figures]) -> Figures:
    """Returns the figures of the completions of several steps together; known steps are not counted."""
    n = sum(one.n for one in parts)
    phrases = sum((Counter(one.phrases) for one in parts), Counter[str]())
    means = ("shows_working", "length", "numbers", "corrects_itself")
    return Figures(
        n=n,
        **{name: sum(getattr(one, name) * one.n for one in parts) / n for name in means},
        **{name: sum(getattr(one, name) for one in parts) for name in ("equations", "correct")},
        known=None,
        in_order=None,
        phrases=dict(phrases.most_common()),
    )


def _plain(number: str) -> str:
    """Gives one spelling to `1,000`, `1000` and `1000.0`."""
    digits = number.replace(",", "")
    return (digits.rstrip("0").rstrip(".") if "." in digits else digits).lstrip("0") or "0"


def training(rollouts: Path) -> dict[int, Figures]:
    """Reads the figures of each step's rollouts, oldest first; at most `MOST_STEPS` of them."""
    paths = {int(path.stem.removeprefix("step-")): path for path in rollouts.glob("step-*.jsonl")}
    found = {}
    for step in spread(sorted(paths), MOST_STEPS):
        stat = paths[step].stat()
        if counted := _of_file(paths[step], stat.st_mtime_ns, stat.st_size):
            found[step] = counted
    return found


Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Picks at most so many items, evenly spread, the first and the last among them.

    >>> spread(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


@functools.lru_cache(maxsize=4 * MOST_STEPS)
def _of_file(path: Path, mtime_ns: int, size: int) -> Figures | None:
    """Keeps what it counted, so that a page of a run in progress reads each step once."""
    return figures(files.parse(list[Completion], files.read_jsonl(path)))
