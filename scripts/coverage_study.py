"""Do the intervals of `reasoner.measuring` cover, and do its tests err, as often as they say? Prints tables.

    .venv/bin/python scripts/coverage_study.py [--simulations 2000] [--resamples 999] [--seed 0]

Verdicts are drawn from known rates. Problems differ in difficulty (Beta), base and tuned are drawn from the same
problem, and the truth is the rate of the population of problems. `error` is the Monte-Carlo standard error of
the expected share: 95 %, 80 % for power, and for Wilson at one rate what it covers exactly, which swings about 95 % as
counts are whole. A cell more than three errors below is marked `off`; in brackets is what we do not use, for
comparison. Where there is no lift, a test must leave 95 % unremarked.
"""

import argparse
import math
import sys

import numpy

from reasoner.measuring import intervals, lift
from reasoner.measuring.figures import Completion

Z = intervals.quantile(0.975)


def rows(verdicts: numpy.ndarray) -> list[Completion]:
    """One row a completion, from an array of problems x completions."""
    return [
        Completion(
            problem_id=str(at), verdict="right" if right else "wrong", completion="", finish_reason="stop", tokens=1
        )
        for at, problem in enumerate(verdicts)
        for right in problem
    ]


def covers(interval: list[float], truth: float) -> bool:
    return interval[0] - 1e-9 <= truth <= interval[1] + 1e-9


class Study:
    def __init__(self, simulations: int, seed: int) -> None:
        self.simulations, self.seed = simulations, seed
        self.below: list[str] = []

    def cell(self, name: str, nominal: float, draw) -> None:
        """One line for each thing `draw(rng)` judges; every cell has its own stream, so that cells stay as they are."""
        rng = numpy.random.default_rng([self.seed, *name.encode()])
        found: dict[str, list[bool]] = {}
        for _ in range(self.simulations):
            for what, is_so in draw(rng).items():
                found.setdefault(what, []).append(is_so)
        error = math.sqrt(nominal * (1 - nominal) / self.simulations)
        for what, results in found.items():
            share = sum(results) / len(results)
            is_off = share < nominal - 3 * error
            if is_off and not what.startswith("("):
                self.below.append(f"{name}, {what}")
            mark = " off |" if is_off else " |"
            print(
                f"| {name} | {what} | {100 * nominal:.1f} | {100 * share:.1f} | {100 * error:.1f} |{mark}", flush=True
            )


def wilson(p: float, n: int):
    def draw(rng):
        _, interval = intervals.share(rng.random(n) < p)
        return {"Wilson": covers(interval, p)}

    return draw


def exact_wilson(p: float, n: int) -> float:
    """What it covers at one p and n: counts are whole, so this swings about 95 % (Brown, Cai and DasGupta 2001)."""
    from scipy.stats import binom

    return sum(float(binom.pmf(x, n, p)) for x in range(n + 1) if covers(intervals.wilson(x / n, n), p))


def any_share(n: int):
    def draw(rng):
        p = rng.random()
        return wilson(p, n)(rng)

    return draw


def clustered_share(p: float, n: int, k: int, spread: float):
    """Difficulty is Beta with mean p and p + q = `spread`: small is a few easy and many hopeless problems."""

    def draw(rng):
        rates = rng.beta(spread * p, spread * (1 - p), n)
        right = rng.random((n, k)) < rates[:, None]
        _, interval = intervals.share(right.mean(axis=1))
        naive = intervals.wilson(float(right.mean()), n * k)
        return {"Wilson, effective n": covers(interval, p), "(Wilson on all completions)": covers(naive, p)}

    return draw


def greedy(p: float, gain: float, loss: float, n: int):
    """`gain` of what the base misses is won, `loss` of what it has is lost."""
    truth = 100 * ((1 - p) * gain - p * loss)

    def draw(rng):
        base = rng.random(n) < p
        tuned = numpy.where(base, rng.random(n) >= loss, rng.random(n) < gain)
        found = lift.lift(rows(base[:, None]), rows(tuned[:, None]))
        out = {"Agresti-Min": covers(found.ci95, truth)}
        if abs(truth) < 1e-9:
            out["McNemar's p ≥ 0.05"] = found.p >= 0.05
        return out

    return draw


def sampled(p: float, gain: float, n: int, k: int, spread: float):
    """Each problem's rate moves a part of the way to 1, so that the mean moves by `gain`."""

    def draw(rng):
        rates = rng.beta(spread * p, spread * (1 - p), n)
        after = rates + (1 - rates) * gain / (1 - p)
        base, tuned = (rng.random((n, k)) < rate[:, None] for rate in (rates, after))
        found = lift.lift(rows(base), rows(tuned))
        points, half = found.points, Z * found.se
        out = {
            "cluster-robust": covers([points - half, points + half], 100 * gain),
            "bootstrap": covers(found.ci95, 100 * gain),
        }
        if gain == 0:
            out["permutation's p ≥ 0.05"] = found.p >= 0.05
        return out

    return draw


def power(n: int, discordant: float):
    """The smallest detectable difference is found as often as promised."""
    difference = intervals.detectable(n, discordant) / 100

    def draw(rng):
        kind = rng.random(n)
        gained = kind < (discordant + difference) / 2
        lost = ~gained & (kind < discordant)
        found = lift.lift(rows(lost[:, None]), rows(gained[:, None]))
        return {f"found at {100 * difference:.1f} points": found.p < 0.05}

    return draw


def seeds(n: int):
    def draw(rng):
        return {"Student's t": covers(intervals.over_seeds(list(rng.normal(60, 8, n))).ci95, 60)}

    return draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=999, help="of bootstrap and permutations; the product's 9999")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lift.RESAMPLES = args.resamples
    study = Study(args.simulations, args.seed)
    print("| verdicts | interval | expected % | covers % | error | |\n|---|---|---|---|---|---|")
    for n in (50, 200, 500):
        for p in (0.02, 0.15, 0.5, 0.82, 0.98):
            study.cell(f"share {p}, n {n}", exact_wilson(p, n), wilson(p, n))
        study.cell(f"share uniform, n {n}", 0.95, any_share(n))
    for p, n, spread in ((0.15, 50, 0.5), (0.5, 50, 1), (0.82, 200, 0.5), (0.15, 500, 1)):
        study.cell(f"share {p}, n {n}, k 4, Beta {spread}", 0.95, clustered_share(p, n, 4, spread))
    for n in (20, 60, 200, 500):
        for p, gain, loss in ((0.15, 0.0, 0.0), (0.3, 0.03, 0.07), (0.3, 0.4, 0.1), (0.15, 0.8, 0.05)):
            study.cell(f"lift, base {p}, won {gain}, lost {loss}, n {n}", 0.95, greedy(p, gain, loss, n))
    for p, gain, n in ((0.3, 0.0, 30), (0.3, 0.1, 50), (0.15, 0.6, 50), (0.3, 0.0, 200), (0.3, 0.05, 200)):
        study.cell(f"lift {gain}, base {p}, n {n}, k 4, Beta 1", 0.95, sampled(p, gain, n, 4, 1))
    for n in (3, 5, 10):
        study.cell(f"{n} training seeds, normal", 0.95, seeds(n))
    print("\n| verdicts | test | power expected % | found % | error | |\n|---|---|---|---|---|---|")
    for n in (100, 200, 500, 1319):
        for discordant in (0.1, 0.25, 0.5):
            study.cell(f"n {n}, {discordant:.0%} differ", 0.8, power(n, discordant))
    print(f"\n{args.simulations} simulations a cell, {args.resamples} resamples, seed {args.seed}")
    print("off: " + ("; ".join(study.below) or "none"))
    sys.exit(bool(study.below))


if __name__ == "__main__":
    main()
