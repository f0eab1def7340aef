"""Draws the plots of the page as SVG, each from the figures that it is made of.

Places are shares of the width, so that a plot fits a phone while its text and strokes keep their size; colours are
classes of `page.css`: `base`, `tuned`, `bad`. Each plot has a title, which says its figures in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reasoner import words
from reasoner.reporting.markup import Markup, join, tag

Interval = Sequence[float]
Point = tuple[float, float]


class Plot(Protocol):
    """Is whatever can be drawn."""

    def drawn(self) -> Markup: ...


def _at(value: float, low: float = 0.0, high: float = 1.0) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"


def _line(kind: str, x1: str, y1: object, x2: str, y2: object) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _dot(kind: str, x: str, y: object, r: float = 4.5) -> Markup:
    return tag("circle", cx=x, cy=y, r=r, class_=kind)


def _bar(x: object, width: object, y: int, height: int, rx: int = 2) -> Markup:
    return tag("rect", x=x, y=y, width=width, height=height, rx=rx, class_="fill")


def _quarters(height: int) -> list[Markup]:
    return [_line("grid", f"{25 * at}%", 0, f"{25 * at}%", height) for at in range(5)]


def _svg(title: str, height: int, *children: object, class_: str | None = None) -> Markup:
    return tag("svg", tag("title", title), *children, role="img", width="100%", height=height, class_=class_)


@dataclass(frozen=True)
class Scale:
    """Is the scale of plots that stand in rows, from `low` to `high` in `parts`."""

    low: float = 0.0
    high: float = 100.0
    parts: int = 4
    unit: str = " %"

    def drawn(self) -> Markup:
        ends = {0: "start", self.parts: "end"}
        return tag(
            "svg",
            (
                tag("text", f"{self.low + (self.high - self.low) * at / self.parts:g}{self.unit}",
                    x=f"{100 * at / self.parts:.1f}%", y=14, text_anchor=ends.get(at, "middle"),
                    class_="minor" if at % 2 else None)
                for at in range(self.parts + 1)
            ),
            width="100%", height=18, aria_hidden="true",
        )  # fmt: skip


@dataclass(frozen=True)
class ShareBar:
    """Is a share as a bar with its interval."""

    role: str
    share: float
    ci95: Interval

    def drawn(self) -> Markup:
        low, high = self.ci95
        title = f"{self.role}: {words.share(self.share)}, 95 % interval {words.interval(self.ci95)}"
        return _svg(
            title, 24, _bar(0, _at(self.share), 3, 18), _line("on-fill", _at(low), 12, _at(high), 12),
            (_line("on-fill", _at(end), 8, _at(end), 16) for end in (low, high)), class_=self.role,
        )  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """Is the part of a whole, 0-1, that is done."""

    title: str
    done: float

    def drawn(self) -> Markup:
        done = tag("g", _bar(0, _at(self.done), 8, 8), class_="tuned")
        return tag("div", _svg(self.title, 24, _bar(0, "100%", 8, 8), done, class_="base"), class_="hero")


@dataclass(frozen=True)
class Stretch:
    """Is a stretch of a whole, from `begin` to `end`: the seconds of one stage among those of all."""

    title: str
    begin: float
    end: float
    whole: float

    def drawn(self) -> Markup:
        width = max(self.end - self.begin, self.whole / 400)
        return _svg(
            self.title, 16, _bar(_at(self.begin, 0, self.whole), _at(width, 0, self.whole), 3, 10, 1), class_="tuned"
        )


class Whisker(NamedTuple):
    """Is a point with its interval."""

    role: str
    value: float
    ci95: Interval


@dataclass(frozen=True)
class Whiskers:
    """Are points with their intervals, one under the other."""

    title: str
    rows: Sequence[Whisker]
    low: float = 0.0
    high: float = 1.0

    def drawn(self) -> Markup:
        height = 12 * (len(self.rows) + 1)

        def place(value: float) -> str:
            return _at(min(max(value, self.low), self.high), self.low, self.high)

        rows = (
            tag("g", _line("whisker", place(one.ci95[0]), y, place(one.ci95[1]), y),
                _dot("dot", place(one.value), y, 4), class_=one.role)
            for y, one in zip(range(12, height, 12), self.rows, strict=True)
        )  # fmt: skip
        return _svg(self.title, height, _quarters(height), rows)


@dataclass(frozen=True)
class Dumbbell:
    """Are two shares and the way from one to the other."""

    title: str
    before: float
    after: float

    def drawn(self) -> Markup:
        return _svg(
            self.title, 20, _quarters(20),
            tag("g", _line("link", _at(self.before), 10, _at(self.after), 10), class_="tuned"),
            tag("g", _dot("dot", _at(self.before), 10), class_="base"),
            tag("g", _dot("dot", _at(self.after), 10), class_="tuned"),
        )  # fmt: skip


# -- scales ------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class Chart:
    """Are lines over steps, from 0 to at least `least`: thin each step, thick the mean of the steps around it."""

    title: str
    series: Sequence[Series]
    """With points; one or two."""
    show: Callable[[float], str]
    least: float

    def drawn(self) -> Markup:
        shown = [one.points if one.is_sparse else smooth(one.points) for one in self.series]
        every = [point for one in self.series for point in one.points]
        first, last = min(x for x, _ in every), max(x for x, _ in every)
        high = max(top(max(y for _, y in every)), self.least)
        ends = [f"{self.show(points[0][1])} → {self.show(points[-1][1])}" for points in shown]
        newest = [
            tag("span", self.show(points[-1][1]), class_=one.role)
            for one, points in zip(self.series, shown, strict=True)
        ]

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

        levels = [f"{100 - 50 * at}%" for at in range(3)]
        return tag(
            "figure",
            tag("figcaption", tag("b", self.title),
                tag("span", ends[0] if len(shown) == 1 else join(newest[0], " and ", newest[1:]))),
            _svg(
                f"{self.title}, steps {first:g} to {last:g}: {'; '.join(ends)}", 120,
                (_line("grid" if at else "axis", "0", y, "100%", y) for at, y in enumerate(levels)),
                tag("text", self.show(high), x="100%", y=-5, text_anchor="end"),
                map(line, self.series, shown),
            ),
            tag("div", tag("span", f"step {first:g}"), tag("span", f"{last:g}"), class_="ends"),
            class_="chart",
        )  # fmt: skip


# -- size against score ------------------------------------------------------------------------


class Mark(NamedTuple):
    """Is one file in a `Scatter`: its size in MB, its share right, whether its loss is inside the margin.

    `side`: -1 or 1 stands a little to the left or right, where it shares its place with another file.
    """

    size: float
    share: float
    ci95: Interval
    is_inside: bool
    is_chosen: bool
    side: int


@dataclass(frozen=True)
class Scatter:
    """Is score with its interval over the size of files; marks are numbered from 1, filled is inside the margin."""

    title: str
    marks: Sequence[Mark]
    margin: float | None
    """Share right at which the margin ends."""

    def drawn(self) -> Markup:
        sizes = [one.size for one in self.marks]
        columns = round_scale(min(sizes), max(sizes))
        levels = round_scale(*(100 * pick(one.ci95[at] for one in self.marks) for at, pick in enumerate((min, max))))
        left, right, low, high = columns[0], columns[-1], levels[0] / 100, levels[-1] / 100

        def x(size: float) -> str:
            return _at(size, left, right)

        def y(value: float) -> str:
            return _at(high - max(value, low), 0.0, high - low)

        def mark(number: int, one: Mark) -> Markup:
            here, middle = x(one.size), y(one.share)
            is_shared = sum(abs(size - one.size) < 0.01 * (right - left) for size in sizes) > 1
            return tag(
                "g",
                _line("whisker", here, y(one.ci95[0]), here, y(one.ci95[1])),
                _dot("ring", here, middle, 14) if one.is_chosen else None,
                _dot("dot" if one.is_inside else "hollow", here, middle, 9.5),
                tag("text", str(number), x=here, y=middle, dy=4, text_anchor="middle",
                    class_="on-dot" if one.is_inside else "name"),
                class_="tuned" if one.is_inside else "bad",
                transform=f"translate({11 * one.side} 0)" if is_shared else None,
            )  # fmt: skip

        return tag(
            "figure",
            _svg(
                self.title, 280,
                ((_line("grid", "0", y(level / 100), "100%", y(level / 100)),
                  tag("text", f"{level:g} %", x=-8, y=y(level / 100), dy=4, text_anchor="end")) for level in levels),
                None if self.margin is None else _line("margin", "0", y(self.margin), "100%", y(self.margin)),
                (tag("text", f"{size:g}" + (" MB" if size == right else ""), x=x(size), y="100%", dy=20,
                     text_anchor="end" if size == right else "middle") for size in columns),
                (mark(number, one) for number, one in enumerate(self.marks, 1)),
            ),
            class_="scatter",
        )  # fmt: skip
