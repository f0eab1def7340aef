"""Does what is missing, one stage after the other, and writes the record of each."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import Any

from reasoner import runs
from reasoner.config import dump
from reasoner.errors import GATE, ReasonerError
from reasoner.files import read_json, write_text
from reasoner.pipeline import checks, staleness
from reasoner.pipeline.job import Job
from reasoner.pipeline.stages import NAMES, STAGES, Stage
from reasoner.serving import tags


def run(job: Job, origin: dict[str, str], until: str = "report") -> dict[str, Any] | None:
    """Do what is missing, up to and with the named stage; the summary where the report was reached.

    Raises `ReasonerError` with code 4, after the report is written, where the scored model was not
    fit to be promoted.
    """
    with runs.lock(job.run):
        checks.check(job)
        write_text(job.run.config_path, dump(job.config, origin))
        runs.mark_latest(job.run)
        for stage in STAGES[: NAMES.index(until) + 1]:
            with contextlib.nullcontext() if stage.name == "train" else exporting(job):
                run_stage(job, stage)
        if until not in ("promote", "report"):
            return None
        promoted = job.need("promote").facts
        if not promoted["promoted"] and not promoted["is_control"]:
            raise ReasonerError(
                f"the scored model was not promoted: {tags.public_tag(job.config)} stays as it was",
                why="\n".join(promoted["why"]),
                fix=f"read {job.run.path / 'report.md'} and completions/tuned.jsonl; train again under another name",
                code=GATE,
            )
        value: dict[str, Any] | None = read_json(job.run.summary_path)
        return value


def exporting(job: Job) -> contextlib.AbstractContextManager[None]:
    return runs.lock(job.run, "export", job.reporter.say)


def run_stage(job: Job, stage: Stage) -> None:
    reasons = staleness.stale(job, stage)
    if not reasons:
        job.reporter.stage(stage.name, "fresh", "same inputs, config and tools; outputs whole", 0.0)
        return
    usually = f"; usually {stage.usually[job.config.profile]}" if job.config.profile in stage.usually else ""
    job.reporter.begin(stage.name, reasons[0] + usually)
    job.record_path(stage.name).unlink(missing_ok=True)
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
        config=staleness.settings_of(job.config, stage.reads),
        tools=staleness.tools_of(job, stage.tools),
        outputs=runs.outputs_of(job.run.path, outputs),
        facts=facts,
        seconds=seconds,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=job.versions(),
    )
    runs.write_record(job.record_path(stage.name), record)
    job.reporter.stage(stage.name, "done", "; ".join(reasons[:2]), seconds)


def states(job: Job) -> list[dict[str, Any]]:
    """Each stage's state for `reasoner status`, without starting or asking a server."""
    found = []
    for stage in STAGES:
        record = job.record(stage.name)
        reasons = staleness.stale(job, stage, ask_server=False) if record else ["not done yet"]
        found.append(
            {
                "stage": stage.name,
                "state": "fresh" if not reasons else "stale" if record else "missing",
                "reasons": reasons,
                "seconds": round(record.seconds, 1) if record else None,
                "finished": record.finished if record else None,
            }
        )
    return found
