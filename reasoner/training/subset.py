"""Which completions of a group are trained on: those that differ most in reward.

Sampling many is cheap beside training on many, and of eight completions of which seven are right the seven say much the
same. This is max-variance down-sampling (PODS, arXiv 2504.13818, algorithm 2).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def most_informative(rewards: Sequence[float | None], num: int) -> list[int]:
    """Returns the places of `num` rewards with the greatest variance, ascending; all that have one if they are fewer.

    Some subset of greatest variance is always made of highest and lowest rewards. None has no verdict, and is never
    taken. Where several are alike, the most even one is, and of equal rewards those that were drawn first.

    >>> most_informative([1, 1, 0, 1, None, 1], 2), most_informative([0, 1, 0, 1], 3)
    ([0, 2], [0, 1, 3])
    """
    known = {place: value for place, value in enumerate(rewards) if value is not None}
    rising = sorted(known, key=lambda place: (known[place], place))

    def ends(high: int) -> list[int]:
        rest = sorted(rising[num - high :], key=lambda place: (-known[place], place))
        return sorted([*rising[: num - high], *rest[:high]])

    if len(known) <= num:
        return sorted(known)
    splits = sorted(range(num + 1), key=lambda high: abs(2 * high - num))
    return max(map(ends, splits), key=lambda places: statistics.pvariance([known[place] for place in places]))
