"""Compares two models on the same problems: the lift, its interval and test, overall and by kind of problem.

Problems are paired and are the unit (see `scores`). Nothing here differs from one call to the next: resampling starts
from `SEED`. That another training seed gives another model is not seen here (`intervals.over_seeds` does).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from reasoner.errors import ReasonerError
from reasoner.measuring import intervals
from reasoner.measuring.figures import Below, Compared, Counts, KindFigures, Lift, Missing, Paired
from reasoner.measuring.scores import Completions, Rule, by_name, by_problem

RESAMPLES = 9999
SEED = 0
"""Of bootstrap and permutations."""
BATCH = 500
"""Resamples held in memory at once."""
Cell = TypeVar("Cell", KindFigures, "Compared | Missing")
OPERATIONS = {"+": "addition", "-": "subtraction", "*": "product", "/": "division"}


def lift(base: Completions, tuned: Completions, rule: Rule = "verdict") -> Lift:
    """Returns tuned minus base on the same problems, in points, paired by problem. Raises where no pair was scored.

    One completion a problem: McNemar's exact test (binomial on the problems that flipped), and Agresti and Min's
    interval (Statistics in Medicine 24, 2005: Wald with half an observation added to each of the four cells), which
    keeps its width where nothing flipped. Several: `paired`, on each problem's mean. `se` is robust to clusters of
    completions either way. `detectable` is the smallest difference, in points, that this many problems show with
    80 % power, given the share of them that flipped.
    """
    found = list(differences(base, tuned, rule).values())
    if not found:
        raise ReasonerError("no problem was scored for both models", fix="repair the verifier")
    n = len(found)
    gained, lost = (sum(sign * d > 0 for d in found) for sign in (1, -1))
    if any(len(rows) > len({row.problem_id for row in rows}) for rows in (base, tuned)):
        least = intervals.detectable_mean(found)
        return Lift(**vars(paired(found)), gained=gained, lost=lost, detectable=least)
    from scipy.stats import binomtest

    return Lift(
        points=100 * (gained - lost) / n,
        ci95=intervals.agresti_min(found),
        p=float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
        gained=gained,
        lost=lost,
        pairs=n,
        se=intervals.standard_error(found),
        detectable=intervals.detectable(n, (gained + lost + 1) / (n + 2)),
    )


def differences(base: Completions, tuned: Completions, rule: Rule = "verdict") -> dict[str, float]:
    """Returns tuned minus base, -1 to 1, of each problem that has a verdict on both sides."""
    if {row.problem_id for row in base} != {row.problem_id for row in tuned}:
        why = f"{len(base)} and {len(tuned)} completions"
        raise ReasonerError("base and tuned were not asked the same problems", why=why, fix="score both again")
    before, after = by_problem(base, rule), by_problem(tuned, rule)
    return {
        problem: sum(after[problem]) / len(after[problem]) - sum(right) / len(right)
        for problem, right in before.items()
        if problem in after
    }


def paired(differences: Sequence[float]) -> Paired:
    """Returns the mean of one difference a problem, in points: what one training run did more than another.

    The interval is a bootstrap over problems (percentile: the bias correction of BCa turns on ties, of which shares
    are full, and so on rounding); where all differences are equal it would have no width, and is Agresti and Min's.
    Of few problems it covers a little less than it says: 94 % of 30 (scripts/coverage_study.py). The test flips
    signs (permutation of the two sides of each pair): of differences of -1, 0 and 1 it is McNemar's.
    """
    import numpy
    from scipy.stats import bootstrap, permutation_test

    values = numpy.asarray(differences, dtype=float)
    if numpy.ptp(values) == 0:
        interval = intervals.agresti_min(differences)
    else:
        found = bootstrap(
            (values,), numpy.mean, n_resamples=RESAMPLES, confidence_level=intervals.CONFIDENCE, batch=BATCH,
            method="percentile", rng=numpy.random.default_rng(SEED),
        ).confidence_interval  # fmt: skip
        interval = 100 * float(found.low), 100 * float(found.high)
    test = permutation_test(
        (values, numpy.zeros_like(values)),
        lambda one, other, axis: numpy.mean(one - other, axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, batch=BATCH,
        rng=numpy.random.default_rng(SEED),
    )  # fmt: skip
    return Paired(
        points=100 * float(values.mean()),
        ci95=interval,
        p=float(test.pvalue),
        test="paired-permutation",
        pairs=len(differences),
        se=intervals.standard_error(differences),
    )


def fewer(before: Sequence[Sequence[bool]], after: Sequence[Sequence[bool]]) -> float:
    """Returns the one-sided exact p of as few True in `after`, were each prompt's answers of both sides drawn alike.

    Given how many of a prompt's answers are True on both sides together, each side's part is hypergeometric; the sum
    over prompts is their convolution (the exact Cochran-Mantel-Haenszel test: Agresti, Statistical Science 7, 1992).
    With one answer a side it is McNemar's. Prompts are taken as fixed: it speaks of these, not of others.

    >>> round(fewer([[True] * 4] * 2, [[False] * 4, [True] * 4]) * 70, 6)  # one of the 70 ways to deal four of eight
    1.0
    """
    import numpy
    from scipy.stats import hypergeom

    chances = numpy.ones(1)
    for one, other in zip(before, after, strict=True):
        few = numpy.arange(len(other) + 1)
        chances = numpy.convolve(chances, hypergeom(len(one) + len(other), sum(one) + sum(other), len(other)).pmf(few))
    return min(1.0, float(chances[: sum(map(sum, after)) + 1].sum()))


# -- many looks --------------------------------------------------------------------------------


def by_kind(base: Completions, tuned: Completions) -> dict[str, KindFigures]:
    """Returns right and scored of both models, and the paired lift, for each kind of problem.

    Generated problems of one step each go by operation, chains (`+-*`) by their number of steps; other sources' kinds
    go by their own names. A kind of which no pair was scored has no lift (None).
    """
    kinds = {row.kind for row in base if row.kind}
    are_chains = all(set(kind) <= set(OPERATIONS) for kind in kinds)
    are_single = are_chains and all(len(kind) == 1 for kind in kinds)

    def name(kind: str) -> str:
        if are_single:
            return OPERATIONS[kind]
        if are_chains:
            return f"{len(kind)} step{'s' if len(kind) > 1 else ''}"
        return re.sub(r"[^\w .,+*/()-]", "?", kind)[:40]  # a person's own file: nothing in a name is markup

    pairs = by_name((name(pair[0].kind), pair) for pair in zip(base, tuned, strict=True) if pair[0].kind)
    order = [one for one in OPERATIONS.values() if one in pairs] if are_single else sorted(pairs)
    return {one: _of_kind(*zip(*pairs[one], strict=True)) for one in order}


def _of_kind(base: Completions, tuned: Completions) -> KindFigures:
    def counts(rows: Completions) -> Counts:
        return Counts(sum(row.verdict == "right" for row in rows), sum(row.verdict != "unscored" for row in rows))

    is_scored = any("unscored" not in (b.verdict, t.verdict) for b, t in zip(base, tuned, strict=True))
    return KindFigures(counts(base), counts(tuned), lift(base, tuned) if is_scored else None)


Kinds = dict[str, KindFigures]
Beside = dict[str, Compared | Missing]


def below_base(kinds: Kinds, beside: Beside) -> tuple[list[Below], Kinds, Beside]:
    """Returns where the tuned model is below the base beyond noise; and kinds and sets with the `p_holm` of each lift.

    The family that Holm's method guards is every kind of the main set and every set beside it, trained or not: twelve
    looks at a model that forgot nothing would else find a loss one time in four.
    """
    cells = (*kinds.items(), *beside.items())
    family = [(name, cell.lift) for name, cell in cells if not isinstance(cell, Missing) and cell.lift is not None]
    adjusted = holm([found.p for _, found in family])
    below = [
        Below(name, found.points, p)
        for (name, found), p in zip(family, adjusted, strict=True)
        if found.points < 0 and p < intervals.SIGNIFICANCE
    ]
    rest = iter(adjusted)

    def learn(cell: Cell) -> Cell:
        if isinstance(cell, Missing) or cell.lift is None:
            return cell
        return replace(cell, lift=replace(cell.lift, p_holm=next(rest)))

    kinds = {name: learn(cell) for name, cell in kinds.items()}
    return below, kinds, {name: learn(cell) for name, cell in beside.items()}


def holm(p: Sequence[float]) -> list[float]:
    """Returns p-values after Holm's step-down adjustment (1979), in the order given.

    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = least
    return adjusted
