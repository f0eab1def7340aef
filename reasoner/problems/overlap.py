"""Copies across two sets, such as a run's training problems and another source that it is scored on.

Finds equal problems, and near ones by the words in a row that they share. The same task told in other words is not
found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reasoner.problems.problem import Problem, normalised

MOST_WORDS, LEAST_WORDS = 13, 8
RULE = (
    f"exact: equal but for white space, case and Unicode forms; near: {MOST_WORDS} words in a row are the same, or the"
    f" whole text of a problem of {LEAST_WORDS}-{MOST_WORDS - 1} words; shorter ones are compared exactly only"
)
"""After GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C): any shared n-gram counts, with n from 8 to 13 words by
the length of the problems, there of a whole set, here of each. EleutherAI's harness takes 13 alone."""


@dataclass(frozen=True)
class Pair:
    """Names two problems by their ids, and the words in a row that they share."""

    held_out: str
    train: str
    words: str


@dataclass(frozen=True)
class Overlap:
    """Counts which problems of two sets are copies of each other, by `RULE`.

    `train` and `held_out` are sizes; `exact` counts training problems, `near` held-out ones and `near_train` other
    training problems; `short` counts held-out problems that were compared exactly only. `first` has up to 10 near
    pairs: for each held-out problem the first such training problem.
    """

    train: int
    held_out: int
    exact: int
    near: int
    near_train: int
    short: int
    first: list[Pair]


@dataclass(frozen=True)
class Contamination:
    """Records what the training problems of a run share with each set that it is scored on.

    `train` counts the problems trained on, `dropped` those left out, as a set asks them too. `sets` has an entry for
    each set (`held-out` is the main one); None where its file was not found.
    """

    rule: str
    train: int
    dropped: int
    sets: dict[str, Overlap | None]
    seconds: float

    def line(self) -> str:
        parts = []
        for name, one in self.sets.items():
            if one is None:
                parts.append(f"{name} not here when training began")
            else:
                parts.append(f"{name} {one.exact:,} exact (dropped), {one.near:,} of {one.held_out:,} near")
        return f"overlap of {self.train:,} training problems with {'; '.join(parts)}"


def exact(train: Sequence[Problem], held_out: Iterable[Problem]) -> set[int]:
    """Returns which training problems, by their place, ask what a held-out one asks."""
    known = {key for problem in held_out for key in _keys(problem)}
    return {place for place, problem in enumerate(train) if not known.isdisjoint(_keys(problem))}


def find_overlap(train: Sequence[Problem], held_out: Sequence[Problem]) -> Overlap:
    gone = exact(train, held_out)
    grams: dict[tuple[str, ...], list[tuple[int, tuple[str, ...]]]] = {}
    short = 0
    for place, problem in enumerate(held_out):
        words = _words(problem)
        size = min(MOST_WORDS, len(words))
        if size < LEAST_WORDS:
            short += 1
            continue
        for gram in {tuple(words[k : k + size]) for k in range(len(words) - size + 1)}:
            grams.setdefault(gram[:LEAST_WORDS], []).append((place, gram))
    near: dict[int, Pair] = {}
    near_train: set[int] = set()
    for index, problem in enumerate(train):
        if index in gone:
            continue
        words = _words(problem)
        for k in range(len(words) - LEAST_WORDS + 1):
            for place, gram in grams.get(tuple(words[k : k + LEAST_WORDS]), ()):
                if tuple(words[k : k + len(gram)]) == gram:
                    near_train.add(index)
                    near.setdefault(place, Pair(held_out[place].id, problem.id, " ".join(gram)))
    first = [near[place] for place in sorted(near)[:10]]
    return Overlap(len(train), len(held_out), len(gone), len(near), len(near_train), short, first)


def _keys(problem: Problem) -> set[str]:
    return {normalised(text) for text in (problem.question, problem.prose) if text}


def _words(problem: Problem) -> list[str]:
    text = unicodedata.normalize("NFKC", problem.prose or problem.question).casefold()
    return re.findall(r"[^\W_]+", text)
