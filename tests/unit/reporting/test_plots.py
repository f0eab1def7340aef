"""Scales are round and hold their values, and a thick line is a mean."""

import pytest

from reasoner.reporting import plots


@pytest.mark.parametrize(
    ("value", "end"), [(0, 1), (0.83, 1), (1, 1), (1.06, 1.5), (38, 40), (0.0241, 0.025), (99, 100), (271, 300)]
)
def test_a_scale_ends_on_a_round_number(value, end):
    assert plots.top(value) == pytest.approx(end)


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (70, 81.1, [69, 72, 75, 78, 81, 84]),
        (105, 271, [100, 150, 200, 250, 300]),
        (0, 0, [0, 1]),
        (0, 4, [0, 1, 2, 3, 4]),
    ],
)
def test_a_scale_holds_its_values(low, high, scale):
    assert plots.round_scale(low, high) == pytest.approx(scale)


def test_a_thick_line_is_the_mean_of_the_steps_around():
    points = [(float(x), float(x % 2)) for x in range(60)]
    smooth = plots.smooth(points)
    assert [x for x, _ in smooth] == [x for x, _ in points]
    assert smooth[30][1] == pytest.approx(sum(x % 2 for x in range(27, 34)) / 7)
    assert plots.smooth([(1.0, 0.5)]) == [(1.0, 0.5)]
