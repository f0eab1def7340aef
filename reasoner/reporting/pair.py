"""Says what there is to see of two finished runs beside each other, as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reasoner import words
from reasoner.reporting import lineage, sections
from reasoner.reporting import summary as summaries
from reasoner.reporting.blocks import (
    Bar,
    Bars,
    Block,
    Charts,
    Code,
    Heading,
    Legend,
    Page,
    Paragraph,
    Plain,
    Section,
    Table,
    Text,
)
from reasoner.reporting.flips import GAINED, LOST
from reasoner.reporting.material import Material
from reasoner.reporting.plots import Scale, Whisker, Whiskers, round_scale
from reasoner.reporting.summary import ROLES, Summary


def report(a: Material, b: Material, found: Mapping[str, Any]) -> Page:
    """Returns the page. `found`: what `compare.run` says of the two, which has refused what must not be compared."""
    pair = (a, b)
    summaries_ = [one.summary for one in pair if one.summary]
    names = [one.run.name for one in pair]
    return Page(
        title=" and ".join(names),
        facts=[(one.profile, f"{one.run}, seed {one.seed}") for one in summaries_],
        warnings=[f"{one.run}: {text}" for one in summaries_ for text in sections.warnings(one)],
        headline=("", " and ".join(names)),
        is_finding=False,
        head=[
            sections.bars([(f"{one.run}, ", one) for one in summaries_]),
            _lifts(summaries_),
            *map(Paragraph, _told(found)),
        ],
        sections=[
            _figures(names, summaries_), _settings(pair), _training(pair), _kinds(pair), _habits(pair), _flips(pair),
            lineage.reproduce(a, b),
        ],
        version=summaries_[0].versions.get("reasoner"),
    )  # fmt: skip


def _lifts(found: Sequence[Summary]) -> Bars:
    """The lifts on one scale that holds 0."""
    every = [0.0, *(end for one in found for end in one.lift.ci95)]
    scale = round_scale(min(every), max(every))
    low, high = scale[0], scale[-1]
    rows = []
    for role, one in zip(ROLES, found, strict=True):
        points, ends = one.lift.points, one.lift.ci95
        plot = Whiskers(
            f"{one.run}: lift {words.points(points, ends, ' points')}", [Whisker(role, points, ends)], low, high
        )
        rows.append(Bar(f"{one.run}, lift", role, plot, words.points(points), words.points_interval(ends)))
    return Bars(rows, Scale(low, high, len(scale) - 1, ""))


def _told(found: Mapping[str, Any]) -> list[str]:
    """What `compare.run` found across the two."""
    told = []
    for one in found["seeds"]:
        mean = words.points(one["points"], one["ci95"], " points")
        told.append(f"Over {one['seeds']} training seeds: mean lift {mean} (95 %, {one['interval']}).")
    for one in found["controls"]:
        gap = one["difference"]
        points = words.points(gap["points"], gap["ci95"], " points")
        told.append(f"{one['run']} minus its control {one['control']}: {points} ({gap['test']}).")
    return [*told, *(f"{note[:1].upper()}{note[1:]}." for note in found["notes"])]


def _figures(names: Sequence[str], found: Sequence[Summary]) -> Section:
    told = [dict(summaries.lines(one)) for one in found]
    rows = [(Plain(what), *(one.get(what, "") for one in told)) for what in dict.fromkeys([*told[0], *told[1]])]
    return Section("figures", "Figures", [Table("Figures", ("", *map(Plain, names)), rows, "pairs")])


def _settings(pair: Sequence[Material]) -> Section:
    flat = [
        {f"{section}.{key}": value for section, values in one.config.items() if isinstance(values, dict)
         for key, value in values.items()}
        for one in pair
    ]  # fmt: skip
    keys = [key for key in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(key) != flat[1].get(key)]
    rows = [(Code(key), *(Plain(str(one.get(key, ""))) for one in flat)) for key in keys]
    titles = ("", *(Plain(one.run.name) for one in pair))
    table = Table("Settings that differ", titles, rows, "pairs")
    return Section("settings", "Settings that differ", [table] if rows else [])


def _legend(pair: Sequence[Material]) -> Legend:
    return Legend(*(one.run.name for one in pair))


def _training(pair: Sequence[Material]) -> Section:
    charts = sections.curves(list(zip(ROLES, pair, strict=True)))
    return Section("training", "While they trained", [_legend(pair), Charts(charts)] if charts else [])


def _is_same_set(pair: Sequence[Material]) -> bool:
    return len({one.summary.split_sha256 for one in pair if one.summary}) == 1


def _kinds(pair: Sequence[Material]) -> Section:
    rows = []
    first, second = (one.by_kind for one in pair)
    for kind in first:
        if _is_same_set(pair) and kind in second:
            plot, *counts = sections.counted(kind, (first[kind].tuned, second[kind].tuned))
            rows.append((Plain(kind), plot, *counts))
    titles: list[Text | Scale | None] = ["kind", sections.SHARES, *(Plain(one.run.name) for one in pair)]
    blocks: list[Block] = [_legend(pair), Table("By kind", titles, rows, "wide")]
    return Section("kinds", "By kind of problem, tuned", blocks if rows else [])


def _habits(pair: Sequence[Material]) -> Section:
    blocks: list[Block] = [Paragraph(sections.BEHAVIOUR), _legend(pair)]
    blocks.append(Charts(sections.habit_curves(list(zip(ROLES, pair, strict=True)))))
    for one in pair:
        if table := sections.habit_table(one, f"Behaviour of {one.run.name}"):
            blocks += [Heading(Plain(one.run.name)), *table]
    return Section("behaviour", "Behaviour", blocks)


def _flips(pair: Sequence[Material]) -> Section:
    """Both tuned models on the same problems."""
    a, b = (one.run.name for one in pair)
    titles = {LOST: f"Right in {a}, wrong in {b}", GAINED: f"Wrong in {a}, right in {b}"}
    both = {role: one.completions.get("tuned", ()) for role, one in zip(ROLES, pair, strict=True)}
    blocks = sections.flip_blocks(both, (a, b), titles) if _is_same_set(pair) else []
    return Section("flips", "The tuned models, problem by problem", blocks)
