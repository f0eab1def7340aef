"""A report as one HTML file: no network, no script, light and dark. Draws what `report` gathered; computes no figure.

Whatever is not markup made here is escaped where it enters the page, and its control characters and marks of direction
are made visible: most of it was written by a model. The page's policy lets nothing run and nothing be fetched besides.
"""

from __future__ import annotations

import base64
import hashlib
import html as entities
import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reasoner import files, runs
from reasoner.reporting import report
from reasoner.reporting.compare import Comparison
from reasoner.reporting.report import Material, interval, share

STYLE = Path(__file__).with_name("page.css")
Row = dict[str, Any]


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def _markup(child: object) -> str:
    if isinstance(child, Markup):
        return child
    if child is None:
        return ""
    if isinstance(child, Iterable) and not isinstance(child, str):
        return "".join(map(_markup, child))
    return entities.escape(report.visible(str(child)))


def _join(*children: object) -> Markup:
    return Markup("".join(map(_markup, children)))


def _tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element. An attribute's `_` is a `-`, one at its end is dropped; None leaves it out, True has no value."""
    told = "".join(
        f" {key.removesuffix('_').replace('_', '-')}" + ("" if value is True else f'="{_markup(value)}"')
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{told}>{_join(*children)}</{name}>")


def _prose(text: str) -> Markup:
    """A sentence of `report`, whose `code` is marked as in Markdown."""
    return _join(_tag("code", part) if at % 2 else part for at, part in enumerate(text.split("`")))


def _said(text: str) -> Markup:
    """What a model wrote, whole."""
    return _tag("pre", text, class_="said", dir="auto")


# -- plots -------------------------------------------------------------------------------------
# Places are shares of the width, so that a plot fits a phone while its text and strokes keep their size.


def _at(value: float, low: float = 0.0, high: float = 1.0) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"


def _line(kind: str, x1: str, y1: object, x2: str, y2: object) -> Markup:
    return _tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _dot(kind: str, x: str, y: object, r: float = 4.5) -> Markup:
    return _tag("circle", cx=x, cy=y, r=r, class_=kind)


def _svg(title: str, height: int, *children: object, class_: str | None = None) -> Markup:
    return _tag("svg", _tag("title", title), *children, role="img", width="100%", height=height, class_=class_)


def _bar(role: str, found: Row) -> Markup:
    """A share as a bar with its interval."""
    low, high = found["ci95"]
    title = f"{role}: {share(found['pass_at_1'])}, 95 % interval {interval(found['ci95'])}"
    return _svg(
        title, 24,
        _tag("rect", x=0, y=3, width=_at(found["pass_at_1"]), height=18, rx=2, class_="fill"),
        _line("on-fill", _at(low), 12, _at(high), 12),
        (_line("on-fill", _at(end), 8, _at(end), 16) for end in (low, high)),
        class_=role,
    )  # fmt: skip


def _ticks(low: float, high: float, show: Callable[[float], str], parts: int = 4) -> Markup:
    """The scale of rows of plots."""
    ends = {0: "start", parts: "end"}
    return _tag(
        "svg",
        (
            _tag("text", show(low + (high - low) * at / parts), x=f"{100 * at / parts:.1f}%", y=14,
                 text_anchor=ends.get(at, "middle"), class_="minor" if at % 2 else None)
            for at in range(parts + 1)
        ),
        width="100%", height=18, aria_hidden="true",
    )  # fmt: skip


SHARES = _ticks(0, 100, "{:.0f} %".format, 2)
"""Head of a column of plots."""


def _whiskers(title: str, rows: Sequence[tuple[str, float, Sequence[float]]], low: float, high: float) -> Markup:
    """Points with their intervals, one under the other: (class, value, interval)."""
    middle = [12 + 12 * at for at in range(len(rows))]
    height = 12 * (len(rows) + 1)
    return _svg(
        title, height,
        (_line("grid", f"{25 * at}%", 0, f"{25 * at}%", height) for at in range(5)),
        (_tag("g", _line("whisker", _at(max(ends[0], low), low, high), y, _at(min(ends[1], high), low, high), y),
              _dot("dot", _at(value, low, high), y, 4), class_=kind)
         for y, (kind, value, ends) in zip(middle, rows, strict=True)),
    )  # fmt: skip


def _dumbbell(title: str, before: float, after: float) -> Markup:
    return _svg(
        title, 20,
        (_line("grid", f"{25 * at}%", 0, f"{25 * at}%", 20) for at in range(5)),
        _tag("g", _line("link", _at(before), 10, _at(after), 10), class_="tuned"),
        _tag("g", _dot("dot", _at(before), 10), class_="base"),
        _tag("g", _dot("dot", _at(after), 10), class_="tuned"),
    )  # fmt: skip


class Series(NamedTuple):
    """One line of a chart; `role` is its colour."""

    role: str
    points: list[tuple[float, float]]
    is_sparse: bool = False
    """Whether each point was a measurement of its own, not one of many that scatter."""


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    half = _half_window(len(points))
    values = [y for _, y in points]
    windows = (values[max(at - half, 0) : at + half + 1] for at in range(len(values)))
    return [(x, sum(few) / len(few)) for (x, _), few in zip(points, windows, strict=True)]


def _half_window(n: int) -> int:
    return n // 20


def _top(value: float) -> float:
    """The end of a scale: a round number not below the value."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next((step * unit for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if step * unit >= value), 10 * unit)


def _round_scale(low: float, high: float) -> list[float]:
    """Three to six round numbers, from one not above the least value to one not below the largest."""
    step = _top((high - low) / 4) if high > low else 1.0
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * at for at in range(first, max(last, first + 1) + 1)]


def _chart(title: str, series: Sequence[Series], show: Callable[[float], str], least: float) -> Markup:
    """Lines over steps, from 0 to at least `least`: thin each step, thick the mean of the steps around it."""
    series = [one for one in series if one.points]
    shown = [one.points if one.is_sparse else _smooth(one.points) for one in series]
    every = [point for one in series for point in one.points]
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    top = max(_top(max(y for _, y in every)), least)
    ends = [f"{show(points[0][1])} → {show(points[-1][1])}" for points in shown]
    newest = [_tag("span", show(points[-1][1]), class_=one.role) for one, points in zip(series, shown, strict=True)]
    caption = ends[0] if len(shown) == 1 else _join(newest[0], " and ", newest[1:])

    def path(points: Sequence[tuple[float, float]], kind: str) -> Markup:
        width = max(last - first, 1)
        places = (f"{1000 * (x - first) / width:.1f},{100 - 100 * y / top:.2f}" for x, y in points)
        return _tag("polyline", points=" ".join(places), class_=kind)

    def drawn(one: Series, points: Sequence[tuple[float, float]]) -> Markup:
        lines = [path(one.points, "thin")] if not one.is_sparse and len(points) > 2 else []
        x, y = points[-1]
        end = _dot("dot", _at(x, first, max(last, first + 1)), f"{100 - 100 * y / top:.2f}%", 3.5)
        inner = _tag("svg", *lines, path(points, "thick"), viewBox="0 0 1000 100", preserveAspectRatio="none",
                     width="100%", height="100%")  # fmt: skip
        return _tag("g", inner, end, class_=one.role)

    return _tag(
        "figure",
        _tag("figcaption", _tag("b", title), _tag("span", caption)),
        _svg(
            f"{title}, steps {first:g} to {last:g}: {'; '.join(ends)}", 120,
            (_line("grid" if at else "axis", "0", f"{100 - 50 * at}%", "100%", f"{100 - 50 * at}%") for at in range(3)),
            _tag("text", show(top), x="100%", y=-5, text_anchor="end"),
            map(drawn, series, shown),
        ),
        _tag("div", _tag("span", f"step {first:g}"), _tag("span", f"{last:g}"), class_="ends"),
        class_="chart",
    )  # fmt: skip


# -- parts of a page ---------------------------------------------------------------------------


def _table(titles: Sequence[object], rows: Iterable[Sequence[object]], label: str, kind: str = "") -> Markup:
    """A table that scrolls in a box of its own; the first cell of a row is its head. A cell may be a whole <td>."""

    def cell(child: object) -> Markup:
        return child if isinstance(child, Markup) and child.startswith("<td") else _tag("td", child)

    head = _tag("thead", _tag("tr", (_tag("th", title, scope="col") for title in titles))) if titles else None
    body = _tag("tbody", (_tag("tr", _tag("th", row[0], scope="row"), map(cell, row[1:])) for row in rows))
    return _tag("div", _tag("table", head, body, class_=kind or None), class_="scroll", tabindex=0, role="region",
                aria_label=label)  # fmt: skip


def _plot(svg: Markup) -> Markup:
    return _tag("td", svg, class_="plot")


def _note(text: object) -> Markup:
    return _tag("p", text, class_="note")


class Section(NamedTuple):
    """A part of the page with its name in the list of parts."""

    name: str
    title: str
    parts: list[Markup]


def _sections(sections: Iterable[Section | None]) -> Markup:
    """The list of parts and the parts; what there is nothing of is left out."""
    there = [one for one in sections if one and one.parts]
    links = (_tag("li", _tag("a", one.title, href=f"#{one.name}")) for one in there)
    return _join(
        _tag("nav", _tag("ul", links), aria_label="Parts of this report"),
        (_tag("section", _tag("h2", one.title, id=f"{one.name}-title"), one.parts, id=one.name,
              aria_labelledby=f"{one.name}-title") for one in there),
    )  # fmt: skip


def _page(title: str, *body: object, refresh: int | None = None) -> str:
    style = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    again = f'<meta http-equiv="refresh" content="{refresh}">\n' if refresh else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n{again}'
        f"{_tag('title', title)}\n<style>{style}</style>\n</head>\n{_tag('body', *body)}\n</html>\n"
    )


def _eyebrow(*pairs: tuple[str, object]) -> Markup:
    told = (_tag("span", name, " ", _tag("b", value)) for name, value in pairs if value not in (None, ""))
    return _tag("p", told, class_="eyebrow")


def _footer(versions: Mapping[str, str]) -> Markup:
    made = f" {versions['reasoner']}" if "reasoner" in versions else ""
    return _tag("footer", f"Made by reasoner{made} from the records of the run. One file: it fetches nothing.")


# -- the report of a run -----------------------------------------------------------------------


def html(material: Material, refresh: int | None = None) -> str:
    """`report.html`. `refresh`: seconds after which a browser reads the file again, while the run goes on."""
    summary = material.summary
    scored = material.scored
    sections = _sections(
        [
            Section("figures", "Figures", _figures(summary, material.audit)) if summary else None,
            Section("training", "While it trained", _training(material)),
            Section("kinds", "By kind of problem", _kinds(scored.get("by_kind") or {})),
            Section("beside", "Beside it", _beside(scored.get("beside") or {})),
            Section("ladder", "Where a score is lost", _ladder(material.ladder)),
            Section("behaviour", "Behaviour", _behaviour(material)),
            Section("flips", "What changed, problem by problem", _flips(report.flips(material.completions))),
            Section("everyday", "Everyday prompts", _everyday(scored.get("everyday"), material.everyday)),
            Section("audit", "The verifier's audit", _audit(material.audit)),
            Section("lineage", "Where it came from", _lineage(material)),
            Section("reproduce", "How to reproduce it", _reproduce(material)),
            Section("seconds", "What took how long", _seconds(material)),
        ]
    )
    title = f"{material.run.name}: " + (f"{summary['lift']['points']:+.1f} points" if summary else "in progress")
    head = _headline(material, summary) if summary else _in_progress(material, refresh)
    versions = (summary or {}).get("versions") or {}
    return _page(title, _tag("header", head), _tag("main", sections), _footer(versions), refresh=refresh)


def _headline(material: Material, summary: Row) -> list[Markup]:
    lift = summary["lift"]
    what = dict(report.lines(summary))["problems"]
    finished = max((record.finished for record in material.records.values()), default="")[:10]
    sure = "" if report.holds(lift) else " no measurable lift"
    points = _tag("span", f"{lift['points']:+.1f}", class_="big tuned" if report.holds(lift) else "big")
    return [
        _eyebrow(("run", summary["run"]), ("profile", summary["profile"]), ("seed", summary["seed"]),
                 ("device", summary["device"]), ("", finished)),
        *(_tag("p", text, class_="warning") for text in report.warnings(summary)),
        _tag("h1", points, f" points from base to tuned{':' if sure else ''}{sure}"),
        _tag("p", f"95 % interval {_points(lift['ci95'])} on {summary['n']:,} held-out problems", class_="lede"),
        _bars([(role, role, summary[role]) for role in report.ROLES]),
        _note(_prose(f"{what}. {report.interval_note(summary)}")),
    ]  # fmt: skip


def _bars(rows: Sequence[tuple[str, str, Row]]) -> Markup:
    """(Name, role, measured): shares of right answers on one scale."""
    drawn = (
        (_tag("span", name, class_=role), _bar(role, found), share(found["pass_at_1"]), interval(found["ci95"]))
        for name, role, found in rows
    )
    return _scaled(drawn, _ticks(0, 100, "{:.0f} %".format))


def _scaled(rows: Iterable[tuple[object, Markup, str, str]], scale: Markup) -> Markup:
    """(Name, plot, figure, interval) over one scale."""
    body = (
        _tag("tr", _tag("th", name, scope="row"), _plot(plot),
             _tag("td", _tag("b", figure), " ", _tag("span", doubt, class_="soft"), class_="number"))
        for name, plot, figure, doubt in rows
    )  # fmt: skip
    foot = _tag("tfoot", _tag("tr", _tag("td"), _plot(scale), _tag("td")), aria_hidden="true")
    return _tag("table", _tag("tbody", body), foot, class_="rows hero")


def _points(pair: Sequence[float]) -> str:
    return f"[{pair[0]:+.1f}, {pair[1]:+.1f}]"


def _in_progress(material: Material, refresh: int | None) -> list[Markup]:
    newest = material.metrics[-1] if material.metrics else None
    done = newest["step"] / max(newest["steps"], 1) if newest else 0.0
    bar = _svg(report.progress(material), 24, _tag("rect", x=0, y=8, width="100%", height=8, rx=2, class_="fill"),
               _tag("g", _tag("rect", x=0, y=8, width=_at(done), height=8, rx=2, class_="fill"), class_="tuned"),
               class_="base")  # fmt: skip
    again = f" This page is read again every {refresh} s." if refresh else ""
    big = f"{newest['step']} of {newest['steps']}" if newest else "0"
    return [
        _eyebrow(("run", material.run.name), ("profile", material.config.get("profile"))),
        _tag("h1", _tag("span", big, class_="big tuned"), " training steps"),
        _tag("div", bar, class_="hero"),
        _tag("p", report.progress(material) + again, class_="live", role="status"),
    ]


def _figures(summary: Row, audit: Row | None) -> list[Markup]:
    """The closing summary, but for what has a part of its own further down."""
    elsewhere = {"problems", "by kind", "everyday", *(summary.get("beside") or {}), *(["audit"] if audit else [])}
    found = ((what, _prose(text)) for what, text in report.lines(summary) if what not in elsewhere)
    return [_table((), found, "Figures", "pairs")]


def _metric(metrics: Iterable[Row], key: str) -> list[tuple[float, float]]:
    """What was measured of it; a figure that is none (NaN of a broken step) has no place on a curve."""
    return [(row["step"], row[key]) for row in metrics if row.get(key) is not None and math.isfinite(row[key])]


def _decimals(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}f}"


def _whole_share(value: float) -> str:
    return f"{100 * value:.0f} %"


CURVES: tuple[tuple[str, str, Callable[[float], str], float], ...] = (
    ("reward", "Reward", _decimals(2), 1.0),
    ("signal", "Groups with signal", _whole_share, 1.0),
    ("shows_working", "Shows working", _whole_share, 1.0),
    ("length", "Tokens of a completion", _decimals(0), 0),
    ("entropy", "Entropy, nats a token", _decimals(2), 0),
    ("chat_kl", "KL on chat, nats a token", _decimals(3), 0),
    ("truncated", "Cut by length", _whole_share, 0.1),
    ("strict_gap", "Right by the lenient rule only", _whole_share, 0.1),
    ("hidden_share", "Hidden tests that hold", _whole_share, 1.0),
    ("mismatch", "Sampler against trainer", "{:.1g}".format, 0),
)
"""(Key, title, how a value is written, the least end of the scale)."""
SPARSE = ("chat_kl",)
"""Measured every few steps, each time on the same texts."""


def _curves(runs_: Sequence[tuple[str, Material]]) -> list[Markup]:
    """The learning curves of these runs, in one chart each; a role is a colour."""
    found = []
    for key, title, show, least in CURVES:
        series = [Series(role, _metric(one.metrics, key), key in SPARSE) for role, one in runs_]
        if any(y or key in ("reward", "signal") for one in series for _, y in one.points):
            found.append(_chart(title, series, show, least))
    dev = [Series(role, sorted(_metric(one.dev, "score")), is_sparse=True) for role, one in runs_]
    if any(one.points for one in dev):
        found.insert(1, _chart("Right on dev, served", dev, _whole_share, 1.0))
    return found


def _drawn_as(n: int) -> str:
    window = 2 * _half_window(n) + 1
    return f"Thin: each step. Thick: the mean of {window} steps around it." if window > 1 else ""


def _training(material: Material) -> list[Markup]:
    curves = _curves([("tuned", material)])
    if not curves:
        return []
    titles, rows = report.training_rows(material.metrics)
    return [
        _note(f"{report.reward_note(material)} {_drawn_as(len(material.metrics))}"),
        _tag("div", curves, class_="charts"),
        *map(_note, report.gap_notes(material.metrics)),
        _tag("details", _tag("summary", _tag("span", "The figures behind, a dozen steps", class_="title")),
             _table(titles, ([_prose(cell) for cell in row] for row in rows), "Training, a dozen steps", "wide")),
    ]  # fmt: skip


def _legend(*names: tuple[str, str]) -> Markup:
    return _tag("p", (_tag("span", name, class_=role) for role, name in names), class_="legend")


BASE_AND_TUNED = (("base", "base"), ("tuned", "tuned"))


def _kinds(kinds: Mapping[str, Row]) -> list[Markup]:
    if not kinds:
        return []
    rows = []
    for kind, cell in kinds.items():
        right, lift = [f"{cell[role]['right']} of {cell[role]['scored']}" for role in report.ROLES], cell["lift"]
        plot = None
        if all(cell[role]["scored"] for role in report.ROLES):
            shares = (cell[role]["right"] / cell[role]["scored"] for role in report.ROLES)
            plot = _dumbbell(f"{kind}: {right[0]} to {right[1]}", *shares)
        effect = [f"{lift['points']:+.1f} {_points(lift['ci95'])}", f"{lift['p_holm']:.2g}"] if lift else ["", ""]
        rows.append([kind, _plot(plot or _join()), *right, *effect])
    titles = ["kind", SHARES, "base right", "tuned right", "lift, points", "p"]
    return [_legend(*BASE_AND_TUNED), _table(titles, rows, "By kind of problem", "wide"), _note(report.P_VALUES)]


def _beside(sets: Mapping[str, Row]) -> list[Markup]:
    if not sets:
        return []
    rows: list[list[object]] = []
    for name, facts in sets.items():
        if "missing" in facts:
            rows.append([name, _tag("td", f"not found in {facts['missing']} (REASONER_DATA)", colspan=6)])
            continue
        base, tuned, lift = facts["base"], facts["tuned"], facts["lift"]
        told = [f"{share(found['pass_at_1'])} {interval(found['ci95'])}" for found in (base, tuned)]
        plot = _whiskers(f"{name}: base {told[0]}, tuned {told[1]}",
                         [("base", base["pass_at_1"], base["ci95"]), ("tuned", tuned["pass_at_1"], tuned["ci95"])],
                         0.0, 1.0)  # fmt: skip
        rows.append([name, _plot(plot), str(facts["n"]), *told, f"{lift['points']:+.1f} {_points(lift['ci95'])}",
                     f"{lift['p_holm']:.2g}", f"{share(base['truncated'])} → {share(tuned['truncated'])}"])  # fmt: skip
    titles = ["set", SHARES, "n", "base right", "tuned right", "lift, points", "p", "cut"]
    return [
        _note("Sets scored beside the main one, base and tuned alike. Transfer is reported as it is, small, none or"
              " negative."),
        _legend(*BASE_AND_TUNED), _table(titles, rows, "Sets beside", "wide"),
    ]  # fmt: skip


# -- ladder and quants -------------------------------------------------------------------------


def _ladder(ladder: Row | None) -> list[Markup]:
    if not ladder:
        return []
    loss = ladder.get("first_loss")
    rows = []
    for cells, rung in zip(report.ladder_rows(ladder), ladder["rungs"], strict=True):
        lost = loss is not None and loss["rung"] == rung["rung"]
        role = "bad" if lost else "base" if rung["rung"] == "base" else "tuned"
        plot = _whiskers(f"{rung['rung']}: {cells[2]}", [(role, rung["pass_at_1"], rung["ci95"])], 0.0, 1.0)
        name = _tag("span", f"{cells[0]}: lost here" if lost else cells[0], class_="bad" if lost else None)
        rows.append([name, _plot(plot), *cells[1:]])
    titles = ["rung", SHARES, "engine", "right", "against", "change, points", "flips", "cut",
              "MB", "tokens/s"]  # fmt: skip
    found = [_note(_prose(report.ladder_note(ladder))), _table(titles, rows, "Rungs of the ladder", "wide")]
    if loss:
        rung = next(one for one in ladder["rungs"] if one["rung"] == loss["rung"])
        flips = ([flip["problem_id"], flip["before"], flip["after"]] for flip in rung["flips"])
        found.append(
            _tag("details", _tag("summary", _tag("span", f"What flipped at {loss['rung']}", class_="title")),
                 _table(["problem", "before", "after"], flips, "Flipped problems"))
        )  # fmt: skip
    return found + (_quants(ladder) if ladder.get("quants") else [])


def _quants(ladder: Row) -> list[Markup]:
    quants = ladder["quants"]
    rows = [[f"{number}  {cells[0]}", *cells[1:]] for number, cells in enumerate(report.quant_rows(ladder), 1)]
    drawn = "Numbered as in the table, with 95 % intervals; filled: inside the margin. Dashed: F16 less the margin."
    return [
        _tag("h3", "Size against score"),
        _note(f"{report.quant_note(ladder)} {drawn}"),
        _scatter(quants, ladder),
        _table(["quant", "MB", "right", "against F16, points", "tokens/s", "inside"], rows, "Quants", "wide"),
    ]  # fmt: skip


def _scatter(quants: Sequence[Row], ladder: Row) -> Markup:
    """Score with its interval over the size of the file; the numbers are those of the table, filled is inside."""
    sizes = [one["bytes"] / 1e6 for one in quants]
    columns = _round_scale(min(sizes), max(sizes))
    levels = _round_scale(*(100 * pick(one["ci95"][at] for one in quants) for at, pick in enumerate((min, max))))
    left, right, low, high = columns[0], columns[-1], levels[0] / 100, levels[-1] / 100
    reference = next((one for one in quants if one["quant"] == "F16"), None)

    def y(value: float) -> str:
        return _at(high - value, 0.0, high - low)

    chosen = min(
        (one for one in quants if one["inside"] and one["quant"] == ladder.get("chosen")),
        key=lambda one: (-one["right"], one["imatrix"]),  # made with and without a matrix: as the ladder chooses
        default=None,
    )
    marks = []
    for number, (one, size) in enumerate(zip(quants, sizes, strict=True), 1):
        x, middle = _at(size, left, right), y(one["pass_at_1"])
        rivals = [other for other in sizes if abs(other - size) < 0.01 * (right - left)]
        aside = f"translate({11 if one['imatrix'] else -11} 0)" if len(rivals) > 1 else None
        ring = _dot("ring", x, middle, 14) if one is chosen else None
        marks.append(
            _tag("g", _line("whisker", x, y(one["ci95"][0]), x, y(one["ci95"][1])), ring,
                 _dot("dot" if one["inside"] else "hollow", x, middle, 9.5),
                 _tag("text", str(number), x=x, y=middle, dy=4, text_anchor="middle",
                      class_="on-dot" if one["inside"] else "name"),
                 class_="tuned" if one["inside"] else "bad", transform=aside)
        )  # fmt: skip
    margin = y(max(reference["pass_at_1"] - ladder["margin_points"] / 100, low)) if reference else None
    told = "; ".join(f"{cells[0]} {cells[1]} MB {cells[2]}" for cells in report.quant_rows(ladder))
    return _tag(
        "figure",
        _svg(
            f"Share right against size of the file: {told}", 280,
            (_join(_line("grid", "0", y(level / 100), "100%", y(level / 100)),
                   _tag("text", f"{level:g} %", x=-8, y=y(level / 100), dy=4, text_anchor="end")) for level in levels),
            _line("margin", "0", margin, "100%", margin) if margin else None,
            (_tag("text", f"{size:g}" + (" MB" if size == right else ""), x=_at(size, left, right), y="100%", dy=20,
                  text_anchor="end" if size == right else "middle") for size in columns),
            marks,
        ),
        class_="scatter",
    )  # fmt: skip


# -- behaviour and texts -----------------------------------------------------------------------


def _habits(runs_: Sequence[tuple[str, Material]]) -> list[Markup]:
    """Behaviour over the steps of training."""

    def held(row: Row) -> float | None:
        return row["correct"] / row["equations"] if row["equations"] else None

    shown: tuple[tuple[str, Callable[[Row], float | None], Callable[[float], str], float], ...] = (
        ("Different numbers", lambda row: row["numbers"], _decimals(1), 0),
        ("Equations that hold", held, _whole_share, 1.0),
        ("Self-correction", lambda row: row["corrects_itself"], _whole_share, 0.1),
    )
    found = []
    for title, value, show, least in shown:
        series = [
            Series(role, [(row["step"], y) for row in one.trained if (y := value(row)) is not None])
            for role, one in runs_
        ]
        if any(y for one in series for _, y in one.points):
            found.append(_chart(title, series, show, least))
    return found


def _behaviour(material: Material) -> list[Markup]:
    titles, rows = report.behaviour_rows(material)
    if not rows:
        return []
    curves = _habits([("tuned", material)])
    return [
        _note(report.BEHAVIOUR),
        *([_tag("div", curves, class_="charts")] if curves else []),
        _table(titles, rows, "Behaviour"),
    ]


def _flips(groups: Sequence[tuple[str, list[report.Pair], int]], names: Sequence[str] = report.ROLES) -> list[Markup]:
    return [
        _tag(
            "details",
            _tag("summary", _tag("h3", title), _tag("span", f"{n:,}", class_="soft")),
            _note(report.shown_of(len(pairs), n)),
            (_pair(pair, names) for pair in pairs),
            open=at < 2 or None,
        )
        for at, (title, pairs, n) in enumerate(groups)
    ]


def _pair(pair: report.Pair, names: Sequence[str]) -> Markup:
    asked = pair[0]
    sides = []
    for name, row in zip(names, pair, strict=True):
        tokens = [f"{row['tokens']:,} tokens"] if row.get("tokens") else []
        sides.append((name, ", ".join([row["verdict"], *_cut(row), *tokens]), row))
    problem, told = _tag("bdi", asked["problem_id"]), report.reference(asked["answer"])
    is_short = "\n" not in told
    return _tag(
        "article",
        _tag("p", "Problem ", problem, (", reference ", _tag("bdi", told)) if is_short else "", class_="id"),
        _tag("div", asked["question"], class_="said asked", dir="auto"),
        "" if is_short else _tag("details", _tag("summary", "reference"), _said(told)),
        _sides(sides),
        class_="pair",
    )


def _sides(sides: Iterable[tuple[str, str, Row]]) -> Markup:
    """Base and tuned beside each other; under each other on a phone."""
    return _tag(
        "div",
        (_tag("div", _tag("h4", name, _tag("span", note)), _said(row["completion"]), class_=f"side {role}")
         for role, (name, note, row) in zip(report.ROLES, sides, strict=True)),
        class_="sides",
    )  # fmt: skip


def _cut(row: Row) -> list[str]:
    return ["cut"] if row.get("finish_reason") == "length" else []


def _everyday(figures: Row | None, rows: Mapping[str, Sequence[Row]]) -> list[Markup]:
    if not figures:
        return []
    changed = {key: ", ".join(figures[key]) or "none" for key in ("facts_lost", "facts_gained")}
    found = [
        _note(report.everyday_note(figures)),
        _table(["", *report.ROLES], report.everyday_rows(figures), "Everyday prompts", "pairs"),
        _tag("p", f"{share(figures['changed'])} of the greedy answers differ. Facts lost in them:"
                  f" {changed['facts_lost']}; gained: {changed['facts_gained']}.{report.everyday_moved(figures)}"
                  " Below, the greedy answers."),
    ]  # fmt: skip
    for base, tuned in zip(rows.get("base", ()), rows.get("tuned", ()), strict=True):
        sides = [(name, ", ".join(_remarks(row)), row) for name, row in (("base", base), ("tuned", tuned))]
        same = "the same answer" if base["completion"] == tuned["completion"] else "; ".join(
            f"{name}: {note}" for name, note, _ in sides if note)  # fmt: skip
        title = _tag("span", _tag("bdi", base["prompt"]), class_="title")
        found.append(_tag("details", _tag("summary", title, _tag("span", same, class_="soft")), _sides(sides)))
    return found


def _remarks(row: Row) -> list[str]:
    fact = {None: "", True: "fact right", False: "fact not there"}[row["fact_right"]]
    return [note for note in (row["degenerate"], fact, *_cut(row)) if note]


# -- where it came from ------------------------------------------------------------------------


def _audit(audit: Row | None) -> list[Markup]:
    if not audit:
        return []
    titles = ["check", "n", "failed", "rate, 95 %"]
    return [_note(report.audit_note(audit)), _table(titles, report.audit_rows(audit), "The audit's checks")]


def _lineage(material: Material) -> list[Markup]:
    rows = (
        [link.what, _tag("td", link.value, class_="hash"), link.more,
         _tag("td", link.holds, class_="bad" if link.named is False else None)]
        for link in report.lineage(material)
    )  # fmt: skip
    return [_note(report.LINEAGE), _table(["", "identity", "of", "named above"], rows, "Lineage")]


def _reproduce(material: Material) -> list[Markup]:
    return [
        part
        for why, command in report.reproduce(material)
        for part in (_tag("h3", why), _tag("pre", command, class_="command"))
    ]


def _seconds(material: Material) -> list[Markup]:
    seconds = (material.summary or {}).get("seconds") or {name: one.seconds for name, one in material.records.items()}
    stages = {name: value for name, value in seconds.items() if name != "total"}
    if not stages:
        return []
    total = sum(stages.values())
    ends = list(itertools.accumulate(stages.values()))
    rows = [
        [name,
         _plot(_svg(f"{name}: {value:,.1f} s of {total:,.1f}", 16,
                    _tag("rect", x=_at(end - value, 0, total), y=3, width=_at(max(value, total / 400), 0, total),
                         height=10, rx=1, class_="fill"), class_="tuned")),
         _tag("td", f"{value:,.1f} s", class_="number")]
        for (name, value), end in zip(stages.items(), ends, strict=True)
    ]  # fmt: skip
    together = ["together", _plot(_join()), _tag("td", f"{total:,.1f} s", class_="number")]
    return [_table((), [*rows, together], "Seconds", "pairs")]


# -- two runs side by side ---------------------------------------------------------------------


def compared(a: Material, b: Material, found: Comparison) -> str:
    """Two finished runs on one page. `found`: what `compare.run` says of them, which has refused what must not be."""
    pair = (a, b)
    summaries = [one.summary or {} for one in pair]
    names = [one.run.name for one in pair]
    roles = list(zip(report.ROLES, names, strict=True))
    coloured = list(zip(report.ROLES, pair, strict=True))
    is_same = summaries[0]["split_sha256"] == summaries[1]["split_sha256"]
    curves, habits = _curves(coloured), _habits(coloured)
    legend = _legend(*roles)
    figures = [dict(report.lines(one)) for one in summaries]
    kinds = [one.get("by_kind") or {} for one in summaries]
    kind_rows = []
    for kind in (kind for kind in kinds[0] if kind in kinds[1]):
        cells = [one[kind]["tuned"] for one in kinds]
        if all(cell["scored"] for cell in cells):
            told = [f"{cell['right']} of {cell['scored']}" for cell in cells]
            plot = _dumbbell(f"{kind}: {told[0]} and {told[1]}", *(cell["right"] / cell["scored"] for cell in cells))
            kind_rows.append([kind, _plot(plot), *told])
    tables = [report.behaviour_rows(one) for one in pair]
    sections = _sections(
        [
            Section("figures", "Figures", [
                _table(["", *names], ([what, *(_prose(one.get(what, "")) for one in figures)]
                                      for what in dict.fromkeys([*figures[0], *figures[1]])), "Figures", "pairs")]),
            Section("settings", "Settings that differ", _differing(a, b)),
            Section("training", "While they trained", [legend, _tag("div", curves, class_="charts")] if curves else []),
            Section("kinds", "By kind of problem, tuned", [
                legend, _table(["kind", SHARES, *names], kind_rows, "By kind", "wide"),
            ] if kind_rows and is_same else []),
            Section("behaviour", "Behaviour", [
                _note(report.BEHAVIOUR), legend, *([_tag("div", habits, class_="charts")] if habits else []),
                *(part for name, (titles, rows) in zip(names, tables, strict=True) if rows
                  for part in (_tag("h3", name), _table(titles, rows, f"Behaviour of {name}"))),
            ]),
            Section("flips", "The tuned models, problem by problem", _flips(_apart(a, b), names) if is_same else []),
            Section("reproduce", "How to reproduce it", [*_reproduce(a), *_reproduce(b)]),
        ]
    )  # fmt: skip
    bars = [(f"{one['run']}, {role}", role, one[role]) for one in summaries for role in report.ROLES]
    head = [
        _eyebrow(*((one["profile"], f"{one['run']}, seed {one['seed']}") for one in summaries)),
        *(_tag("p", f"{one['run']}: {text}", class_="warning") for one in summaries for text in report.warnings(one)),
        _tag("h1", " and ".join(names)),
        _bars(bars),
        _lifts(summaries),
        *map(_note, _told(found)),
    ]
    versions = summaries[0].get("versions") or {}
    return _page(" and ".join(names), _tag("header", head), _tag("main", sections), _footer(versions))


def _apart(a: Material, b: Material) -> list[tuple[str, list[report.Pair], int]]:
    titles = {
        report.LOST: f"Right in {a.run.name}, wrong in {b.run.name}",
        report.GAINED: f"Wrong in {a.run.name}, right in {b.run.name}",
    }
    both = {"base": a.completions.get("tuned", []), "tuned": b.completions.get("tuned", [])}
    return [(titles.get(title, title), pairs, n) for title, pairs, n in report.flips(both)]


def _lifts(summaries: Sequence[Row]) -> Markup:
    """The lifts of runs on one scale that holds 0."""
    every = [0.0, *(end for one in summaries for end in one["lift"]["ci95"])]
    scale = _round_scale(min(every), max(every))
    low, high = scale[0], scale[-1]
    drawn = []
    for role, one in zip(report.ROLES, summaries, strict=True):
        points, ends = one["lift"]["points"], one["lift"]["ci95"]
        title = f"{one['run']}: lift {points:+.1f} points {_points(ends)}"
        plot = _whiskers(title, [(role, points, ends)], low, high)
        drawn.append((f"{one['run']}, lift", plot, f"{points:+.1f}", _points(ends)))
    return _scaled(drawn, _ticks(low, high, "{:g}".format, len(scale) - 1))


def _told(found: Comparison) -> list[str]:
    """What `compare.run` found across the two."""
    told = []
    for one in found.seeds:
        told.append(f"Over {one.seeds} training seeds: mean lift {one.points:+.1f} points {_points(list(one.ci95))}"
                    f" (95 %, {one.interval}).")  # fmt: skip
    for pair in found.controls:
        gap = pair.difference
        points = f"{gap.points:+.1f} points {_points(list(gap.ci95))}"
        told.append(f"{pair.run} minus its control {pair.control}: {points} ({gap.test}).")
    return [*told, *(f"{note[:1].upper()}{note[1:]}." for note in found.notes)]


def _differing(a: Material, b: Material) -> list[Markup]:
    flat = [
        {f"{section}.{key}": value for section, values in one.config.items() if isinstance(values, dict)
         for key, value in values.items()}
        for one in (a, b)
    ]  # fmt: skip
    keys = [key for key in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(key) != flat[1].get(key)]
    rows = ([_tag("code", key), *(str(one.get(key, "")) for one in flat)] for key in keys)
    return [_table(["", a.run.name, b.run.name], rows, "Settings that differ", "pairs")] if keys else []


# -- files -------------------------------------------------------------------------------------


EVERY = 5
"""Seconds between two writings of a page that is looked at while its run goes on."""


def follow(run_: runs.Run, say: Callable[[str], None]) -> None:
    """Write the page of a run in progress again and again, until the run ends or the person has seen enough."""
    if runs.is_locked(run_):
        say(f"open {run_.path / 'report.html'}: it is written anew every {EVERY} s until the run ends (or Ctrl-C)")
    try:
        while runs.is_locked(run_):
            write(run_, refresh=EVERY)
            time.sleep(EVERY)
    except KeyboardInterrupt:
        pass
    page = write(run_)[1]
    say(f"run {run_.name} {'goes on' if runs.is_locked(run_) else 'is not in progress'}: {page}")


def write(run_: runs.Run, summary: dict[str, Any] | None = None, refresh: int | None = None) -> list[Path]:
    """Write a run's `report.md` and `report.html`; where they are."""
    material = report.read(run_, summary)
    texts = {"report.md": report.markdown(material), "report.html": html(material, refresh)}
    for name, text in texts.items():
        files.write_text(run_.path / name, text)
    return [run_.path / name for name in texts]
