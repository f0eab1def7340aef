"""One checkpoint of a long run: exported, held against the public model, promoted, and rolled back.

Nothing in the file of an adapter is trusted: it must be whole, and fit the base.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reasoner import files, runs
from reasoner.errors import GATE as GATE_CODE
from reasoner.errors import USAGE, ReasonerError
from reasoner.export import adapters, delta
from reasoner.export.facts import GGUF, MODELFILE, REGISTER
from reasoner.measuring import gate as measured
from reasoner.measuring import ladder
from reasoner.measuring.figures import GATE, GateFacts, Ladder
from reasoner.pipeline import plan, stages
from reasoner.pipeline.job import Job
from reasoner.reporting.summary import Gguf
from reasoner.serving import history
from reasoner.training.facts import TRAIN

Route = Literal["auto", "reference", "delta"]


@dataclass(frozen=True)
class Exported:
    """Is what became of a checkpoint: its file, its tag, and by which route and why that one."""

    run: str
    step: int
    route: str
    why: str
    gguf: Gguf
    tag: str
    digest: str
    file: str
    """How the file came into Ollama's store, or that it was there."""
    stage_seconds: dict[str, float]
    seconds: float

    def event(self) -> dict[str, Any]:
        """The part of it that the history keeps."""
        return {name: getattr(self, name) for name in ("route", "why", "tag", "digest", "stage_seconds", "seconds")}


def export(job: Job, route: Route = "auto") -> Exported:
    """Takes one checkpoint, whose adapter is in its export folder, to a tag of its own; the public tag stays.

    `auto` is the reference route for the first checkpoint of a base, and where `delta` refuses; else `delta`.
    """
    started = time.monotonic()
    with plan.exporting(job):
        plan.run_stage(job, stages.BY_NAME["base"])
        taken, why = _route(job, route)
        job.reporter.say(f"{runs.step_name(job.step)}: {taken} route ({why})")
        for stage in stages.ROUTES[taken]:
            plan.run_stage(job, stage)
        if taken == "reference" and stages.stale(job, stages.REFERENCE_STAGE):
            plan.run_stage(job, stages.REFERENCE_STAGE)
    made, tuned = job.need(GGUF), job.need(REGISTER).facts.tuned
    name, output = next(iter(made.outputs.items()))
    return Exported(
        run=job.run.name,
        step=job.step,
        route=taken,
        why=why,
        gguf=Gguf(str(job.run.path / name), made.facts.quant, output.bytes, output.sha256),
        tag=tuned.tag,
        digest=tuned.digest,
        file=tuned.file,
        stage_seconds={stage.name: round(job.need(stage.kind).seconds, 2) for stage in stages.ROUTES[taken]},
        seconds=round(time.monotonic() - started, 2),
    )


def checkpoints_dir(job: Job) -> Path:
    """The folder of the run's checkpoints, or that of another trainer's."""
    other = job.config.watch.checkpoints
    return Path(other).expanduser().absolute() if other else job.run.checkpoints_dir


def export_step(job: Job, step: int | None, route: Route) -> Exported:
    """Exports one checkpoint, by default the end of the training, else the newest that is whole, and notes it."""
    folder = checkpoints_dir(job)
    found = by_step(folder)
    ready = [step for step, path in found.items() if step and adapters.is_whole(path / adapters.WEIGHTS)]
    is_trained = job.record(TRAIN) is not None
    if step is None:
        if not is_trained and not ready:
            raise ReasonerError(f"run {job.run.name} has no checkpoint yet", fix="reasoner train", code=USAGE)
        step = job.step if is_trained else max(ready)
    one = job.at(step)
    source = folder / f"checkpoint-{step}"
    if step not in ready and is_trained and step == job.step:
        source = job.run.path / "adapter"
    elif step not in ready and not adapters.is_whole(one.adapter / adapters.WEIGHTS):
        why = f"there are: {', '.join(map(str, sorted(ready))) or 'none'} in {folder}"
        what = f"run {job.run.name} has no whole checkpoint of step {step}"
        raise ReasonerError(what, why, "--step with one of these", code=USAGE)
    if source.exists():
        with runs.lock(job.run, "export", job.reporter.say):
            take(one, source)
    try:
        admit(one)
    except ReasonerError as error:
        shutil.rmtree(one.adapter)
        raise ReasonerError(f"step {step} cannot be exported", why=error.why, fix="choose another step") from None
    made = export(one, route)
    history.tell(job.run, step, "exported", by="reasoner export", **made.event())
    return made


def _route(job: Job, asked: str) -> tuple[str, str]:
    if asked == "reference":
        return "reference", "as asked"
    if asked == "auto" and not any(stages.stale(job, stage) for stage in stages.ROUTES["reference"][:2]):
        return "reference", "done already"
    reasons = stages.stale(job, stages.REFERENCE_STAGE)
    why = f"the first of this base: {reasons[0]}" if reasons else None
    why = why or delta.refuses(job.base.path, job.adapter, job.reference_gguf, job.config.gguf.quant)
    if why is None:
        return "delta", "as asked" if asked == "delta" else "only the tensors that the adapter touches"
    if asked == "delta":
        raise ReasonerError(f"step {job.step} cannot take the delta route", why=why, fix="--route auto", code=USAGE)
    return "reference", why


def gate(job: Job) -> GateFacts:
    """Scores a registered checkpoint against the public model on dev problems; whether it may be promoted, and why."""
    with plan.exporting(job):
        plan.run_stage(job, stages.GATE_STAGE)
    return job.need(GATE).facts


def figures(scored: GateFacts, *names: str) -> dict[str, Any]:
    """Some of a gate's figures, as the history keeps them."""
    return {name: getattr(scored, name) for name in names}


def promote_step(job: Job, by: str, passed: GateFacts | None = None) -> history.Event | None:
    """Makes a registered checkpoint the public model; gives the event, None where it is public already."""
    if why := measured.control(job.config):
        raise ReasonerError(why[0], code=GATE_CODE)
    model = job.need(REGISTER).facts.tuned
    names = ("metric", "n", "split_sha256", "score", "score_ci95", "points", "lower")
    with plan.exporting(job):
        history.settle(job.config, job.client, job.run)
        facts = figures(passed, *names) if passed else {}
        return history.publish(job.config, job.client, job.run, model, job.step, by=by, **facts)


def rollback(job: Job) -> history.Event:
    """Undo the run's newest promotion; the history's event."""
    with plan.exporting(job):
        history.settle(job.config, job.client, job.run)
        return history.rollback(job.config, job.client, job.run)


def climb(job: Job, options: ladder.Options) -> Ladder:
    """The ladder of a run that has been exported."""
    made = job.need(GGUF).facts
    export = ladder.Export(
        base=job.base_model,
        adapter=job.adapter,
        merged=job.export / "merged",
        gguf=job.tuned_gguf,
        quant=made.quant,
        imatrix=bool(made.chosen and made.chosen["imatrix"]),
        tag=job.need(REGISTER).facts.tuned.tag,
        pinned=job.need(MODELFILE).facts.pinned,
    )
    with runs.lock(job.run):
        return ladder.run(job.config, job.run, export, job.client, options, job.listener)


# -- checkpoints -----------------------------------------------------------------------------------


def by_step(folder: Path) -> dict[int, Path]:
    """The folders `checkpoint-N` in a folder, by their step."""
    names = ((path, path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))
    return {int(number): path for path, number in names if number.isdigit()}


def take(job: Job, source: Path) -> None:
    """Copy the adapter out of a checkpoint into the export folder.

    A copy and not a hard link: a trainer that saves the same step again may write into the same file.
    """
    with files.partial_dir(job.adapter) as partial:
        for name in (adapters.SHAPE, adapters.WEIGHTS):
            shutil.copyfile(source / name, partial / name)


def admit(job: Job) -> None:
    """Makes the copy of an adapter in the export folder one that loads whole, and says what was repaired.

    Raises where it does not fit the base; the reason is the error's `why`.
    """
    found = adapters.fit(job.adapter, job.base.path)
    if found.repairs:
        found.save(job.adapter)
        job.reporter.say(f"{runs.step_name(job.step)}: the adapter was repaired: {found.repairs}")
