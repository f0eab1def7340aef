"""Reads all that a report is made of from a run's folder, of a run in progress too. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from reasoner import files, runs
from reasoner.audit.results import Audit
from reasoner.errors import USAGE, ReasonerError
from reasoner.measuring import figures
from reasoner.reporting import behaviour, records
from reasoner.reporting import summary as summaries
from reasoner.reporting.behaviour import Figures
from reasoner.reporting.records import Records
from reasoner.training.facts import StepMetrics, read_metrics


@dataclass(frozen=True)
class Material:
    """Holds what a run's folder says. Shares are 0-1."""

    run: runs.Run
    config: dict[str, Any]  # as `config.json` has it; empty where there is none
    origin: dict[str, str]  # where each value of the config came from
    summary: summaries.Summary | None = None
    records: Records = field(default_factory=Records)
    metrics: list[StepMetrics] = field(default_factory=list)
    by_kind: Mapping[str, figures.KindFigures] = field(default_factory=dict)
    beside: Mapping[str, summaries.SetComparison | figures.Compared | figures.Missing] = field(default_factory=dict)
    everyday: figures.Everyday | None = None
    completions: Mapping[str, Sequence[figures.Completion]] = field(default_factory=dict)
    """By role, of those that have some; so are the next two."""
    answers: Mapping[str, Sequence[figures.EverydayAnswer]] = field(default_factory=dict)
    """Greedy, to the everyday prompts."""
    behaviour: Mapping[str, Figures] = field(default_factory=dict)
    trained: Mapping[int, Figures] = field(default_factory=dict)  # the behaviour of the rollouts, by step
    dev: Sequence[tuple[float, float]] = ()
    """Scores of checkpoints on dev problems, as (step, share), where `reasoner watch` took them."""
    audit: Audit | None = None
    ladder: figures.Ladder | None = None
    adapter: str | None = None  # `runs.adapter_sha256` of what lies in the run's folder now

    @property
    def profile(self) -> str:
        return str(self.config.get("profile", "?"))

    def setting(self, key: str, default: Any = None) -> Any:
        """Returns the value of a setting, such as `train.seed`; the default where the config has none."""
        section, _, name = key.partition(".")
        found = self.config.get(section)
        return found.get(name, default) if isinstance(found, Mapping) else default


def read(run: runs.Run, summary: summaries.Summary | None = None) -> Material:
    """Reads what a report of this run is made of; raises where there is nothing yet and nobody is at it.

    `summary`: one that is not yet written.
    """
    stored = files.read_json(run.config_path) or {}
    config = stored.get("config") or {}
    done = records.read(run, config.get("train", {}).get("steps", 0))
    metrics = read_metrics(run)
    if not metrics and not done.done and not run.summary_path.exists() and not runs.is_locked(run):
        fix = f"reasoner status {run.name}; make reasoner"
        raise ReasonerError(f"run {run.name} has nothing to report yet", fix=fix, code=USAGE)
    summary = summary or summaries.read(run)
    scored = done.evaluate.facts if done.evaluate else summary
    served = completions(run)
    history = files.read_jsonl(run.path / "history.jsonl")
    return Material(
        run=run,
        config=config,
        origin=stored.get("origin") or {},
        summary=summary,
        records=done,
        metrics=metrics,
        by_kind=scored.by_kind if scored else {},
        beside=scored.beside if scored else {},
        everyday=scored.everyday if scored else None,
        completions=served,
        answers=_by_role(run, "everyday-", figures.EverydayAnswer),
        behaviour={role: found for role, rows in served.items() if (found := behaviour.figures(rows))},
        trained=behaviour.training(run.path / "rollouts"),
        dev=sorted((row["step"], row["score"]) for row in history if row["event"] == "scored" and row["score"]),
        audit=_read(run.path / "audit.json", Audit),
        ladder=_read(run.path / "ladder.json", figures.Ladder),
        adapter=runs.adapter_sha256(run.path / "adapter") if done.train else None,
    )


def completions(run: runs.Run) -> dict[str, list[figures.Completion]]:
    """Reads the completions of the main set by role, of those roles that have some."""
    return _by_role(run, "", figures.Completion)


Kind = TypeVar("Kind")


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    stored = files.read_json(path)
    return None if stored is None else records.parse(kind, stored, str(path))


def _by_role(run: runs.Run, prefix: str, kind: type[Kind]) -> dict[str, list[Kind]]:
    paths = {role: run.path / "completions" / f"{prefix}{role}.jsonl" for role in summaries.ROLES}
    stored = {role: files.read_jsonl(path) for role, path in paths.items()}
    kinds = list[kind]  # type: ignore[valid-type]
    return {role: records.parse(kinds, rows, str(paths[role])) for role, rows in stored.items() if rows}
