"""Says what there is to see of two finished runs beside each other, as one page."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner import words
from reasoner.reporting import blocks, lineage, plots, sections
from reasoner.reporting import summary as summaries
from reasoner.reporting.blocks import Code, Paragraph, Picture, Plain, Section, Table
from reasoner.reporting.compare import Comparison
from reasoner.reporting.flips import GAINED, LOST
from reasoner.reporting.markup import Markup
from reasoner.reporting.material import Material

Pair = tuple[Material, Material]


def report(pair: Pair, found: Comparison) -> blocks.Page:
    """Returns the page. `found`: what `compare.run` says of the two, which has refused what must not be compared."""
    finished = [one.summary for one in pair if one.summary]
    names = [one.run.name for one in pair]
    bars = [bar for one in finished for bar in sections.bars(f"{one.run}, ", one)]
    curves, legend = sections.curves(_coloured(pair)), Picture(plots.legend(*names))
    trained = [legend, Picture(plots.charts(curves))] if curves else []
    is_same_set = len({one.split_sha256 for one in finished}) == 1
    return blocks.Page(
        title=" and ".join(names),
        facts=[(one.profile, f"{one.run}, seed {one.seed}") for one in finished],
        warnings=[f"{one.run}: {text}" for one in finished for text in sections.warnings(one)],
        headline=("", " and ".join(names)),
        is_finding=False,
        head=[Picture(plots.bars(bars, plots.scale())), Picture(_lifts(finished)), *map(Paragraph, _told(found))],
        sections=[
            Section("figures", "Figures", [_figures(names, finished)]),
            Section("settings", "Settings that differ", _settings(pair)),
            Section("training", "While they trained", trained),
            Section("kinds", "By kind of problem, tuned", _kinds(pair, legend) if is_same_set else []),
            Section("behaviour", "Behaviour", _habits(pair, legend)),
            Section("flips", "The tuned models, problem by problem", _flips(pair) if is_same_set else []),
            Section("reproduce", "How to reproduce it", lineage.reproduce(*pair)),
        ],
        version=finished[0].versions.get("reasoner"),
    )


def _coloured(pair: Pair) -> sections.Coloured:
    return list(zip(summaries.ROLES, pair, strict=True))


def _lifts(finished: Sequence[summaries.Summary]) -> Markup:
    """Draws the lifts on one scale that holds 0."""
    every = [0.0, *(end for one in finished for end in one.lift.ci95)]
    scale = plots.round_scale(min(every), max(every))
    rows = []
    for role, one in zip(summaries.ROLES, finished, strict=True):
        points, ends = one.lift.points, one.lift.ci95
        title = f"{one.run}: lift {words.points(points, ends, ' points')}"
        plot = plots.whiskers(title, [(role, points, ends)], scale[0], scale[-1])
        rows.append(plots.Bar(f"{one.run}, lift", role, plot, words.points(points), words.points_interval(ends)))
    return plots.bars(rows, plots.scale(scale[0], scale[-1], len(scale) - 1, ""))


def _told(found: Comparison) -> list[str]:
    """Says what `compare.run` found across the two."""
    told = []
    for one in found.seeds:
        mean = words.points(one.points, one.ci95, " points")
        told.append(f"Over {one.seeds} training seeds: mean lift {mean} (95 %, {one.interval}).")
    for control in found.controls:
        gap = words.points(control.difference.points, control.difference.ci95, " points")
        told.append(f"{control.run} minus its control {control.control}: {gap} ({control.difference.test}).")
    return [*told, *(f"{note[:1].upper()}{note[1:]}." for note in found.notes)]


def _figures(names: Sequence[str], finished: Sequence[summaries.Summary]) -> Table:
    told = [dict(summaries.lines(one)) for one in finished]
    rows = [(Plain(what), *(one.get(what, "") for one in told)) for what in dict.fromkeys([*told[0], *told[1]])]
    return Table("Figures", ("", *map(Plain, names)), rows, "pairs")


def _settings(pair: Pair) -> sections.Made:
    flat = [
        {f"{section}.{key}": value for section, values in one.config.items() if isinstance(values, dict)
         for key, value in values.items()}
        for one in pair
    ]  # fmt: skip
    keys = [key for key in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(key) != flat[1].get(key)]
    rows = [(Code(key), *(Plain(str(one.get(key, ""))) for one in flat)) for key in keys]
    titles = ("", *(Plain(one.run.name) for one in pair))
    return [Table("Settings that differ", titles, rows, "pairs")] if rows else []


def _kinds(pair: Pair, legend: Picture) -> sections.Made:
    first, second = (one.by_kind for one in pair)
    both = [kind for kind in first if kind in second and first[kind].tuned.scored and second[kind].tuned.scored]
    rows = [(Plain(kind), *sections.counted(kind, first[kind].tuned, second[kind].tuned)) for kind in both]
    titles = ("kind", plots.SHARES, *(Plain(one.run.name) for one in pair))
    return [legend, Table("By kind", titles, rows, "wide")] if rows else []


def _habits(pair: Pair, legend: Picture) -> sections.Made:
    made: sections.Made = [Paragraph(sections.BEHAVIOUR), legend, *sections.habit_curves(_coloured(pair))]
    for one in pair:
        if table := sections.habit_table(one, f"Behaviour of {one.run.name}"):
            made += [blocks.Heading(Plain(one.run.name)), *table]
    return made


def _flips(pair: Pair) -> sections.Made:
    """Shows what both tuned models said to the same problems."""
    a, b = (one.run.name for one in pair)
    titles = {LOST: f"Right in {a}, wrong in {b}", GAINED: f"Wrong in {a}, right in {b}"}
    tuned = {role: one.completions.get("tuned", ()) for role, one in _coloured(pair)}
    return sections.flipped(tuned, (a, b), titles)
