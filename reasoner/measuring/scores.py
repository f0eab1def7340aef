"""Sums up the completions of one model: shares with their intervals, pass@k, maj@k, and counts.

The problem is the unit: several completions of one (samples, or wordings of it) are one cluster, and each problem
weighs the same. A completion without a verdict is left out and counted, never wrong. That a test set is a sample of one
kind of problem is not seen here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Literal, TypeVar

from reasoner.errors import ReasonerError
from reasoner.measuring.figures import AtK, Completion, Measure
from reasoner.measuring.intervals import share
from reasoner.verifiers.committed import after_thought
from reasoner.verifiers.working import StepCheck

Completions = Sequence[Completion]
Rule = Literal["verdict", "strict"]
"""The verdict itself, or that of the verifier's stricter rule."""
Item = TypeVar("Item")


def measure(rows: Completions) -> Measure:
    """Returns pass@1 with its interval, and what else a reader needs to trust it.

    Raises where no completion has a verdict.
    """
    n = len(rows)
    unscored = sum(row.verdict == "unscored" for row in rows)
    if unscored == n:
        why = rows[0].why if rows else "no problems"
        raise ReasonerError("no completion could be scored", why=why, fix="repair the verifier")
    groups, strict = (list(by_problem(rows, rule).values()) for rule in ("verdict", "strict"))
    value, interval = _mean_share(groups)
    strict_share, strict_interval = _mean_share(strict) if strict else (None, None)
    asked = list(by_name((row.problem_id, row) for row in rows).values())
    most, steps = max(map(len, asked)), [astuple(row.steps) for row in rows if row.steps]
    return Measure(
        pass_at_1=value,
        ci95=interval,
        right=sum(map(sum, groups)),
        scored=n - unscored,
        samples=most if most > 1 else None,
        pass_at_k=_pass_at_k(groups, most) if most > 1 else None,
        maj_at_k=_maj_at_k(asked, most) if most > 1 else None,
        strict=strict_share,
        strict_ci95=strict_interval,
        shows_working=sum(row.shows_working for row in rows) / n,
        steps=StepCheck(*map(sum, zip(*steps, strict=True))) if steps else None,
        truncated=sum(row.finish_reason == "length" for row in rows) / n,
        unscored=unscored,
        refused=sum(row.verdict != "right" and refused(after_thought(row.completion)) for row in rows),
        empty=sum(not after_thought(row.completion).strip() for row in rows) / n,
        leaked=sum(bool(row.leaked) for row in rows) / n,
        repeated=max(Counter(row.completion.strip() for row in rows).values()) / n,
        committed=sum(row.extracted is not None for row in rows) / n,
        mean_tokens=sum(row.tokens for row in rows) / n,
    )


def by_problem(rows: Completions, rule: Rule) -> dict[str, list[bool]]:
    """Returns whether each completion with a verdict is right, by problem; a problem without any is left out."""
    verdicts = ((row.problem_id, getattr(row, rule)) for row in rows)
    return by_name((name, verdict == "right") for name, verdict in verdicts if verdict in ("right", "wrong"))


def by_name(pairs: Iterable[tuple[str, Item]]) -> dict[str, list[Item]]:
    """Groups what goes by one name; names and items stay in their order."""
    found: dict[str, list[Item]] = {}
    for name, item in pairs:
        found.setdefault(name, []).append(item)
    return found


def _mean_share(groups: Sequence[Sequence[bool]]) -> tuple[float, tuple[float, float]]:
    return share((sum(group) / len(group) for group in groups), sum(map(len, groups)))


def pass_at_k(n: int, right: int, k: int) -> float:
    """Returns the chance that k of n completions, drawn without putting back, hold a right one (Chen et al. 2021).

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} completions")
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def _pass_at_k(groups: Sequence[Sequence[bool]], most: int) -> dict[str, AtK]:
    """For k = 2, 4, 8 … and the whole number of completions a problem."""
    found = {}
    for k in sorted({most, *(2**i for i in range(1, most.bit_length()))}):
        if fit := [group for group in groups if len(group) >= k]:
            values = [pass_at_k(len(group), sum(group), k) for group in fit]
            found[str(k)] = AtK(*share(values, sum(map(len, fit))), problems=len(fit))
    return found


def _maj_at_k(groups: Sequence[Completions], most: int) -> dict[str, AtK]:
    values = [value for group in groups if len(group) == most and (value := majority(group)) is not None]
    return {str(most): AtK(*share(values), problems=len(values))} if values else {}


def majority(rows: Completions) -> float | None:
    """Returns whether the most frequent extracted answer of a problem is right; None where no completion has one.

    Answers are the same where their extracted texts are, but for case and white space. Completions without a verdict,
    without an answer, or cut by length have no vote. Of answers that tie, each counts for its part: what drawing one
    of them would give in the mean.
    """
    votes = by_name(
        (" ".join(row.extracted.casefold().split()), row.verdict == "right")
        for row in rows
        if row.verdict != "unscored" and row.extracted is not None and row.finish_reason != "length"
    )
    if not votes:
        return None
    most = max(map(len, votes.values()))
    leading = [sum(group) / most for group in votes.values() if len(group) == most]
    return sum(leading) / len(leading)


_OPENING = (
    r"(?:i(?:'m| am) (?:very |so |really |truly )?sorry|sorry|apologies|i apologi[sz]e|unfortunately"
    r"|as an ai(?: language)?(?: model| assistant)?|no)\W+(?:but\W+)?"
)
_CANNOT = r"(?:can(?:not|'t| not)|could(?:n't| not)|wo(?:n't)|will not|(?:am|'m) (?:un|not )able to)"
_ANSWER = (
    r"(?:help(?! but)|assist|answer|solve|comply|fulfil|provide|do (?:that|this|it)|complete|continue|engage"
    r"|discuss|respond|calculate|determine)"
)
_REFUSAL = re.compile(rf"\W*(?:{_OPENING}){{0,3}}i ?{_CANNOT} (?:\w+ly )?{_ANSWER}", re.IGNORECASE)


def refused(text: str) -> bool:
    """Returns whether a completion opens by saying that it cannot or will not answer, in English.

    A refusal further on, or in other words, is not seen; the count is a lower bound.

    >>> refused("I'm sorry, but I can't help with that."), refused("We cannot divide by 0, so 4 / 0 has no value.")
    (True, False)
    """
    return _REFUSAL.match(text[:300].replace("\u2019", "'")) is not None
