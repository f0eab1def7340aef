"""Scores the rungs of a ladder: the same problems, greedily, from the same prompt token ids, each beside another rung.

Folders are asked in transformers, files in llama.cpp in process, the tag in Ollama.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reasoner import files, runs
from reasoner.bases import locate
from reasoner.config import Config
from reasoner.export import register
from reasoner.llamacpp import header
from reasoner.machine import cpu
from reasoner.measuring import ask, collect, lift, scores
from reasoner.measuring.engines import opening
from reasoner.measuring.engines.base import Limits, Sampling
from reasoner.measuring.figures import Change, Completion, Flip, Rung
from reasoner.problems import load
from reasoner.problems.problem import messages
from reasoner.serving.client import Client
from reasoner.verifiers import registry

Rows = Sequence[Completion]
FIGURES = ("pass_at_1", "ci95", "right", "scored", "unscored", "truncated", "mean_tokens")
"""Of a model's measure, those that its rung shows."""


@dataclass(frozen=True)
class Model:
    """Is what a rung asks: a folder (with an adapter or not), a file, or a tag where a client is given."""

    rung: str
    model: str
    shown: str  # as records name it
    adapter: Path | None = None
    client: Client | None = None


@dataclass(frozen=True)
class Trained:
    """Is what training saw: prompt token ids, and the token with which the chat template ends a turn."""

    prompt_ids: list[list[int]]
    end: int
    name_of: Callable[[int], object]


@dataclass
class Climb:
    """Holds the problems of one ladder, and the rungs that have been scored."""

    config: Config
    run: runs.Run
    margin: float  # points that a rung may lose
    exam: ask.Exam
    trained: Trained
    listener: collect.Listener
    rungs: dict[str, Rung] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Names the folder in which files are made on the fly: gone when the ladder is done, but for the speeds."""
        self.folder, self.log = self.run.path / "ladder", self.run.log_path("ladder")

    def score(self, asked: Model, against: str | None) -> Rung:
        """Asks one rung everything that its completions file lacks, and compares it with the rung `against`."""
        serve, name = self.config.serve, asked.rung
        threads = serve.num_thread or (None if asked.client else cpu.free_cores())
        limits = Limits(self.config.eval.concurrency, serve.num_ctx, threads)
        path = self.run.path / "completions" / f"ladder-{name}.jsonl"
        new: list[int] = []

        def progress(label: str, done: int, total: int) -> None:
            new.append(done)
            self.listener.progress(label, done, total)

        opened = opening.open_engine(asked.model, limits=limits, adapter=asked.adapter, client=asked.client)
        with contextlib.closing(opened) as engine:
            ids = [engine.prompt_ids(messages(p.question, self.exam.system)) or [] for p in self.exam.problems]
            started = time.monotonic()
            sheet = collect.Sheet(path, asked.shown, "ladder", name, label=name)
            rows = ask.score(engine, self.exam, sheet, collect.Listener(self.listener.say, progress))
            seconds = time.monotonic() - started
        digest = str(engine.facts["digest"])
        if len(new) == len(rows) and collect.taken_from(path) is None:
            speed = {"digest": digest, "tokens_per_s": sum(row.tokens for row in rows) / seconds, "seconds": seconds}
            files.write_json(self.folder / f"{name}.json", speed)
        file = Path(asked.model) if engine.name == "llama.cpp" else None
        described = header.read_header(file).describe() if file else None
        end = described.eos_token_id if described else None
        before = self.rows[against] if against else rows
        found, known = scores.measure(rows), files.read_json(self.folder / f"{name}.json") or {}
        known = known if known.get("digest") == digest else {}
        rung = Rung(
            rung=name,
            engine=engine.name,
            model=asked.shown,
            digest=engine.facts["digest"],
            bytes=file.stat().st_size if file else None,
            **{figure: getattr(found, figure) for figure in FIGURES},
            tokens_per_s=known.get("tokens_per_s"),
            seconds=known.get("seconds"),
            end_tokens=[end] if end is not None else engine.facts.get("end_tokens"),
            tensor_types=described.tensor_types if described else None,
            prompt_ids_sha256=files.sha256_json(ids),
            prompt_ids_differ=self._differing(ids, rows),
            change=compare(against, before, rows) if against else None,
            flips=[
                Flip(old.problem_id, str(old.verdict), str(new.verdict))
                for old, new in zip(before, rows, strict=True)
                if old.verdict != new.verdict
            ],
        )
        self.rungs[name], self.rows[name] = rung, rows
        change = f", {rung.change.points:+.1f} points against {rung.change.against}" if rung.change else ""
        warning = "; PROMPT IDS DIFFER" if rung.prompt_ids_differ else ""
        self.listener.say(f"{rung.rung}: {rung.right} of {rung.scored} right{change}{warning}")
        return rung

    def _differing(self, ids: Sequence[list[int]], rows: Rows) -> str | None:
        """Where the prompt is first another than the trainer's; None where it never is."""
        trained = self.trained
        for problem, ours, theirs, row in zip(self.exam.problems, trained.prompt_ids, ids, rows, strict=True):
            if theirs != ours:
                return f"problem {problem.id}: {register.difference(ours, theirs, trained.name_of, 'this rung')}"
            if row.finish_reason != "unanswered" and row.prompt_tokens != len(ours):
                return f"problem {problem.id}: {row.prompt_tokens} prompt tokens were read, {len(ours)} were sent"
        return None


def begin(
    config: Config, run_: runs.Run, base_dir: Path, listener: collect.Listener, split: str, num: int | None
) -> Climb:
    """Returns a ladder without rungs, on `num` problems; None: as many as evaluation asks."""
    wanted: dict[str, object] = {"split": split, "num_problems": num or config.eval.num_problems}
    if split == "dev":  # always there, carved from the training source where it has none; another source may lack it
        wanted["source"] = None
    problems = load.held_out(config.model_copy(update={"eval": config.eval.model_copy(update=wanted)}))
    checker = registry.load(config.verifier.name)
    if checker.ready is not None:
        checker.ready()
    problems = ask.judged(checker, f"the {split} problems", problems)
    tokenizer = locate.load_tokenizer(base_dir, config.data.think)
    exam = ask.Exam(
        problems, checker, Sampling(config.serve.num_predict), config.data.system, seed=config.train.seed,
        special=locate.special_tokens(tokenizer),
    )  # fmt: skip
    prompt_ids = [locate.prompt_ids(tokenizer, messages(p.question, config.data.system)) for p in problems]
    trained = Trained(prompt_ids, int(tokenizer.eos_token_id), tokenizer.convert_ids_to_tokens)
    return Climb(config, run_, config.gguf.margin, exam, trained, listener)


def compare(against: str, before: Rows, after: Rows) -> Change:
    """Compares a rung with the one named `against`."""
    return Change(**vars(lift.lift(before, after)), against=against, same=same(before, after))


def same(before: Rows, after: Rows) -> int:
    """Returns how many completions are the same text."""
    return sum(a.completion == b.completion for a, b in zip(before, after, strict=True))
