"""Does what is missing, one stage after the other, and writes the record of each."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from reasoner import runs
from reasoner.config import dump
from reasoner.errors import GATE, ReasonerError
from reasoner.export.facts import PROMOTE
from reasoner.files import write_text
from reasoner.pipeline import checks, stages
from reasoner.pipeline.job import Job
from reasoner.reporting import summary
from reasoner.reporting.summary import Summary
from reasoner.serving import tags


def run(job: Job, origin: dict[str, str], until: str = "report") -> Summary | None:
    """Does what is missing, up to and with the named stage; gives the summary where the report was reached.

    Raises `ReasonerError` with code 4, after the report is written, where the scored model was not
    fit to be promoted.
    """
    with runs.lock(job.run):
        checks.check(job)
        write_text(job.run.config_path, dump(job.config, origin))
        runs.mark_latest(job.run)
        for stage in stages.STAGES[: stages.NAMES.index(until) + 1]:
            with contextlib.nullcontext() if stage.name == "train" else exporting(job):
                run_stage(job, stage)
        if until not in ("promote", "report"):
            return None
        promoted = job.need(PROMOTE).facts
        if not promoted.promoted and not promoted.is_control:
            what = f"the scored model was not promoted: {tags.public_tag(job.config)} stays as it was"
            fix = f"read {job.run.path / 'report.md'} and completions/tuned.jsonl; train again under another name"
            raise ReasonerError(what, "\n".join(promoted.why), fix, code=GATE)
        return summary.read(job.run)


def exporting(job: Job) -> contextlib.AbstractContextManager[None]:
    """Holds the run's export lock, and says for whom it waits."""
    return runs.lock(job.run, "export", job.reporter.say)


def run_stage(job: Job, stage: stages.Stage) -> None:
    """Runs a stage where it is stale, and writes its record."""
    reasons = stages.stale(job, stage)
    if not reasons:
        job.reporter.stage(stage.name, "fresh", "same inputs, config and tools; outputs whole", 0.0)
        return
    usually = f"; usually {stage.usually[job.config.profile]}" if job.config.profile in stage.usually else ""
    job.reporter.begin(stage.name, reasons[0] + usually)
    job.record_path(stage.kind).unlink(missing_ok=True)
    if stage.name != "report" and job.checkpoint is None:
        job.run.summary_path.unlink(missing_ok=True)
    started = time.monotonic()
    for other in stage.first(job):
        run_stage(job, other)
    outputs, facts = stage.run(job)
    seconds = time.monotonic() - started
    record = runs.Record(
        stage=stage.name,
        inputs=stage.inputs(job),
        config=stages.settings_of(job.config, stage.reads),
        tools=stages.tools_of(job, stage.tools),
        outputs=runs.outputs_of(job.run.path, outputs),
        facts=facts,
        seconds=seconds,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=job.versions(),
    )
    runs.write_record(job.record_path(stage.kind), record)
    job.reporter.stage(stage.name, "done", "; ".join(reasons[:2]), seconds)


@dataclass(frozen=True)
class State:
    """Is how a stage stands: `fresh`, `stale` or `missing`, why, and when it took how many seconds."""

    stage: str
    state: str
    reasons: list[str]
    seconds: float | None = None
    finished: str | None = None


def states(job: Job) -> list[State]:
    """Gives the state of each stage, for `reasoner status`, without starting or asking a server."""
    found = []
    for stage in stages.STAGES:
        reasons = stages.stale(job, stage, ask_server=False)
        if (record := job.record(stage.kind)) is None:
            found.append(State(stage.name, "missing", reasons))
        else:
            state = "stale" if reasons else "fresh"
            found.append(State(stage.name, state, reasons, round(record.seconds, 1), record.finished))
    return found
