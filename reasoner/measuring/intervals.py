"""Computes how sure a figure is: intervals, standard errors and the power of a test, from plain numbers.

The unit is the problem: a list holds one share (0-1) or one difference (-1 to 1) for each. Nothing is drawn at random.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist, fmean, stdev

from reasoner.measuring.figures import Interval, OverSeeds

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
"""p below which a loss counts as one, adjusted where several are looked at."""
POWER = 0.8
"""Chance of seeing the smallest detectable difference as significant, were it there."""
quantile = NormalDist().inv_cdf
"""Of the standard normal distribution."""


def share(values: Iterable[float], completions: int | None = None) -> tuple[float, Interval]:
    """Returns the mean of one value (0-1) a problem, and Wilson's interval.

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


def wilson(p: float, n: float) -> Interval:
    """Returns Wilson's score interval of a share; `n` need not be whole."""
    z = quantile(0.5 + CONFIDENCE / 2)
    middle = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def agresti_min(differences: Sequence[float]) -> Interval:
    """Returns an interval of the mean difference in points (Agresti and Min, Statistics in Medicine 24, 2005).

    It is Wald's with two problems added (half of one gained, half of one lost, one that stayed), and so keeps its width
    where nothing differs.
    """
    middle, error = _adjusted(differences)
    half = quantile(0.5 + CONFIDENCE / 2) * error
    return 100 * (middle - half), 100 * (middle + half)


def lower_bound(differences: Sequence[float], confidence: float) -> float:
    """Returns the one-sided lower bound of the mean difference in points, by the same method."""
    middle, error = _adjusted(differences)
    return 100 * (middle - quantile(confidence) * error)


def _adjusted(differences: Sequence[float]) -> tuple[float, float]:
    n = len(differences) + 2
    middle = math.fsum(differences) / n
    squares = (math.fsum(d * d for d in differences) + 1) / n
    return middle, math.sqrt((squares - middle**2) / n)


def standard_error(differences: Sequence[float]) -> float | None:
    """Returns that of the mean over problems, in points (Miller, arXiv 2411.00640); None for a single problem."""
    return 100 * stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else None


@functools.cache
def detectable(n: int, discordant: float) -> float | None:
    """Returns the smallest difference, in points, that McNemar's exact test finds with 80 % power on n problems.

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
        differing = max(discordant, difference)
        minority = (1 - difference / differing) / 2 if differing else 0.5
        found = binom.cdf(most, flips, minority) + binom.cdf(most, flips, 1 - minority)
        return float((binom.pmf(flips, n, differing) * found).sum()) - POWER

    return 100 * float(brentq(missing, 0.0, 1.0))


def detectable_mean(differences: Sequence[float]) -> float:
    """Returns the same for means of several completions: the two quantiles times the standard error."""
    return 100 * min(1.0, (quantile(1 - SIGNIFICANCE / 2) + quantile(POWER)) * _adjusted(differences)[1])


def over_seeds(points: Sequence[float]) -> OverSeeds:
    """Returns the mean of lifts, in points, of trainings that differ in their seed alone.

    The interval is Student's t over seeds, which is wide for few of them and should be: it takes the trainings for a
    sample, where a lift's own interval takes the problems for one. There must be two seeds at least.
    """
    from scipy.stats import t

    n, mean, sd = len(points), fmean(points), stdev(points)
    half = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * sd / math.sqrt(n)
    interval = f"Student's t of {n} seeds"
    return OverSeeds(n, mean, min(points), max(points), sd=sd, ci95=(mean - half, mean + half), interval=interval)
