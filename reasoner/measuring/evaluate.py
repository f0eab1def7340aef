"""Runs the `evaluate` stage: base and tuned, as served, on the main set and on all that is asked beside it.

One model is asked everything before the next one, so that a server with room for one loads each once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reasoner import files
from reasoner.config import Config
from reasoner.measuring import ask, collect, everyday, figures, gate, lift, scores
from reasoner.measuring.engines import opening
from reasoner.measuring.engines.base import Engine, Limits, Sampling
from reasoner.problems import load
from reasoner.problems.everyday import everyday_prompts
from reasoner.problems.named import sets_dir
from reasoner.problems.problem import Problem, split_sha256
from reasoner.serving import tags
from reasoner.serving.client import Client
from reasoner.verifiers import registry

MAIN = ""
"""Name of the main set: its files and its progress carry the role alone."""
ByRole = dict[str, list[figures.Completion]]


@dataclass(frozen=True)
class Tags:
    """Names the two models in Ollama, and the texts of their tokenizer's special tokens."""

    base: str
    tuned: str
    special: Sequence[str] = ()


@dataclass
class _Asked:
    """Collects what the models answered, by role."""

    sets: dict[str, ByRole]
    everyday: dict[str, list[figures.EverydayAnswer]] = field(default_factory=dict)
    sampled: dict[str, list[figures.EverydayAnswer]] = field(default_factory=dict)
    no_system: ByRole = field(default_factory=dict)
    looks: dict[str, dict[str, int]] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)


def run(
    config: Config, folder: Path, client: Client, models: Tags, listener: collect.Listener, *, is_final: bool = True
) -> tuple[list[Path], figures.Evaluation]:
    """Asks both models everything and compares them; writes `completions/[<set>-]<role>.jsonl` under `folder`.

    The listener's labels are `tuned`, `svamp base`, `everyday tuned`. Where the profile has a system message, the main
    set of a final evaluation (not of a gate) is asked without it too.
    """
    checker = registry.load(config.verifier.name)
    found: dict[str, list[Problem] | None] = {MAIN: load.held_out(config)}
    found |= {name: load.beside(config, name) for name in config.eval.beside}
    exams = {
        name: ask.Exam(
            ask.judged(checker, name, problems), checker, Sampling(config.serve.num_predict), config.data.system,
            special=models.special,
        )
        for name, problems in found.items() if problems is not None
    }  # fmt: skip
    asked = _Asked({name: {} for name in exams})
    for role, tag in (("base", models.base), ("tuned", models.tuned)):
        plain = collect.Sheet(folder, tag, "served", role)
        _ask_model(config, client, exams, asked, plain, listener)
        if config.data.system and is_final:
            with tags.without_system(client, tag) as bare, _opened(config, client, bare) as engine:
                sheet = _sheet(plain, f"no-system {role}", asked)
                asked.no_system[role] = ask.score(engine, replace(exams[MAIN], system=None), sheet, listener)
    unjudged = {name: len(found[name] or ()) - len(exam.problems) for name, exam in exams.items()}
    return asked.outputs, _evaluation(config, exams, asked, unjudged)


def _ask_model(
    config: Config,
    client: Client,
    exams: dict[str, ask.Exam],
    asked: _Asked,
    plain: collect.Sheet,
    listener: collect.Listener,
) -> None:
    role = str(plain.role)
    with _opened(config, client, plain.model) as engine:
        for name, exam in exams.items():
            sheet = _sheet(plain, f"{name} {role}".strip(), asked)
            asked.sets[name][role] = ask.score(engine, exam, sheet, listener)
            if name != MAIN or config.eval.split != "dev":
                asked.looks.setdefault(name or "held-out", {})[role] = ask.look(engine, exam.problems, sheet.path)
        if config.eval.everyday:
            for label, answers in ((f"everyday {role}", asked.everyday), (f"everyday sampled {role}", asked.sampled)):
                answers[role] = everyday.answer(
                    engine, everyday_prompts("eval"), _sheet(plain, label, asked), listener, config.data.system,
                    is_sampled=answers is asked.sampled,
                )  # fmt: skip


@contextlib.contextmanager
def _opened(config: Config, client: Client, tag: str) -> Iterator[Engine]:
    limits = Limits(config.eval.concurrency, config.serve.num_ctx, config.serve.num_thread)
    with contextlib.closing(opening.open_engine(tag, "ollama", limits, client=client)) as engine:
        yield engine


def _sheet(plain: collect.Sheet, label: str, asked: _Asked) -> collect.Sheet:
    path = plain.path / "completions" / f"{label.replace(' ', '-')}.jsonl"
    asked.outputs.append(path)
    return replace(plain, path=path, label=label)


def _evaluation(
    config: Config, exams: dict[str, ask.Exam], asked: _Asked, unjudged: dict[str, int]
) -> figures.Evaluation:
    main = compare(exams[MAIN], asked.sets[MAIN])
    beside: lift.Beside = {
        name: replace(compare(exams[name], asked.sets[name]), unjudged=unjudged[name])
        if name in exams
        else figures.Missing(str(sets_dir() / name))
        for name in config.eval.beside
    }
    below, kinds, beside = lift.below_base(lift.by_kind(**asked.sets[MAIN]), beside)
    problems_found, chat = gate.smoke(config, main.tuned), None
    if config.eval.everyday:
        chat = replace(everyday.compare(**asked.everyday), sampled=everyday.compare_sampled(**asked.sampled))
        problems_found += gate.forgotten(config, chat)
    return figures.Evaluation(
        **{**vars(main), "unjudged": unjudged[MAIN]},
        split=config.eval.split,
        verifier=exams[MAIN].checker.judge,
        looks=asked.looks,
        taken={path.stem: run for path in asked.outputs if (run := collect.taken_from(path))},
        by_kind=kinds,
        beside=beside,
        below_base=below,
        problems_found=problems_found,
        no_system=compare(exams[MAIN], asked.no_system) if asked.no_system else None,
        everyday=chat,
    )


def compare(exam: ask.Exam, rows: ByRole) -> figures.Compared:
    """Compares base and tuned by the verifier, by its stricter rule, and by its lenient namesake."""
    base, tuned = scores.measure(rows["base"]), scores.measure(rows["tuned"])
    is_strict = base.strict is not None and tuned.strict is not None
    mild = [found for role in ("base", "tuned") if (found := ask.judged_leniently(exam, rows[role]))]
    return figures.Compared(
        n=len(exam.problems),
        split_sha256=exam.sha256,
        base=base,
        tuned=tuned,
        lift=lift.lift(rows["base"], rows["tuned"]),
        strict_lift=lift.lift(rows["base"], rows["tuned"], "strict") if is_strict else None,
        lenient=figures.Lenient(short(mild[0]), short(mild[1]), lift.lift(mild[0], mild[1])) if mild else None,
    )


def short(rows: Sequence[figures.Completion]) -> figures.LenientMeasure:
    """Returns the score by the verifier that judged these, without all that it does not change."""
    found, judge = scores.measure(rows), rows[0].verifier
    assert judge is not None
    return figures.LenientMeasure(judge, found.pass_at_1, found.ci95, found.right, found.scored)


def inputs(config: Config) -> dict[str, str]:
    """Returns what is asked besides the main set, by hash, and who judges.

    A set found since, another prompt or another version of the verifier makes the scores stale.
    """
    checker = registry.load(config.verifier.name)
    found = {f"set {name}": load.beside(config, name) for name in config.eval.beside}
    hashes = {name: "missing" if problems is None else split_sha256(problems) for name, problems in found.items()}
    hashes["verifier"] = f"{checker.name} {checker.version}"
    if config.eval.everyday:
        hashes["everyday"] = files.sha256_json([[one.row() for one in everyday_prompts("eval")], everyday.HOW])
    return hashes
