r"""Says whether a verifier is fit to be a reward: by its references, rewrites of them, near misses, and hostile text.

Must hold, and stops a training otherwise: every reference that can be judged is right against itself; rewrites that
change nothing are right, near misses are not; the adversarial table, the bombs and the canary of `hostile`. A reference
that cannot be judged is no failure: it is listed, and left out of training and evaluation with its count.

What is promised depends on the verifier (`Verifier.contract`). The built-in ones read a committed answer (`\boxed{…}`,
a `####` line, "the answer is …") and are held to all of it. A person's own verifier promises nothing about formats: it
is held to its references, to near misses in its own format (`Verifier.commit`), to texts that are right in no format
("5 or 12", "The answer is not 12.", "But 12 is impossible."), to bombs and canary; the rest is shown as information.
Where it judges the same text about another number alike, that accuses it of nothing. What it is not: a proof. Rates on
a person's own labelled rows (`labelled`) are no condition.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence

from reasoner import __version__, config, runs
from reasoner.audit import hostile, kinds, render
from reasoner.audit.results import Audit, Case, Check, Judge, References, Tally, Unjudged
from reasoner.audit.rewrites import Cases, Reference, near_misses, number_in, rewrites
from reasoner.errors import GATE, USAGE, ReasonerError
from reasoner.problems import generated, load, stories
from reasoner.problems.problem import Problem, split_sha256
from reasoner.verifiers import registry
from reasoner.verifiers.checker import Contract

SAMPLE = 500  # references, evenly over types, of which rewrites and near misses are made
SAMPLE_PARALLEL = 50  # the same for a verifier that asks another process: each check costs milliseconds
NOT_COMMITTED = "\0no commitment\0"  # in the place of a completion that cannot be made; the case is left out


def run(checker: registry.Verifier, problems: Sequence[Problem], source: str) -> Audit:
    """Asks everything that can be asked of a verifier and its references.

    Deterministic but for what is measured in seconds and bytes. `unjudged` has the index of each problem to leave out.
    """
    started = time.monotonic()
    references, judged, unjudged = _references(checker, problems)
    chosen = spread(judged, SAMPLE_PARALLEL if checker.is_parallel else SAMPLE)
    clock = time.perf_counter()
    rewritten = _rewritten(checker, chosen, judged)
    speed = sum(check.n for check in rewritten) / max(time.perf_counter() - clock, 1e-9)
    # A verifier that reads no numbers has no verdict on any text beside "5": it is asked with a reference of its own.
    own = judged[0].answer if judged and checker.contract == "own" else None
    attacked = [hostile.adversarial(checker), hostile.bombs(checker, own), hostile.canary(checker, own)]
    checks = [references, *rewritten, *attacked]
    failed = [f"{check.name}: {check.failed} of {check.n}" for check in checks if not check.holds]
    if not judged:
        failed.append("no reference can be judged")
    return Audit(
        schema=1,
        verifier=Judge(checker.name, checker.version, checker.contract),
        holds=not failed,
        failed=failed,
        data=References(source, len(problems), len(problems) - len(unjudged), len(chosen), split_sha256(problems)),
        unjudged=unjudged,
        checks=checks,
        checks_per_second=round(speed),
        seconds=round(time.monotonic() - started, 2),
        versions=_versions(),
    )


def asked(
    name: str | None, source: str | None, split: str | None, run_name: str | None
) -> tuple[registry.Verifier, list[Problem], str]:
    """Finds the verifier, the references and what to call them, for the command: a run's, a data set's, or built in.

    Where no verifier is named, it is the run's, else the one that the data set is paired with, else `number`.
    """
    if run_name is not None:
        if source is not None:
            raise ReasonerError("--run and --data both name references", fix="give one of them", code=USAGE)
        found, _ = config.read(runs.existing(run_name).config_path)
        problems = load.training(found)
        return registry.load(name or found.verifier.name), problems, f"{found.data.source} (run {run_name})"
    if source is None:
        checker = registry.load(name or "number")
        return checker, built_in(checker.contract), "built in"
    checker = registry.load(name or load.verifier_for(source) or "number")
    where, split = config.Data(source=source), split or load.default_split(source)
    problems = load.problems(where, split, SAMPLE if source == generated.WORDPROBLEMS else None)
    return checker, problems, f"{source} ({split})"


def built_in(contract: Contract) -> list[Problem]:
    """Makes references where no data is named: generated problems, and for `math` the typed answers of the table."""
    problems = [Problem(row["id"], row["question"], row["answer"]) for row in stories.generate("train", 300)]
    if contract != "math":
        return problems
    typed = dict.fromkeys(row.answer for row in hostile.table() if contract in row.reads)
    return [*problems[:100], *(Problem(f"typed-{at}", "", answer) for at, answer in enumerate(typed))]


def refuse(audit: Audit, command: str) -> None:
    """Does nothing where the audit holds; else raises an error that names what failed, examples, and where to look."""
    if audit.holds:
        return
    examples = [line.strip() for check in audit.checks if check.must_hold
                for line in render.examples(check.examples, "failed")[:2]]  # fmt: skip
    raise ReasonerError(
        f"the verifier {audit.verifier.name} fails its audit, so nothing is trained on it",
        why="\n".join([*audit.failed, *examples]),
        fix=f"{command} shows all of it; repair the verifier or the references,"
        " or --set alarms.failed_audit=tell to train all the same",
        code=GATE,
    )


def _versions() -> dict[str, str]:
    import platform
    from importlib import metadata

    found = {"reasoner": __version__, "python": platform.python_version()}
    for name in ("math-verify", "latex2sympy2_extended", "sympy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


# -- references --------------------------------------------------------------------------------


def _references(
    checker: registry.Verifier, problems: Sequence[Problem]
) -> tuple[Check, list[Reference], list[Unjudged]]:
    """Judges every reference against itself."""
    tally = Tally("references against themselves")
    judged: list[Reference] = []
    unjudged: list[Unjudged] = []
    cases = [Case("reference", checker.commit(p.answer), p.answer, True, p.id) for p in problems]
    scores = registry.verify_many(checker, [(case.completion, case.answer, True) for case in cases])
    for index, (case, score) in enumerate(zip(cases, scores, strict=True)):
        if score.verdict == "unscored":
            unjudged.append(Unjudged(index, case.id, case.answer[-200:], score.why))
            continue
        tally.add(case, score, is_failure=score.verdict != "right")
        if score.verdict == "right":
            text = (score.extracted or case.answer.rpartition("####")[2]).strip()
            judged.append(Reference(case.id, case.answer, text, score.type, number_in(text)))
    return tally.check(), [with_other(one, judged, at) for at, one in enumerate(judged)], unjudged


_APART = {"integer", "interval", "tuple", "matrix", "text", "set"}  # no two answers of two of these are the same


def with_other(one: Reference, judged: Sequence[Reference], at: int) -> Reference:
    """Adds the answer of the next problem that certainly has another."""
    for step in range(1, min(len(judged), 50)):
        next_ = judged[(at + step) % len(judged)]
        if one.value is not None and next_.value is not None:
            differs = one.value != next_.value and one.type == next_.type
        else:
            differs = one.type != next_.type and {one.type, next_.type} <= _APART
        if differs:
            return dataclasses.replace(one, other=next_.text)
    return one


def spread(references: Sequence[Reference], most: int) -> list[Reference]:
    """Takes at most so many, each type in turn, so that a rare type is not lost; within a type evenly over the data."""
    by_type: dict[str, list[Reference]] = {}
    for one in references:
        by_type.setdefault(one.type, []).append(one)
    left, chosen = most, []
    for place, group in enumerate(sorted(by_type.values(), key=len)):
        share = min(len(group), left // (len(by_type) - place))
        chosen += [group[i * len(group) // share] for i in range(share)]
        left -= share
    return chosen


def _rewritten(checker: registry.Verifier, chosen: Sequence[Reference], judged: Sequence[Reference]) -> list[Check]:
    """Judges rewrites and near misses of the chosen, and what rules make of all; what is not promised is apart."""

    def commit(text: str) -> str:
        """Commits where that is possible: a person's own `commit` need only take references."""
        try:
            return checker.commit(text)
        except ReasonerError:
            return NOT_COMMITTED

    def cases() -> Cases:
        for one in chosen:
            yield from rewrites(one, commit, checker.contract)
            yield from near_misses(one, commit, checker.contract)
            for family, completion in checker.near_misses(one.answer) if checker.near_misses else ():
                yield Case(family, completion, one.answer, False, one.id, one.type, kind="its own near misses"), True
        yield from kinds.by_rule(judged, commit, checker.contract)

    tallies = {
        (expected, is_promised): Tally(name if is_promised else f"{name}, not promised", must_hold=is_promised)
        for expected, name in ((True, "rewrites that must pass"), (False, "near misses that must fail"))
        for is_promised in (True, False)
    }
    for case, is_promised in cases():
        if NOT_COMMITTED in case.completion:
            continue
        score = registry.verify(checker, case.completion, case.answer, is_finished=case.is_finished)
        is_failure = (score.verdict == "right") != case.expected
        if is_failure and case.control is not None:
            is_promised = registry.verify(checker, case.control, case.answer).verdict != "right"
        tallies[case.expected, is_promised].add(case, score, is_failure=is_failure)
    return [tally.check() for tally in tallies.values() if tally.n]
