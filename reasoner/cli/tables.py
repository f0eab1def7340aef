"""Tables of a watch: one row for each checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reasoner.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from reasoner.serving.history import Event


@dataclass
class StepRow:
    """Is what a person reads of one step: its last event, seconds, score, verdict and tag."""

    step: int
    stage: str = ""
    seconds: float | None = None
    score: str = ""
    verdict: str = ""
    tag: str = ""


def rows(events: Iterable[Event]) -> list[StepRow]:
    """Gives one row a step."""
    found: dict[int, StepRow] = {}
    for one in events:
        if one.step is None or one.event in ("promoting", "served"):
            continue
        row = found.setdefault(one.step, StepRow(one.step))
        row.stage = one.event
        if one.event in ("exported", "scored"):
            row.seconds = (row.seconds or 0.0) + (one.seconds or 0.0)
        if one.event == "exported":
            row.tag = one.tag or ""
        if one.event == "scored":
            low, high = one.score_ci95 or (math.nan, math.nan)
            share = math.nan if one.score is None else one.score
            row.score = f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f}), {one.points or 0.0:+.1f}"
        if one.event in ("skipped", "kept", "failed"):
            row.verdict = one.reason.splitlines()[0] if one.reason else ""
        if one.event in ("promoted", "rolled back"):
            row.verdict = f"{one.tag} {'since' if one.event == 'promoted' else 'until'} {one.time[11:19]}"
        if one.event == "removed":
            row.tag = ""
    return [found[step] for step in sorted(found)]


def table(events: Iterable[Event], now: str = "") -> Table:
    """Shows the steps as a table, with what is being done in its caption."""
    from rich.table import Table
    from rich.text import Text

    made = Table(caption=Text(printable(now)), caption_justify="left", expand=False)
    for name in ("step", "stage", "seconds", "dev score, points against the public model", "verdict", "tag"):
        made.add_column(name, justify="right" if name in ("step", "seconds") else "left")
    for row in rows(events):
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        cells = (str(row.step), row.stage, seconds, row.score, row.verdict, row.tag)
        made.add_row(*(Text(printable(cell)) for cell in cells))
    return made
