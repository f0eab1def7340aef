"""The stage table: check, plan (why stale), run, record.

    base -> train -> merge -> gguf -> modelfile -> register -> evaluate -> promote -> report

`base` takes the untouched base through convert, quantize, register and the token-id check before the first minute
of training: what would fail at the end of the path fails at its start. Existence is not freshness: a
stage is skipped only when its record says same inputs, same config and tools, outputs still whole.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from reasoner import (
    __version__,
    audit,
    base,
    data,
    evaluate,
    gguf,
    merge,
    modelfile,
    ollama,
    register,
    report,
    runs,
    toolchain,
    train,
    ungguf,
    verifiers,
)
from reasoner.config import Config, dump
from reasoner.errors import GATE, MISSING, USAGE, ReasonerError

Made = tuple[list[Path], dict[str, Any]]


@dataclass
class Reporter:
    """How the pipeline speaks: all of it optional, none of it needed for the result."""

    say: Callable[[str], None] = lambda text: None
    stage: Callable[[str, str, str, float], None] = lambda name, verdict, reason, seconds: None
    train_step: Callable[[dict[str, Any]], None] = lambda row: None
    scored: Callable[[str, int, int], None] = lambda role, done, total: None
    begin: Callable[[str, str], None] = lambda name, reason: None


@dataclass
class Job:
    """One pass over one run."""

    config: Config
    run: runs.Run
    reporter: Reporter = field(default_factory=Reporter)

    @cached_property
    def server(self) -> ollama.Server:
        return ollama.ensure_server(self.reporter.say)

    @cached_property
    def client(self) -> ollama.Client:
        return self.server.client()

    @cached_property
    def base(self) -> base.Base:
        recorded = self.record("base")
        if recorded is not None:
            path = Path(recorded.facts["path"])
            if recorded.config.get("model") == self.config.slice("model")["model"] and not base.changed_files(
                path, recorded.facts["files"]
            ):
                files = {k: runs.Output(**v) for k, v in recorded.facts["files"].items()}
                facts = recorded.facts
                return base.Base(
                    facts["spec"], path, facts["architecture"], facts["weights_bytes"], files, facts.get("imported")
                )
        model = self.config.model
        if not ungguf.is_spec(model.base):
            return base.resolve(model)
        made = ungguf.materialize(model.base, self.reporter.say, lambda: self.client)
        folder = base.resolve(model.model_copy(update={"base": str(made.path)}))
        return dataclasses.replace(folder, spec=model.base, imported=made.facts)

    @property
    def step(self) -> int:
        return self.config.train.steps

    @property
    def export(self) -> Path:
        return self.run.export_dir(self.step)

    @property
    def base_gguf(self) -> Path:
        return self.run.path / "base" / f"base.{self.config.gguf.quant}.gguf"

    @property
    def tuned_gguf(self) -> Path:
        return self.export / f"model.{self.config.gguf.quant}.gguf"

    def record_path(self, stage: str) -> Path:
        folder = self.run.path if stage in ("base", "train") else self.export
        return folder / f"{stage}.json"

    def record(self, stage: str) -> runs.Record | None:
        return runs.read_record(self.record_path(stage))

    def need(self, stage: str) -> runs.Record:
        found = self.record(stage)
        if found is None:
            raise ReasonerError(f"stage {stage} of run {self.run.name} has not been run", fix="make reasoner")
        return found

    def key(self, stage: str) -> str:
        found = self.record(stage)
        return found.key if found else ""


# -- the stages --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """One arrow. `reads` names config keys or whole sections; `inputs` what else the outputs depend on.

    `usually` is how long the stage takes on two cores, by profile; on a GPU it depends too much on the machine.
    """

    name: str
    run: Callable[[Job], Made]
    reads: tuple[str, ...]
    inputs: Callable[[Job], dict[str, str]]
    tools: tuple[str, ...] = ()
    outside: Callable[[Job, runs.Record], list[str]] = lambda job, record: []
    usually: Mapping[str, str] = field(default_factory=dict)


def _base(job: Job) -> Made:
    config, found = job.config, job.base
    tokenizer = base.load_tokenizer(found.path)
    base.check_embeddings(found.path, tokenizer)
    folder = job.run.path / "base" / "model"
    with runs.partial_dir(folder) as partial:
        for name in found.files:
            if name.endswith(".safetensors") or name in ("config.json", "generation_config.json") or "index" in name:
                (partial / name).symlink_to(found.path / name)
        merge.save_tokenizer(found.path, partial, str(tokenizer.eos_token))
    made, facts = gguf.run(folder, job.base_gguf, config.gguf.quant, job.run.log_path("base"), job.reporter.say)
    if found.imported:
        ungguf.check_reexport(found.imported, facts)
    pinned = modelfile.parameters(config, folder)
    sha256 = runs.sha256_file(job.base_gguf)
    tag = register.put(
        config, job.client, register.base_tag(config), job.base_gguf, sha256, pinned, folder, job.reporter.say
    )
    return made, {
        "spec": found.spec,
        "path": str(found.path),
        "architecture": found.architecture,
        "weights_bytes": found.weights_bytes,
        "files": {name: dataclasses.asdict(output) for name, output in found.files.items()},
        "sha256": found.sha256,
        "special_tokens": sorted({t.content for t in tokenizer.added_tokens_decoder.values() if t.special}),
        "license": base.licence(found.path),
        "imported": found.imported,
        "gguf": facts,
        "pinned": pinned,
        "tag": tag,
    }


def _train(job: Job) -> Made:
    def to_gguf(out: Path, kind: str) -> object:
        return gguf.run(job.run.path / "base" / "model", out, kind, job.run.log_path("train-gguf"), job.reporter.say)

    audited = _audit(job)
    unjudged = {row["index"] for row in audited["unjudged"]}
    outputs, facts = train.run(
        job.config, job.run, job.base.path, to_gguf, job.reporter.say, job.reporter.train_step, unjudged
    )
    return outputs, {**facts, "audit": audit.short(audited)}


def _audit(job: Job) -> dict[str, Any]:
    """The run's verifier on the run's own references: `audit.json` first, then a refusal where it does not hold.

    `alarms.failed_audit = tell` says so instead. Not an output of the stage: its seconds differ from one time to the
    next, and nothing is made from it.
    """
    config = job.config
    checker = verifiers.load(config.verifier.name)
    value = audit.run(checker, data.training(config), config.data.source)
    runs.write_json(job.run.path / "audit.json", value)
    if config.alarms.failed_audit == "stop" or not value["data"]["judged"]:
        audit.refuse(value, f"reasoner audit --run {job.run.name}")
    left_out = f", {len(value['unjudged']):,} that it cannot judge are left out" if value["unjudged"] else ""
    holds = (
        "holds" if value["holds"] else f"FAILS its audit ({'; '.join(value['failed'])}), as alarms.failed_audit allows,"
    )
    job.reporter.say(
        f"verifier {checker.name} {checker.version} {holds} on {value['data']['judged']:,} references{left_out}"
        f" ({value['seconds']:.1f} s, {job.run.path / 'audit.json'})"
    )
    return value


def _merge(job: Job) -> Made:
    return merge.run(job.config, job.run, job.base.path, job.run.path / "adapter", job.export / "merged")


def _gguf(job: Job) -> Made:
    return gguf.run(
        job.export / "merged",
        job.tuned_gguf,
        job.config.gguf.quant,
        job.run.log_path("gguf"),
        job.reporter.say,
    )


def _modelfile(job: Job) -> Made:
    pinned = modelfile.parameters(job.config, job.export / "merged")
    made, source = job.need("gguf"), job.need("base")
    text = modelfile.render(
        job.config,
        job.tuned_gguf,
        pinned,
        {
            "name": job.config.serve.name,
            "run": job.run.name,
            "step": job.step,
            "base": _origin(source.facts),
            "base_sha256": source.facts["sha256"],
            "license": source.facts["license"],
            "llama_cpp": made.versions["llama.cpp"],
            "gguf_sha256": next(iter(made.outputs.values())).sha256,
            "template_sha256": made.facts["chat_template_sha256"],
        },
    )
    path = job.export / "Modelfile"
    runs.write_text(path, text)
    return [path], {"pinned": pinned}


def _origin(facts: dict[str, Any]) -> str:
    """Where the base came from, in a line; for one made of a GGUF, what it was quantized to."""
    made = facts.get("imported")
    if not made:
        return str(facts["spec"])
    return (
        f"{facts['spec']}, a GGUF of {made['quantization']} ({made['bits_per_weight']:.2f} bits a weight, sha256"
        f" {made['sha256']}): the adapter was fitted to the de-quantized weights"
    )


def _register(job: Job) -> Made:
    config, source = job.config, job.need("base")
    say = job.reporter.say
    sha256 = next(iter(source.outputs.values())).sha256
    untouched = register.put(
        config, job.client, register.base_tag(config), job.base_gguf, sha256, source.facts["pinned"],
        job.run.path / "base" / "model", say,
    )  # fmt: skip
    made = job.need("gguf")
    sha256 = next(iter(made.outputs.values())).sha256
    tuned = register.put(
        config, job.client, register.step_tag(config, job.step), job.tuned_gguf, sha256,
        job.need("modelfile").facts["pinned"], job.export / "merged", say,
    )  # fmt: skip
    return [], {"base": untouched, "tuned": tuned, "identity": [untouched["digest"], tuned["digest"]]}


def _evaluate(job: Job) -> Made:
    tags = job.need("register").facts
    special = job.need("base").facts["special_tokens"]
    models = {"base": tags["base"]["tag"], "tuned": tags["tuned"]["tag"]}
    return evaluate.run(job.config, job.run, job.client, models, special, job.reporter.scored)


def _promote(job: Job) -> Made:
    return [], register.promote(job.config, job.client, job.need("register").facts["tuned"], job.need("evaluate").facts)


def _report(job: Job) -> Made:
    records = {stage.name: job.need(stage.name) for stage in STAGES[:-1]}
    server = {"host": str(job.server.host), "version": job.server.version}
    value = report.summary(job.config, job.run, records, server, versions(job))

    def completions(prefix: str = "") -> dict[str, list[dict[str, Any]]]:
        folder = job.run.path / "completions"
        return {role: runs.read_jsonl(folder / f"{prefix}{role}.jsonl") for role in ("base", "tuned")}

    metrics = runs.read_jsonl(job.run.path / "metrics.jsonl")
    text = report.markdown(value, records, report.examples(completions()), metrics, completions("everyday-"))
    path = job.run.path / "report.md"
    runs.write_text(path, text)
    runs.write_json(job.run.summary_path, value)
    return [path, job.run.summary_path], {}


def _tags(*names: str) -> Callable[[Job, runs.Record], list[str]]:
    def outside(job: Job, record: runs.Record) -> list[str]:
        return register.not_there(job.client, [record.facts[name] for name in names])

    return outside


def _public(job: Job, record: runs.Record) -> list[str]:
    return register.not_there(job.client, [record.facts]) if record.facts["promoted"] else []


def _key(*stages: str) -> Callable[[Job], dict[str, str]]:
    return lambda job: {name: job.key(name) for name in stages}


def _base_inputs(job: Job) -> dict[str, str]:
    return {"base": job.base.sha256}


def _evaluate_inputs(job: Job) -> dict[str, str]:
    return {**_key("register")(job), **evaluate.inputs(job.config)}


STAGES = (
    Stage(
        "base",
        _base,
        ("model", "gguf", "serve.name"),
        _base_inputs,
        ("llama.cpp",),
        usually={"pocket": "15-30 s", "smol": "20-40 s"},
    ),
    Stage(
        "train",
        _train,
        ("model", "data", "verifier", "train"),
        _base_inputs,
        usually={"pocket": "1-2 min", "smol": "15-20 min"},
    ),
    Stage("merge", _merge, ("model",), lambda job: {**_base_inputs(job), **_key("train")(job)}),
    Stage("gguf", _gguf, ("gguf",), _key("merge"), ("llama.cpp",), usually={"pocket": "10-20 s", "smol": "10-20 s"}),
    Stage("modelfile", _modelfile, ("serve", "data.system"), _key("gguf"), ("reasoner",)),
    Stage("register", _register, ("serve",), _key("base", "gguf", "modelfile"), outside=_tags("base", "tuned")),
    Stage(
        "evaluate",
        _evaluate,
        ("data", "verifier", "eval", "serve", "alarms"),
        _evaluate_inputs,
        usually={"pocket": "10-30 s", "smol": "8-12 min"},
    ),
    Stage("promote", _promote, ("serve.name", "eval"), _key("register", "evaluate"), outside=_public),
    Stage("report", _report, (), _key("train", "register", "evaluate", "promote")),
)
NAMES = tuple(stage.name for stage in STAGES)


# -- plan and run ------------------------------------------------------------------------------


def _slice(config: Config, reads: Sequence[str]) -> dict[str, Any]:
    """What a stage reads: `train` is a section, `serve.name` one key of it."""
    found: dict[str, Any] = {}
    for name in reads:
        section, _, key = name.partition(".")
        value = config.slice(section)[section]
        found[name] = value[key] if key else value
    return found


def _tools(job: Job, names: Sequence[str], *, may_build: bool = True) -> dict[str, str]:
    found = {}
    for name in names:
        if name == "llama.cpp":
            tools = toolchain.find_llama_cpp() or (toolchain.llama_cpp(job.reporter.say) if may_build else None)
            found[name] = tools.version if tools else "missing"
        else:
            found[name] = __version__
    return found


def stale(job: Job, stage: Stage, *, ask_server: bool = True) -> list[str]:
    """Why the stage must run; empty when its record and its outputs say it need not."""
    record = job.record(stage.name)
    if record is None:
        return ["not done yet"]
    reasons = [f"{name} changed" for name, value in stage.inputs(job).items() if record.inputs.get(name) != value]
    wanted = _slice(job.config, stage.reads)
    for name in wanted:
        reasons += _changes(name, record.config.get(name), wanted[name])
    for name, version in _tools(job, stage.tools, may_build=ask_server).items():
        if record.tools.get(name) != version:
            reasons.append(f"{name} was {record.tools.get(name)}, is {version}")
    reasons += runs.broken_outputs(job.run.path, record)
    if not reasons and ask_server:
        reasons += stage.outside(job, record)
    return reasons


def _changes(name: str, before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            f"{name}.{key} was {before.get(key)!r}, is {after.get(key)!r}"
            for key in {**before, **after}
            if before.get(key) != after.get(key)
        ]
    return [f"{name} was {before!r}, is {after!r}"]


def run(job: Job, origin: dict[str, str], until: str = "report") -> dict[str, Any] | None:
    """Do what is missing, up to and with the named stage; the summary where the report was reached.

    Raises `ReasonerError` with code 4, after the report is written, where the scored model was not
    fit to be promoted.
    """
    with runs.lock(job.run):
        _check(job)
        runs.write_text(job.run.config_path, dump(job.config, origin))
        runs.mark_latest(job.run)
        for stage in STAGES[: NAMES.index(until) + 1]:
            _run_stage(job, stage)
        if until not in ("promote", "report"):
            return None
        promoted = job.need("promote").facts
        if not promoted["promoted"] and not promoted["is_control"]:
            raise ReasonerError(
                f"the scored model was not promoted: {register.public_tag(job.config)} stays as it was",
                why="\n".join(promoted["why"]),
                fix=f"read {job.run.path / 'report.md'} and completions/tuned.jsonl; train again under another name",
                code=GATE,
            )
        value: dict[str, Any] | None = runs.read_json(job.run.summary_path)
        return value


def _run_stage(job: Job, stage: Stage) -> None:
    reasons = stale(job, stage)
    if not reasons:
        job.reporter.stage(stage.name, "fresh", "same inputs, config and tools; outputs whole", 0.0)
        return
    usually = f"; usually {stage.usually[job.config.profile]}" if job.config.profile in stage.usually else ""
    job.reporter.begin(stage.name, reasons[0] + usually)
    job.record_path(stage.name).unlink(missing_ok=True)
    if stage.name != "report":
        job.run.summary_path.unlink(missing_ok=True)
    started = time.monotonic()
    outputs, facts = stage.run(job)
    seconds = time.monotonic() - started
    record = runs.Record(
        stage=stage.name,
        inputs=stage.inputs(job),
        config=_slice(job.config, stage.reads),
        tools=_tools(job, stage.tools),
        outputs=runs.outputs_of(job.run.path, outputs),
        facts=facts,
        seconds=seconds,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(job),
    )
    runs.write_record(job.record_path(stage.name), record)
    job.reporter.stage(stage.name, "done", "; ".join(reasons[:2]), seconds)


def states(job: Job) -> list[dict[str, Any]]:
    """Each stage's state for `reasoner status`, without starting or asking a server."""
    found = []
    for stage in STAGES:
        record = job.record(stage.name)
        reasons = stale(job, stage, ask_server=False) if record else ["not done yet"]
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


def versions(job: Job) -> dict[str, str]:
    """Versions of everything that made the result."""
    import platform

    found = {"reasoner": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "trl", "peft", "datasets", "unsloth", "vllm"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["llama.cpp"] = toolchain.llama_cpp(job.reporter.say).version
    found["ollama"] = job.server.version
    return found


# -- checks before the first minute ------------------------------------------------------------


def _check(job: Job) -> None:
    """Everything that can be refused early, before anything is trained or written."""
    checker = verifiers.load(job.config.verifier.name)
    data.check_verifier(job.config)
    if checker.ready is not None:
        checker.ready()
    modelfile.template_path()
    _keep_training(job)
    if job.record("train") is None or runs.broken_outputs(job.run.path, job.need("train")):
        train.check(job.config)
        evaluate.inputs(job.config)
        data.check_held_out(job.config)
        check_disk(job)


def _keep_training(job: Job) -> None:
    """Refuse to throw a training away because a setting differs; hours of work need a word from the person."""
    stage = STAGES[NAMES.index("train")]
    record = job.record("train")
    if record is None:
        stored = runs.read_json(job.run.config_path)
        if not stored or not runs.ready_steps(job.run.checkpoints_dir):
            return
        was = {name: stored["config"].get(name) for name in stage.reads}
        reasons = [text for name in was for text in _changes(name, was[name], _slice(job.config, [name])[name])]
    else:
        reasons = [r for r in stale(job, stage) if r not in runs.broken_outputs(job.run.path, record)]
    if reasons:
        raise ReasonerError(
            f"run {job.run.name} was trained with other settings",
            why="\n".join(reasons),
            fix=f"keep it and choose another name (RUN=… or --run), or remove {job.run.path}",
            code=USAGE,
        )


def check_disk(job: Job) -> None:
    """Refuse where the whole path does not fit: merge, conversion, both quantized files, Ollama's copy."""
    config, run = job.config, job.run
    share = {"F16": 1.0, "BF16": 1.0, "Q8_0": 0.54, "Q6_K": 0.42, "Q5_K_M": 0.36, "Q4_K_M": 0.31}[config.gguf.quant]
    weights = job.base.weights_bytes
    adapters = int(0.15 * weights) * (config.train.keep_checkpoints + 2) * 3
    here = int(weights * (2 + 2 * share)) + adapters + 200 * 2**20
    store = job.server.models_dir or ollama.models_dir()
    there = int(weights * 2 * share) + 50 * 2**20 if job.client.would_copy(run.path) else 0
    needs: dict[int, tuple[Path, int]] = {}
    for path, amount in ((run.path, here), (store, there)):
        place = _existing_parent(path)
        device = os.stat(place).st_dev
        needs[device] = (place, needs.get(device, (place, 0))[1] + amount)
    for place, amount in needs.values():
        free = shutil.disk_usage(place).free
        if free < amount:
            raise ReasonerError(
                f"not enough disk space at {place}",
                why=f"the whole path needs {amount / 2**30:.2f} GiB (checkpoints, merged model, conversion, two"
                f" {config.gguf.quant} files and Ollama's own copy), {free / 2**30:.2f} GiB are free",
                fix="free some, or move runs with REASONER_RUNS and Ollama's models with OLLAMA_MODELS",
                code=MISSING,
            )


def _existing_parent(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


SMOL_MEMORY = 8 * 2**30
"""Free memory that `smol` is taken with; it was measured to need less (scripts/LOG.md)."""


def default_profile() -> tuple[str, str]:
    """The profile `make reasoner` takes where none is named, and why."""
    import psutil

    if shutil.which("nvidia-smi"):
        try:
            listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            listed = None
        if listed is not None and listed.returncode == 0 and "GPU" in listed.stdout:
            return "gsm8k", "a CUDA device is present"
    free = psutil.virtual_memory().available
    if free < SMOL_MEMORY:
        return "pocket", (
            f"no CUDA device, and {free / 2**30:.1f} GiB of free memory where smol wants {SMOL_MEMORY / 2**30:.0f}:"
            " a rehearsal on the CPU"
        )
    return "smol", "no CUDA device: a real chat model on the CPU"
