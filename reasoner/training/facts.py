"""What a training writes down: its record, a line of `metrics.jsonl` a step, a line of `rollouts/` a completion.

Each class has one writer, in this room, and is read by its one name everywhere else. What is None was not measured; in
the lines of an older run it may also be what was not known yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from reasoner import files, runs
from reasoner.audit.results import AuditCounts
from reasoner.config import Config
from reasoner.errors import ReasonerError
from reasoner.files import LEFT_OUT
from reasoner.problems.overlap import Contamination
from reasoner.verifiers.score import Judge


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """One optimizer step. Shares and gaps are 0-1, lengths in tokens, KL, entropy and `mismatch` in nats a token."""

    step: int
    steps: int
    """Steps of the whole training."""
    reward: float
    signal: float
    """Share of groups whose completions differ in reward."""
    length: float
    truncated: float
    shows_working: float
    unscored: int | None = None
    """Completions without a verdict."""
    strict_gap: float | None = None
    """Share of the accepted completions that the stricter rule rejects."""
    visible_share: float | None = None
    hidden_share: float | None = None
    hidden_gap: float | None = None
    """`visible_share` less `hidden_share`."""
    entropy: float | None = None
    kl: float | None = None
    """To the base, on the completions; where `train.beta` asks for it."""
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    step_seconds: float | None = None
    sample_seconds: float | None = None
    mismatch: float | None = None
    """Mean difference of log-probabilities, sampler against trainer."""
    kinds: dict[str, float] | None = field(default=None, metadata=LEFT_OUT)
    """The curriculum's share of the draws, by kind."""
    rates: dict[str, float] | None = field(default=None, metadata=LEFT_OUT)
    """The curriculum's success rate, by kind."""
    chat_kl: float | None = field(default=None, metadata=LEFT_OUT)
    """To the base, on everyday text; measured every few steps."""


def read_metrics(run: runs.Run) -> list[StepMetrics]:
    """Reads the steps of a run so far, oldest first; raises `ReasonerError` where a line is of another kind."""
    path = run.path / "metrics.jsonl"
    try:
        return [files.parse(StepMetrics, row) for row in files.read_jsonl(path)]
    except ValueError as error:
        raise ReasonerError(
            f"{path} holds a line that is no step of a training", why=str(error), fix="remove the line, or the run"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One completion of a training, as the reward judged it."""

    step: int
    problem_id: str
    kind: str
    question: str
    answer: str
    completion: str
    verdict: str
    extracted: str | None
    type: str
    rule: str
    why: str
    visible: float | None = field(default=None, metadata=LEFT_OUT)
    """Share of the visible tests that hold."""
    hidden: float | None = field(default=None, metadata=LEFT_OUT)
    """Share of the hidden tests that hold."""
    finish_reason: str
    """`stop`, or `length` where the completion was cut off."""
    tokens: int
    strict: str | None = field(default=None, metadata=LEFT_OUT)
    """The stricter rule's verdict, on a sample of the accepted completions."""


@dataclass(frozen=True)
class BeforeAfter:
    """SHA-256 of the base's own weights before and after training: equal, or there is no record."""

    before: str
    after: str


@dataclass(frozen=True)
class CurriculumState:
    """What a checkpoint must remember of a curriculum: success rates by kind, and the kinds let in."""

    rates: dict[str, float]
    base_rates: dict[str, float]
    """As measured before the first step."""
    admitted: list[str]


@dataclass(frozen=True, kw_only=True)
class TrainFacts:
    """The record of a training."""

    engine: str
    sampler: str
    """`llama.cpp`, `generate` (transformers) or `vllm`."""
    why_not_fast: str | None
    device: str
    threads: int | None
    """At the end, on a CPU."""
    steps: int
    """Fewer than `train.steps` where `train.solved_at` stopped it."""
    resumed_from: int | None
    loop_seconds: float
    problems: int
    problems_sha256: str
    verifier: Judge
    reward: str
    """`verifier.reward`: what of a score is paid."""
    base_weights_sha256: BeforeAfter
    unscored: int
    scored: int
    unjudged_problems: int
    """Problems left out because the verifier cannot judge their references."""
    overlap: Contamination
    curriculum: CurriculumState | None
    chat_kl: float | None
    """The last that was measured, nats a token."""
    first: dict[str, float]
    """Means over the first ten steps of what `WINDOW` names, where measured."""
    last: dict[str, float]
    """The same over the last ten."""
    audit: AuditCounts | None = None
    """Of the audit before the training; the stage that runs both adds it."""


TRAIN = runs.Kind("train", TrainFacts, is_of_run=True)


def steps_of(run: runs.Run, config: Config) -> int:
    """Returns the steps of a run's training: those it took, once it is done, else those it may take."""
    trained = run.record(TRAIN, 0)
    return config.train.steps if trained is None else trained.facts.steps


SOLVED_STEPS, SOLVED_SIGNAL = 20, 0.25
"""Steps that `train.solved_at` goes by, and the share of groups with signal at which little is left to learn."""


def is_solved(steps: Sequence[StepMetrics], limit: float | None) -> bool:
    """Returns whether the newest steps have the mean reward of `train.solved_at`, and few groups with signal."""
    newest = steps[-SOLVED_STEPS:]
    if limit is None or len(newest) < SOLVED_STEPS:
        return False
    return fmean(one.reward for one in newest) >= limit and fmean(one.signal for one in newest) <= SOLVED_SIGNAL


WINDOW = ("reward", "signal", "length", "truncated", "shows_working", "hidden_gap", "step_seconds")


def window(steps: list[StepMetrics]) -> dict[str, float]:
    """Returns the means over some steps of each metric in `WINDOW` that was measured in one of them."""
    return {
        name: round(sum(values) / len(values), 4)
        for name in WINDOW
        if (values := [value for step in steps if (value := getattr(step, name)) is not None])
    }
