"""How sure a score is: shares, intervals, paired differences and tests, on verdicts of the same problems.

A row is one completion, as `evaluate` writes it: `problem_id`, `verdict` (right, wrong, unscored) and more. The problem
is the unit throughout. Several completions of one problem (samples, or wordings of it) are one cluster; each problem
weighs the same. A completion without a verdict is left out and counted, never wrong. Nothing here differs from one
call to the next: resampling starts from `SEED`.

What none of this sees: that another training seed gives another model (`over_seeds` does), and that a test set is a
sample of one kind of problem.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist  # the standard library's: imports are absolute
from typing import Any, Literal

from reasoner.errors import ReasonerError

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
"""Adjusted p below which a kind or a set counts as worse than the base."""
POWER = 0.8
"""Chance of seeing the smallest detectable difference as significant, were it there."""
RESAMPLES = 9999
SEED = 0
"""Of bootstrap and permutations."""
BATCH = 500
"""Resamples held in memory at once."""
OPERATIONS = {"+": "addition", "-": "subtraction", "*": "product", "/": "division"}

Row = Mapping[str, Any]
Rows = Sequence[Row]
Rule = Literal["verdict", "strict"]
"""The verdict itself, or that of the verifier's stricter rule."""


# -- one model ---------------------------------------------------------------------------------


def measure(rows: Rows) -> dict[str, Any]:
    """pass@1 with its interval, and what else a reader needs to trust it. Shares are 0-1.

    `strict` is the share right under the verifier's stricter rule, of the completions on which that rule has a
    verdict; None where the verifier has no such rule. `steps` counts, over all completions, the equations written and
    those that hold, the known steps and those found in order; None where the steps are not known. `refused` counts
    completions that decline to answer and are not right. Where problems were asked several times, `pass_at_k` and
    `maj_at_k` have the same form as pass@1, by k, and the number of problems they speak of.
    """
    judged = [row for row in rows if row["verdict"] != "unscored"]
    n = len(rows)
    if not judged:
        raise ReasonerError(
            "no completion could be scored",
            why=rows[0]["why"] if rows else "no problems",
            fix="repair the verifier",
        )
    by_problem = list(_by_problem(rows, "verdict").values())
    strict = list(_by_problem(rows, "strict").values())
    known = [row["steps"] for row in rows if row.get("steps")]
    texts = Counter(row["completion"].strip() for row in rows)
    value, interval = _mean_share(by_problem)
    strict_share, strict_interval = _mean_share(strict) if strict else (None, None)
    return {
        "pass_at_1": value,
        "ci95": interval,
        "right": sum(row["verdict"] == "right" for row in judged),
        "scored": len(judged),
        **_at_k(rows, by_problem),
        "strict": strict_share,
        "strict_ci95": strict_interval,
        "shows_working": sum(row["shows_working"] for row in rows) / n,
        "steps": {key: sum(found[key] for found in known) for key in known[0]} if known else None,
        "truncated": sum(row["finish_reason"] == "length" for row in rows) / n,
        "unscored": n - len(judged),
        "refused": sum(row["verdict"] != "right" and refused(row["completion"]) for row in rows),
        "empty": sum(not row["completion"].strip() for row in rows) / n,
        "leaked": sum(bool(row["leaked"]) for row in rows) / n,
        "repeated": max(texts.values()) / n,
        "committed": sum(row["extracted"] is not None for row in rows) / n,
        "mean_tokens": sum(row["tokens"] for row in rows) / n,
    }


def _by_problem(rows: Rows, rule: Rule) -> dict[str, list[bool]]:
    """Whether each completion with a verdict is right, by problem; a problem without any is left out."""
    found: dict[str, list[bool]] = {}
    for row in rows:
        if row.get(rule) in ("right", "wrong"):
            found.setdefault(row["problem_id"], []).append(row[rule] == "right")
    return found


def _mean_share(groups: Sequence[Sequence[bool]]) -> tuple[float, list[float]]:
    return share((sum(group) / len(group) for group in groups), sum(map(len, groups)))


def share(values: Iterable[float], completions: int | None = None) -> tuple[float, list[float]]:
    """The mean of one value (0-1) a problem, and Wilson's interval.

    Where the values are not all 0 or 1, the interval is that of the effective number of problems, p(1-p) over the
    variance of the mean (Korn and Graubard, Survey Methodology 24, 1998): for 0 and 1 that is their number. It is never
    more than that of `completions` independent ones, however alike a few problems happen to come out.
    """
    found = list(values)
    n = len(found)
    mean = math.fsum(found) / n
    variance = math.fsum((value - mean) ** 2 for value in found) / n
    effective = n * mean * (1 - mean) / variance if variance > 1e-12 else n
    return mean, wilson(mean, min(effective, completions or n))


def wilson(p: float, n: float) -> list[float]:
    """Wilson's score interval of a share; `n` need not be whole."""
    z = _quantile(0.5 + CONFIDENCE / 2)
    middle = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return [max(0.0, low), min(1.0, high)]


def _quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that k of n completions, drawn without putting back, hold a right one: unbiased (Chen et al. 2021).

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} completions")
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def majority(rows: Rows) -> float | None:
    """Whether the most frequent extracted answer of a problem is right; None where no completion has one.

    Answers are the same where their extracted texts are, but for case and white space. Completions without a verdict,
    without an answer, or cut by length have no vote. Of answers that tie, each counts for its part: what drawing one
    of them would give in the mean.
    """
    votes: dict[str, list[bool]] = {}
    for row in rows:
        if row["verdict"] != "unscored" and row["extracted"] is not None and row["finish_reason"] != "length":
            votes.setdefault(" ".join(row["extracted"].casefold().split()), []).append(row["verdict"] == "right")
    if not votes:
        return None
    most = max(map(len, votes.values()))
    leading = [sum(group) / most for group in votes.values() if len(group) == most]
    return sum(leading) / len(leading)


def _at_k(rows: Rows, by_problem: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """pass@k for 2, 4, 8 … and the whole number of completions a problem, maj@k for the latter; empty for one each."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    most = max(map(len, groups.values()))
    if most == 1:
        return {}

    def facts(values: Sequence[float], completions: int | None = None) -> dict[str, Any]:
        value, interval = share(values, completions)
        return {"value": value, "ci95": interval, "problems": len(values)}

    found: dict[str, Any] = {"samples": most, "pass_at_k": {}, "maj_at_k": {}}
    for k in sorted({most, *(2**i for i in range(1, most.bit_length()))}):
        if values := [pass_at_k(len(group), sum(group), k) for group in by_problem if len(group) >= k]:
            found["pass_at_k"][str(k)] = facts(values, sum(len(group) for group in by_problem if len(group) >= k))
    answered = [value for group in groups.values() if len(group) == most and (value := majority(group)) is not None]
    if answered:
        found["maj_at_k"][str(most)] = facts(answered)
    return found


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
    """Whether a completion opens by saying that it cannot or will not answer. Conservative: English, the first words.

    A refusal further on, or in other words, is not seen; the count is a lower bound.

    >>> refused("I'm sorry, but I can't help with that."), refused("We cannot divide by 0, so 4 / 0 has no value.")
    (True, False)
    """
    return _REFUSAL.match(text[:300].replace("\u2019", "'")) is not None


# -- two models, or two trainings ---------------------------------------------------------------


def lift(base: Rows, tuned: Rows, rule: Rule = "verdict") -> dict[str, Any]:
    """Tuned minus base on the same problems, in points, paired by problem.

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
    counts = {"gained": gained, "lost": lost, "pairs": n}
    if any(len(rows) > len({row["problem_id"] for row in rows}) for rows in (base, tuned)):
        return {**paired(found), **counts, "detectable": _detectable_mean(found)}
    from scipy.stats import binomtest

    return {
        "points": 100 * (gained - lost) / n,
        "ci95": _agresti_min(found),
        "p": float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
        "test": "mcnemar-exact",
        **counts,
        "se": _standard_error(found),
        "detectable": detectable(n, (gained + lost + 1) / (n + 2)),
    }


def differences(base: Rows, tuned: Rows, rule: Rule = "verdict") -> dict[str, float]:
    """Tuned minus base, -1 to 1, of each problem that has a verdict on both sides."""
    if {row["problem_id"] for row in base} != {row["problem_id"] for row in tuned}:
        raise ReasonerError(
            "base and tuned were not asked the same problems",
            why=f"{len(base)} and {len(tuned)} completions",
            fix="score both again",
        )
    before, after = _by_problem(base, rule), _by_problem(tuned, rule)
    return {
        problem: sum(after[problem]) / len(after[problem]) - sum(right) / len(right)
        for problem, right in before.items()
        if problem in after
    }


def paired(differences: Sequence[float]) -> dict[str, Any]:
    """The mean of one difference a problem, in points: what one training run did more than another.

    The interval is a bootstrap over problems (percentile: the bias correction of BCa turns on ties, of which shares
    are full, and so on rounding); where all differences are equal it would have no width, and is Agresti and Min's.
    Of few problems it covers a little less than it says: 94 % of 30 (scripts/coverage_study.py). The test flips
    signs (permutation of the two sides of each pair): of differences of -1, 0 and 1 it is McNemar's.
    """
    import numpy
    from scipy.stats import bootstrap, permutation_test

    values = numpy.asarray(differences, dtype=float)
    if numpy.ptp(values) == 0:
        interval = _agresti_min(differences)
    else:
        found = bootstrap(
            (values,), numpy.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, batch=BATCH, method="percentile",
            rng=numpy.random.default_rng(SEED),
        ).confidence_interval  # fmt: skip
        interval = [100 * float(found.low), 100 * float(found.high)]
    test = permutation_test(
        (values, numpy.zeros_like(values)),
        lambda one, other, axis: numpy.mean(one - other, axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, batch=BATCH,
        rng=numpy.random.default_rng(SEED),
    )  # fmt: skip
    return {
        "points": 100 * float(values.mean()),
        "ci95": interval,
        "p": float(test.pvalue),
        "test": "paired-permutation",
        "pairs": len(differences),
        "se": _standard_error(differences),
    }


def _agresti_min(differences: Sequence[float]) -> list[float]:
    """Wald's interval in points with two problems added: half of one gained, half of one lost, one that stayed."""
    middle, error = _adjusted(differences)
    half = _quantile(0.5 + CONFIDENCE / 2) * error
    return [100 * (middle - half), 100 * (middle + half)]


def fewer(before: Sequence[Sequence[bool]], after: Sequence[Sequence[bool]]) -> float:
    """One-sided exact p of as few True in `after`, were each prompt's answers of both sides drawn alike.

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


def lower_bound(differences: Sequence[float], confidence: float) -> float:
    """One-sided lower bound of the mean difference in points, by the same method."""
    middle, error = _adjusted(differences)
    return 100 * (middle - _quantile(confidence) * error)


def _adjusted(differences: Sequence[float]) -> tuple[float, float]:
    n = len(differences) + 2
    middle = math.fsum(differences) / n
    squares = (math.fsum(d * d for d in differences) + 1) / n
    return middle, math.sqrt((squares - middle**2) / n)


def _standard_error(differences: Sequence[float]) -> float | None:
    """In points, of the mean over problems (Miller, arXiv 2411.00640): robust to clusters, a problem being one."""
    n = len(differences)
    if n < 2:
        return None
    mean = math.fsum(differences) / n
    return 100 * math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)


@functools.cache
def detectable(n: int, discordant: float) -> float | None:
    """The smallest difference, in points, that McNemar's exact test finds with 80 % power on n problems.

    `discordant` is the share of problems on which the two models differ. The power is exact: over the number of flips
    (binomial), and over how many of them go one way. A difference above `discordant` is one where all flips go one
    way. None below 6 problems, where even six flips of six would be missing to a p below 0.05.

    >>> [round(detectable(n, 0.25), 1) for n in (1319, 500, 200)]
    [3.9, 6.4, 10.2]
    """
    import numpy
    from scipy.optimize import brentq
    from scipy.stats import binom

    if n < 6:
        return None
    flips = numpy.arange(n + 1)
    most = binom.ppf(SIGNIFICANCE / 2, flips, 0.5)  # the minority of flips with which they are still significant
    most -= binom.cdf(most, flips, 0.5) >= SIGNIFICANCE / 2

    def missing(difference: float) -> float:
        share = max(discordant, difference)
        minority = (1 - difference / share) / 2 if share else 0.5
        found = binom.cdf(most, flips, minority) + binom.cdf(most, flips, 1 - minority)
        return float((binom.pmf(flips, n, share) * found).sum()) - POWER

    return 100 * float(brentq(missing, 0.0, 1.0))


def _detectable_mean(differences: Sequence[float]) -> float:
    """The same for means of several completions: the two quantiles times the standard error."""
    return 100 * min(1.0, (_quantile(1 - SIGNIFICANCE / 2) + _quantile(POWER)) * _adjusted(differences)[1])


def over_seeds(points: Sequence[float]) -> dict[str, Any]:
    """Lifts, in points, of trainings that differ in their seed alone.

    The interval is Student's t over seeds, which is wide for few of them and should be: it takes the trainings for a
    sample, where `paired` takes the problems for one. None below two seeds.
    """
    from scipy.stats import t

    n = len(points)
    mean = math.fsum(points) / n
    found: dict[str, Any] = {"seeds": n, "points": mean, "least": min(points), "most": max(points)}
    if n < 2:
        return {**found, "sd": None, "ci95": None, "interval": None}
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in points) / (n - 1))
    half = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * sd / math.sqrt(n)
    return {**found, "sd": sd, "ci95": [mean - half, mean + half], "interval": f"Student's t of {n} seeds"}


# -- many looks --------------------------------------------------------------------------------


def by_kind(base: Rows, tuned: Rows) -> dict[str, dict[str, Any]]:
    """Right and scored of both models, and the paired lift, for each kind of problem.

    Generated problems of one step each go by operation, chains (`+-*`) by their number of steps; other sources' kinds
    go by their own names. A kind of which no pair was scored has no lift (None).
    """
    kinds = {row["kind"] for row in base if row["kind"]}
    are_chains = all(set(kind) <= set(OPERATIONS) for kind in kinds)
    are_single = are_chains and all(len(kind) == 1 for kind in kinds)

    def name(kind: str) -> str:
        if are_single:
            return OPERATIONS[kind]
        if are_chains:
            return f"{len(kind)} step{'s' if len(kind) > 1 else ''}"
        return re.sub(r"[^\w .,+*/()-]", "?", kind)[:40]  # a person's own file: nothing in a name is markup

    order = list(OPERATIONS.values()) if are_single else sorted({name(kind) for kind in kinds})
    table: dict[str, dict[str, Any]] = {}
    for wanted in order:
        pairs = [(b, t) for b, t in zip(base, tuned, strict=True) if b["kind"] and name(b["kind"]) == wanted]
        if pairs:
            is_scored = any("unscored" not in (b["verdict"], t["verdict"]) for b, t in pairs)
            table[wanted] = {
                **{
                    role: {
                        "right": sum(row["verdict"] == "right" for row in rows),
                        "scored": sum(row["verdict"] != "unscored" for row in rows),
                    }
                    for role, rows in zip(("base", "tuned"), zip(*pairs, strict=True), strict=True)
                },
                "lift": lift([b for b, _ in pairs], [t for _, t in pairs]) if is_scored else None,
            }
    return table


def below_base(kinds: dict[str, dict[str, Any]], beside: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Kinds and sets on which the tuned model is below the base beyond noise; each lift learns its `p_holm`.

    The family that Holm's method guards is every kind of the main set and every set beside it, trained or not: twelve
    looks at a model that forgot nothing would else find a loss one time in four.
    """
    family = [(name, cell["lift"]) for name, cell in (*kinds.items(), *beside.items()) if cell.get("lift")]
    for (_, found), adjusted in zip(family, holm([found["p"] for _, found in family]), strict=True):
        found["p_holm"] = adjusted
    return [
        {"name": name, "points": found["points"], "p_holm": found["p_holm"]}
        for name, found in family
        if found["points"] < 0 and found["p_holm"] < SIGNIFICANCE
    ]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given.

    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = least
    return adjusted
