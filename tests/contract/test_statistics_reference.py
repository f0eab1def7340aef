"""Our statistics against statsmodels and scipy, to 1e-9, on verdicts drawn at random."""

import numpy
import pytest
from made_up import answered
from scipy import stats

from reasoner.measuring import intervals, lift

pytestmark = pytest.mark.slow


def rows(verdicts):
    return [
        answered(str(at), "right" if right else "wrong") for at, problem in enumerate(verdicts) for right in problem
    ]


@pytest.fixture
def drawn():
    """Base and tuned, problems x completions, from rates that differ by problem."""
    rng = numpy.random.default_rng(0)

    def draw(n, k):
        rates = rng.beta(0.6, 1, n)
        return tuple(rng.random((n, k)) < rate[:, None] for rate in (rates, rates + (1 - rates) * rng.random() / 2))

    return draw


def test_mcnemar_is_statsmodels(drawn):
    from statsmodels.stats.contingency_tables import mcnemar

    for n in (5, 30, 200, 1000):
        base, tuned = drawn(n, 1)
        table = [[numpy.sum((base == b) & (tuned == t)) for t in (True, False)] for b in (True, False)]
        found = lift.lift(rows(base), rows(tuned))
        assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)


def test_wilson_is_statsmodels_and_scipy():
    from statsmodels.stats.proportion import proportion_confint

    for right, n in ((0, 5), (1, 7), (74, 500), (409, 500), (500, 500), (3, 8.5)):
        ours = intervals.wilson(right / n, n)
        assert ours == pytest.approx(proportion_confint(right, n, method="wilson"), abs=1e-9)
        if isinstance(n, int):
            assert ours == pytest.approx(stats.binomtest(right, n).proportion_ci(method="wilson"), abs=1e-9)


def test_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = numpy.random.default_rng(1)
    for size in (1, 2, 7, 40):
        p = [*rng.random(size), *rng.random(size) ** 4]
        assert lift.holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-9)


def test_the_standard_error_is_that_of_a_regression_with_clusters(drawn):
    """On single completions, clustered by problem, as statsmodels' small-sample correction has it."""
    import statsmodels.api

    base, tuned = drawn(80, 4)
    difference = tuned.astype(float) - base
    problems = numpy.repeat(numpy.arange(80), 4)
    fit = statsmodels.api.OLS(difference.ravel(), numpy.ones(320)).fit(
        cov_type="cluster", cov_kwds={"groups": problems}
    )
    found = lift.lift(rows(base), rows(tuned))
    assert found.points == pytest.approx(100 * fit.params[0], abs=1e-9)
    assert found.se == pytest.approx(100 * fit.bse[0], abs=1e-9)


def test_the_bootstrap_is_scipys_of_pairs(drawn):
    base, tuned = (found.mean(axis=1) for found in drawn(60, 4))
    reference = stats.bootstrap(
        (tuned, base), lambda t, b, axis: t.mean(axis=axis) - b.mean(axis=axis), paired=True, vectorized=True,
        n_resamples=lift.RESAMPLES, rng=numpy.random.default_rng(lift.SEED), batch=lift.BATCH,
        method="percentile",
    ).confidence_interval  # fmt: skip
    found = lift.paired(list(tuned - base))
    assert found.ci95 == pytest.approx([100 * reference.low, 100 * reference.high], abs=1e-9)


def test_the_permutation_of_single_completions_is_mcnemar(drawn):
    """With so few problems all 2^n permutations are taken, and the two are one test."""
    for n in (4, 8, 12):
        base, tuned = (found[:, 0] for found in drawn(n, 1))
        exact = lift.lift(rows(base[:, None]), rows(tuned[:, None])).p
        assert lift.paired(list(tuned.astype(float) - base)).p == pytest.approx(exact, abs=1e-9)


def test_the_interval_over_seeds_is_scipys():
    points = [67.0, 52.8, 67.8, 61.2]
    reference = stats.ttest_1samp(points, 0).confidence_interval(0.95)
    assert intervals.over_seeds(points).ci95 == pytest.approx([reference.low, reference.high], abs=1e-9)


def test_the_paired_interval_covers():
    """The nominal 95 % interval covers the truth in 93-97.5 % of 2,000 draws; scripts/coverage_study.py has more."""
    rng = numpy.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        base = rng.random(60) < 0.3
        tuned = numpy.where(base, rng.random(60) < 0.9, rng.random(60) < 0.4)
        truth = 100 * (0.3 * 0.9 + 0.7 * 0.4 - 0.3)
        low, high = lift.lift(rows(base[:, None]), rows(tuned[:, None])).ci95
        covered += low <= truth <= high
    assert 0.93 <= covered / 2000 <= 0.975
