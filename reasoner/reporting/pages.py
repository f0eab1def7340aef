"""Writes `report.md` and `report.html` of a run, once or again and again while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from reasoner import files, runs
from reasoner.reporting import compare, html, markdown, material, pair, sections
from reasoner.reporting.summary import Summary

EVERY = 5
"""Seconds between two writings of a page that is looked at while its run goes on."""


def write(run: runs.Run, summary: Summary | None = None, refresh: int | None = None) -> list[Path]:
    """Writes both reports and returns where they are. `summary`: one that is not yet written.

    `refresh`: seconds after which a browser reads the page again.
    """
    page = sections.report(material.read(run, summary))
    texts = {"report.md": markdown.render(page), "report.html": html.render(page, refresh)}
    for name, text in texts.items():
        files.write_text(run.path / name, text)
    return [run.path / name for name in texts]


def write_pair(names: tuple[str, str]) -> Path:
    """Writes the page of two finished runs into the folder of the first; raises where they were scored differently."""
    found = compare.run(names)
    a, b = (material.read(runs.existing(name)) for name in names)
    path = a.run.path / f"compare-{b.run.name}.html"
    files.write_text(path, html.render(pair.report((a, b), found)))
    return path


def follow(run: runs.Run, say: Callable[[str], None]) -> None:
    """Writes the page of a run in progress again and again, until the run ends or the person has seen enough."""
    if runs.is_locked(run):
        say(f"open {run.path / 'report.html'}: it is written anew every {EVERY} s until the run ends (or Ctrl-C)")
    try:
        while runs.is_locked(run):
            write(run, refresh=EVERY)
            time.sleep(EVERY)
    except KeyboardInterrupt:
        pass
    page = write(run)[1]
    say(f"run {run.name} {'goes on' if runs.is_locked(run) else 'is not in progress'}: {page}")
