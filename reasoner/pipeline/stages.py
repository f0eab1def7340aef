"""The table of stages: what each one runs, which settings it reads, and what else its outputs depend on.

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
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reasoner import runs
from reasoner.audit import audit
from reasoner.audit.results import Audit, short
from reasoner.bases import locate, proof
from reasoner.errors import ReasonerError
from reasoner.export import calibration, delta, merge, modelfile, register
from reasoner.files import as_json, parse, partial_dir, partial_file, sha256_file, write_json, write_text
from reasoner.llamacpp import quantize
from reasoner.measuring import evaluate, gate, ladder
from reasoner.measuring.figures import Evaluation
from reasoner.pipeline import promotion
from reasoner.pipeline.job import Job
from reasoner.problems import load
from reasoner.reporting import pages, records, summary
from reasoner.serving import history, tags
from reasoner.serving.tags import Registered, Tagged
from reasoner.training import grpo
from reasoner.verifiers import registry

Made = tuple[list[Path], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """One arrow. `reads` names config keys or whole sections; `inputs` what else the outputs depend on.
    `first` gives stages that are run before this one, where it is run.

    `usually` is how long the stage takes on two cores, by profile; on a GPU it depends too much on the machine.
    """

    name: str
    run: Callable[[Job], Made]
    reads: tuple[str, ...]
    inputs: Callable[[Job], dict[str, str]]
    tools: tuple[str, ...] = ()
    outside: Callable[[Job, runs.Record[Any]], list[str]] = lambda job, record: []
    first: Callable[[Job], tuple[Stage, ...]] = lambda job: ()
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
    facts = quantize.run(folder, job.base_gguf, job.base_quant, job.run.log_path("base"), job.reporter.say)
    if found.imported:
        proof.check_reexport(found.imported, facts)
    pinned = modelfile.parameters(config, folder)
    sha256 = sha256_file(job.base_gguf)
    made_of = register.Servable(job.base_gguf, sha256, pinned, folder)
    tag = register.put(config, job.client, tags.base_tag(config), made_of, job.reporter.say)
    return [job.base_gguf], {
        "spec": found.spec,
        "path": str(found.path),
        "architecture": found.architecture,
        "weights_bytes": found.weights_bytes,
        "files": {name: dataclasses.asdict(output) for name, output in found.files.items()},
        "sha256": found.sha256,
        "special_tokens": locate.special_tokens(tokenizer),
        "license": locate.licence(found.path),
        "imported": as_json(found.imported),
        "gguf": as_json(facts),
        "pinned": pinned,
        "tag": dataclasses.asdict(tag),
    }


def _train(job: Job) -> Made:
    def to_gguf(out: Path, kind: str) -> object:
        return quantize.run(
            job.run.path / "base" / "model", out, kind, job.run.log_path("train-gguf"), job.reporter.say
        )

    audited = _audit(job)
    unjudged = {row.index for row in audited.unjudged}
    outputs, facts = grpo.run(
        job.config, job.run, job.base.path, to_gguf, job.reporter.say, job.reporter.train_step, unjudged
    )
    _give_back_memory()
    return outputs, {**facts, "audit": as_json(short(audited))}


def _give_back_memory() -> None:
    """What the trainer freed, to the system: the servers that come next need it, and glibc keeps freed pages."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _audit(job: Job) -> Audit:
    """The run's verifier on the run's own references: `audit.json` first, then a refusal where it does not hold.

    `alarms.failed_audit = tell` says so instead. Not an output of the stage: its seconds differ from one time to the
    next, and nothing is made from it.
    """
    config = job.config
    checker = registry.load(config.verifier.name)
    found = audit.run(checker, load.training(config), config.data.source)
    write_json(job.run.path / "audit.json", as_json(found))
    if config.alarms.failed_audit == "stop" or not found.data.judged:
        audit.refuse(found, f"reasoner audit --run {job.run.name}")
    left_out = f", {len(found.unjudged):,} that it cannot judge are left out" if found.unjudged else ""
    holds = "holds" if found.holds else f"FAILS its audit ({'; '.join(found.failed)}), as alarms.failed_audit allows,"
    job.reporter.say(
        f"verifier {checker.name} {checker.version} {holds} on {found.data.judged:,} references{left_out}"
        f" ({found.seconds:.1f} s, {job.run.path / 'audit.json'})"
    )
    return found


def _merge(job: Job) -> Made:
    outputs, facts = merge.run(job.config, job.run, job.base.path, job.adapter, job.export / "merged")
    return outputs, dataclasses.asdict(facts)


def _gguf(job: Job) -> Made:
    config, log, say = job.config, job.run.log_path("gguf"), job.reporter.say
    merged = job.export / "merged"
    if config.gguf.quant != "auto":
        return [job.tuned_gguf], as_json(quantize.run(merged, job.tuned_gguf, config.gguf.quant, log, say))
    chosen = ladder.choose(config, job.run, job.base.path, merged, job.listener)
    text = job.export / "calibration.txt"
    if chosen.imatrix:
        calibration.write(job.run, merged, config.data.system, text)
    given = (chosen.quant, log, say, text if chosen.imatrix else None)
    outputs = [job.export / f"{name}.{chosen.quant}.gguf" for name in ("model", "base")]
    facts = quantize.run(merged, outputs[0], *given)
    quantize.run(job.run.path / "base" / "model", outputs[1], *given)
    text.unlink(missing_ok=True)
    return outputs, {**as_json(facts), "chosen": as_json(chosen)}


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
    untouched = parse(Registered, source.facts["tag"])
    if untouched.gguf_sha256 != job.served_base[1] or tags.not_there(job.client, [untouched]):
        made_of = register.Servable(*job.served_base, source.facts["pinned"], folder)
        untouched = register.put(config, job.client, tags.base_tag(config), made_of, say)
    sha256 = next(iter(job.need("gguf").outputs.values())).sha256
    made_of = register.Servable(job.tuned_gguf, sha256, job.need("modelfile").facts["pinned"], folder)
    tuned = register.put(config, job.client, tags.step_tag(config, job.step), made_of, say)
    found = {"base": dataclasses.asdict(untouched), "tuned": dataclasses.asdict(tuned)}
    return [], {**found, "identity": [untouched.digest, tuned.digest]}


def _registered(job: Job, role: Literal["base", "tuned"] = "tuned") -> Registered:
    return parse(Registered, job.need("register").facts[role])


def _evaluate(job: Job) -> Made:
    special = job.need("base").facts["special_tokens"]
    models = evaluate.Tags(_registered(job, "base").tag, _registered(job).tag, special)
    outputs, found = evaluate.run(job.config, job.run.path, job.client, models, job.listener)
    return outputs, as_json(found)


def _gated(job: Job) -> tuple[Stage, ...]:
    """The gate, where a watch made an earlier step of this run public: the end must not be worse than that one."""
    public = tags.public(job.config, job.client)
    earlier = {one.digest for one in history.promotions(job.run)} - {_registered(job).digest}
    return (GATE_STAGE,) if public and public.digest in earlier and not job.config.train.control else ()


def _promote(job: Job) -> Made:
    """Against the base, and against what a watch made public earlier."""
    tuned, scored = _registered(job), parse(Evaluation, job.need("evaluate").facts)
    public = tags.public(job.config, job.client)
    if _gated(job):
        found = [*scored.problems_found, *job.need("gate").facts["why"]]
        scored = dataclasses.replace(scored, problems_found=found)
    facts = promotion.promote(job.config, job.client, job.run, tuned, scored, job.step)
    return [], as_json(dataclasses.replace(facts, against=public.digest if public else None))


def _settled(job: Job) -> tuple[Stage, ...]:
    history.settle(job.config, job.client, job.run)
    return _gated(job)


def _gate(job: Job) -> Made:
    """Candidate against public model on the same dev problems, both as served."""
    config, client = job.config, job.client
    candidate, folder = _registered(job), job.export / "gate"
    against = tags.public(config, client) or _registered(job, "base")
    changes = {"split": "dev", "num_problems": config.gate.num_problems, "beside": ()}
    dev = config.model_copy(update={"eval": config.eval.model_copy(update=changes)})
    models = evaluate.Tags(against.tag, candidate.tag, job.need("base").facts["special_tokens"])
    outputs, found = evaluate.run(dev, folder, client, models, job.listener, is_final=False)
    if tags.not_there(client, [against]):
        raise ReasonerError(f"{against.tag} became another model while it was scored", fix="score it again")
    before = [one for one in history.promotions(job.run) if one.split_sha256 == found.split_sha256]
    scores = [one.score for one in before if one.metric == config.gate.metric and one.score is not None]
    return outputs, as_json(gate.decide(config, found, folder, candidate, against, max(scores, default=None)))


def _report(job: Job) -> Made:
    server = {"host": str(job.server.host), "version": job.server.version}
    done = records.read(job.run, job.step)
    value = summary.make(job.config, job.run, done, server, job.versions())
    written = pages.write(job.run, value)
    summary.save(job.run, value)
    return [*written, job.run.summary_path], {}


def _report_inputs(job: Job) -> dict[str, str]:
    ladder_path = job.run.path / "ladder.json"
    climbed = sha256_file(ladder_path) if ladder_path.exists() else "none"
    return {**_key("train", "register", "evaluate", "promote")(job), "ladder": climbed}


def _tags(*names: str) -> Callable[[Job, runs.Record[Any]], list[str]]:
    def outside(job: Job, record: runs.Record[Any]) -> list[str]:
        return tags.not_there(job.client, [parse(Tagged, record.facts[name]) for name in names])

    return outside


def _public(job: Job, record: runs.Record[Any]) -> list[str]:
    if record.facts["promoted"]:
        return tags.not_there(job.client, [parse(Tagged, record.facts)])
    now = tags.public(job.config, job.client)
    is_old = "against" in record.facts and record.facts["against"] != (now and now.digest)
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
    Stage(
        "promote",
        _promote,
        ("serve.name", "eval", "gate"),
        _key("register", "evaluate"),
        outside=_public,
        first=_settled,
    ),
    Stage("report", _report, (), _report_inputs),
)

NAMES = tuple(stage.name for stage in STAGES)

BY_NAME = {stage.name: stage for stage in STAGES}

REFERENCE = Stage("reference", _reference, ("model", "gguf.quant"), _base_inputs, ("llama.cpp", "reasoner"))

ROUTES: dict[str, tuple[Stage, ...]] = {
    "reference": tuple(BY_NAME[name] for name in ("merge", "gguf", "modelfile", "register")),
    "delta": (
        Stage(
            "gguf",
            _delta,
            ("gguf.quant",),
            lambda job: {**_base_inputs(job), "adapter": job.adapter_sha256, **_key("reference")(job)},
            ("llama.cpp",),
        ),
        BY_NAME["modelfile"],
        BY_NAME["register"],
    ),
}
"""How a checkpoint becomes a tag. Both routes write the same bytes under the same records."""

GATE_STAGE = Stage(
    "gate",
    _gate,
    ("data", "verifier", "eval", "serve", "gate", "alarms"),
    lambda job: {**_key("register")(job), "public": getattr(tags.public(job.config, job.client), "digest", "")},
)
