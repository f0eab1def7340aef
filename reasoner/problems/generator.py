"""What both generators share: chance that is the same everywhere, and splits that hold no problem twice.

Train, dev and test have names of their own; `ood` uses those of test, but wordings that no other split has. Every
problem has a *skeleton*: its wording and its numbers, without names. The skeleton is hashed into one of three buckets,
one per split, so that no train problem is a test problem with the names changed. The same arguments give the same rows
on every machine and Python version; a smaller `n` gives a prefix.
"""

from __future__ import annotations

import difflib
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from reasoner.errors import USAGE, ReasonerError

SPLITS = ("train", "dev", "test", "ood")
_BUCKETS = {"train": range(0, 208), "dev": range(208, 224), "test": range(224, 256)}
_Item = TypeVar("_Item")


# Only `Random.random` is used: Python promises its sequence for a seed, not that of `choice`.
def integer(rng: random.Random, low: int, high: int) -> int:
    """Draws a whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def pick(rng: random.Random, items: Sequence[_Item]) -> _Item:
    return items[int(rng.random() * len(items))]


def is_of(split: str, skeleton: str) -> bool:
    """Says whether a problem with this skeleton may stand in the split; `ood` has its own wordings, so all may."""
    return split == "ood" or hashlib.sha256(skeleton.encode()).digest()[0] in _BUCKETS[split]


def named_after(prefix: str, text: str) -> str:
    """Returns an id that names the problem, not its place."""
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def check(split: str, n: int, seed: int) -> None:
    if split not in SPLITS:
        near = difflib.get_close_matches(str(split), SPLITS, n=1, cutoff=0.0)[0]
        raise ReasonerError(f"unknown split {split!r}", why=f"not one of {SPLITS}", fix=f"use {near!r}", code=USAGE)
    check_whole(0, n=n, seed=seed)


def check_whole(least: int, **values: object) -> None:
    for name, value in values.items():
        if type(value) is not int or value < least:
            raise ReasonerError(f"{name} must be a whole number of at least {least}, not {value!r}", code=USAGE)


def distinct(
    n: int, draw: Callable[[int], _Item | None], text: Callable[[_Item], str], what: str, why: str, fix: str
) -> list[_Item]:
    """Draws `n` items with different texts; `draw` gets the place to fill, and returns None for a miss.

    Raises `ReasonerError` with the other arguments where 4,000 draws in a row gave no new one.
    """
    found: list[_Item] = []
    seen: set[str] = set()
    misses = 0
    while len(found) < n:
        item = draw(len(found))
        if item is not None and text(item) not in seen:
            misses = 0
            seen.add(text(item))
            found.append(item)
        elif (misses := misses + 1) > 4000:
            raise ReasonerError(f"only {len(found)} of {n} different {what} found", why=why, fix=fix, code=USAGE)
    return found
