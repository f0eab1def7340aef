"""Asks a model problems and has a verifier judge them: for the `evaluate` stage, `reasoner eval` and the ladder.

Same prompts, same sampler, same verifier as in training, whatever the engine. A completion cut by length is wrong and
counted apart; one that the verifier cannot judge is left out of every share and counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from reasoner import __version__, files, runs
from reasoner.errors import USAGE, ReasonerError
from reasoner.machine import cache
from reasoner.measuring import collect, figures
from reasoner.measuring.engines.base import Answer, Engine, Prompt, Sampling
from reasoner.measuring.figures import Completion
from reasoner.problems.problem import Problem, messages, normalised, split_sha256
from reasoner.sandbox import selftest
from reasoner.verifiers import registry, working
from reasoner.verifiers.score import Score


@dataclass(frozen=True)
class Exam:
    """Says which problems are asked, how, and who judges."""

    problems: Sequence[Problem]
    checker: registry.Verifier
    sampling: Sampling
    system: str | None = None
    samples: int = 1
    seed: int = 0
    special: Sequence[str] = ()  # texts of the tokenizer's special tokens, none of which belongs in an answer

    @property
    def sha256(self) -> str:
        return split_sha256(self.problems)


def judged(checker: registry.Verifier, name: str, problems: Sequence[Problem]) -> list[Problem]:
    """Returns the problems whose reference the verifier can judge; the others would only add to `unscored`.

    Raises where there is none.
    """
    kept = readable(checker, problems)
    if not kept:
        what = f"the verifier {checker.name} can judge no reference of {name or 'the held-out problems'}"
        fix = "reasoner audit --data … says why; set verifier.name, or leave the set out of eval.beside"
        raise ReasonerError(what, fix=fix)
    return kept


def readable(checker: registry.Verifier, problems: Sequence[Problem]) -> list[Problem]:
    """Returns the problems on whose reference the verifier has a verdict."""
    scores = registry.verify_many(checker, [(checker.commit(p.answer), p.answer, True) for p in problems])
    return [problem for problem, score in zip(problems, scores, strict=True) if score.verdict != "unscored"]


def score(engine: Engine, exam: Exam, sheet: collect.Sheet, listener: collect.Listener) -> list[Completion]:
    """Returns the completions of the sheet's file, one for each sample of each problem, asking for the missing ones.

    Each completion that is not greedy has a seed of its own, by problem and sample: with one seed for all of them, the
    problems would share their random numbers, and no interval would hold. Completions that another version of the
    verifier judged are judged again, not asked again.
    """
    by_id = {problem.id: problem for problem in exam.problems}
    if len(by_id) < len(exam.problems):
        twice = Counter(problem.id for problem in exam.problems).most_common(1)[0][0]
        raise ReasonerError(f"two problems have the id {twice!r}", fix="give each one of its own", code=USAGE)
    checker, judge = exam.checker, exam.checker.judge
    sandbox = figures.Sandbox(selftest.choose(), __version__) if checker.is_sandboxed else None
    names = [(problem.id, sample) for problem in exam.problems for sample in range(exam.samples)]
    prompts = [
        Prompt(
            messages(by_id[name].question, exam.system),
            seed_of(exam.seed, name, sample) if exam.sampling.temperature else exam.seed,
        )
        for name, sample in names
    ]
    questions = collect.Questions(names, prompts, exam.sampling, exam.sha256, exam.system, exam.seed)

    def make(index: int, answer: Answer, common: collect.Common) -> Completion:
        problem = by_id[names[index][0]]
        row = Completion(
            **common,
            kind=problem.kind,
            question=problem.question,
            answer=problem.answer.rpartition("####")[2].strip(),
            shows_working=working.shows_working(answer.text),
            steps=working.steps(answer.text, problem.steps) if problem.steps else None,
            leaked=[token for token in exam.special if token in answer.text],
            sandbox=sandbox,
        )
        # A verifier that waits for other processes would hold up the asking: `verify_many` below asks it at once.
        return row if checker.is_parallel else _with_verdicts(exam, [row], [problem.answer])[0]

    rows = collect.collect(engine, questions, sheet, Completion, make, listener)
    places = [place for place, row in enumerate(rows) if row.verifier != judge]
    if any(rows[place].verifier for place in places):
        listener.say(f"{sheet.path.name}: {len(places)} completions are judged again by {judge.name} {judge.version}")
    if places:
        stale = [replace(rows[place], sandbox=sandbox) for place in places]
        fresh = _with_verdicts(exam, stale, [by_id[row.problem_id].answer for row in stale])
        for place, row in zip(places, fresh, strict=True):
            rows[place] = row
        collect.rewrite(sheet.path, rows)
    return rows


def seed_of(seed: int, problem_id: str, sample: int) -> int:
    """Returns the seed of one completion, 31 bits."""
    return int(files.sha256_json([seed, problem_id, sample])[:8], 16) >> 1


def _with_verdicts(exam: Exam, rows: Sequence[Completion], answers: Sequence[str]) -> list[Completion]:
    said = [(row.completion, answer, row.finish_reason == "stop") for row, answer in zip(rows, answers, strict=True)]
    scores = registry.verify_many(exam.checker, said)
    strict: Sequence[Score | None] = [None] * len(said)
    if exam.checker.strict is not None:
        strict = registry.verify_many(replace(exam.checker, function=exam.checker.strict), said)
    found = []
    for row, one, stricter in zip(rows, scores, strict, strict=True):
        if row.finish_reason == "unanswered":
            one = Score("unscored", why=f"the engine gave no answer: {row.unanswered}"[:300])
            stricter = one if stricter else None
        judged_as = {name: getattr(one, name) for name in ("verdict", "extracted", "type", "rule", "why")}
        strictly = stricter.verdict if stricter else None
        found.append(replace(row, **judged_as, strict=strictly, verifier=exam.checker.judge))
    return found


def judged_leniently(exam: Exam, rows: Sequence[Completion]) -> list[Completion] | None:
    """Returns the completions as the verifier's lenient namesake judges them; None where it has none.

    That one takes an answer wherever it is sensible.
    """
    if exam.checker.lenient is None:
        return None
    lenient = replace(registry.load(exam.checker.lenient), strict=None)
    answers = {problem.id: problem.answer for problem in exam.problems}
    return _with_verdicts(replace(exam, checker=lenient), rows, [answers[row.problem_id] for row in rows])


def look(engine: Engine, problems: Sequence[Problem], path: Path) -> int:
    """Returns how many times any of these test problems have been scored with this model, this one included.

    Remembered in `looks.json` beside the runs, by model. Completions that are taken up again, or judged again, are the
    same look.
    """
    this = collect.look_id(path)
    asked = {files.sha256_json(normalised(problem.question))[:8] for problem in problems}
    ledger = runs.runs_dir() / "looks.json"
    with cache.locked("looks", cache.quiet):
        known = files.read_json(ledger) or {}
        seen = known.setdefault(str(engine.facts.get("digest") or engine.model), [])
        if this not in [one["look"] for one in seen]:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            hashes = " ".join(sorted(asked))
            seen.append({"look": this, "model": engine.model, "file": str(path), "time": when, "problems": hashes})
            files.write_json(ledger, known)
        before = seen[: [one["look"] for one in seen].index(this)]
    return 1 + sum(not asked.isdisjoint(one["problems"].split()) for one in before)
