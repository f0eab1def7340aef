"""The table of stages: what each one runs, which settings it reads, and what else its outputs depend on.

    base -> train -> merge -> gguf -> modelfile -> register -> evaluate -> promote -> report
                    (a checkpoint on the way:      register -> gate -> promote_step)

`base` takes the untouched base through convert, quantize, register and the token-id check before the first minute
of training: what would fail at the end of the path fails at its start. Existence is not freshness: a
stage is skipped only when its record says same inputs, same config and tools, outputs still whole.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner import __version__, files, runs
from reasoner.audit import audit
from reasoner.audit.results import Audit, short
from reasoner.bases import locate, proof, specs, templates, tokens, weights
from reasoner.config import Config, recorded
from reasoner.errors import ReasonerError
from reasoner.export import calibration, delta, facts, merge, register
from reasoner.llamacpp import install, quantize
from reasoner.llamacpp.header import read_header
from reasoner.llamacpp.loaded import LoadedModel
from reasoner.machine import processes
from reasoner.measuring import evaluate, gate, ladder
from reasoner.measuring.figures import EVALUATE, GATE, Evaluation, GateFacts
from reasoner.pipeline.job import Job
from reasoner.problems import load
from reasoner.reporting import pages, records, summary
from reasoner.serving import history, tags
from reasoner.serving.client import Client
from reasoner.training import grpo
from reasoner.training.facts import TRAIN, TrainFacts
from reasoner.verifiers import registry

Outputs = list[Path]


@dataclass(frozen=True)
class Stage:
    """One arrow of the path.

    `reads` names config sections or single keys; `inputs` what else the outputs depend on, by a hash each; `tools` the
    programs whose version matters. `outside` says what has changed out of our sight since the record was written.
    `first` gives stages that are run before this one, where it is run. `usually` is how long it takes on two cores, by
    profile: on a GPU that depends too much on the machine.
    """

    kind: runs.Kind[Any]
    run: Callable[[Job], tuple[Outputs, Any]]
    reads: tuple[str, ...]
    inputs: Callable[[Job], dict[str, str]]
    tools: tuple[str, ...] = ()
    outside: Callable[[Job, Any], list[str]] = lambda job, made: []
    first: Callable[[Job], tuple[Stage, ...]] = lambda job: ()
    usually: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.kind.name


def _base(job: Job) -> tuple[Outputs, facts.BaseFacts]:
    config, found, say = job.config, job.base, job.reporter.say
    tokenizer = locate.load_tokenizer(found.path, config.data.think)
    locate.check_embeddings(found.path, tokenizer)
    left_out = weights.check(found.path)
    if stray := tokens.strays(found.path):
        say(f"base: its tokenizer.json is taken as it is; transformers would build another one ({stray})")
    with files.partial_dir(job.base_model) as partial:
        for name in found.files:
            if name.endswith(".safetensors") or name in ("config.json", "generation_config.json") or "index" in name:
                (partial / name).symlink_to(found.path / name)
        merge.save_tokenizer(found.path, partial, tokenizer)
    made = quantize.run(job.base_model, job.base_gguf, job.base_quant, job.run.log_path("base"), say)
    if found.imported:
        proof.check_reexport(found.imported, made)
    if left_out:
        _rehearse(job, left_out)
    pinned = register.parameters(config, job.base_model)
    servable = register.Servable(job.base_gguf, files.sha256_file(job.base_gguf), pinned, job.base_model)
    think = templates.settle(found.path, tokenizer, config.data.think).think
    if think is not None:
        why = "as its chat template is by itself" if config.data.think is None else "as data.think says"
        say(f"base: {'thoughts first' if think else 'no thoughts'}, {why}; trained, served and scored alike")
    scheme, _, name = found.spec.partition(":")
    left = register.left_behind(config, job.client, name.strip(), servable) if scheme == "ollama" else []
    if left:
        say(f"base: of the Modelfile of {name.strip()} these are not taken over: {'; '.join(left)}")
    return [job.base_gguf], facts.BaseFacts(
        spec=found.spec,
        path=str(found.path),
        architecture=found.architecture,
        weights_bytes=found.weights_bytes,
        files=found.files,
        sha256=found.sha256,
        special_tokens=locate.special_tokens(tokenizer),
        license=locate.licence(found.path),
        imported=found.imported,
        gguf=facts.GgufFacts(**vars(made)),
        pinned=pinned,
        tag=register.put(config, job.client, tags.base_tag(config), servable, say),
        think=think,
        left_behind=left,
    )


def _rehearse(job: Job, left_out: list[str]) -> None:
    """Takes the untouched base to a GGUF as a merged model goes there; raises where its tensors are not the base's.

    Only where transformers leaves tensors out when it saves: llama.cpp would not load a file without them.
    """
    saved, gguf = job.base_model.with_name("rehearsal"), job.base_gguf.with_name("rehearsal.gguf")
    try:
        merge.rehearse(job.base.path, saved)
        quantize.run(saved, gguf, job.base_quant, job.run.log_path("base"), job.reporter.say)
        was, now = ({n: one.shape for n, one in read_header(path).tensors.items()} for path in (job.base_gguf, gguf))
        if odd := sorted(name for name in was.keys() | now if was.get(name) != now.get(name)):
            why = f"{len(odd)} of its {len(was)} tensors are lost or changed when it is saved, first {odd[0]!r}"
            raise specs.unfit(job.base.spec, why, "name another base")
        LoadedModel(gguf).close()
    finally:
        shutil.rmtree(saved, ignore_errors=True)
        gguf.unlink(missing_ok=True)
    what = f"{len(left_out)} tensors that transformers does not save"
    job.reporter.say(f"base: {what}, first {left_out[0]}, are carried over: a merged model loads")


def _train(job: Job) -> tuple[Outputs, TrainFacts]:
    def to_gguf(out: Path, kind: str) -> object:
        return quantize.run(job.base_model, out, kind, job.run.log_path("train-gguf"), job.reporter.say)

    audited = _audit(job)
    files.write_json(job.run.data_path, _train_inputs(job))
    unjudged = {row.index for row in audited.unjudged}
    wanted = grpo.TrainJob(job.config, job.run, job.base.path, to_gguf, unjudged)
    outputs, found = grpo.run(wanted, job.reporter.say, job.reporter.train_step)
    processes.give_back_memory()
    return outputs, dataclasses.replace(found, audit=short(audited))


def _audit(job: Job) -> Audit:
    """Audits the run's verifier on the run's own references: `audit.json` first, then a refusal where it fails.

    `alarms.failed_audit = tell` says so instead. Not an output of the stage: its seconds differ from one time to the
    next, and nothing is made from it.
    """
    config = job.config
    checker = registry.load(config.verifier.name)
    found = audit.run(checker, load.training(config), config.data.source)
    files.write_json(job.run.path / "audit.json", files.as_json(found))
    if config.alarms.failed_audit == "stop" or not found.data.judged:
        audit.refuse(found, f"reasoner audit --run {job.run.name}")
    left_out = f", {len(found.unjudged):,} that it cannot judge are left out" if found.unjudged else ""
    holds = "holds" if found.holds else f"FAILS its audit ({'; '.join(found.failed)}), as alarms.failed_audit allows,"
    job.reporter.say(
        f"verifier {checker.name} {checker.version} {holds} on {found.data.judged:,} references{left_out}"
        f" ({found.seconds:.1f} s, {job.run.path / 'audit.json'})"
    )
    return found


def _merge(job: Job) -> tuple[Outputs, facts.MergeFacts]:
    return merge.run(job.config, job.run, job.base.path, job.adapter, job.export / "merged", job.step)


def _gguf(job: Job) -> tuple[Outputs, facts.GgufFacts]:
    config, log, say = job.config, job.run.log_path("gguf"), job.reporter.say
    merged = job.export / "merged"
    if config.gguf.quant != "auto":
        made = quantize.run(merged, job.tuned_gguf, config.gguf.quant, log, say)
        return [job.tuned_gguf], facts.GgufFacts(**vars(made))
    chosen = ladder.choose(config, job.run, job.base.path, merged, job.listener)
    text = job.export / "calibration.txt"
    if chosen.imatrix:
        calibration.write(job.run, merged, config.data.system, text)
    given = (chosen.quant, log, say, text if chosen.imatrix else None)
    outputs = [job.export / f"{name}.{chosen.quant}.gguf" for name in ("model", "base")]
    made = quantize.run(merged, outputs[0], *given)
    quantize.run(job.base_model, outputs[1], *given)
    text.unlink(missing_ok=True)
    return outputs, facts.GgufFacts(**vars(made), chosen=files.as_json(chosen))


def _reference(job: Job) -> tuple[Outputs, facts.ReferenceFacts]:
    """Keeps the first checkpoint's file under a name that outlives its export."""
    path = job.reference_gguf
    with files.partial_file(path) as partial:
        try:
            os.link(job.tuned_gguf, partial)
        except OSError:
            shutil.copyfile(job.tuned_gguf, partial)
    return [path], facts.ReferenceFacts(job.step)


def _delta(job: Job) -> tuple[Outputs, facts.GgufFacts]:
    quant, out = job.config.gguf.quant, job.tuned_gguf
    return [out], delta.run(job.base.path, job.adapter, job.reference_gguf, out, quant, job.reporter.say)


def _modelfile(job: Job) -> tuple[Outputs, facts.ModelfileFacts]:
    pinned = register.parameters(job.config, job.base_model)
    made, source = job.need(facts.GGUF), job.need(facts.BASE).facts
    told = {
        "name": job.config.serve.name,
        "run": job.run.name,
        "step": job.step,
        "base": facts.origin(source.spec, source.imported),
        "base_sha256": source.sha256,
        "license": source.license,
        "quant": made.facts.quant,
        "llama_cpp": made.versions["llama.cpp"],
        "gguf_sha256": next(iter(made.outputs.values())).sha256,
        "template_sha256": made.facts.chat_template_sha256,
    }
    path = job.export / "Modelfile"
    licence = locate.licence_text(job.base_model)
    files.write_text(path, register.modelfile(job.config, job.tuned_gguf, pinned, told, licence))
    return [path], facts.ModelfileFacts(pinned)


def _register(job: Job) -> tuple[Outputs, facts.RegisterFacts]:
    config, source, say = job.config, job.need(facts.BASE).facts, job.reporter.say
    untouched = source.tag
    if untouched.gguf_sha256 != job.served_base[1] or tags.not_there(job.client, [untouched]):
        servable = register.Servable(*job.served_base, source.pinned, job.base_model)
        untouched = register.put(config, job.client, tags.base_tag(config), servable, say)
    sha256 = next(iter(job.need(facts.GGUF).outputs.values())).sha256
    servable = register.Servable(job.tuned_gguf, sha256, job.need(facts.MODELFILE).facts.pinned, job.base_model)
    tuned = register.put(config, job.client, tags.step_tag(config, job.step), servable, say)
    return [], facts.RegisterFacts(untouched, tuned, [untouched.digest, tuned.digest])


def _evaluate(job: Job) -> tuple[Outputs, Evaluation]:
    found = job.need(facts.REGISTER).facts
    models = evaluate.Tags(found.base.tag, found.tuned.tag, job.need(facts.BASE).facts.special_tokens)
    return evaluate.run(job.config, job.run.path, job.client, models, job.listener)


def _gated(job: Job) -> tuple[Stage, ...]:
    """The gate, where a watch made an earlier step of this run public: the end must not be worse than that one."""
    public, tuned = tags.public(job.config, job.client), job.need(facts.REGISTER).facts.tuned
    earlier = {one.digest for one in history.promotions(job.run)} - {tuned.digest}
    return (GATE_STAGE,) if public and public.digest in earlier and not job.config.train.control else ()


def _promote(job: Job) -> tuple[Outputs, facts.PromoteFacts]:
    """Against the base, and against what a watch made public earlier."""
    tuned, scored = job.need(facts.REGISTER).facts.tuned, job.need(EVALUATE).facts
    public = tags.public(job.config, job.client)
    if _gated(job):
        found = [*scored.problems_found, *job.need(GATE).facts.why]
        scored = dataclasses.replace(scored, problems_found=found)
    made = promote(job.config, job.client, job.run, tuned, scored, job.step)
    return [], dataclasses.replace(made, against=public.digest if public else None)


def promote(
    config: Config, client: Client, run: runs.Run, model: tags.Tagged, scored: Evaluation, step: int
) -> facts.PromoteFacts:
    """Points the public tag at the scored model unless the gate forbids it; `step` is the model's."""
    if why := gate.control(config) or gate.refusals(scored):
        return facts.PromoteFacts(promoted=False, why=why, is_control=bool(config.train.control))
    history.publish(config, client, run, model, step, by="reasoner run")
    return facts.PromoteFacts(promoted=True, why=[], tag=tags.public_tag(config), digest=model.digest)


def _settled(job: Job) -> tuple[Stage, ...]:
    history.settle(job.config, job.client, job.run)
    return _gated(job)


def _gate(job: Job) -> tuple[Outputs, GateFacts]:
    """Scores candidate and public model on the same dev problems, both as served."""
    config, client, found = job.config, job.client, job.need(facts.REGISTER).facts
    candidate, folder = found.tuned, job.export / "gate"
    against = tags.public(config, client) or found.base
    changes = {"split": "dev", "num_problems": config.gate.num_problems, "beside": ()}
    dev = config.model_copy(update={"eval": config.eval.model_copy(update=changes)})
    models = evaluate.Tags(against.tag, candidate.tag, job.need(facts.BASE).facts.special_tokens)
    outputs, scored = evaluate.run(dev, folder, client, models, job.listener, is_final=False)
    if tags.not_there(client, [against]):
        raise ReasonerError(f"{against.tag} became another model while it was scored", fix="score it again")
    before = [one for one in history.promotions(job.run) if one.split_sha256 == scored.split_sha256]
    scores = [one.score for one in before if one.metric == config.gate.metric and one.score is not None]
    return outputs, gate.decide(config, scored, folder, candidate, against, max(scores, default=None))


def _report(job: Job) -> tuple[Outputs, facts.ReportFacts]:
    server = {"host": str(job.server.host), "version": job.server.version}
    value = summary.make(job.config, job.run, records.read(job.run, job.step), server, job.versions())
    written = pages.write(job.run, value)
    summary.save(job.run, value)
    return [*written, job.run.summary_path], facts.ReportFacts()


def _report_inputs(job: Job) -> dict[str, str]:
    ladder_path = job.run.path / "ladder.json"
    climbed = files.sha256_file(ladder_path) if ladder_path.exists() else "none"
    return {**_key(TRAIN, facts.REGISTER, EVALUATE, facts.PROMOTE)(job), "ladder": climbed}


def _public(job: Job, made: facts.PromoteFacts) -> list[str]:
    if made.model:
        return tags.not_there(job.client, [made.model])
    now = tags.public(job.config, job.client)
    is_old = made.against != (now and now.digest) and not made.is_control
    return ["another model is public by now"] if is_old else []


def _key(*kinds: runs.Kind[Any]) -> Callable[[Job], dict[str, str]]:
    def inputs(job: Job) -> dict[str, str]:
        found = {kind.name: job.record(kind) for kind in kinds}
        return {name: record.key if record else "" for name, record in found.items()}

    return inputs


def _base_inputs(job: Job) -> dict[str, str]:
    return {"base": job.base.sha256}


def _train_inputs(job: Job) -> dict[str, str]:
    return {**_base_inputs(job), **load.identity(**{"data.source": job.config.data.source})}


def _evaluate_inputs(job: Job) -> dict[str, str]:
    config = job.config
    mine = load.identity(**{"data.source": config.data.source, "eval.source": config.eval.source})
    return {**_key(facts.REGISTER)(job), **mine, **evaluate.inputs(config)}


def _adapter_inputs(job: Job) -> dict[str, str]:
    return {**_base_inputs(job), "adapter": runs.adapter_sha256(job.adapter)}


def _delta_inputs(job: Job) -> dict[str, str]:
    return {**_adapter_inputs(job), **_key(facts.REFERENCE)(job)}


def _public_inputs(job: Job) -> dict[str, str]:
    public = tags.public(job.config, job.client)
    return {**_key(facts.REGISTER)(job), "public": public.digest if public else ""}


STAGES = (
    Stage(
        facts.BASE, _base, ("model", "gguf.quant", "serve.name", "data.think"), _base_inputs, ("llama.cpp",),
        usually={"pocket": "15-30 s", "smol": "20-40 s"},
    ),
    Stage(
        TRAIN, _train, ("model", "data", "verifier", "train"), _train_inputs,
        usually={"pocket": "1-2 min"},
    ),
    Stage(facts.MERGE, _merge, ("model",), _adapter_inputs),
    Stage(
        facts.GGUF, _gguf, ("gguf",), _key(facts.MERGE), ("llama.cpp",),
        usually={"pocket": "10-20 s", "smol": "10-20 s"},
    ),
    Stage(facts.MODELFILE, _modelfile, ("serve", "data.system"), _key(facts.GGUF), ("reasoner",)),
    Stage(
        facts.REGISTER, _register, ("serve",), _key(facts.BASE, facts.GGUF, facts.MODELFILE),
        outside=lambda job, made: tags.not_there(job.client, [made.base, made.tuned]),
    ),
    Stage(
        EVALUATE, _evaluate, ("data", "verifier", "eval", "serve", "alarms"),
        _evaluate_inputs,
        usually={"pocket": "10-30 s", "smol": "8-17 min"},
    ),
    Stage(
        facts.PROMOTE, _promote, ("serve.name", "eval", "gate"), _key(facts.REGISTER, EVALUATE),
        outside=_public, first=_settled,
    ),
    Stage(facts.REPORT, _report, (), _report_inputs),
)  # fmt: skip
NAMES = tuple(stage.name for stage in STAGES)
BY_NAME = {stage.name: stage for stage in STAGES}
REFERENCE_STAGE = Stage(facts.REFERENCE, _reference, ("model", "gguf.quant"), _base_inputs, ("llama.cpp", "reasoner"))
_TO_A_TAG = (BY_NAME["modelfile"], BY_NAME["register"])
ROUTES: dict[str, tuple[Stage, ...]] = {
    "reference": (BY_NAME["merge"], BY_NAME["gguf"], *_TO_A_TAG),
    "delta": (Stage(facts.GGUF, _delta, ("gguf.quant",), _delta_inputs, ("llama.cpp",)), *_TO_A_TAG),
}
"""How a checkpoint becomes a tag. Both routes write the same bytes under the same records."""
GATE_STAGE = Stage(GATE, _gate, ("data", "verifier", "eval", "serve", "gate", "alarms"), _public_inputs)


# -- why a stage must run again: existence is not freshness ----------------------------------------


def settings_of(config: Config, reads: Sequence[str]) -> dict[str, Any]:
    """What a stage reads: `train` is a section, `serve.name` one key of it."""
    return {name: config.settings(name) for name in reads}


def tools_of(job: Job, names: Sequence[str], *, may_build: bool = True) -> dict[str, str]:
    found = dict.fromkeys(names, __version__)
    if "llama.cpp" in names:
        tools = install.find_llama_cpp() or (install.llama_cpp(job.reporter.say) if may_build else None)
        found["llama.cpp"] = tools.version if tools else "missing"
    return found


def stale(job: Job, stage: Stage, *, ask_server: bool = True) -> list[str]:
    """Why the stage must run; empty when its record and its outputs say it need not."""
    record = job.record(stage.kind)
    if record is None:
        return ["not done yet"]
    reasons = [
        f"{name} changed" if name in record.inputs else f"{name} was not recorded"
        for name, value in stage.inputs(job).items()
        if record.inputs.get(name) != value
    ]
    reasons += changes(stage, record.config, job.config)
    for name, version in tools_of(job, stage.tools, may_build=ask_server).items():
        if record.tools.get(name) != version:
            reasons.append(f"{name} was {record.tools.get(name)}, is {version}")
    reasons += runs.broken_outputs(job.run.path, record.outputs)
    if not reasons and ask_server:
        reasons += stage.outside(job, record.facts)
    return reasons


def changes(stage: Stage, stored: dict[str, Any], config: Config) -> list[str]:
    """Which settings that the stage reads are not as they were stored."""
    found = []
    for name, after in settings_of(config, stage.reads).items():
        before, then, now = recorded(stored, name), {name: recorded(stored, name)}, {name: after}
        if isinstance(before, dict) and isinstance(after, dict):
            then, now = ({f"{name}.{key}": value for key, value in of.items()} for of in (before, after))
        keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        found += [f"{key} was {then.get(key)!r}, is {now.get(key)!r}" for key in keys]
    return found
