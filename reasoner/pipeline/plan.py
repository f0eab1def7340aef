"""Does what is missing, one stage after the other, and writes the record of each.

What can be refused is refused before the first minute of training: settings, another training under this name, a full
disk.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reasoner import runs
from reasoner.bases import locate
from reasoner.config import dump
from reasoner.errors import GATE, MISSING, USAGE, ReasonerError
from reasoner.export import register
from reasoner.export.facts import PROMOTE
from reasoner.files import read_json, write_text
from reasoner.machine import device
from reasoner.measuring import evaluate
from reasoner.pipeline import doctor, stages
from reasoner.pipeline.job import Job
from reasoner.problems import load
from reasoner.reporting import summary
from reasoner.reporting.summary import Summary
from reasoner.serving import tags
from reasoner.serving.host import models_dir
from reasoner.training import engine, grpo
from reasoner.training.facts import TRAIN
from reasoner.verifiers import registry


def run(job: Job, origin: dict[str, str], until: str = "report") -> Summary | None:
    """Does what is missing, up to and with the named stage; gives the summary where the report was reached.

    Raises `ReasonerError` with code 4, after the report is written, where the scored model was not
    fit to be promoted.
    """
    with runs.lock(job.run):
        if not job.run.config_path.exists() and (data := load.pinned(job.config.data)) != job.config.data:
            job.config = job.config.model_copy(update={"data": data})
            origin = origin | {"data.revision": "the hub, at the start of the run"}
        check(job)
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


# -- what is refused -------------------------------------------------------------------------------


def check(job: Job) -> None:
    """Everything that can be refused early, before anything is trained or written."""
    checker = registry.load(job.config.verifier.name)
    load.check_verifiers(job.config)
    if checker.ready is not None:
        checker.ready()
    register.template_path()
    keep_training(job)
    if (trained := job.record(TRAIN)) is None or runs.broken_outputs(job.run.path, trained.outputs):
        grpo.check(job.config)
        evaluate.inputs(job.config)
        check_problems(job)
        check_disk(job)


def keep_training(job: Job) -> None:
    """Refuse to throw a training away because a setting differs; hours of work need a word from the person."""
    stage = stages.BY_NAME["train"]
    if (record := job.record(TRAIN)) is not None:
        broken = runs.broken_outputs(job.run.path, record.outputs)
        reasons = [reason for reason in stages.stale(job, stage) if reason not in broken]
    elif (stored := read_json(job.run.config_path)) and runs.ready_steps(job.run.checkpoints_dir):
        reasons = stages.changes(stage, stored["config"], job.config)
        then = read_json(job.run.data_path) or {}
        reasons += [f"{name} changed" for name, sha in stage.inputs(job).items() if then.get(name, sha) != sha]
    else:
        return
    if reasons:
        fix = f"keep it and choose another name (RUN=… or --run), or remove {job.run.path}"
        what = f"run {job.run.name} was trained with other settings or other data"
        raise ReasonerError(what, "\n".join(reasons), fix, code=USAGE)


def check_problems(job: Job) -> None:
    """Refuses fewer problems than a step takes, and prompts that do not fit the served context.

    The server would cut a held-out prompt in silence. Training problems that do not fit are left out (`grpo`), and
    refused where they are more than a tenth.
    """
    config, tokenizer = job.config, locate.load_tokenizer(job.base.path, job.config.data.think)
    locate.check_system(job.base.path, tokenizer, config.data.system)
    held_out, train = load.held_out(config), load.training(config)
    if len(train) < config.train.num_prompts:
        raise ReasonerError(
            f"{config.data.source} has {len(train)} problems to train on, and a step takes {config.train.num_prompts}",
            why="what is held out, and what a held-out set asks too, is not trained on",
            fix=f"more problems, or --set train.num_prompts={max(len(train), 1)}",
            code=USAGE,
        )
    for what, problems, room, most, key in (
        ("held-out", held_out, config.serve.num_ctx - config.serve.num_predict, 0.0, "serve.num_predict"),
        ("training", train, engine.prompt_room(config), 0.1, "train.max_completion_tokens"),
    ):
        long = engine.too_long(config, tokenizer, problems, room)
        if len(long) > most * len(problems):
            why = f"the first is {problems[min(long)].id}; {room} tokens are left for a prompt"
            fix = f"raise serve.num_ctx (less {key} is what a prompt may have), or take them out"
            what = f"{len(long)} of {len(problems)} {what} problems do not fit the served context"
            raise ReasonerError(what, why, fix, code=USAGE)


def check_disk(job: Job) -> None:
    """Refuse where the whole path does not fit: merge, conversion, both quantized files, Ollama's copy."""
    config, run = job.config, job.run
    share = {"Q8_0": 0.54, "Q6_K": 0.42, "Q5_K_M": 0.36, "Q4_K_M": 0.31}.get(config.gguf.quant, 1.0)
    weights = job.base.weights_bytes
    adapters = int(0.15 * weights) * (config.train.keep_checkpoints + 2) * 3
    here = int(weights * (2 + 2 * share)) + adapters + 200 * 2**20
    store = job.server.models_dir or models_dir()
    there = int(weights * 2 * share) + 50 * 2**20 if job.client.would_copy(run.path) else 0
    needs: dict[int, tuple[Path, int]] = {}
    for path, amount in ((run.path, here), (store, there)):
        device = (place := doctor.existing(path)).stat().st_dev
        needs[device] = (place, needs.get(device, (place, 0))[1] + amount)
    for place, amount in needs.values():
        free = shutil.disk_usage(place).free
        if free < amount:
            why = f"the whole path needs {amount / 2**30:.2f} GiB (checkpoints, merged model, conversion, two"
            why += f" {config.gguf.quant} files and Ollama's own copy), {free / 2**30:.2f} GiB are free"
            fix = "free some, or move runs with REASONER_RUNS and Ollama's models with OLLAMA_MODELS"
            raise ReasonerError(f"not enough disk space at {place}", why, fix, code=MISSING)


MEMORY = {"smol": 8, "gsm8k": 12}
"""GiB of free memory that a profile wants on a CPU; more than was measured (scripts/LOG.md)."""


def free_gib() -> float:
    """Memory that programs could have now, in GiB."""
    import psutil

    return float(psutil.virtual_memory().available) / 2**30


def default_profile() -> tuple[str, str]:
    """The profile `make reasoner` takes where none is named, and why."""
    if device.kind() == "cuda":
        return "gsm8k", "a CUDA device is present"
    if (free := free_gib()) < MEMORY["smol"]:
        short = f"{free:.1f} GiB of free memory where smol wants {MEMORY['smol']}"
        return "pocket", f"no CUDA device, and {short}: a rehearsal on the CPU"
    return "smol", "no CUDA device: a real chat model on the CPU"
