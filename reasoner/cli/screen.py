"""What a person sees while it goes on, on standard error: live bars and tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from reasoner import words
from reasoner.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from reasoner.pipeline.job import Job, Reporter
    from reasoner.reporting.summary import Summary
    from reasoner.serving.history import Event
    from reasoner.training.facts import StepMetrics


class Screen:
    """Progress on standard error: live bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._live: Any = None
        self._tasks: dict[str, Any] = {}
        self._last = 0.0

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        return Console(stderr=True, highlight=False, soft_wrap=True)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def say(self, text: str) -> None:
        self.console.print(printable(text), markup=False)

    def reporter(self) -> Reporter:
        from reasoner.pipeline.job import Reporter

        return Reporter(self.say, self._stage, self._train_step, self._scored, self._begin)

    def _begin(self, name: str, reason: str) -> None:
        self.say(f"> {name:<10} {reason}")

    def _stage(self, name: str, verdict: str, reason: str, seconds: float) -> None:
        self._end_bar()
        if verdict == "fresh":
            self.say(f"= {name:<10} fresh: {reason}")
        else:
            self.say(f"+ {name:<10} {verdict} in {words.duration(seconds)}")

    def _train_step(self, done: StepMetrics) -> None:
        facts = (
            f"reward {done.reward:.2f}  signal {100 * done.signal:.0f} %"
            f"  length {done.length:.0f}  working {100 * done.shows_working:.0f} %"
        )
        self._advance("train", done.step, done.steps, facts)

    def _scored(self, role: str, done: int, total: int) -> None:
        self._advance(f"score {role}", done, total, "")

    def _advance(self, name: str, done: int, total: int, facts: str) -> None:
        if self.console.is_terminal:
            bar = self._bar()
            if name not in self._tasks:
                self._tasks[name] = bar.add_task(name, total=total, completed=done - 1, facts="")
            bar.update(self._tasks[name], completed=done, facts=facts)
            return
        now = time.monotonic()
        first = self._tasks.setdefault(name, (now, done))
        if done == total or now - self._last >= 15:
            self._last = now
            rate = (now - first[0]) / max(done - first[1], 1)
            left = f"  left {words.duration(rate * (total - done))}" if done < total and done > first[1] else ""
            self.say(f"  {name} {done}/{total}  {facts}{left}")

    def _bar(self) -> Any:
        if self._live is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            name, facts = (TextColumn(text, markup=False) for text in ("  {task.description}", "{task.fields[facts]}"))
            counts = (BarColumn(24), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
            self._live = Progress(name, *counts, facts, console=self.console)
            self._live.start()
        return self._live

    def _end_bar(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._tasks.clear()

    def closing(self, job: Job, summary: Summary, seconds: float) -> None:
        """The closing summary: the figures, an example, where things are."""
        from reasoner.reporting import flips, material
        from reasoner.reporting import summary as summaries

        self.say("")
        for what, text in summaries.lines(summary):
            self.say(f"  {what:<15} {text}")
        if pair := flips.example(material.completions(job.run)):
            self.say(f"\n  {pair[0].question}")
            for role, one in zip(summaries.ROLES, pair, strict=True):
                text = one.completion.replace("\n", "\n                  ")
                self.say(f"    {role:<6} {one.verdict or '':<6} {text}")
        if summary.control:
            self.say(f"\n  control run ({summary.control} references): not promoted")
        self.say(f"\n  report   {job.run.path / 'report.html'} (and .md)")
        self.say(f"  summary  {job.run.summary_path}")
        together = words.duration(summary.seconds["total"])
        self.say(f"  this call took {words.duration(seconds)}; the stages together {together}")


class WatchScreen:
    """Events of a watch: JSON lines on standard output, else a live table, or lines where there is no terminal."""

    def __init__(self, screen: Screen, as_json: bool) -> None:
        self._screen, self._as_json = screen, as_json
        self._events: list[Event] = []
        self._live: Any = None
        self._now = ""

    def __enter__(self) -> WatchScreen:
        if self._screen.console.is_terminal and not self._as_json:
            from rich.live import Live

            self._live = Live(console=self._screen.console, auto_refresh=False)
            self._live.start()
            self._show()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def _show(self, now: str | None = None) -> None:
        self._now = self._now if now is None else now
        if self._live:
            self._live.update(table(self._events, self._now), refresh=True)

    def event(self, row: Event) -> None:
        self._events.append(row)
        if self._as_json:
            click.echo(json.dumps(row.as_json()))
        elif self._live:
            self._show("")
        else:
            last = next(one for one in rows(self._events) if one.step == row.step)
            score = last.score if row.event == "scored" else ""
            says = last.verdict if row.event in ("skipped", "kept", "failed", "promoted") else ""
            self._screen.say(f"  step {row.step:<6} {row.event:<9} {score}{says}")

    def reporter(self) -> Reporter:
        from reasoner.pipeline.job import Reporter

        plain = self._screen.reporter()
        if not self._live:
            return plain
        return Reporter(
            say=self._show,
            begin=lambda name, reason: self._show(f"{name}: {reason}"),
            scored=lambda role, done, total: self._show(f"scoring {role}: {done} of {total}"),
        )


@dataclass
class StepRow:
    """What a person reads of one step of a watch: its last event, seconds, score, verdict and tag."""

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
