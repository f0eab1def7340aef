"""Scores any model on any problems: what `reasoner eval` does."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner import config as configs
from reasoner import files, runs
from reasoner.bases import locate
from reasoner.errors import USAGE, ReasonerError
from reasoner.export import register
from reasoner.export.facts import BASE, GGUF, REGISTER
from reasoner.measuring import ask, intervals, scores
from reasoner.measuring.collect import Listener, Say, Sheet
from reasoner.measuring.engines import base, opening
from reasoner.measuring.evaluate import short
from reasoner.measuring.figures import Completion, PromptIds, Result
from reasoner.problems import generated, load
from reasoner.problems.overlap import Overlap, find_overlap
from reasoner.problems.problem import Problem, messages
from reasoner.serving import host
from reasoner.training.facts import steps_of
from reasoner.verifiers import registry

DEFAULT_TOKENS = 512
"""Most tokens of a completion of a model that brings no limit of its own."""
DEFAULT_PROBLEMS = 500
"""Problems of a generator that has no end."""
NUM_PROMPTS = 3
"""Problems whose prompt token ids are read back before any is asked."""
FEWEST_FLIPS = 0.05
"""Least share of problems on which two models are taken to differ, for the smallest detectable difference."""


@dataclass(frozen=True)
class Options:
    """Says what is asked; None comes from the run, else from what the source is paired with."""

    source: str | None = None
    """A data set by name, a hub id, a folder or a file, whose rows are all asked; None: a run's held-out problems."""
    split: str | None = None
    num: int | None = None  # problems
    samples: int = 1  # completions of each problem
    temperature: float = 0.0
    engine: str | None = None
    verifier: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    concurrency: int = 8
    adapter: Path | None = None  # a PEFT adapter on top of a model folder
    out: Path | None = None  # folder of the completions and `result.json`; None: under `evals` beside the runs


@dataclass(frozen=True)
class _Target:
    """The model that a name means to an engine; of a run also its config, its special tokens and its tokenizer."""

    name: str
    model: str
    config: configs.Config | None = None
    special: Sequence[str] = ()
    tokenizer: Path | None = None


@dataclass(frozen=True)
class _Source:
    """Problems, where they came from, and the verifier that reads their references."""

    problems: Sequence[Problem]
    record: dict[str, Any]
    verifier: str


def run(name: str, options: Options, listener: Listener) -> Result:
    """Scores a run, a tag in Ollama, a GGUF, a model folder or `URL#MODEL`, and writes `result.json`.

    Goes on where it was interrupted. Raises with code 2 where the options do not fit each other or the model.
    """
    if options.samples > 1 and not options.temperature:
        why = f"{options.samples} greedy completions of a problem are all the same"
        raise ReasonerError(why, fix="--temperature 0.7, say", code=USAGE)
    started = time.monotonic()
    target = _target(name, options.engine)
    source = _problems(options, target.config)
    exam = _exam(options, target, source)
    serve = target.config.serve if target.config else None
    num_ctx = serve.num_ctx if serve else DEFAULT_TOKENS * 4 + exam.sampling.max_tokens
    limits = base.Limits(options.concurrency, num_ctx, serve.num_thread if serve else None)
    adapter = options.adapter.expanduser().absolute() if options.adapter else None
    folder = options.out or _folder(options, target, exam, source, adapter)
    engine = opening.open_engine(target.model, options.engine, limits, adapter=adapter, say=listener.say)
    with runs.lock(runs.Run(folder)), contextlib.closing(engine):
        (folder / "result.json").unlink(missing_ok=True)
        prompt_ids = _prompt_ids(engine, exam, target.tokenizer)
        overlap = _overlap(target.config, exam.problems, listener.say)
        sheet = Sheet(folder / "completions.jsonl", model=name, stage="eval", label="eval")
        rows = ask.score(engine, exam, sheet, listener)
        _note_prompts(engine, prompt_ids, rows[:: exam.samples])
        measured, lenient = scores.measure(rows), ask.judged_leniently(exam, rows)
        p, split = measured.pass_at_1, str(source.record["split"])
        resolution = intervals.detectable(measured.scored, max(FEWEST_FLIPS, 2 * p * (1 - p)))
        value = Result(
            model=name,
            engine=engine.name,
            facts=engine.facts,
            data=source.record,
            split=split,
            split_sha256=exam.sha256,
            n=len(exam.problems),
            unjudged=len(source.problems) - len(exam.problems),
            sampling=exam.sampling,
            system=exam.system,
            prompt_ids=PromptIds(len(prompt_ids), files.sha256_json(prompt_ids)) if prompt_ids else None,
            overlap=overlap,
            verifier=exam.checker.judge,
            sandbox=rows[0].sandbox,
            **{**vars(measured), "samples": exam.samples},
            lenient=short(lenient) if lenient else None,
            unanswered=sum(row.finish_reason == "unanswered" for row in rows),
            detectable=resolution if exam.samples == 1 else None,
            look=None if split in ("train", "dev") else ask.look(engine, exam.problems, sheet.path),
            completions=str(sheet.path),
            seconds=round(time.monotonic() - started, 2),
        )
        files.write_json(folder / "result.json", files.as_json(value))
    return value


def _exam(options: Options, target: _Target, source: _Source) -> ask.Exam:
    if options.source is not None and options.verifier is not None:
        load.check_verifier(options.source, options.verifier)
    checker = registry.load(options.verifier or source.verifier)
    if checker.ready is not None:
        checker.ready()
    config = target.config
    system = config.data.system if options.system is None and config else options.system
    return ask.Exam(
        problems=ask.judged(checker, source.record["source"], source.problems),
        checker=checker,
        sampling=base.Sampling(
            options.max_tokens or (config.serve.num_predict if config else DEFAULT_TOKENS), options.temperature
        ),
        system=system or None,
        samples=options.samples,
        special=target.special,
    )


def _folder(options: Options, target: _Target, exam: ask.Exam, source: _Source, adapter: Path | None) -> Path:
    """Of its own for all that is asked otherwise."""
    asked = {
        "model": target.model, "adapter": str(adapter or ""), "engine": options.engine, "data": source.record["source"],
        "split": source.record["split"], "num": options.num, "samples": exam.samples,
        "sampling": files.as_json(exam.sampling), "verifier": exam.checker.name,
        "system": "" if options.system == "" else exam.system,
    }  # fmt: skip
    parts = (target.name, source.record["source"], source.record["split"])
    return runs.runs_dir() / "evals" / "-".join([*map(_short, parts), files.sha256_json(asked)[:8]])


def _short(text: str) -> str:
    """A part of a folder's name: of a path or a URL only the end."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text.rstrip("/").rpartition("/")[2]).strip("-.")[:40] or "model"


def _target(name: str, engine: str | None) -> _Target:
    folder = runs.runs_dir() / name if re.fullmatch(r"[\w.-]+", name) else Path(name).expanduser()
    stored = files.read_json(folder / "config.json")
    if not isinstance(stored, dict) or "origin" not in stored:
        return _Target(name, name)
    run_ = runs.existing(name)
    settings, _ = configs.read(run_.config_path)
    steps = steps_of(run_, settings)
    export = run_.export_dir(steps)
    record, source, file = run_.record(REGISTER, steps), run_.record(BASE, steps), run_.record(GGUF, steps)
    if record is None or source is None or file is None:
        raise ReasonerError(f"run {run_.name} has no model in Ollama yet", fix=f"make reasoner RUN={run_.name}")
    tag = record.facts.tuned.tag
    model = {
        "transformers": str(export / "merged"),
        "vllm": str(export / "merged"),
        "llama.cpp": str(run_.path / next(iter(file.outputs))),
        "openai": f"{host.current().url}/v1#{tag}",
    }.get(engine or "", tag)
    tokenizer = run_.path / "base" / "model"
    return _Target(name, model, settings, source.facts.special_tokens, tokenizer if tokenizer.is_dir() else None)


def _problems(options: Options, settings: configs.Config | None) -> _Source:
    if options.source is None:
        if settings is None:
            raise ReasonerError("which problems?", fix="--data gsm8k, say, or a file; a run brings its own", code=USAGE)
        given = {"split": options.split, "num_problems": options.num}
        changes = {key: value for key, value in given.items() if value is not None}
        chosen = configs.Eval.model_validate({**settings.eval.model_dump(), **changes})
        settings = settings.model_copy(update={"eval": chosen})
        record = {"source": chosen.source or settings.data.source, "split": chosen.split}
        return _Source(load.held_out(settings), record, settings.verifier.name)
    split = options.split or ("all" if Path(options.source).expanduser().is_file() else "test")
    num = options.num or (DEFAULT_PROBLEMS if options.source == generated.WORDPROBLEMS else None)
    found = load.read(configs.Data(source=options.source), split, num)
    verifier = found.provenance.verifier or _pairing(found.problems)
    return _Source(found.problems, files.as_json(found.provenance), verifier)


def _pairing(problems: Sequence[Problem]) -> str:
    """The checker for a person's own references: the first that can judge them all, else what judges the most."""
    counts: dict[str, int] = {}
    for name in ("number", "math"):
        counts[name] = len(ask.readable(registry.load(name), problems))
        if counts[name] == len(problems):
            break
    return max(counts, key=counts.__getitem__)


def _prompt_ids(engine: base.Engine, exam: ask.Exam, trained_on: Path | None) -> list[list[int]]:
    """Prompt token ids as the engine reads them; empty, and a difference in its facts, where it does not tell.

    Raises where the model is a run's (`trained_on` has its tokenizer) and they are not those of its training.
    """
    problems = exam.problems[:NUM_PROMPTS]
    chats = [messages(problem.question, exam.system) for problem in problems]
    why = ""
    try:
        found = [engine.prompt_ids(chat) for chat in chats]
    except ReasonerError as error:
        if trained_on is not None:
            raise
        found, why = [None], f": {error.why or error.what}"
    ids = [one for one in found if one is not None]
    if len(ids) < len(found):
        base.differ(engine, f"prompt token ids are not known, nor so whether another engine is asked the same{why}")
        return []
    if trained_on is not None:
        tokenizer = locate.load_tokenizer(trained_on)
        for problem, chat, read in zip(problems, chats, ids, strict=True):
            trained = locate.prompt_ids(tokenizer, chat)
            if read != trained:
                where = register.difference(trained, read, tokenizer.convert_ids_to_tokens, engine.name)
                raise ReasonerError(
                    f"{engine.model} is asked something else than was trained",
                    why=f"problem {problem.id}: {where}",
                    fix="a system message of the tag's own, or --system, may be the difference",
                )
    return ids


def _note_prompts(engine: base.Engine, ids: Sequence[Sequence[int]], rows: Sequence[Completion]) -> None:
    for read, row in zip(ids, rows, strict=False):
        if row.finish_reason != "unanswered" and row.prompt_tokens != len(read):
            was = f"{row.prompt_tokens} prompt tokens were read, {len(read)} expected"
            base.differ(engine, f"problem {row.problem_id}: {was}")


def _overlap(settings: configs.Config | None, problems: Sequence[Problem], say: Say) -> Overlap | None:
    """What a run was trained on of these problems; None where the model is no run's, or its data is gone."""
    if settings is None:
        return None
    try:
        return find_overlap(load.training(settings), problems)
    except ReasonerError as error:
        say(f"not compared with what the run was trained on: {error.what}")
        return None
