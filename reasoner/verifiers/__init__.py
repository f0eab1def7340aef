"""Completion + reference answer -> Score: the one extension point.

A verifier is one pure function, registered by name. Training and evaluation call it through
`verify`, the one place where its failure is caught: a broken verifier gives `unscored`, which is
never a reward of 0 and never counts as a wrong answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from reasoner.errors import USAGE, ReasonerError, nearest

Verdict = Literal["right", "wrong", "unscored"]


class Shares(NamedTuple):
    """Shares of the tests that hold, 0-1: of those that a policy may have seen, and of the others; None: none."""

    visible: float | None
    hidden: float | None


@dataclass(frozen=True)
class Score:
    """A verdict and how it came about.

    `extracted` is the answer as taken from the completion, `rule` the rule that found it or that decided, `why` a
    short reason for the verdict, `type` the type of the reference (`integer`, `interval`, …; empty: not read).
    `shares`: where the verdict is one over many tests, how many of them hold.
    """

    verdict: Verdict
    extracted: str | None = None
    rule: str = ""
    why: str = ""
    type: str = ""
    shares: Shares | None = None

    @property
    def reward(self) -> float | None:
        """1, 0, or None where there is no verdict: the trainer leaves such a row out."""
        return {"right": 1.0, "wrong": 0.0, "unscored": None}[self.verdict]

    @property
    def share_reward(self) -> float | None:
        """The share of the hidden tests that hold; the verdict's reward where there is no such share."""
        if self.verdict == "unscored" or self.shares is None or self.shares.hidden is None:
            return self.reward
        return self.shares.hidden


Check = Callable[[str, str], Score]
"""`(completion, answer) -> Score`: pure and picklable."""
NearMisses = Callable[[str], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Verifier:
    """A registered checker; `version` changes whenever a verdict can change.

    `commit` turns a reference into a completion that commits to it in the asked format: what the audit starts from.
    `strict` is a second, stricter rule, which never accepts what `function` rejects: a sample of what was accepted in
    training is judged by it again, and the gap between the two is a metric. `is_parallel`: it waits for another
    process, so `verify_many` asks it from several threads. `ready` refuses a machine on which it cannot judge.
    `has_shares`: its scores have `shares`. `near_misses`: from a reference, completions that resemble a right one and
    are wrong, each with a name for its kind; for the audit.
    """

    name: str
    version: str
    function: Check
    commit: Callable[[str], str] = str
    strict: Check | None = None
    is_parallel: bool = False
    ready: Callable[[], None] | None = None
    has_shares: bool = False
    near_misses: NearMisses | None = None


_REGISTRY: dict[str, Verifier] = {}


def verifier(
    name: str,
    *,
    version: str,
    commit: Callable[[str], str] = str,
    strict: Check | None = None,
    is_parallel: bool = False,
    ready: Callable[[], None] | None = None,
    has_shares: bool = False,
    near_misses: NearMisses | None = None,
) -> Callable[[Check], Check]:
    """Register `function(completion, answer) -> Score` under a name."""

    def register(function: Check) -> Check:
        _REGISTRY[name] = Verifier(name, version, function, commit, strict, is_parallel, ready, has_shares, near_misses)
        return function

    return register


def load(name: str) -> Verifier:
    """The verifier of this name, or of `path/to/file.py:name` (see `own`)."""
    from reasoner.verifiers import number, working  # noqa: F401  (register themselves)
    from reasoner.verifiers.code import verdict as code  # noqa: F401
    from reasoner.verifiers.math import verdict as mathematics  # noqa: F401

    if name in _REGISTRY:
        return _REGISTRY[name]
    if ":" in name or name.endswith(".py"):
        from reasoner.verifiers import own

        return own.load(name)
    close = nearest(name, _REGISTRY)
    raise ReasonerError(
        f"no verifier named {name!r}",
        why=f"built in: {', '.join(sorted(_REGISTRY))}",
        fix=f"{close if close.startswith('did') else 'take one of these'} (your own: path/to/file.py:name)",
        code=USAGE,
    )


def verify(checker: Verifier, completion: str, answer: str, *, is_finished: bool = True) -> Score:
    """Score one completion. One that was cut off has committed to nothing, so it is wrong."""
    try:
        score = checker.function(completion, answer)
        if not isinstance(score, Score):
            raise TypeError(f"it gave {type(score).__name__}, not a Score")
    except Exception as error:  # noqa: BLE001  (the one catch-all around a verifier)
        return Score("unscored", why=f"{checker.name} failed: {type(error).__name__}: {error}"[:300])
    if not is_finished and score.verdict != "unscored":
        return replace(score, verdict="wrong", why="cut off before its end", shares=None)
    return score


THREADS = 16
"""At most so many completions are out at a parallel verifier."""


def verify_many(checker: Verifier, rows: Sequence[tuple[str, str, bool]]) -> list[Score]:
    """The scores of (completion, answer, is finished), in order."""
    if not checker.is_parallel or len(rows) < 2:
        return [verify(checker, text, answer, is_finished=is_finished) for text, answer, is_finished in rows]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(THREADS, len(rows))) as pool:
        return list(pool.map(lambda row: verify(checker, row[0], row[1], is_finished=row[2]), rows))


_SIGN = r"(?:[-+*/\u00d7\u00f7x]|\\times|\\div|\\cdot)"
_EQUATION = re.compile(rf"\d[ ]?{_SIGN}[ ]?[$]?\d[\d,.]*(?:[ ]{_SIGN}[ ][$]?\d[\d,.]*){{0,8}}[ ]?=[ ]?[$]?-?\d")


def shows_working(completion: str) -> bool:
    """Whether at least one worked equation (`3 + 4 = 7`) stands before the answer line.

    A metric for reports, never part of a reward.
    """
    before, mark, _ = completion.rpartition("####")
    return bool(_EQUATION.search(before if mark else completion))
