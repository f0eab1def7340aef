r"""Is this verifier fit to be a reward? Its references, rewrites of them, near misses, and hostile text.

Must hold, and stops a training otherwise: every reference that can be judged is right against itself; rewrites that
change nothing are right, near misses are not; the table `verifiers/adversarial.jsonl`; bombs of time and memory; and
a canary, a file that would appear if text were ever executed. A reference that cannot be judged is no failure: it is
listed, and left out of training and evaluation with its count.

What is promised depends on the verifier. The built-in ones read a committed answer (`\boxed{…}`, a `####` line, "the
answer is …") and are held to all of it. A person's own verifier promises nothing about formats: it is held to its
references, to near misses in its own format (`Verifier.commit`), to bombs and canary; the rest is shown as
information.

Rewrites and near misses are generated from the reference as the verifier itself reads it, by its type. Only what a
mathematician would sign is generated: a near miss of an expression is "that, plus 1", not a digit changed somewhere. A
verifier may add its own (`Verifier.near_misses`): `code` has mutations of its references.

What it is not: a proof. It finds faults of the kinds written down here; rates on a person's own labelled rows
(`labelled`) are the measure of the rest, and no condition.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from reasoner import __version__, config, files, runs, verifiers
from reasoner.errors import USAGE, ReasonerError
from reasoner.problems import generated, load
from reasoner.problems.problem import Problem, split_sha256

SAMPLE = 500
"""References, evenly over types, of which rewrites and near misses are made."""
SAMPLE_PARALLEL = 50
"""The same for a verifier that asks another process: each check costs milliseconds."""
LIMIT_S = 5.0
"""Wall time of a check above which it is called slow: information, for a busy machine is no fault of a verifier."""
KILL_S = 60.0
"""Wall time after which a check is killed, and has failed: long, so that it fails on no machine but for a hang."""
MOST_KILLED = 3
"""Checks killed after which no more bombs are tried."""
LIMIT_BYTES = 1_000_000_000
"""Most memory that one bomb may cost."""
EXAMPLES = 10
"""Failures of a check that are kept with their text."""
CONFIDENCE = 0.95
NOT_COMMITTED = "\0no commitment\0"
"""In the place of a completion that cannot be made; the case is left out."""

CONTRACTS = {"number": "number", "arithmetic": "number", "number-lenient": "lenient", "math": "math"}
"""What a built-in verifier promises, as the table's `reads` names it; any other verifier is its owner's (`own`)."""


# -- counting ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One completion whose verdict is known. `family` is the generator or the table's family."""

    family: str
    completion: str
    answer: str
    expected: bool
    id: str = ""
    type: str = ""
    is_finished: bool = True
    format: str = ""


@dataclass
class Check:
    """Cases counted, by family, by the type of the reference and by format; the first failures are kept."""

    name: str
    must_hold: bool = True
    n: int = 0
    failed: int = 0
    unscored: int = 0
    families: dict[str, list[int]] = field(default_factory=dict)
    types: dict[str, list[int]] = field(default_factory=dict)
    formats: dict[str, list[int]] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(self, case: Case, score: verifiers.Score, *, is_failure: bool, **more: Any) -> None:
        self.n += 1
        self.failed += is_failure
        self.unscored += score.verdict == "unscored"
        groups = (self.families, case.family), (self.types, score.type or case.type), (self.formats, case.format)
        for table, name in groups:
            cell = table.setdefault(name, [0, 0])
            cell[0] += 1
            cell[1] += is_failure
        if is_failure and len(self.examples) < EXAMPLES:
            self.examples.append(_told(case, score) | more)

    def judge(self, checker: verifiers.Verifier, case: Case) -> verifiers.Score:
        """Judge and count: wrong is to accept what must fail, and not to accept what must pass."""
        score = verifiers.verify(checker, case.completion, case.answer, is_finished=case.is_finished)
        self.add(case, score, is_failure=(score.verdict == "right") != case.expected)
        return score

    @property
    def holds(self) -> bool:
        return not self.must_hold or self.failed == 0

    def value(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "must_hold": self.must_hold,
            **rate(self.failed, self.n),
            "unscored": self.unscored,
            "by_family": {name: rate(failed, n) for name, (n, failed) in self.families.items()},
            "by_type": {name: rate(failed, n) for name, (n, failed) in sorted(self.types.items())},
            **(
                {"by_format": {name: rate(failed, n) for name, (n, failed) in sorted(self.formats.items())}}
                if set(self.formats) - {""}
                else {}
            ),
            "examples": self.examples,
            **self.notes,
        }


def rate(failed: int, n: int) -> dict[str, Any]:
    """A share with its exact (Clopper-Pearson) 95 % interval; None where nothing was counted.

    >>> rate(0, 100)
    {'n': 100, 'failed': 0, 'rate': 0.0, 'ci95': [0.0, 0.03622]}
    """
    if n == 0:
        return {"n": 0, "failed": 0, "rate": None, "ci95": None}
    from scipy.stats import binomtest

    found = binomtest(failed, n).proportion_ci(CONFIDENCE, method="exact")
    ci95 = [round(float(found.low), 5), round(float(found.high), 5)]
    return {"n": n, "failed": failed, "rate": failed / n, "ci95": ci95}


def _told(case: Case, score: verifiers.Score) -> dict[str, Any]:
    return {
        "id": case.id,
        "family": case.family,
        "answer": case.answer[-200:],
        "completion": case.completion if len(case.completion) <= 400 else f"{case.completion[:390]}…",
        "expected": case.expected,
        "verdict": score.verdict,
        "extracted": score.extracted if score.extracted is None else score.extracted[:200],
        "rule": score.rule,
        "why": score.why,
        "type": score.type,
    }


# -- the audit ---------------------------------------------------------------------------------


def run(checker: verifiers.Verifier, problems: Sequence[Problem], source: str) -> dict[str, Any]:
    """Everything that can be asked of a verifier and its references; `holds` says whether it may be a reward.

    Deterministic but for what is measured in seconds and bytes. `unjudged` has the index of each problem to leave out.
    """
    started = time.monotonic()
    references, judged, unjudged = _references(checker, problems)
    chosen = _spread(judged, SAMPLE_PARALLEL if checker.is_parallel else SAMPLE)
    contract = CONTRACTS.get(checker.name, "own")
    checks = [references]

    def commit(text: str) -> str:
        """A person's own `commit` takes references; what else it takes (`<answer>`, `5 or 6`) is not promised."""
        try:
            return checker.commit(text)
        except ReasonerError:
            return NOT_COMMITTED

    def misses(one: Reference, commit: Callable[[str], str], contract: str) -> Cases:
        yield from near_misses(one, commit, contract)
        for family, completion in checker.near_misses(one.answer) if checker.near_misses else ():
            yield Case(family, completion, one.answer, False, one.id, one.type), True

    clock, counted = time.perf_counter(), 0
    for name, make in (("rewrites that must pass", rewrites), ("near misses that must fail", misses)):
        promised, beyond = Check(name), Check(f"{name}, not promised", must_hold=False)
        for reference in chosen:
            for case, is_promised in make(reference, commit, contract):
                if NOT_COMMITTED in case.completion:
                    continue
                (promised if is_promised else beyond).judge(checker, case)
        checks += [check for check in (promised, beyond) if check.n]
        counted += promised.n + beyond.n
    speed = counted / max(time.perf_counter() - clock, 1e-9)
    # A verifier that reads no numbers has no verdict on any text beside "5": it is asked with a reference of its own.
    own = judged[0].answer if judged and contract == "own" else None
    checks += [adversarial(checker, contract), bombs(checker, contract, own), canary(checker, own)]
    failed = [f"{check.name}: {check.failed} of {check.n}" for check in checks if not check.holds]
    if not judged:
        failed.append("no reference can be judged")
    return {
        "schema": 1,
        "verifier": {"name": checker.name, "version": checker.version, "contract": contract},
        "holds": not failed,
        "failed": failed,
        "data": {
            "source": source,
            "n": len(problems),
            "judged": len(problems) - len(unjudged),
            "sampled": len(chosen),
            "sha256": split_sha256(problems),
        },
        "unjudged": unjudged,
        "checks": [check.value() for check in checks],
        "checks_per_second": round(speed),
        "seconds": round(time.monotonic() - started, 2),
        "versions": _versions(),
    }


def asked(
    name: str | None, source: str | None, split: str | None, run_name: str | None
) -> tuple[verifiers.Verifier, list[Problem], str]:
    """The verifier, the references and what to call them, for the command: a run's own, a data set's, or built in.

    Where no verifier is named, it is the run's, else the one that the data set is paired with, else `number`.
    """
    if run_name is not None:
        if source is not None:
            raise ReasonerError("--run and --data both name references", fix="give one of them", code=USAGE)
        found, _ = config.read(runs.existing(run_name).config_path)
        problems = load.training(found)
        return verifiers.load(name or found.verifier.name), problems, f"{found.data.source} (run {run_name})"
    if source is None:
        checker = verifiers.load(name or "number")
        return checker, built_in(CONTRACTS.get(checker.name, "own")), "built in"
    checker = verifiers.load(name or load.verifier_for(source) or "number")
    where, split = config.Data(source=source), split or load.default_split(source)
    problems = load.problems(where, split, SAMPLE if source == generated.WORDPROBLEMS else None)
    return checker, problems, f"{source} ({split})"


def _versions() -> dict[str, str]:
    import platform
    from importlib import metadata

    found = {"reasoner": __version__, "python": platform.python_version()}
    for name in ("math-verify", "latex2sympy2_extended", "sympy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@dataclass(frozen=True)
class Reference:
    """A reference as its verifier reads it: the span, its type, its value where it is one number."""

    id: str
    answer: str
    text: str
    type: str
    value: Fraction | None
    other: str = ""
    """Another problem's answer, which differs in value or kind; empty where none does for sure."""


def _references(
    checker: verifiers.Verifier, problems: Sequence[Problem]
) -> tuple[Check, list[Reference], list[dict[str, Any]]]:
    """Every reference against itself."""
    check = Check("references against themselves")
    judged: list[Reference] = []
    unjudged: list[dict[str, Any]] = []
    cases = [Case("reference", checker.commit(p.answer), p.answer, True, p.id) for p in problems]
    scores = verifiers.verify_many(checker, [(case.completion, case.answer, True) for case in cases])
    for index, (problem, case, score) in enumerate(zip(problems, cases, scores, strict=True)):
        if score.verdict == "unscored":
            why = {"index": index, "id": problem.id, "answer": problem.answer[-200:], "why": score.why}
            unjudged.append(why)
            continue
        check.add(case, score, is_failure=score.verdict != "right")
        if score.verdict == "right":
            text = (score.extracted or problem.answer.rpartition("####")[2]).strip()
            judged.append(Reference(problem.id, problem.answer, text, score.type, number_in(text)))
    return check, [_with_other(one, judged, at) for at, one in enumerate(judged)], unjudged


_APART = ("integer", "interval", "tuple", "matrix", "text", "set")
"""Types between which no two answers are the same."""


def _with_other(one: Reference, judged: Sequence[Reference], at: int) -> Reference:
    """`one`, with the answer of the next problem that certainly has another."""
    for step in range(1, min(len(judged), 50)):
        next_ = judged[(at + step) % len(judged)]
        if one.value is not None and next_.value is not None:
            differs = one.value != next_.value and one.type == next_.type
        else:
            differs = one.type != next_.type and {one.type, next_.type} <= set(_APART)
        if differs:
            return Reference(one.id, one.answer, one.text, one.type, one.value, next_.text)
    return one


def _spread(references: Sequence[Reference], most: int) -> list[Reference]:
    """At most so many, each type in turn, so that a rare type is not lost; within a type evenly over the data."""
    by_type: dict[str, list[Reference]] = {}
    for one in references:
        by_type.setdefault(one.type, []).append(one)
    left, chosen = most, []
    for place, group in enumerate(sorted(by_type.values(), key=len)):
        share = min(len(group), left // (len(by_type) - place))
        chosen += [group[i * len(group) // share] for i in range(share)]
        left -= share
    return chosen


_PLAIN = re.compile(r"(-?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?")
_RATIO = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}|(-?)(\d+)/(\d+)")


def number_in(text: str) -> Fraction | None:
    r"""The value of a text that is one plain number and nothing else.

    >>> number_in("-1,200.50"), number_in(r"\frac{3}{4}"), number_in("3 + 4")
    (Fraction(-2401, 2), Fraction(3, 4), None)
    """
    text = text.strip().strip("$").strip()
    if len(text) > 40:
        return None
    if found := _PLAIN.fullmatch(text):
        return Fraction(f"{found[1]}{found[2].replace(',', '')}{found[3] or ''}")
    if found := _RATIO.fullmatch(text):
        sign, top, bottom = found.groups()[:3] if found[2] else found.groups()[3:]
        return Fraction(int(f"{sign}{top}"), int(bottom)) if int(bottom) else None
    return None


# -- rewrites and near misses ------------------------------------------------------------------

Cases = Iterator[tuple[Case, bool]]
"""Each with whether the verifier's contract promises it."""


def rewrites(one: Reference, commit: Callable[[str], str], contract: str) -> Cases:
    """The reference told otherwise: each must be right."""
    asked = commit(one.answer)
    told: list[tuple[str, str]] = [
        ("after its working", f"We look at what is given, step by step.\n\n{asked}"),
        ("space around", f"\n {asked} \n\n"),
    ]
    told += [(name, commit(text)) for name, text in _same(one, contract)]
    if contract != "own":
        told += _tellings(one, contract)
    for name, completion in told:
        yield Case(name, completion, one.answer, True, one.id, one.type), contract != "own"


def _tellings(one: Reference, contract: str) -> Iterator[tuple[str, str]]:
    r"""The ways to commit to an answer. A text of LaTeX is told in a box only."""
    text = one.text
    yield "boxed", f"So we have $\\boxed{{{text}}}$."
    yield "boxed alone", f"\\boxed{{{text}}}"
    if one.value is None:
        return
    yield "hashes", f"#### {text}"
    yield "hashes, no space", f"It adds up.\n####{text}"
    yield "the answer is", f"It adds up. The answer is {text}."
    yield "the final answer is", f"It adds up.\n\nThe final answer is **{text}**."
    if contract == "lenient" and "/" not in text and "\\" not in text:
        yield "a sentence", f"We count them once more. So there are {text} of them."
        if not text.startswith("-"):
            yield "an equation", f"So in all that is 1 x {text} = {text}."


def _same(one: Reference, contract: str) -> Iterator[tuple[str, str]]:
    """Other texts of the same answer."""
    text, value = one.text, one.value
    if value is not None and value.denominator == 1:
        whole = int(value)
        if abs(whole) >= 1000:
            yield "thousands separated", f"{whole:,}"
        yield "thousands not separated", str(whole)
        yield "a zero decimal", f"{whole}.0"
        if contract in ("number", "lenient") and whole > 0:
            yield "a currency", f"${whole}"
            yield "a unit", f"{whole} apples"
        if contract == "math":
            yield "a space command", f"\\,{whole}"
    elif value is not None and "." in text:
        yield "a zero more", f"{text}0"
    if contract != "math":
        return
    if "\\frac" in text:
        yield "dfrac", text.replace("\\frac", "\\dfrac")
        yield "tfrac", text.replace("\\frac", "\\tfrac")
    if value is not None and value.denominator > 1 and "frac" in text:
        yield "a slash", f"{value.numerator}/{value.denominator}"
    if one.type in ("interval", "tuple") and re.fullmatch(r"[(\[][^()\[\]]+[)\]]", text):
        yield "left and right", f"\\left{text[:-1]}\\right{text[-1]}"
    if one.type in ("interval", "tuple", "list") and ", " in text and "text" not in text:
        yield "no space after commas", text.replace(", ", ",")
    if one.type == "degree":
        for sign in ("^\\circ", "^{\\circ}", "°"):
            yield f"degrees as {sign}", re.sub(r"\^\{?\\circ\}?|°", lambda _, s=sign: s, text)  # type: ignore[misc]
    if one.type == "percent":
        yield "a space before %", re.sub(r"\s*\\?%", r" \\%", text)
    if one.type == "text" and (found := re.fullmatch(r"\\text\{([A-Za-z]+)\}", text)):
        yield "text unwrapped", found[1]
    if one.type == "expression" and "text" not in text and "\\infty" not in text:
        yield "displaystyle", f"\\displaystyle {text}"
    if one.type == "expression" and not re.search(r"text|infty|[=<>,]|\\(?:pm|mp|cup|cap|in|le|ge|ne)", text):
        yield "plus nothing", f"{text} + 0"


def near_misses(one: Reference, commit: Callable[[str], str], contract: str) -> Cases:
    """What resembles the reference and is not it: none may be accepted."""

    def case(name: str, completion: str, *, is_finished: bool = True) -> Case:
        return Case(name, completion, one.answer, False, one.id, one.type, is_finished)

    asked = commit(one.answer)
    yield case("cut off before its end", asked, is_finished=False), True
    yield case("empty", ""), True
    yield case("a placeholder", commit("<answer>")), True
    for name, text in _others(one):
        yield case(name, commit(text)), True
    if one.other:
        yield case("another problem's answer", commit(one.other)), True
    is_committed = contract != "own"
    for name, text in _hedged(one):
        yield case(name, commit(text)), is_committed
    if one.value is None:
        return
    text, other = one.text, str(one.value + 1)
    yield case("denied", f"The answer is not {text}."), is_committed
    yield case("in the working only", f"First we get {text}, but that is not what was asked.\n{commit(other)}"), True
    yield case("left behind", f"{asked}\nThat counts one twice, so:\n{commit(other)}"), is_committed
    yield case("asked back", f"Is it {text}?"), is_committed
    yield case("two boxes", f"$\\boxed{{{text}}}$ or $\\boxed{{{other}}}$"), is_committed
    if contract == "lenient":
        yield case("two in a sentence", f"So there are {text} or {other} of them."), True
        yield case("an earlier sentence", f"So there are {text} of them. No, there are {other} of them."), True
    elif contract == "number":
        yield case("not committed", f"On the way we met {text} once."), True


def _others(one: Reference) -> Iterator[tuple[str, str]]:
    """Answers of the same type that differ."""
    text, value = one.text, one.value
    if value is not None:
        yield from _other_numbers(text, value)
    elif one.type in _ALTERED:
        yield from _ALTERED[one.type](text)


def _other_numbers(text: str, value: Fraction) -> Iterator[tuple[str, str]]:
    whole = value.denominator == 1

    def show(other: Fraction) -> str:
        if other.denominator == 1 or "." not in text:
            return str(other)
        return text if other == value else f"{float(other):.12g}"

    yield "off by one, up", show(value + 1)
    yield "off by one, down", show(value - 1)
    if value:
        yield "sign flipped", show(-value)
        yield "times ten", show(value * 10)
        yield "times a hundred", show(value * 100)
        yield "a hundredth", str(float(value / 100)) if whole else show(value / 100)
    if whole:
        yield "a digit appended", f"{int(value)}1"
        yield "a half more", f"{int(value)}.5" if value > 0 else "0.5"
    elif "." in text:
        if len(re.sub(r"\D", "", text)) < 14:  # a long decimal is a rounding: how much of it counts is a policy
            yield "a digit appended", f"{text}1"
    else:
        yield "upside down", str(1 / value) if abs(value.numerator) != value.denominator else show(value + 1)
        yield "next fraction", str(Fraction(value.numerator + value.denominator, value.denominator))
        if any(value.denominator % p == 0 for p in (3, 7, 11, 13)):
            yield "rounded", f"{float(value):.2f}"


def _hedged(one: Reference) -> Iterator[tuple[str, str]]:
    """More than the answer, less, or something about it."""
    text, value = one.text, one.value
    if value is None:
        if one.type in ("expression", "text", "interval", "tuple", "matrix", "degree", "percent"):
            yield "a hedge", f"{text} \\text{{ or }} 987654"
            yield "a list with one more", f"{text}, 987654"
        return
    other = str(value + 1)
    yield "a hedge", f"{text} or {other}"
    yield "a hedge, second", f"{other} or {text}"
    yield "a list with one more", f"{text}, {other}"
    yield "a range", f"{value - 1} to {other}"
    yield "an interval around it", f"[{value - 1}, {other}]"
    yield "negated", f"not {text}"
    yield "a question", f"{text}?" if value.denominator == 1 else f"{text} ?"
    yield "a calculation", f"{text} + 1"
    if value:
        yield "a scale word", f"{text} million"
        yield "dozens of it", f"{text} dozen"
    if abs(value) > 1 and value.denominator == 1:
        yield "a power of it", f"{text}^2"
        yield "a power of it, raised", f"{text}²"


def _parts(text: str) -> list[str]:
    """A text cut at its outermost commas."""
    depth, parts, start = 0, [], 0
    for at, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _bracketed(text: str) -> tuple[str, list[str], str] | None:
    r"""Opening, elements, closing, of `(1, 2]`, `\{1, 2\}`; None where it is nothing of the kind."""
    text = re.sub(r"\\(?:left|right)\s*", "", text)
    found = re.fullmatch(r"(\(|\[|\\\{)(.*)(\)|\]|\\\})", text, re.DOTALL)
    if not found:
        return None
    parts = [part.strip() for part in _parts(found[2])]
    return (found[1], parts, found[3]) if all(parts) and len(parts) > 1 else None


def _altered_interval(text: str) -> Iterator[tuple[str, str]]:
    found = _bracketed(text)
    if found is None or len(found[1]) != 2:
        return
    opening, (low, high), closing = found
    flip = {"(": "[", "[": "(", ")": "]", "]": ")"}
    if opening in flip and "infty" not in low:
        yield "an end flipped, left", f"{flip[opening]}{low}, {high}{closing}"
    if closing in flip and "infty" not in high:
        yield "an end flipped, right", f"{opening}{low}, {high}{flip[closing]}"
    if "infty" not in high:
        yield "an end moved", f"{opening}{low}, {high} + 1{closing}"
    if "infty" not in low:
        yield "an end moved", f"{opening}{low} - 1, {high}{closing}"


def _altered_elements(text: str) -> Iterator[tuple[str, str]]:
    opening, parts, closing = _bracketed(text) or ("", [part.strip() for part in _parts(text)], "")
    if len(parts) < 2 or not all(parts):
        return
    if opening in ("(", "[") and all(number_in(part) is not None for part in parts[:2]):
        first, second = number_in(parts[0]), number_in(parts[1])
        if first != second:
            yield "two swapped", f"{opening}{', '.join([parts[1], parts[0], *parts[2:]])}{closing}"
    yield "one more", f"{opening}{', '.join([*parts, '987654'])}{closing}"
    if len(set(parts)) == len(parts):
        yield "one missing", f"{opening}{', '.join(parts[:-1])}{closing}"
    yield "one changed", f"{opening}{', '.join([*parts[:-1], '987654'])}{closing}"


def _altered_expression(text: str) -> Iterator[tuple[str, str]]:
    if re.search(r"text|infty|[=<>,]|\\(?:pm|mp|cup|cap|in|le|ge|ne)|emptyset", text):
        return
    yield "plus one", f"{text} + 1"
    yield "minus one", f"{text} - 1"
    if text != "0":
        yield "negated as a whole", f"-({text})"
        yield "doubled", f"2({text})"


def _altered_equation(text: str) -> Iterator[tuple[str, str]]:
    if text.count("=") == 1 and "," not in text:
        yield "plus one", f"{text} + 1"


def _altered_text(text: str) -> Iterator[tuple[str, str]]:
    if found := re.fullmatch(r"\\text\{([A-Za-z ]+)\}|([A-Za-z]{2,})", text):
        word = found[1] or found[2]
        yield "negated", f"\\text{{not {word.strip()}}}"
        yield "another word", "\\text{zeppelin}"
        yield "a letter more", f"\\text{{{word.strip()}q}}"


def _altered_matrix(text: str) -> Iterator[tuple[str, str]]:
    if found := re.search(r"(?<=matrix\})\s*(-?\d+)\s*(?=&|\\\\)", text):
        yield "an entry changed", f"{text[: found.start(1)]}{int(found[1]) + 1}{text[found.end(1) :]}"
    yield "an entry more", text.replace("\\end{", "\\\\ 987654 \\end{", 1)


def _altered_quantity(text: str) -> Iterator[tuple[str, str]]:
    r"""`90^\circ`, `12.5\%`, `4:30`: their first number, changed."""
    if found := re.match(r"\s*-?\d+", text):
        number, rest = int(found[0]), text[found.end() :]
        yield "off by one, up", f"{number + 1}{rest}"
        yield "a digit appended", f"{number}1{rest}" if rest[:1] != "." else f"{number}{rest[:1]}9{rest[1:]}"
        if number:
            yield "sign flipped", f"{-number}{rest}"


def _altered_ratio(text: str) -> Iterator[tuple[str, str]]:
    if found := re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text):
        left, right = int(found[1]), int(found[2])
        yield "off by one, up", f"{left + 1}:{right}"
        if left != right:
            yield "two swapped", f"{right}:{left}"


_ALTERED: dict[str, Callable[[str], Iterator[tuple[str, str]]]] = {
    "interval": _altered_interval,
    "tuple": _altered_elements,
    "set": _altered_elements,
    "list": _altered_elements,
    "expression": _altered_expression,
    "equation": _altered_equation,
    "text": _altered_text,
    "matrix": _altered_matrix,
    "degree": _altered_quantity,
    "percent": _altered_quantity,
    "time": _altered_quantity,
    "ratio": _altered_ratio,
}


# -- the table ---------------------------------------------------------------------------------


def table() -> list[dict[str, Any]]:
    """The rows of `verifiers/adversarial.jsonl`: `family`, `answer`, `completion`, `expected`, and `reads`, the
    contracts that the row speaks to."""
    text = (Path(__file__).with_name("adversarial.jsonl")).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.rstrip("\n").split("\n")]


def adversarial(checker: verifiers.Verifier, contract: str) -> Check:
    """The table. For a person's own verifier it is information: another format makes many rows moot."""
    check = Check("adversarial table", must_hold=contract != "own")
    for at, row in enumerate(table(), 1):
        if (contract if contract != "own" else "number") in row["reads"]:
            check.judge(
                checker, Case(row["family"], row["completion"], row["answer"], row["expected"], f"adversarial-{at}")
            )
    return check


def built_in(contract: str) -> list[Problem]:
    """References where no data is named: generated problems, and for `math` the typed answers of the table."""
    from reasoner.problems import stories

    problems = [Problem(row["id"], row["question"], row["answer"]) for row in stories.generate("train", 300)]
    if contract != "math":
        return problems
    typed = dict.fromkeys(row["answer"] for row in table() if contract in row["reads"])
    return [*problems[:100], *(Problem(f"typed-{at}", "", answer) for at, answer in enumerate(typed))]


# -- bombs and canary, in a process that can be killed -----------------------------------------

Parts = tuple[tuple[str, int], ...]


def _repeated(*parts: tuple[str, int] | str) -> Parts:
    return tuple((part, 1) if isinstance(part, str) else part for part in parts)


BOMBS: tuple[tuple[str, str, Parts], ...] = (
    ("power tower", "5", _repeated(r"$\boxed{7^{7^{7^{7^{7}}}}}$")),
    ("power tower", "5", _repeated("#### 7**7**7**7**7")),
    ("power tower", "x^2+1", _repeated(r"$\boxed{x^{9^{9^{9^{9}}}}}$")),
    ("power tower", "10^{50}", _repeated(r"$\boxed{(((2^{999999999})^{999999999})^{999999999})}$")),
    ("factorial", "5", _repeated(r"$\boxed{(987654321)!}$")),
    ("factorial", "5", _repeated(r"$\boxed{9!!!!!!!!!}$")),
    ("factorial", "5", _repeated(r"$\boxed{\binom{2000000000}{1000000000}}$")),
    ("sums and products", "5", _repeated(r"$\boxed{\sum_{k=1}^{10^{12}} \frac{1}{k}}$")),
    ("sums and products", "5", _repeated(r"$\boxed{\prod_{k=1}^{10^{12}} (k^2+1)}$")),
    ("sums and products", "x^2+1", _repeated(r"$\boxed{(x+y+z+1)^{100000}}$")),
    ("sums and products", "x^2+1", _repeated(r"$\boxed{\int_0^x \sin(\cos(t^{t^t}))\,dt}$")),
    ("sums and products", "5", _repeated("$\\boxed{", ("1+", 200_000), "1}$")),
    ("digits", "5", _repeated("#### ", ("9", 1_000_000))),
    ("digits", "5", _repeated("$\\boxed{", ("7", 1_000_000), "}$")),
    ("digits", "5", _repeated("#### 5.", ("0", 1_000_000), "1")),
    ("digits", "\\frac{1}{3}", _repeated("$\\boxed{\\frac{", ("3", 100_000), "}{", ("9", 100_000), "}}$")),
    ("digits", "5", _repeated("#### 1e999999999")),
    ("digits", "0", _repeated(r"$\boxed{10^{-10^{10}}}$")),
    ("nesting", "5", _repeated("$\\boxed{", ("(", 50_000), "5", (")", 50_000), "}$ or so")),
    ("nesting", "5", _repeated("$\\boxed{", ("\\frac{1}{", 20_000), "5", ("}", 20_000), "}$ or so")),
    ("nesting", "5", _repeated("$\\boxed{", ("\\sqrt{", 20_000), "25", ("}", 20_000), "}$")),
    ("nesting", "5", _repeated(("\\boxed{", 200_000), "6")),
    ("nesting", "5", _repeated("$\\boxed{", ("{", 300_000), "6", ("}", 300_000), "}$")),
    ("nesting", "5", _repeated("$\\boxed{", ("\\left(", 30_000), "6", ("\\right)", 30_000), "}$")),
    ("nesting", "[0, 1]", _repeated("$\\boxed{", ("[0,", 30_000), "1", ("]", 30_000), "}$")),
    ("lists", "5", _repeated("$\\boxed{", ("5,", 200_000), "5}$")),
    ("lists", "1, 2", _repeated("$\\boxed{", ("1,2,", 100_000), "3}$")),
    ("lists", "\\{1, 2\\}", _repeated("$\\boxed{\\{", ("x,y,", 100_000), "z\\}}$")),
    ("lists", "(1, 2)", _repeated("$\\boxed{\\begin{pmatrix}", ("1&2&3\\\\", 50_000), "4\\end{pmatrix}}$")),
    ("many commitments", "5", _repeated(("#### 6\n", 200_000))),
    ("many commitments", "5", _repeated(("\\boxed{6} ", 100_000))),
    ("many commitments", "5", _repeated(("the answer is ", 100_000))),
    ("many commitments", "5", _repeated(("#### ", 300_000))),
    ("long text", "5", _repeated((" ", 2_000_000))),
    ("long text", "5", _repeated(("\n", 2_000_000))),
    ("long text", "5", _repeated(("\\", 1_000_000))),
    ("long text", "5", _repeated(("$", 1_000_001))),
    ("long text", "5", _repeated(("6 = ", 300_000), "6")),
    ("long text", "5", _repeated(("a\u0301", 500_000))),
    ("long text", "5", _repeated(("\U0001f9ee", 300_000))),
    ("long text", "5", _repeated(("<think>", 150_000))),
    ("long text", "5", _repeated("#### 6", (" apples", 200_000))),
    ("long text", "5", _repeated(("\0", 500_000))),
)
"""Texts that cost time or memory to read. None commits to its reference, so none may be accepted."""

CANARIES: tuple[str, ...] = (
    "open({path!r},'w')",
    "[open({path!r},'w'),5][1]",
    "(open({path!r},'w'),1)",
    "\\pi*0+open({path!r},'w').write('5')",
    "__import__('os').system('touch {path}')*0+5",
    "__import__('pathlib').Path({path!r}).touch() or 5",
    "eval(\"open({path!r},'w')\")",
    "exec(\"open({path!r},'w')\")",
    "(lambda: open({path!r},'w'))()",
    "x = open({path!r},'w')",
    "().__class__.__base__.__subclasses__() or open({path!r},'w')",
    "Integer(open({path!r},'w').write('5'))",
    "Symbol('x').subs(open({path!r},'w'), 1)",
    "sqrt(open({path!r},'w').write('5'))",
    "\\begin{{pmatrix}} open({path!r},'w') \\\\ 2 \\end{{pmatrix}}",
    "\\immediate\\write18{{touch {path}}}",
    "$(touch {path})",
    "`touch {path}`",
    "{{{{ open({path!r},'w') }}}}",
    "!!python/object/apply:os.system ['touch {path}']",
    "open('canary','w')",
)
"""Each would leave a file, at an absolute path or in the current folder, if the text were evaluated."""


def bombs(checker: verifiers.Verifier, contract: str, own: str | None = None) -> Check:
    """In a process that is killed where a bomb takes longer than `KILL_S`. `own` stands in for all their references.

    None may be accepted, either; but what a person's own verifier takes `((5))` for is its owner's affair.
    """
    check = Check("time and memory bombs", notes={"slowest_seconds": 0.0, "slow": 0, "most_bytes": 0})
    cases = [
        Case(family, "".join(part * times for part, times in parts), own or answer, False, f"bomb-{at}")
        for at, (family, answer, parts) in enumerate(BOMBS)
    ]
    with tempfile.TemporaryDirectory(prefix="reasoner-audit-") as folder:
        for case, found in zip(cases, _in_child(checker, cases, Path(folder)), strict=False):
            seconds, grown = found["seconds"], found["bytes"]
            check.notes["slowest_seconds"] = max(check.notes["slowest_seconds"], round(seconds, 3))
            check.notes["most_bytes"] = max(check.notes["most_bytes"], grown)
            check.notes["slow"] += seconds > LIMIT_S
            score = verifiers.Score(found["verdict"], found["extracted"], found["rule"], found["why"], found["type"])
            why = "accepted" if score.verdict == "right" and contract != "own" else ""
            why = f"took {grown / 1e9:.1f} GB (limit {LIMIT_BYTES / 1e9:g})" if grown > LIMIT_BYTES else why
            why = score.why if found["failed"] else why
            check.add(case, score, is_failure=bool(why), failure=why, seconds=round(seconds, 2))
    return check


def canary(checker: verifiers.Verifier, own: str | None = None) -> Check:
    """Rows that would leave a file behind if any of their text were executed; for the reference `own`, the bare text
    too."""
    check = Check("canary for execution of the text")
    with tempfile.TemporaryDirectory(prefix="reasoner-audit-") as name:
        folder = Path(name)
        texts = [text.format(path=str(folder / "canary")) for text in CANARIES]
        shown = [(form, answer) for answer in ("5", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}")
                 for form in ("$\\boxed{{{}}}$", "#### {}", "The answer is {}.")]  # fmt: skip
        cases = [
            Case("canary", form.format(text), answer, False, f"canary-{at}")
            for at, text in enumerate(texts)
            for form, answer in (shown if own is None else [*shown, ("{}", own)])
        ]
        for case, found in zip(cases, _in_child(checker, cases, folder), strict=False):
            score = verifiers.Score(found["verdict"], found["extracted"], found["rule"], found["why"], found["type"])
            why = score.why if found["gone"] else ""
            why = f"executed: {', '.join(found['files'])} appeared" if found["files"] else why
            check.add(case, score, is_failure=bool(why), failure=why)
    return check


def _in_child(checker: verifiers.Verifier, cases: Sequence[Case], folder: Path) -> Iterator[dict[str, Any]]:
    """What the verifier says of each case, in a process whose current folder is `folder`.

    With it come seconds, bytes grown, files that appeared, whether the verifier failed on it, and whether the process
    is gone. One that does not answer in time is killed, and the next case gets another; after `MOST_KILLED` the rest
    is not tried.
    """
    child: subprocess.Popen[bytes] | None = None
    killed = 0
    try:
        for case in cases:
            child = child or _start(checker, folder)
            assert child.stdin is not None and child.stdout is not None
            started = time.monotonic()
            try:
                child.stdin.write(json.dumps([case.completion, case.answer]).encode() + b"\n")
                child.stdin.flush()
                is_there = select.select([child.stdout], [], [], KILL_S)[0]
                line = child.stdout.readline() if is_there else b""
            except BrokenPipeError:
                is_there, line = [child.stdout], b""
            if line:
                yield json.loads(line)
                continue
            seconds = time.monotonic() - started
            code = _end(child)
            child = None
            why = f"its process ended ({code})" if is_there else f"no verdict after {KILL_S:g} s: killed"
            yield {"verdict": "unscored", "extracted": None, "rule": "", "why": why, "type": "", "seconds": seconds,
                   "bytes": 0, "files": _appeared(folder), "failed": True, "gone": True}  # fmt: skip
            killed += 1
            if killed == MOST_KILLED:
                return
    finally:
        if child is not None:
            _end(child)


def _start(checker: verifiers.Verifier, folder: Path) -> subprocess.Popen[bytes]:
    """A process that has loaded the verifier and waits for cases."""
    here = str(Path(__file__).resolve().parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", "from reasoner.audit import audit; audit._child()", checker.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))},
        start_new_session=True,
    )
    assert child.stdout is not None
    if not select.select([child.stdout], [], [], 60)[0] or child.stdout.readline() != b"ready\n":
        _end(child)
        raise ReasonerError(
            f"the verifier {checker.name} cannot be loaded in a process of its own",
            fix="see that it can be imported without a terminal, and prints nothing",
        )
    return child


def _end(child: subprocess.Popen[bytes]) -> int:
    import signal

    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    return code


def _child() -> None:
    """The other side of `_in_child`: one line of JSON in, one out. Standard output is ours alone."""
    import resource

    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    if sys.platform == "linux":
        limit = LIMIT_BYTES * 3
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    folder = Path.cwd()
    checker = verifiers.load(sys.argv[1])
    verifiers.verify(checker, "\\boxed{5}", "5")  # what is imported at the first call is no bomb's fault
    out.write(b"ready\n")
    for line in sys.stdin.buffer:
        completion, answer = json.loads(line)
        del line
        before, started = _peak_bytes(), time.perf_counter()
        score = verifiers.verify(checker, completion, answer)
        seconds, grown = time.perf_counter() - started, _peak_bytes() - before
        found = {
            "verdict": score.verdict,
            "extracted": score.extracted if score.extracted is None else score.extracted[:200],
            "rule": score.rule,
            "why": score.why[:300],
            "type": score.type,
            "seconds": seconds,
            "bytes": grown,
            "files": _appeared(folder),
            "failed": score.verdict == "unscored" and score.why.startswith(f"{checker.name} failed: "),
            "gone": False,
        }
        out.write(json.dumps(found).encode() + b"\n")


def _appeared(folder: Path) -> list[str]:
    """Files in a folder that was empty; they are removed, so that the next row is judged for itself."""
    found = sorted(path.name for path in folder.iterdir())
    for name in found:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    return found


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# -- labelled rows -----------------------------------------------------------------------------


def labelled(checker: verifiers.Verifier, path: Path) -> dict[str, Any]:
    """False accepts and false rejects on a person's own rows, with what was disagreed on; shares are of judged rows.

    A row has `completion` (or `response`, or `response_parts`, `[[text, times], …]`), `answer` (or `gold`) and
    `expected`, true or false; where there are any, an `id`, a `family`, `tag`, `type` or `rewrite` to count by, and a
    `format`, by which is counted too. A row with a short answer, `pred`, instead of a completion is judged as a
    completion that commits to it, unless it is of `kind` `response` or commits by itself. A row `disputed` is left
    out. A `finish_reason` other than `stop` says that a completion was cut off. Rows that cannot be read are listed by
    line.
    """
    accepts, rejects = Check("wrong accepted", must_hold=False), Check("right rejected", must_hold=False)
    malformed: list[dict[str, Any]] = []
    disagreed: list[dict[str, Any]] = []
    disputed, slowest = 0, 0.0
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReasonerError(f"{path} cannot be read", why=str(error), fix="name a JSONL file", code=USAGE) from None
    unscored: dict[bool, int] = {True: 0, False: 0}
    for at, line in enumerate(content.rstrip("\n").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if isinstance(row, dict) and row.get("disputed") is not None:
                disputed += 1
                continue
            case = _labelled_case(checker, row, at)
        except ValueError as error:
            malformed.append({"line": at, "why": str(error)})
            continue
        started = time.perf_counter()
        score = verifiers.verify(checker, case.completion, case.answer, is_finished=case.is_finished)
        slowest = max(slowest, time.perf_counter() - started)
        if score.verdict == "unscored":
            unscored[case.expected] += 1
            disagreed.append(_told(case, score))
            continue
        is_failure = (score.verdict == "right") != case.expected
        (rejects if case.expected else accepts).add(case, score, is_failure=is_failure)
        if is_failure:
            disagreed.append(_told(case, score))
    if not accepts.n + rejects.n + sum(unscored.values()):
        raise ReasonerError(
            f"{path} has no row that can be read",
            why="\n".join(f"line {row['line']}: {row['why']}" for row in malformed[:5]) or "it is empty",
            fix='one JSON object a line: {"completion": "…", "answer": "…", "expected": true}',
            code=USAGE,
        )
    return {
        "file": path.name,
        "sha256": files.sha256_file(path),
        "wrong_accepted": accepts.value() | {"unscored": unscored[False]},
        "right_rejected": rejects.value() | {"unscored": unscored[True]},
        "disputed": disputed,
        "malformed": malformed,
        "slowest_seconds": round(slowest, 3),
        "disagreements": disagreed,
    }


_COMMITS = re.compile(r"\\boxed|\\fbox|####|answer\s+is", re.IGNORECASE)


def _labelled_case(checker: verifiers.Verifier, row: object, at: int) -> Case:
    """One row as a case; `ValueError` says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    answer = next((row[name] for name in ("answer", "gold") if name in row), None)
    if not isinstance(answer, str):
        raise ValueError("no text `answer` (or `gold`)")
    if not isinstance(row.get("expected"), bool):
        raise ValueError("`expected` is not true or false")
    completion = next((row[name] for name in ("completion", "response") if name in row), None)
    if completion is None and "response_parts" in row:
        try:
            completion = "".join(text * times for text, times in row["response_parts"])
        except TypeError:
            raise ValueError("`response_parts` is not [[text, times], …]") from None
    if completion is None and isinstance(pred := row.get("pred"), str):
        is_short = row.get("kind") != "response" and not _COMMITS.search(pred)
        completion = checker.commit(pred) if is_short else pred
    if not isinstance(completion, str):
        raise ValueError("no text `completion` (or `response`, `response_parts`, `pred`)")
    family = next((row[name] for name in ("family", "tag", "type", "rewrite") if row.get(name)), "")
    is_finished = row.get("finish_reason", "stop") == "stop"
    id_, form = str(row.get("id", f"line {at}")), str(row.get("format", ""))
    return Case(str(family), completion, answer, row["expected"], id_, is_finished=is_finished, format=form)


# -- telling it --------------------------------------------------------------------------------


def lines(value: dict[str, Any]) -> list[str]:
    """The audit as a person reads it, in a screenful where it holds."""
    source, judge = value["data"], value["verifier"]
    out = [
        f"verifier {judge['name']} {judge['version']}; {source['n']:,} references of {source['source']},"
        f" {source['sampled']:,} of them rewritten; {value['seconds']:.1f} s",
        "",
        f"  {'check':<42}{'n':>8}{'failed':>8}   rate, exact 95 % interval",
    ]
    for check in value["checks"]:
        note = "" if check["must_hold"] else "  (information)"
        if "slowest_seconds" in check:
            note += f"; slowest {check['slowest_seconds']:.2f} s"
            note += f", {check['slow']} over {LIMIT_S:g} s" if check["slow"] else ""
        out.append(f"  {check['name']:<42}{check['n']:>8,}{check['failed']:>8,}   {_rate(check)}{note}")
    if found := value.get("labelled"):
        out += ["", f"  labelled: {found['file']}" + _left_out(found)]
        for key in ("wrong_accepted", "right_rejected"):
            part = found[key]
            apart = f"; {part['unscored']} unscored apart" if part["unscored"] else ""
            out.append(f"  {part['name']:<42}{part['n']:>8,}{part['failed']:>8,}   {_rate(part)}{apart}")
            out += _by("family", part) + _by("type", part) + _by("format", part)
        first = sorted(found["disagreements"], key=lambda row: row["verdict"] == "unscored")
        out += _examples(first, "disagreed on")
        out += [f"  line {row['line']}: {row['why']}" for row in found["malformed"][:EXAMPLES]]
    unjudged = value["unjudged"]
    if unjudged:
        out += ["", f"  {len(unjudged):,} references cannot be judged, and are left out of training and evaluation:"]
        out += [f"    {row['id']}  {_short(row['answer'], 40)}  {row['why']}" for row in unjudged[:EXAMPLES]]
        out += [f"    … and {len(unjudged) - EXAMPLES:,} more (--json)"] if len(unjudged) > EXAMPLES else []
    for check in value["checks"]:
        if check["failed"]:
            examples = _examples(check["examples"], "failed") if check["must_hold"] else []
            out += ["", f"  {check['name']}:", *_by("family", check), *examples]
    out += ["", f"  {value['checks_per_second']:,} checks a second on the rows above"]
    verdict = "it may be a reward" if value["holds"] else "it must not be a reward: " + "; ".join(value["failed"])
    return [*out, f"  {'holds' if value['holds'] else 'does not hold'}: {verdict}"]


def _left_out(found: dict[str, Any]) -> str:
    parts = [f"{found['disputed']:,} disputed"] if found["disputed"] else []
    parts += [f"{len(found['malformed']):,} not readable"] if found["malformed"] else []
    return f", {' and '.join(parts)} left out" if parts else ""


def _rate(check: dict[str, Any]) -> str:
    if check["rate"] is None:
        return ""
    low, high = check["ci95"]
    return f"{100 * check['rate']:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def _by(what: str, check: dict[str, Any]) -> list[str]:
    """Families or types with a failure, worst first; nothing where there is only one of them."""
    cells = check.get(f"by_{what}", {})
    bad = sorted(((name, cell) for name, cell in cells.items() if cell["failed"]), key=lambda item: -item[1]["failed"])
    if len(cells) < 2:
        return []
    return [f"    {what} {_short(name or '?', 36):<38}{cell['failed']:>5} of {cell['n']}" for name, cell in bad[:8]]


def _examples(rows: Iterable[dict[str, Any]], title: str) -> list[str]:
    out = []
    for row in list(rows)[:5]:
        why = row.get("failure") or row["why"] or row["rule"]
        out.append(
            f"    {title} {row['id']} ({row['family']}): reference {_short(row['answer'], 30)}, completion"
            f" {_short(row['completion'], 60)} is {row['verdict']}"
            + (f", taken {_short(row['extracted'], 30)}" if row["extracted"] is not None else "")
            + (f": {why}" if why else "")
        )
    return out


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= most else f"{text[: most - 1]}…")


def short(value: dict[str, Any]) -> dict[str, Any]:
    """What a run's record keeps of its audit; the whole of it is in `audit.json`."""
    return {
        "holds": value["holds"],
        "references": value["data"]["judged"],
        "unjudged": len(value["unjudged"]),
        "seconds": value["seconds"],
        "checks": {check["name"]: [check["failed"], check["n"]] for check in value["checks"] if check["must_hold"]},
    }


def refuse(value: dict[str, Any], command: str) -> None:
    """Nothing where the audit holds; else an error that names what failed, the first example, and where to look."""
    if value["holds"]:
        return
    from reasoner.errors import GATE

    examples = [line.strip() for check in value["checks"] if check["must_hold"]
                for line in _examples(check["examples"], "failed")[:2]]  # fmt: skip
    raise ReasonerError(
        f"the verifier {value['verifier']['name']} fails its audit, so nothing is trained on it",
        why="\n".join([*value["failed"], *examples]),
        fix=f"{command} shows all of it; repair the verifier or the references,"
        " or --set alarms.failed_audit=tell to train all the same",
        code=GATE,
    )
