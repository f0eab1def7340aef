"""Makes `summary.json`, whose fields other programs rely on, and says it in a few lines; its one writer and reader.

Shares are 0-1, points are percentage points. A summary that an older version wrote may lack whatever has a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reasoner import files, runs, words
from reasoner.audit.results import AuditCounts
from reasoner.config import Config
from reasoner.measuring import figures
from reasoner.problems.overlap import Contamination
from reasoner.reporting import records
from reasoner.verifiers import registry
from reasoner.verifiers.score import Judge
from reasoner.verifiers.working import StepCheck

ROLES = ("base", "tuned")
MOST_KINDS = 8
"""Kinds named in one line; the table of the report has all."""
REWARDS = {
    "verdict": "the verifier's verdict",
    "share": "the share of the hidden tests that hold, which pays for half a solution too",
}


@dataclass(frozen=True)
class Score:
    """Is what one model scored on a set."""

    pass_at_1: float
    ci95: figures.Interval
    shows_working: float
    truncated: float
    unscored: int
    refused: int | None = field(default=None, metadata=files.LEFT_OUT)


@dataclass(frozen=True)
class Effect:
    """Is tuned minus base, in points."""

    points: float
    ci95: figures.Interval
    p: float
    test: str
    p_holm: float | None = field(default=None, metadata=files.LEFT_OUT)
    se: float | None = None
    detectable: float | None = None

    @property
    def is_lift(self) -> bool:
        """Whether the interval excludes 0 from below."""
        return self.ci95[0] > 0


@dataclass(frozen=True)
class Comparison:
    """Compares base and tuned on the main set."""

    base: Score
    tuned: Score
    lift: Effect


@dataclass(frozen=True)
class SetComparison:
    """Compares base and tuned on a set beside the main one."""

    n: int
    split_sha256: str
    base: Score
    tuned: Score
    lift: Effect


@dataclass(frozen=True)
class Served:
    """Names the served model and its server."""

    host: str
    tag: str
    digest: str
    ollama: str


@dataclass(frozen=True)
class Gguf:
    """Names the file that was served."""

    path: str
    quant: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """Is how the training went, and what it was paid for; `chat_kl` is in nats a token."""

    steps: int | None = None
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    engine: str = ""
    threads: int | None = None
    reward: str = "verdict"
    chat_kl: float | None = None
    chat_kl_weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Is `summary.json`."""

    schema: int = 1
    run: str
    profile: str
    seed: int
    control: str | None = None
    device: str
    n: int
    split: str
    split_sha256: str
    verifier: Judge
    base: Score
    tuned: Score
    lift: Effect
    strict: dict[str, float | None] = field(default_factory=dict)
    strict_lift: figures.Lift | None = field(default=None, metadata=files.LEFT_OUT)
    lenient: figures.Lenient | None = field(default=None, metadata=files.LEFT_OUT)
    overlap: Contamination | None = None
    steps: dict[str, StepCheck | None] = field(default_factory=dict)
    unjudged: int = 0
    audit: AuditCounts | None = None
    by_kind: dict[str, figures.KindFigures] = field(default_factory=dict)
    beside: dict[str, SetComparison | figures.Missing] = field(default_factory=dict)
    everyday: figures.Everyday | None = field(default=None, metadata=files.LEFT_OUT)
    no_system: Comparison | None = field(default=None, metadata=files.LEFT_OUT)
    looks: dict[str, dict[str, int]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    promoted: bool | None = None
    gate: list[str] = field(default_factory=list)
    served: Served
    gguf: Gguf | None = None
    base_sha256: dict[str, str] = field(default_factory=dict)
    train: Training = field(default_factory=Training)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def roles(self) -> dict[str, Score]:
        return {"base": self.base, "tuned": self.tuned}


def make(
    config: Config, run: runs.Run, done: records.Records, server: Mapping[str, str], versions: Mapping[str, str]
) -> Summary:
    """Makes the summary of a run whose stages are all done. `server`: host and version of Ollama."""
    assert done.train and done.gguf and done.register and done.evaluate and done.promote
    scored, trained, tuned = done.evaluate.facts, done.train.facts, done.register.facts.tuned
    promoted = done.promote.facts
    file, output = next(iter(done.gguf.outputs.items()))
    digest = (promoted.digest or tuned.digest).removeprefix("sha256:")
    seconds = {name: round(value, 2) for name, value in done.seconds.items()}
    sides = {"base": scored.base, "tuned": scored.tuned}
    paid = {"reward": config.verifier.reward, "chat_kl_weight": config.train.chat_kl}
    return parse({
        **files.as_json(scored),  # of which the classes above keep what they name
        "run": run.name, "profile": config.profile, "seed": config.train.seed, "control": config.train.control,
        "device": trained.device,
        "strict": {role: one.strict for role, one in sides.items()},
        "steps": {role: one.steps for role, one in sides.items()},
        "overlap": trained.overlap, "audit": trained.audit,
        "promoted": promoted.promoted, "gate": promoted.why,
        "served": Served(server["host"], promoted.tag or tuned.tag, f"sha256:{digest}", server["version"]),
        "gguf": Gguf(str(run.path / file), done.gguf.facts.quant, output.bytes, output.sha256),
        "base_sha256": files.as_json(trained.base_weights_sha256), "train": {**files.as_json(trained), **paid},
        "seconds": {**seconds, "total": round(sum(seconds.values()), 2)}, "versions": dict(versions),
    })  # fmt: skip


def save(run: runs.Run, value: Summary) -> None:
    """Writes `summary.json`."""
    files.write_json(run.summary_path, files.as_json(value))


def read(run: runs.Run) -> Summary | None:
    """Reads `summary.json`; None where it is not there, or not whole."""
    stored = files.read_json(run.summary_path)
    return parse(stored) if isinstance(stored, dict) else None


def parse(value: Mapping[str, Any]) -> Summary:
    """Returns the summary that JSON gave back; raises where another version wrote it otherwise."""
    name = value.get("run")
    return records.parse(Summary, value, f"the summary of run {name}", f"score it again: reasoner evaluate {name}")


# -- in a few lines ----------------------------------------------------------------------------


def lines(summary: Summary) -> list[tuple[str, str]]:
    """Returns the closing summary as (what, value) pairs, for terminal and report alike."""
    base, tuned, lift, judge = summary.base, summary.tuned, summary.lift, summary.verifier
    counts = f" ({label})" if (label := _label(judge)) else ""
    score = f"verifier `{judge.name}` {judge.version}{counts}, greedy, served by Ollama {summary.served.ollama}"
    doubt = "" if lift.is_lift else ": no measurable lift"
    cut = (f"{role} {words.share(one.truncated)} and {one.unscored}" for role, one in summary.roles.items())
    found = [
        ("problems", f"{summary.n} held-out, split `{summary.split}`, {score}"),
        *(
            (role, f"{words.share(one.pass_at_1)} right {words.interval(one.ci95)}, shows working"
                   f" {words.share(one.shows_working)}")
            for role, one in summary.roles.items()
        ),
        ("lift", f"{words.points(lift.points, lift.ci95, ' points')}, p = {words.p_value(lift.p, 1)} ({lift.test})"
                 f"{doubt}"),
    ]  # fmt: skip
    if lift.detectable:
        told = f"{lift.detectable:.1f} points are the least that {summary.n} problems show (80 % power)"
        found.append(("detectable", told))
    found.append(("cut, unscored", ", ".join(cut)))
    if base.refused or tuned.refused:
        told = f"base {base.refused}, tuned {tuned.refused}: open with “I cannot”, and are not right"
        found.append(("refused", told))
    return [*found, *_judging(summary), *_more(summary)]


def _label(judge: Judge) -> str:
    """Says what a verifier counts, where its name does not."""
    found = registry.built_in(judge.name)
    return found.label if found else ""


def _judging(summary: Summary) -> Iterator[tuple[str, str]]:
    """Says what the reward was, what other rules say of the answers, and what the audit found."""
    if summary.train.reward != "verdict":
        yield "reward", f"{REWARDS[summary.train.reward]}; scored is the verdict, all tests"
    before, after = (summary.strict.get(role) for role in ROLES)
    if before is not None and after is not None:
        yield "stricter rule", _change(before, after, summary.strict_lift, " right", " points")
    if lenient := summary.lenient:
        told = _change(lenient.base.pass_at_1, lenient.tuned.pass_at_1, lenient.lift, " right", " points")
        yield "lenient rule", f"{told}: {_label(lenient.base.verifier)}"
    working = [f"{role} {_working(found)}" for role in ROLES if (found := summary.steps.get(role))]
    if len(working) == 2:
        yield "working", "; ".join(working)
    if audit := summary.audit:
        checks = ", ".join(f"{name} {n - failed:,} of {n:,}" for name, (failed, n) in audit.checks.items())
        yield "audit", f"{'as they must be' if audit.holds else 'DOES NOT HOLD, trained on all the same'}: {checks}"
        unjudged = {"training": audit.unjudged, "evaluation": summary.unjudged}
        if any(unjudged.values()):
            told = " and ".join(f"{count:,} of {what}" for what, count in unjudged.items() if count)
            yield "left out", f"references that cannot be judged: {told}"
    if summary.overlap:
        yield "overlap", summary.overlap.line().removeprefix("overlap of ")


def _change(before: float, after: float, lift: figures.Lift | Effect | None, what: str = "", unit: str = "") -> str:
    effect = f", {words.points(lift.points, lift.ci95, unit)}" if lift else ""
    return f"{words.share(before)} → {words.share(after)}{what}{effect}"


def _working(counts: StepCheck) -> str:
    """Says what the equations of all completions come to, beside the known steps of their problems."""
    written = counts.equations
    correct = f"{words.share(counts.correct / written)} of {written:,} equations hold" if written else "no equation"
    return f"{correct}, {words.share(counts.in_order / counts.known)} of the known steps in order"


def _more(summary: Summary) -> Iterator[tuple[str, str]]:
    """Says what was scored besides the main set as a whole."""
    shown = [f"{kind} {' → '.join(map(_percent, (cell.base, cell.tuned)))} %" for kind, cell in summary.by_kind.items()]
    if shown:
        rest = f", and {len(shown) - MOST_KINDS} more in the report" if len(shown) > MOST_KINDS else ""
        yield "by kind", ", ".join(shown[:MOST_KINDS]) + rest
    if bare := summary.no_system:
        told = _change(bare.base.pass_at_1, bare.tuned.pass_at_1, bare.lift)
        yield "no system", f"without the system message {told}"
    for name, roles in summary.looks.items():
        if roles["tuned"] > 1:
            yield "look", f"look {roles['tuned']} of this test split ({name}) with the tuned model"
    for name in dict.fromkeys(summary.taken.values()):
        taken = ", ".join(file for file, of in summary.taken.items() if of == name)
        yield "taken over", f"{taken}: completions of run {name} (same model file, problems, sampling)"
    for name, one in summary.beside.items():
        if isinstance(one, figures.Missing):
            yield name, f"not found in {one.missing} (REASONER_DATA)"
        else:
            yield name, f"{_change(one.base.pass_at_1, one.tuned.pass_at_1, one.lift)}, n {one.n}"
    if found := summary.everyday:
        told = f"{found.n} prompts, greedy: degenerate {found.tuned.degenerate} (base {found.base.degenerate}), facts"
        told += f" right {found.tuned.facts_right} of {found.facts} (base {found.base.facts_right}),"
        yield "everyday", f"{told} {words.share(found.changed, digits=0)} of answers changed"
    if found and (sampled := found.sampled):
        fallen = [words.share(one.degenerate.value, one.degenerate.ci95) for one in (sampled.tuned, sampled.base)]
        told = f"{sampled.answers} answers: degenerate {fallen[0]} (base {fallen[1]}), facts right"
        facts = f"{sampled.tuned.facts_right:.1f} of {sampled.facts} (base {sampled.base.facts_right:.1f})"
        yield "sampled", f"{told} {facts}"


def _percent(counts: figures.Counts) -> str:
    return f"{100 * counts.right / counts.scored:.0f}" if counts.scored else "?"
