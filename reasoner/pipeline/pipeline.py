"""The stage table: check, plan (why stale), run, record.

    base -> train -> merge -> gguf -> modelfile -> register -> evaluate -> promote -> report
                    (a checkpoint on the way:      register -> gate -> promote_step)

`base` takes the untouched base through convert, quantize, register and the token-id check before the first minute
of training: what would fail at the end of the path fails at its start. Existence is not freshness: a
stage is skipped only when its record says same inputs, same config and tools, outputs still whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import json
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
from typing import Any, Literal

from reasoner import __version__, runs, verifiers
from reasoner.audit import audit
from reasoner.bases import from_gguf, locate
from reasoner.config import Config, defaults, dump
from reasoner.errors import GATE, MISSING, USAGE, ReasonerError
from reasoner.export import delta, merge, modelfile
from reasoner.files import partial_dir, partial_file, read_json, read_jsonl, sha256_file, write_json, write_text
from reasoner.llamacpp import install, quantize
from reasoner.measuring import evaluate, ladder, statistics
from reasoner.problems import data
from reasoner.reporting import page, report
from reasoner.serving import ollama, register
from reasoner.training import grpo
from reasoner.training.facts import StepMetrics

Made = tuple[list[Path], dict[str, Any]]


@dataclass
class Reporter:
    """How the pipeline speaks: all of it optional, none of it needed for the result."""

    say: Callable[[str], None] = lambda text: None
    stage: Callable[[str, str, str, float], None] = lambda name, verdict, reason, seconds: None
    train_step: Callable[[StepMetrics], None] = lambda metrics: None
    scored: Callable[[str, int, int], None] = lambda role, done, total: None
    begin: Callable[[str, str], None] = lambda name, reason: None


@dataclass
class Job:
    """One pass over one run."""

    config: Config
    run: runs.Run
    reporter: Reporter = field(default_factory=Reporter)
    checkpoint: int | None = None
    """Step of the checkpoint that is exported; None: what the training ends with."""

    @cached_property
    def server(self) -> ollama.Server:
        return ollama.ensure_server(self.reporter.say)

    @cached_property
    def client(self) -> ollama.Client:
        return self.server.client()

    @cached_property
    def base(self) -> locate.Base:
        recorded = self.record("base")
        if recorded is not None:
            path = Path(recorded.facts["path"])
            if recorded.config.get("model") == self.config.slice("model")["model"] and not locate.changed_files(
                path, recorded.facts["files"]
            ):
                files = {k: runs.Output(**v) for k, v in recorded.facts["files"].items()}
                facts = recorded.facts
                return locate.Base(
                    facts["spec"], path, facts["architecture"], facts["weights_bytes"], files, facts.get("imported")
                )
        model = self.config.model
        if not from_gguf.is_spec(model.base):
            return locate.resolve(model)
        made = from_gguf.materialize(model.base, self.reporter.say, lambda: self.client)
        folder = locate.resolve(model.model_copy(update={"base": str(made.path)}))
        return dataclasses.replace(folder, spec=model.base, imported=made.facts)

    def at(self, step: int) -> Job:
        """The job of one checkpoint. `gguf.quant = auto` is for what the training ends with."""
        quant = self.config.gguf.model_copy(update={"quant": self.base_quant})
        found = Job(self.config.model_copy(update={"gguf": quant}), self.run, self.reporter, step)
        found.__dict__ |= {name: self.__dict__[name] for name in ("server", "client", "base") if name in self.__dict__}
        return found

    @property
    def step(self) -> int:
        return self.config.train.steps if self.checkpoint is None else self.checkpoint

    @property
    def adapter(self) -> Path:
        return self.run.path / "adapter" if self.checkpoint is None else self.export / "adapter"

    @property
    def adapter_sha256(self) -> str:
        return runs.adapter_sha256(self.adapter)

    @property
    def export(self) -> Path:
        return self.run.export_dir(self.step)

    @property
    def base_quant(self) -> str:
        """Type in which the base goes through the whole path before training; `auto` is known only after it."""
        quant = self.config.gguf.quant
        return "Q8_0" if quant == "auto" else quant

    @property
    def base_gguf(self) -> Path:
        return self.run.path / "base" / f"base.{self.base_quant}.gguf"

    @property
    def tuned_gguf(self) -> Path:
        quant = self.config.gguf.quant
        return self.export / f"model.{self.need('gguf').facts['quant'] if quant == 'auto' else quant}.gguf"

    @property
    def reference_gguf(self) -> Path:
        """A tuned model of this base by the long route, from which `delta` makes the others."""
        return self.run.path / "base" / f"reference.{self.config.gguf.quant}.gguf"

    @property
    def served_base(self) -> tuple[Path, str]:
        """The base in the type of the tuned model, and its SHA-256."""
        made = self.need("gguf" if self.config.gguf.quant == "auto" else "base")
        name, output = list(made.outputs.items())[-1]
        return self.run.path / name, output.sha256

    def record_path(self, stage: str) -> Path:
        folder = self.run.path if stage in ("base", "train", "reference") else self.export
        return folder / f"{stage}.json"

    def record(self, stage: str) -> runs.Record[Any] | None:
        return runs.read_record(self.record_path(stage))

    def need(self, stage: str) -> runs.Record[Any]:
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
    outside: Callable[[Job, runs.Record[Any]], list[str]] = lambda job, record: []
    usually: Mapping[str, str] = field(default_factory=dict)


def _base(job: Job) -> Made:
    config, found = job.config, job.base
    tokenizer = locate.load_tokenizer(found.path)
    locate.check_embeddings(found.path, tokenizer)
    folder = job.run.path / "base" / "model"
    with partial_dir(folder) as partial:
        for name in found.files:
            if name.endswith(".safetensors") or name in ("config.json", "generation_config.json") or "index" in name:
                (partial / name).symlink_to(found.path / name)
        merge.save_tokenizer(found.path, partial, str(tokenizer.eos_token))
    made, facts = quantize.run(folder, job.base_gguf, job.base_quant, job.run.log_path("base"), job.reporter.say)
    if found.imported:
        from_gguf.check_reexport(found.imported, facts)
    pinned = modelfile.parameters(config, folder)
    sha256 = sha256_file(job.base_gguf)
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
        "license": locate.licence(found.path),
        "imported": found.imported,
        "gguf": facts,
        "pinned": pinned,
        "tag": tag,
    }


def _train(job: Job) -> Made:
    def to_gguf(out: Path, kind: str) -> object:
        return quantize.run(
            job.run.path / "base" / "model", out, kind, job.run.log_path("train-gguf"), job.reporter.say
        )

    audited = _audit(job)
    unjudged = {row["index"] for row in audited["unjudged"]}
    wanted = grpo.TrainJob(job.config, job.run, job.base.path, to_gguf, unjudged)
    outputs, facts = grpo.run(wanted, job.reporter.say, job.reporter.train_step)
    _give_back_memory()
    return outputs, dataclasses.asdict(dataclasses.replace(facts, audit=audit.short(audited)))


def _give_back_memory() -> None:
    """What the trainer freed, to the system: the servers that come next need it, and glibc keeps freed pages."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _audit(job: Job) -> dict[str, Any]:
    """The run's verifier on the run's own references: `audit.json` first, then a refusal where it does not hold.

    `alarms.failed_audit = tell` says so instead. Not an output of the stage: its seconds differ from one time to the
    next, and nothing is made from it.
    """
    config = job.config
    checker = verifiers.load(config.verifier.name)
    value = audit.run(checker, data.training(config), config.data.source)
    write_json(job.run.path / "audit.json", value)
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
    return merge.run(job.config, job.run, job.base.path, job.adapter, job.export / "merged")


def _gguf(job: Job) -> Made:
    config, log, say = job.config, job.run.log_path("gguf"), job.reporter.say
    merged = job.export / "merged"
    if config.gguf.quant != "auto":
        return quantize.run(merged, job.tuned_gguf, config.gguf.quant, log, say)
    chosen = ladder.choose(config, job.run, job.base.path, merged, say, job.reporter.scored)
    text = job.export / "calibration.txt"
    if chosen["imatrix"]:
        quantize.write_calibration(job.run, merged, config.data.system, text)
    given = (chosen["quant"], log, say, text if chosen["imatrix"] else None)
    tuned, facts = quantize.run(merged, job.export / f"model.{chosen['quant']}.gguf", *given)
    untouched, _ = quantize.run(job.run.path / "base" / "model", job.export / f"base.{chosen['quant']}.gguf", *given)
    text.unlink(missing_ok=True)
    return [*tuned, *untouched], {**facts, "chosen": chosen}


def _reference(job: Job) -> Made:
    """The first checkpoint's file again, under a name that outlives its export."""
    path = job.reference_gguf
    with partial_file(path) as partial:
        try:
            os.link(job.tuned_gguf, partial)
        except OSError:
            shutil.copyfile(job.tuned_gguf, partial)
    return [path], {"step": job.step}


def _delta(job: Job) -> Made:
    outputs, facts = delta.run(
        job.base.path, job.adapter, job.reference_gguf, job.tuned_gguf, job.config.gguf.quant, job.reporter.say
    )
    return outputs, {**facts, "route": "delta"}


def _modelfile(job: Job) -> Made:
    pinned = modelfile.parameters(job.config, job.run.path / "base" / "model")
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
            "quant": made.facts["quant"],
            "llama_cpp": made.versions["llama.cpp"],
            "gguf_sha256": next(iter(made.outputs.values())).sha256,
            "template_sha256": made.facts["chat_template_sha256"],
        },
    )
    path = job.export / "Modelfile"
    write_text(path, text)
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
    folder = job.run.path / "base" / "model"
    untouched = source.facts["tag"]
    if untouched["gguf_sha256"] != job.served_base[1] or register.not_there(job.client, [untouched]):
        untouched = register.put(
            config, job.client, register.base_tag(config), *job.served_base, source.facts["pinned"], folder, say
        )
    made = job.need("gguf")
    sha256 = next(iter(made.outputs.values())).sha256
    tuned = register.put(
        config, job.client, register.step_tag(config, job.step), job.tuned_gguf, sha256,
        job.need("modelfile").facts["pinned"], folder, say,
    )  # fmt: skip
    return [], {"base": untouched, "tuned": tuned, "identity": [untouched["digest"], tuned["digest"]]}


def _evaluate(job: Job) -> Made:
    tags = job.need("register").facts
    special = job.need("base").facts["special_tokens"]
    models = {"base": tags["base"]["tag"], "tuned": tags["tuned"]["tag"]}
    return evaluate.run(job.config, job.run, job.client, models, special, job.reporter.scored, job.reporter.say)


def _promote(job: Job) -> Made:
    """Against the base; and where a watch made an earlier step of this run public, against that one too."""
    tuned, scored = job.need("register").facts["tuned"], job.need("evaluate").facts
    register.settle(job.config, job.client, job.run)
    public = register.public(job.config, job.client)
    earlier = {row["digest"] for row in register.promotions(job.run)} - {tuned["digest"]}
    if public and public["digest"] in earlier and not job.config.train.control:
        _run_stage(job, GATE_STAGE)
        scored = {**scored, "problems_found": [*scored["problems_found"], *job.need("gate").facts["why"]]}
    facts = register.promote(job.config, job.client, job.run, tuned, scored, job.step)
    return [], {**facts, "against": public and public["digest"]}


def _gate(job: Job) -> Made:
    """Candidate against public model on the same dev problems, both as served."""
    config, client = job.config, job.client
    settings, candidate = config.gate, job.need("register").facts["tuned"]
    against = register.public(config, client) or job.need("register").facts["base"]
    against = {name: against[name] for name in ("tag", "digest")}
    folder = job.export / "gate"
    _reuse_scores(job, against["digest"], folder / "completions")
    changes = {"split": "dev", "num_problems": settings.num_problems, "beside": ()}
    dev = config.model_copy(update={"eval": config.eval.model_copy(update=changes)})
    outputs, facts = evaluate.run(
        dev, runs.Run(folder), client, {"base": against["tag"], "tuned": candidate["tag"]},
        job.need("base").facts["special_tokens"], job.reporter.scored, job.reporter.say, is_final=False,
    )  # fmt: skip
    if register.not_there(client, [against]):
        raise ReasonerError(f"{against['tag']} became another model while it was scored", fix="score it again")
    rows = {role: read_jsonl(folder / "completions" / f"{role}.jsonl") for role in ("base", "tuned")}
    rule: Literal["strict", "verdict"] = "strict" if settings.metric == "strict" else "verdict"
    differences = list(statistics.differences(rows["base"], rows["tuned"], rule).values())
    key = "strict" if settings.metric == "strict" else "pass_at_1"
    found = {
        "candidate": {name: candidate[name] for name in ("tag", "digest")},
        "against": against,
        "metric": settings.metric,
        "n": len(differences),
        "split_sha256": facts["split_sha256"],
        "score": facts["tuned"][key],
        "score_ci95": facts["tuned"]["ci95" if key == "pass_at_1" else "strict_ci95"],
        "against_score": facts["base"][key],
        "points": 100 * sum(differences) / max(len(differences), 1),
        "lower": statistics.lower_bound(differences, settings.confidence) if differences else None,
    }
    before = [row for row in register.promotions(job.run) if row.get("split_sha256") == found["split_sha256"]]
    best = max((row["score"] for row in before if row.get("metric") == settings.metric), default=None)
    why = register.verdict(config, found, best, facts["problems_found"] + register.lost(facts["below_base"], "it"))
    return outputs, {**found, "best": best, "passed": not why, "why": why}


def _reuse_scores(job: Job, digest: str, target: Path) -> None:
    """The public model answered these problems as a candidate: `evaluate` asks only what is missing or differs."""
    for path in sorted(job.run.path.glob("exports/*/gate.json")):
        record = runs.read_record(path)
        if record is None or path.parent == job.export or record.facts["candidate"]["digest"] != digest:
            continue
        target.mkdir(parents=True, exist_ok=True)
        for source in (path.parent / "gate" / "completions").glob("*"):
            if "tuned" in source.name:
                note = {"role": "base", "model": register.public_tag(job.config)}
                copy = target / source.name.replace("tuned", "base")
                if source.suffix == ".jsonl":
                    rows = [{**row, **note} for row in read_jsonl(source)]
                    write_text(copy, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
                else:
                    shutil.copyfile(source, copy)
        return


def _report(job: Job) -> Made:
    records = {stage.name: job.need(stage.name) for stage in STAGES[:-1]}
    server = {"host": str(job.server.host), "version": job.server.version}
    value = report.summary(job.config, job.run, records, server, versions(job))
    written = page.write(job.run, value)
    write_json(job.run.summary_path, value)
    return [*written, job.run.summary_path], {}


def _report_inputs(job: Job) -> dict[str, str]:
    ladder_path = job.run.path / "ladder.json"
    climbed = sha256_file(ladder_path) if ladder_path.exists() else "none"
    return {**_key("train", "register", "evaluate", "promote")(job), "ladder": climbed}


def _tags(*names: str) -> Callable[[Job, runs.Record[Any]], list[str]]:
    def outside(job: Job, record: runs.Record[Any]) -> list[str]:
        return register.not_there(job.client, [record.facts[name] for name in names])

    return outside


def _public(job: Job, record: runs.Record[Any]) -> list[str]:
    if record.facts["promoted"]:
        return register.not_there(job.client, [record.facts])
    now = register.public(job.config, job.client)
    is_old = "against" in record.facts and record.facts["against"] != (now and now["digest"])
    return ["another model is public by now"] if is_old and not record.facts["is_control"] else []


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
        ("model", "gguf.quant", "serve.name"),
        _base_inputs,
        ("llama.cpp",),
        usually={"pocket": "15-30 s", "smol": "20-40 s"},
    ),
    Stage(
        "train",
        _train,
        ("model", "data", "verifier", "train"),
        _base_inputs,
        usually={"pocket": "1-2 min", "smol": "15-20 min, over an hour without AVX512-BF16 or AMX"},
    ),
    Stage("merge", _merge, ("model",), lambda job: {**_base_inputs(job), "adapter": job.adapter_sha256}),
    Stage("gguf", _gguf, ("gguf",), _key("merge"), ("llama.cpp",), usually={"pocket": "10-20 s", "smol": "10-20 s"}),
    Stage("modelfile", _modelfile, ("serve", "data.system"), _key("gguf"), ("reasoner",)),
    Stage("register", _register, ("serve",), _key("base", "gguf", "modelfile"), outside=_tags("base", "tuned")),
    Stage(
        "evaluate",
        _evaluate,
        ("data", "verifier", "eval", "serve", "alarms"),
        _evaluate_inputs,
        usually={"pocket": "10-30 s", "smol": "8-17 min"},
    ),
    Stage("promote", _promote, ("serve.name", "eval", "gate"), _key("register", "evaluate"), outside=_public),
    Stage("report", _report, (), _report_inputs),
)
NAMES = tuple(stage.name for stage in STAGES)
_BY_NAME = {stage.name: stage for stage in STAGES}
REFERENCE = Stage("reference", _reference, ("model", "gguf.quant"), _base_inputs, ("llama.cpp", "reasoner"))
ROUTES: dict[str, tuple[Stage, ...]] = {
    "reference": tuple(_BY_NAME[name] for name in ("merge", "gguf", "modelfile", "register")),
    "delta": (
        Stage(
            "gguf",
            _delta,
            ("gguf.quant",),
            lambda job: {**_base_inputs(job), "adapter": job.adapter_sha256, **_key("reference")(job)},
            ("llama.cpp",),
        ),
        _BY_NAME["modelfile"],
        _BY_NAME["register"],
    ),
}
"""How a checkpoint becomes a tag. Both routes write the same bytes under the same records."""
GATE_STAGE = Stage(
    "gate",
    _gate,
    ("data", "verifier", "eval", "serve", "gate", "alarms"),
    lambda job: {**_key("register")(job), "public": (register.public(job.config, job.client) or {}).get("digest", "")},
)


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
            tools = install.find_llama_cpp() or (install.llama_cpp(job.reporter.say) if may_build else None)
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
        reasons += _changes(name, _recorded(record.config, name), wanted[name])
    for name, version in _tools(job, stage.tools, may_build=ask_server).items():
        if record.tools.get(name) != version:
            reasons.append(f"{name} was {record.tools.get(name)}, is {version}")
    reasons += runs.broken_outputs(job.run.path, record)
    if not reasons and ask_server:
        reasons += stage.outside(job, record)
    return reasons


def _recorded(stored: dict[str, Any], name: str) -> Any:
    """What a record or a run's config says of a section or key; one that did not exist then had today's default."""
    section, _, key = name.partition(".")
    if key and name in stored:
        return stored[name]
    values = {**defaults(section), **(stored.get(section) or {})}
    if section == "serve":
        values.pop("hosts", None)
    return values.get(key) if key else values


def _changes(name: str, before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            f"{name}.{key} was {before.get(key)!r}, is {after.get(key)!r}"
            for key in {**before, **after}
            if before.get(key) != after.get(key) and (name, key) != ("train", "report_to")  # a tracker only looks on
        ]
    return [f"{name} was {before!r}, is {after!r}"]


def run(job: Job, origin: dict[str, str], until: str = "report") -> dict[str, Any] | None:
    """Do what is missing, up to and with the named stage; the summary where the report was reached.

    Raises `ReasonerError` with code 4, after the report is written, where the scored model was not
    fit to be promoted.
    """
    with runs.lock(job.run):
        _check(job)
        write_text(job.run.config_path, dump(job.config, origin))
        runs.mark_latest(job.run)
        for stage in STAGES[: NAMES.index(until) + 1]:
            with contextlib.nullcontext() if stage.name == "train" else _exporting(job):
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
        value: dict[str, Any] | None = read_json(job.run.summary_path)
        return value


def _exporting(job: Job) -> contextlib.AbstractContextManager[None]:
    return runs.lock(job.run, "export", job.reporter.say)


def export(job: Job, route: Literal["auto", "reference", "delta"] = "auto") -> dict[str, Any]:
    """Take one checkpoint, whose adapter is in its export folder, to a tag of its own; the public tag stays.

    `auto` is the reference route for the first checkpoint of a base, and where `delta` refuses; else `delta`.
    """
    started = time.monotonic()
    with _exporting(job):
        _run_stage(job, _BY_NAME["base"])
        taken, why = _route(job, route)
        job.reporter.say(f"{runs.step_name(job.step)}: {taken} route ({why})")
        for stage in ROUTES[taken]:
            _run_stage(job, stage)
        if taken == "reference" and stale(job, REFERENCE):
            _run_stage(job, REFERENCE)
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
    if asked == "auto" and not any(stale(job, stage) for stage in ROUTES["reference"][:2]):
        return "reference", "done already"
    reasons = stale(job, REFERENCE)
    why = f"the first of this base: {reasons[0]}" if reasons else None
    why = why or delta.refuses(job.base.path, job.adapter, job.reference_gguf, job.config.gguf.quant)
    if why is None:
        return "delta", "as asked" if asked == "delta" else "only the tensors that the adapter touches"
    if asked == "delta":
        raise ReasonerError(f"step {job.step} cannot take the delta route", why=why, fix="--route auto", code=USAGE)
    return "reference", why


def gate(job: Job) -> dict[str, Any]:
    """Score a registered checkpoint against the public model on dev problems; whether it may be promoted, and why."""
    with _exporting(job):
        _run_stage(job, GATE_STAGE)
    found: dict[str, Any] = job.need("gate").facts
    return found


def promote_step(job: Job, by: str, passed: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Make a registered checkpoint the public model; the history's event, None where it is public already."""
    if job.config.train.control:
        raise ReasonerError(f"a {job.config.train.control} control is never promoted", code=GATE)
    model = job.need("register").facts["tuned"]
    figures = ("metric", "n", "split_sha256", "score", "score_ci95", "points", "lower")
    with _exporting(job):
        register.settle(job.config, job.client, job.run)
        facts = {name: passed[name] for name in figures} if passed else {}
        return register.publish(job.config, job.client, job.run, model, job.step, by=by, **facts)


def rollback(job: Job) -> dict[str, Any]:
    """Undo the run's newest promotion; the history's event."""
    with _exporting(job):
        register.settle(job.config, job.client, job.run)
        return register.rollback(job.config, job.client, job.run)


def _run_stage(job: Job, stage: Stage) -> None:
    reasons = stale(job, stage)
    if not reasons:
        job.reporter.stage(stage.name, "fresh", "same inputs, config and tools; outputs whole", 0.0)
        return
    usually = f"; usually {stage.usually[job.config.profile]}" if job.config.profile in stage.usually else ""
    job.reporter.begin(stage.name, reasons[0] + usually)
    job.record_path(stage.name).unlink(missing_ok=True)
    if stage.name != "report" and job.checkpoint is None:
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


def climb(job: Job, *, num: int | None, split: str, margin: float | None) -> dict[str, Any]:
    """The ladder of a run that has been exported."""
    made = job.need("gguf")
    export = ladder.Export(
        base=job.base.path,
        adapter=job.adapter,
        merged=job.export / "merged",
        gguf=job.tuned_gguf,
        quant=made.facts["quant"],
        imatrix=made.facts.get("chosen", {}).get("imatrix", False),
        tag=job.need("register").facts["tuned"],
        pinned=job.need("modelfile").facts["pinned"],
    )
    reporter = job.reporter
    with runs.lock(job.run):
        return ladder.run(
            job.config, job.run, export, job.client, num=num, split=split, margin=margin, say=reporter.say,
            progress=reporter.scored,
        )  # fmt: skip


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
    found["llama.cpp"] = install.llama_cpp(job.reporter.say).version
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
        grpo.check(job.config)
        evaluate.inputs(job.config)
        data.check_held_out(job.config)
        check_disk(job)


def _keep_training(job: Job) -> None:
    """Refuse to throw a training away because a setting differs; hours of work need a word from the person."""
    stage = STAGES[NAMES.index("train")]
    record = job.record("train")
    if record is None:
        stored = read_json(job.run.config_path)
        if not stored or not runs.ready_steps(job.run.checkpoints_dir):
            return
        was = {name: _recorded(stored["config"], name) for name in stage.reads}
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
    share = {"Q8_0": 0.54, "Q6_K": 0.42, "Q5_K_M": 0.36, "Q4_K_M": 0.31}.get(config.gguf.quant, 1.0)
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
