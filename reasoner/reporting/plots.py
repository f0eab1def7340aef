"""Draws the plots of the page as SVG, each from the figures that it shows.

Places are shares of the width, so that a plot fits a phone while its text and strokes keep their size; colours are
classes of `page.css`: `base`, `tuned`, `bad`. Each plot has a title, which says its figures in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from reasoner import words
from reasoner.reporting.markup import Markup, join, tag

Interval = Sequence[float]
Point = tuple[float, float]
Show = Callable[[float], str]
"""How a figure is written."""


def _at(value: float, low: float = 0.0, high: float = 1.0) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"


def _line(kind: str, x1: str, y1: object, x2: str, y2: object) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _dot(kind: str, x: str, y: object, r: float = 4.5) -> Markup:
    return tag("circle", cx=x, cy=y, r=r, class_=kind)


def _bar(x: object, width: object, y: int, height: int, rx: int = 2) -> Markup:
    return tag("rect", x=x, y=y, width=width, height=height, rx=rx, class_="fill")


def _svg(title: str, height: int, *children: object, class_: str | None = None) -> Markup:
    return tag("svg", tag("title", title), *children, role="img", width="100%", height=height, class_=class_)


def _quarters(height: int) -> list[Markup]:
    return [_line("grid", f"{25 * at}%", 0, f"{25 * at}%", height) for at in range(5)]


def legend(base: str = "base", tuned: str = "tuned") -> Markup:
    """Names the two colours."""
    return tag("p", tag("span", base, class_="base"), tag("span", tuned, class_="tuned"), class_="legend")


def scale(low: float = 0, high: float = 100, parts: int = 4, unit: str = " %") -> Markup:
    """Draws the scale of plots that stand in rows."""
    ends = {0: "start", parts: "end"}
    return tag(
        "svg",
        (
            tag("text", f"{low + (high - low) * at / parts:g}{unit}", x=f"{100 * at / parts:.1f}%", y=14,
                text_anchor=ends.get(at, "middle"), class_="minor" if at % 2 else None)
            for at in range(parts + 1)
        ),
        width="100%", height=18, aria_hidden="true",
    )  # fmt: skip


SHARES = scale(parts=2)
"""Stands above a column of plots of shares."""


class Bar(NamedTuple):
    """Is a row of `bars`: a name in the colour of its role, a plot, the figure and its interval."""

    name: str
    role: str
    plot: Markup
    figure: str
    interval: str


def bars(rows: Iterable[Bar], under: Markup) -> Markup:
    """Sets a few large plots one under the other, over one scale."""
    drawn = (
        tag("tr", tag("th", tag("span", one.name, class_=one.role), scope="row"), tag("td", one.plot, class_="plot"),
            tag("td", tag("b", one.figure), " ", tag("span", one.interval, class_="soft"), class_="number"))
        for one in rows
    )  # fmt: skip
    foot = tag("tfoot", tag("tr", tag("td"), tag("td", under, class_="plot"), tag("td")), aria_hidden="true")
    return tag("table", tag("tbody", drawn), foot, class_="rows hero")


def share_bar(role: str, share: float, ci95: Interval) -> Markup:
    """Draws a share as a bar with its interval."""
    title = f"{role}: {words.share(share)}, 95 % interval {words.interval(ci95)}"
    low, high = map(_at, ci95)
    ends = (_line("on-fill", end, 8, end, 16) for end in (low, high))
    return _svg(title, 24, _bar(0, _at(share), 3, 18), _line("on-fill", low, 12, high, 12), ends, class_=role)


def progress(title: str, done: float) -> Markup:
    """Draws the part of a whole, 0-1, that is done."""
    part = tag("g", _bar(0, _at(done), 8, 8), class_="tuned")
    return tag("div", _svg(title, 24, _bar(0, "100%", 8, 8), part, class_="base"), class_="hero")


def stretch(title: str, begin: float, end: float, whole: float) -> Markup:
    """Draws a stretch of a whole."""
    width = max(end - begin, whole / 400)
    return _svg(title, 16, _bar(_at(begin, 0, whole), _at(width, 0, whole), 3, 10, 1), class_="tuned")


def whiskers(title: str, rows: Sequence[tuple[str, float, Interval]], low: float = 0.0, high: float = 1.0) -> Markup:
    """Draws points with their intervals, one under the other: (role, value, interval)."""
    height = 12 * (len(rows) + 1)

    def place(value: float) -> str:
        return _at(min(max(value, low), high), low, high)

    drawn = (
        tag("g", _line("whisker", place(ends[0]), y, place(ends[1]), y), _dot("dot", place(value), y, 4), class_=role)
        for y, (role, value, ends) in zip(range(12, height, 12), rows, strict=True)
    )
    return _svg(title, height, _quarters(height), drawn)


def dumbbell(title: str, before: float, after: float) -> Markup:
    """Draws two shares and the way from one to the other."""
    return _svg(
        title, 20, _quarters(20),
        tag("g", _line("link", _at(before), 10, _at(after), 10), class_="tuned"),
        tag("g", _dot("dot", _at(before), 10), class_="base"),
        tag("g", _dot("dot", _at(after), 10), class_="tuned"),
    )  # fmt: skip


def top(value: float) -> float:
    """Returns the end of a scale from 0: a round number not below the value."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next((step * unit for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if step * unit >= value), 10 * unit)


def round_scale(low: float, high: float) -> list[float]:
    """Returns three to six round numbers, from one not above the least value to one not below the largest."""
    step = top((high - low) / 4) if high > low else 1.0
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * at for at in range(first, max(last, first + 1) + 1)]


# -- lines over steps --------------------------------------------------------------------------


class Series(NamedTuple):
    """Is one line of a chart. `is_sparse`: each point is a measurement of its own, not one of many that scatter."""

    role: str
    points: Sequence[Point]
    is_sparse: bool = False


def window(n: int) -> int:
    """Returns over how many of n steps the thick line of a chart is a mean."""
    return 2 * (n // 20) + 1


def smooth(points: Sequence[Point]) -> list[Point]:
    """Returns for each point the mean of those around it."""
    half = window(len(points)) // 2
    values = [y for _, y in points]
    windows = (values[max(at - half, 0) : at + half + 1] for at in range(len(values)))
    return [(x, sum(few) / len(few)) for (x, _), few in zip(points, windows, strict=True)]


def charts(drawn: Sequence[Markup]) -> Markup:
    """Sets charts beside each other."""
    return tag("div", drawn, class_="charts")


def chart(title: str, series: Iterable[Series], show: Show, least: float) -> Markup:
    """Draws one or two lines over steps, from 0 to at least `least`: thin each step, thick the mean around it."""
    series = [one for one in series if one.points]
    shown = [one.points if one.is_sparse else smooth(one.points) for one in series]
    every = [point for one in series for point in one.points]
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    high = max(top(max(y for _, y in every)), least)
    ends = [f"{show(points[0][1])} → {show(points[-1][1])}" for points in shown]
    newest = [tag("span", show(points[-1][1]), class_=one.role) for one, points in zip(series, shown, strict=True)]
    caption = ends[0] if len(shown) == 1 else join(newest[0], " and ", newest[1:])

    def path(points: Sequence[Point], kind: str) -> Markup:
        width = max(last - first, 1)
        places = (f"{1000 * (x - first) / width:.1f},{100 - 100 * y / high:.2f}" for x, y in points)
        return tag("polyline", points=" ".join(places), class_=kind)

    def line(one: Series, points: Sequence[Point]) -> Markup:
        thin = path(one.points, "thin") if not one.is_sparse and len(points) > 2 else None
        x, y = points[-1]
        end = _dot("dot", _at(x, first, max(last, first + 1)), f"{100 - 100 * y / high:.2f}%", 3.5)
        inner = tag("svg", thin, path(points, "thick"), viewBox="0 0 1000 100", preserveAspectRatio="none",
                    width="100%", height="100%")  # fmt: skip
        return tag("g", inner, end, class_=one.role)

    return tag(
        "figure",
        tag("figcaption", tag("b", title), tag("span", caption)),
        _svg(
            f"{title}, steps {first:g} to {last:g}: {'; '.join(ends)}", 120,
            (_line("grid" if at else "axis", "0", f"{100 - 50 * at}%", "100%", f"{100 - 50 * at}%") for at in range(3)),
            tag("text", show(high), x="100%", y=-5, text_anchor="end"),
            map(line, series, shown),
        ),
        tag("div", tag("span", f"step {first:g}"), tag("span", f"{last:g}"), class_="ends"),
        class_="chart",
    )  # fmt: skip


# -- size against score ------------------------------------------------------------------------


class Mark(NamedTuple):
    """Is one file in a scatter plot: its size in MB, its share right, whether its loss is inside the margin.

    `side`: -1 or 1 stands a little to the left or right, where it shares its place with another file.
    """

    size: float
    share: float
    ci95: Interval
    is_inside: bool
    is_chosen: bool
    side: int


def scatter(title: str, marks: Sequence[Mark], margin: float | None) -> Markup:
    """Draws score over size: marks are numbered from 1, filled is inside; `margin` is the share at which it ends."""
    sizes = [one.size for one in marks]
    columns = round_scale(min(sizes), max(sizes))
    levels = round_scale(*(100 * pick(one.ci95[at] for one in marks) for at, pick in enumerate((min, max))))
    left, right, low, high = columns[0], columns[-1], levels[0] / 100, levels[-1] / 100

    def y(value: float) -> str:
        return _at(high - max(value, low), 0.0, high - low)

    def mark(number: int, one: Mark) -> Markup:
        x, middle = _at(one.size, left, right), y(one.share)
        is_shared = sum(abs(size - one.size) < 0.01 * (right - left) for size in sizes) > 1
        return tag(
            "g",
            _line("whisker", x, y(one.ci95[0]), x, y(one.ci95[1])),
            _dot("ring", x, middle, 14) if one.is_chosen else None,
            _dot("dot" if one.is_inside else "hollow", x, middle, 9.5),
            tag("text", str(number), x=x, y=middle, dy=4, text_anchor="middle",
                class_="on-dot" if one.is_inside else "name"),
            class_="tuned" if one.is_inside else "bad",
            transform=f"translate({11 * one.side} 0)" if is_shared else None,
        )  # fmt: skip

    return tag(
        "figure",
        _svg(
            title, 280,
            ((_line("grid", "0", y(level / 100), "100%", y(level / 100)),
              tag("text", f"{level:g} %", x=-8, y=y(level / 100), dy=4, text_anchor="end")) for level in levels),
            None if margin is None else _line("margin", "0", y(margin), "100%", y(margin)),
            (tag("text", f"{size:g}" + (" MB" if size == right else ""), x=_at(size, left, right), y="100%", dy=20,
                 text_anchor="end" if size == right else "middle") for size in columns),
            (mark(number, one) for number, one in enumerate(marks, 1)),
        ),
        class_="scatter",
    )  # fmt: skip
