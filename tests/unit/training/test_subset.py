"""Which completions of a group are trained on."""

import itertools
import statistics

from hypothesis import given
from hypothesis import strategies as st

from reasoner.training.subset import most_informative

REWARDS = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=2, max_size=8)


@given(REWARDS, st.integers(2, 8))
def test_no_subset_has_a_greater_variance(rewards, num):
    places = most_informative(rewards, num)
    known = [place for place, value in enumerate(rewards) if value is not None]
    assert places == sorted(set(places))
    assert set(places) <= set(known)
    assert len(places) == min(num, len(known))
    if len(known) > num:
        best = max(statistics.pvariance([rewards[p] for p in some]) for some in itertools.combinations(known, num))
        assert abs(statistics.pvariance([rewards[p] for p in places]) - best) < 1e-12


@given(REWARDS, st.integers(2, 8))
def test_a_group_keeps_its_signal(rewards, num):
    values = {value for value in rewards if value is not None}
    assert ({rewards[place] for place in most_informative(rewards, num)} > {min(values, default=0)}) == (
        len(values) > 1
    )


def test_an_even_split_of_those_drawn_first():
    assert most_informative([1, 1, 1, 0, 0, 0, 0, 1], 4) == [0, 1, 3, 4]
    assert most_informative([1, 1, 1, 1, 1, 1, 1, 0], 4) == [0, 1, 2, 7]
    assert most_informative([1] * 8, 2) == [0, 1]
