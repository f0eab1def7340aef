"""One checkpoint of a long run: exported, held against the public model, promoted, and rolled back."""

from __future__ import annotations

import time
from typing import Any, Literal

from reasoner import runs
from reasoner.errors import GATE, USAGE, ReasonerError
from reasoner.export import delta
from reasoner.files import parse
from reasoner.measuring import gate as measured
from reasoner.measuring import ladder
from reasoner.measuring.figures import Ladder
from reasoner.pipeline import plan, staleness
from reasoner.pipeline.job import Job
from reasoner.pipeline.stages import BY_NAME, GATE_STAGE, REFERENCE, ROUTES
from reasoner.serving import history
from reasoner.serving.tags import Tagged


def export(job: Job, route: Literal["auto", "reference", "delta"] = "auto") -> dict[str, Any]:
    """Take one checkpoint, whose adapter is in its export folder, to a tag of its own; the public tag stays.

    `auto` is the reference route for the first checkpoint of a base, and where `delta` refuses; else `delta`.
    """
    started = time.monotonic()
    with plan.exporting(job):
        plan.run_stage(job, BY_NAME["base"])
        taken, why = _route(job, route)
        job.reporter.say(f"{runs.step_name(job.step)}: {taken} route ({why})")
        for stage in ROUTES[taken]:
            plan.run_stage(job, stage)
        if taken == "reference" and staleness.stale(job, REFERENCE):
            plan.run_stage(job, REFERENCE)
    made = job.need("gguf")
    name, output = next(iter(made.outputs.items()))
    return {
        "run": job.run.name,
        "step": job.step,
        "route": taken,
        "why": why,
        "gguf": {"path": str(job.run.path / name), "quant": made.facts["quant"], "bytes": output.bytes,
                 "sha256": output.sha256},
        **{key: job.need("register").facts["tuned"][key] for key in ("tag", "digest", "file")},
        "stage_seconds": {stage.name: round(job.need(stage.name).seconds, 2) for stage in ROUTES[taken]},
        "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip


def _route(job: Job, asked: str) -> tuple[str, str]:
    """The route to take, and why."""
    if asked == "reference":
        return "reference", "as asked"
    if asked == "auto" and not any(staleness.stale(job, stage) for stage in ROUTES["reference"][:2]):
        return "reference", "done already"
    reasons = staleness.stale(job, REFERENCE)
    why = f"the first of this base: {reasons[0]}" if reasons else None
    why = why or delta.refuses(job.base.path, job.adapter, job.reference_gguf, job.config.gguf.quant)
    if why is None:
        return "delta", "as asked" if asked == "delta" else "only the tensors that the adapter touches"
    if asked == "delta":
        raise ReasonerError(f"step {job.step} cannot take the delta route", why=why, fix="--route auto", code=USAGE)
    return "reference", why


def gate(job: Job) -> dict[str, Any]:
    """Score a registered checkpoint against the public model on dev problems; whether it may be promoted, and why."""
    with plan.exporting(job):
        plan.run_stage(job, GATE_STAGE)
    found: dict[str, Any] = job.need("gate").facts
    return found


def promote_step(job: Job, by: str, passed: dict[str, Any] | None = None) -> history.Event | None:
    """Make a registered checkpoint the public model; the history's event, None where it is public already."""
    if why := measured.control(job.config):
        raise ReasonerError(why[0], code=GATE)
    model = parse(Tagged, job.need("register").facts["tuned"])
    figures = ("metric", "n", "split_sha256", "score", "score_ci95", "points", "lower")
    with plan.exporting(job):
        history.settle(job.config, job.client, job.run)
        facts = {name: passed[name] for name in figures} if passed else {}
        return history.publish(job.config, job.client, job.run, model, job.step, by=by, **facts)


def rollback(job: Job) -> history.Event:
    """Undo the run's newest promotion; the history's event."""
    with plan.exporting(job):
        history.settle(job.config, job.client, job.run)
        return history.rollback(job.config, job.client, job.run)


def climb(job: Job, options: ladder.Options) -> Ladder:
    """The ladder of a run that has been exported."""
    made = job.need("gguf")
    export = ladder.Export(
        base=job.base.path,
        adapter=job.adapter,
        merged=job.export / "merged",
        gguf=job.tuned_gguf,
        quant=made.facts["quant"],
        imatrix=made.facts.get("chosen", {}).get("imatrix", False),
        tag=job.need("register").facts["tuned"]["tag"],
        pinned=job.need("modelfile").facts["pinned"],
    )
    with runs.lock(job.run):
        return ladder.run(job.config, job.run, export, job.client, options, job.listener)
