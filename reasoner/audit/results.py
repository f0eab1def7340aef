"""Holds what an audit finds: the cases that it tries, its counts, and the whole of it as `audit.json` has it."""

from __future__ import annotations

from dataclasses import dataclass, field

from reasoner import files
from reasoner.verifiers.checker import Contract
from reasoner.verifiers.registry import Verifier, verify
from reasoner.verifiers.score import Score, Verdict

EXAMPLES = 10  # failures of a check that are kept with their text


@dataclass(frozen=True)
class Case:
    """Holds one completion whose verdict is known. `family` is the generator or the table's family.

    `kind` joins families of generated cases, under one of which a person looks for them in the report. `control` is the
    same text about another number: where that is accepted too, the verifier does not judge by the number, and a verdict
    on this case accuses it of nothing.
    A row of the table says in `reads` to which contracts it speaks, and `why` it is expected to be right or wrong.
    """

    family: str
    completion: str
    answer: str
    expected: bool
    id: str = ""
    type: str = ""
    is_finished: bool = True
    format: str = ""
    reads: tuple[str, ...] = ()
    why: str = ""
    kind: str = ""
    control: str | None = None


@dataclass(frozen=True)
class Rate:
    """Gives the share of `n` cases that failed, with its exact (Clopper-Pearson) 95 % interval; None where n is 0."""

    n: int
    failed: int
    rate: float | None
    ci95: list[float] | None


def rate(failed: int, n: int) -> Rate:
    """Makes a share with its interval, rounded to five places.

    >>> rate(0, 100)
    Rate(n=100, failed=0, rate=0.0, ci95=[0.0, 0.03622])
    """
    if n == 0:
        return Rate(0, 0, None, None)
    from scipy.stats import binomtest

    found = binomtest(failed, n).proportion_ci(0.95, method="exact")
    return Rate(n, failed, failed / n, [round(float(found.low), 5), round(float(found.high), 5)])


@dataclass(frozen=True)
class Example:
    """Shows a case and its score; `failure` and `seconds` where they say more than the verdict."""

    id: str
    family: str
    answer: str
    completion: str
    expected: bool
    verdict: Verdict
    extracted: str | None
    rule: str
    why: str
    type: str
    failure: str | None = field(default=None, metadata=files.LEFT_OUT)
    seconds: float | None = field(default=None, metadata=files.LEFT_OUT)
    kind: str | None = field(default=None, metadata=files.LEFT_OUT)


def example(case: Case, score: Score, failure: str | None = None, seconds: float | None = None) -> Example:
    completion = case.completion if len(case.completion) <= 400 else f"{case.completion[:390]}…"
    extracted = None if score.extracted is None else score.extracted[:200]
    return Example(case.id, case.family, case.answer[-200:], completion, case.expected, score.verdict, extracted,
                   score.rule, score.why, score.type, failure, seconds, case.kind or None)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """Gives the counts of one check, by family, type of the reference, format and kind, and its first failures.

    The first failure of each kind is always among them.

    A check that must not hold is information. Only the check of bombs has its costs: the slowest case in seconds, how
    many were `slow`, and the most memory that one took.
    """

    name: str
    must_hold: bool
    n: int
    failed: int
    rate: float | None
    ci95: list[float] | None
    unscored: int
    by_family: dict[str, Rate]
    by_type: dict[str, Rate]
    by_format: dict[str, Rate] | None = field(default=None, metadata=files.LEFT_OUT)
    examples: list[Example] = field(default_factory=list)
    slowest_seconds: float | None = field(default=None, metadata=files.LEFT_OUT)
    slow: int | None = field(default=None, metadata=files.LEFT_OUT)
    most_bytes: int | None = field(default=None, metadata=files.LEFT_OUT)
    by_kind: dict[str, Rate] | None = field(default=None, metadata=files.LEFT_OUT)

    @property
    def holds(self) -> bool:
        return not self.must_hold or self.failed == 0


Counts = dict[str, tuple[int, int]]  # (failed, of) by name


@dataclass
class Tally:
    """Counts the cases of a check as they are judged; `check` is what comes of it."""

    name: str
    must_hold: bool = True
    unscored: int = 0
    families: Counts = field(default_factory=dict)
    types: Counts = field(default_factory=dict)
    formats: Counts = field(default_factory=dict)
    kinds: Counts = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    @property
    def n(self) -> int:
        return sum(of for _, of in self.families.values())

    def add(
        self, case: Case, score: Score, *, is_failure: bool, failure: str | None = None, seconds: float | None = None
    ) -> None:
        self.unscored += score.verdict == "unscored"
        is_first = is_failure and not self.kinds.get(case.kind, (0, 0))[0]
        groups = (
            (self.families, case.family), (self.types, score.type or case.type), (self.formats, case.format),
            (self.kinds, case.kind),
        )  # fmt: skip
        for counts, name in groups:
            failed, of = counts.get(name, (0, 0))
            counts[name] = failed + is_failure, of + 1
        if is_first or (is_failure and len(self.examples) < EXAMPLES):
            self.examples.append(example(case, score, failure, seconds))

    def judge(self, checker: Verifier, case: Case) -> None:
        """Judges and counts: wrong is to accept what must fail, and not to accept what must pass."""
        score = verify(checker, case.completion, case.answer, is_finished=case.is_finished)
        self.add(case, score, is_failure=(score.verdict == "right") != case.expected)

    def check(self) -> Check:
        """Gives what was counted; of its failures, one of each kind comes first."""
        firsts = {one.kind: one for one in reversed(self.examples)}
        examples = sorted(self.examples, key=lambda one: one is not firsts[one.kind])
        whole = rate(sum(failed for failed, _ in self.families.values()), self.n)
        by_family, by_kind = (
            {name: rate(*counts) for name, counts in table.items()} for table in (self.families, self.kinds)
        )
        by_type, by_format = (
            {name: rate(*counts) for name, counts in sorted(table.items())} for table in (self.types, self.formats)
        )
        return Check(
            self.name, self.must_hold, whole.n, whole.failed, whole.rate, whole.ci95, self.unscored, by_family, by_type,
            by_format if set(by_format) - {""} else None, examples, by_kind=by_kind if set(by_kind) - {""} else None,
        )  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """Names the verifier and the contract that it was held to."""

    name: str
    version: str
    contract: Contract


@dataclass(frozen=True)
class References:
    """Counts the references: all, those that can be judged, those of which rewrites were made."""

    source: str
    n: int
    judged: int
    sampled: int
    sha256: str


@dataclass(frozen=True)
class Unjudged:
    """Names a reference that cannot be judged, by its place among the problems."""

    index: int
    id: str
    answer: str
    why: str


@dataclass(frozen=True)
class Malformed:
    """Names a line of labelled rows that cannot be read."""

    line: int
    why: str


@dataclass(frozen=True)
class Labelled:
    """Compares the verifier with a person's own labels; rates are of the rows that were judged."""

    file: str
    sha256: str
    wrong_accepted: Check
    right_rejected: Check
    disputed: int
    malformed: list[Malformed]
    slowest_seconds: float
    disagreements: list[Example]


@dataclass(frozen=True)
class Audit:
    """Says whether a verifier `holds`, so that it may be a reward, and what that was found by."""

    schema: int
    verifier: Judge
    holds: bool
    failed: list[str]
    data: References
    unjudged: list[Unjudged]
    checks: list[Check]
    checks_per_second: int
    seconds: float
    versions: dict[str, str]
    labelled: Labelled | None = field(default=None, metadata=files.LEFT_OUT)


@dataclass(frozen=True)
class AuditCounts:
    """Is what a run's record keeps of its audit, with (failed, of) for each check that must hold."""

    holds: bool
    references: int
    unjudged: int
    seconds: float
    checks: dict[str, tuple[int, int]]


def short(audit: Audit) -> AuditCounts:
    """Shortens an audit for the record; the whole of it is in `audit.json`."""
    checks = {check.name: (check.failed, check.n) for check in audit.checks if check.must_hold}
    return AuditCounts(audit.holds, audit.data.judged, len(audit.unjudged), audit.seconds, checks)
