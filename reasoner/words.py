"""Says how figures are written for people, on terminals and in reports alike. Computes none of them.

Shares are 0-1 and are written in percent; points are percentage points and always have a sign; an interval stands in
brackets, in the unit of its figure.
"""

from __future__ import annotations

from collections.abc import Sequence


def share(value: float, ci95: Sequence[float] | None = None, digits: int = 1) -> str:
    """Writes a share in percent, with its interval where there is one.

    >>> share(0.876), share(0.5, (0.4, 0.615)), share(0.876, digits=0)
    ('87.6 %', '50.0 % [40.0, 61.5]', '88 %')
    """
    return f"{100 * value:.{digits}f} %" + (f" {interval(ci95, digits)}" if ci95 else "")


def interval(ci95: Sequence[float], digits: int = 1) -> str:
    """Writes the interval of a share, in percent.

    >>> interval((0.4, 0.615))
    '[40.0, 61.5]'
    """
    return f"[{', '.join(f'{100 * end:.{digits}f}' for end in ci95)}]"


def points(value: float, ci95: Sequence[float] | None = None, unit: str = "") -> str:
    """Writes a difference in points, with its interval where there is one.

    >>> points(39), points(-1.25, (-3, 0.5)), points(2, (-1, 5), " points")
    ('+39.0', '-1.2 [-3.0, +0.5]', '+2.0 points [-1.0, +5.0]')
    """
    return f"{value:+.1f}{unit}" + (f" {points_interval(ci95)}" if ci95 else "")


def points_interval(ci95: Sequence[float]) -> str:
    """Writes the interval of a difference in points.

    >>> points_interval((-3, 0.5))
    '[-3.0, +0.5]'
    """
    return f"[{', '.join(f'{end:+.1f}' for end in ci95)}]"


def p_value(p: float, digits: int = 2) -> str:
    """Writes a p-value to so many significant digits.

    >>> p_value(0.0341), p_value(3.2e-17, 1)
    ('0.034', '3e-17')
    """
    return f"{p:.{digits}g}"


def megabytes(size: int | None) -> str:
    """Writes a number of bytes in MB (10^6 bytes), without the unit; nothing where it is not known.

    >>> megabytes(1_272_300_000), megabytes(None)
    ('1,272.3', '')
    """
    return "" if size is None else f"{size / 1e6:,.1f}"


def duration(seconds: float) -> str:
    """Writes seconds as a person reads them.

    >>> duration(4.21), duration(75), duration(7320)
    ('4.2 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
