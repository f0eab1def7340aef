"""Intervals, power and seeds, each against the textbook."""

import doctest
import math

import pytest

from reasoner.measuring import intervals


@pytest.mark.parametrize("values", [[1 / 3] * 50, [0.5] * 9 + [0.75]])
def test_problems_that_come_out_alike_are_no_more_than_their_completions(values):
    """Rounding, or a chance likeness of a few problems, would make any number of them of so little variance."""
    mean, (low, high) = intervals.share(values, 4 * len(values))
    least = intervals.wilson(mean, 4 * len(values))
    assert low <= least[0] + 1e-12 and high >= least[1] - 1e-12


def test_three_seeds_give_a_wide_interval():
    found = intervals.over_seeds([67.0, 52.8, 67.8])
    assert (found.seeds, found.least, found.most) == (3, 52.8, 67.8)
    assert found.sd == pytest.approx(8.4388, abs=1e-4)
    half = 4.302653 * found.sd / math.sqrt(3)  # the table's t of 2 degrees of freedom
    assert found.ci95 == pytest.approx([found.points - half, found.points + half], abs=1e-4)


def test_the_examples_hold():
    found = doctest.testmod(intervals)
    assert found.attempted and not found.failed
