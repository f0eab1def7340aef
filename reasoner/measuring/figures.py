"""Holds what evaluation measures, as dataclasses with one writer each: this room; reports and the pipeline read them.

`as_json` gives the JSON that stands in `completions/*.jsonl`, in the facts of `evaluate.json` and `gate.json`, in
`ladder.json` and on the output of `reasoner eval --json`; `files.parse` and `load` read it back. Shares are 0-1,
differences are percentage points, intervals are (low, high) at 95 % in the unit of their figure, p is 0-1. Nothing is
computed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from reasoner import files, runs
from reasoner.measuring.engines.base import EngineFacts, Sampling
from reasoner.problems.overlap import Overlap
from reasoner.serving.tags import Tagged
from reasoner.verifiers.score import Judge, Verdict
from reasoner.verifiers.working import StepCheck

Interval = tuple[float, float]
Kind = TypeVar("Kind")


def load(path: Path, kind: type[Kind]) -> list[Kind]:
    """Reads a file of completions, a line each; empty where there is no file. `kind`: `Completion`, `EverydayAnswer`.

    Raises `ValueError` where a line is whole JSON and not of this kind.
    """
    return files.parse(list[kind], files.read_jsonl(path))  # type: ignore[valid-type]


# -- one completion ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Sandbox:
    """Says in which sandbox tier, of which version of this package, submitted code was run."""

    tier: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """Is what every line of `completions/` says: what an engine answered, and what was asked of which model.

    `finish_reason` is `stop`, `length` (cut at the limit, and so wrong) or `unanswered` (the engine gave none, and
    `unanswered` says why).
    """

    problem_id: str
    sample: int = 0  # which of several completions of the problem, from 0
    completion: str
    finish_reason: str
    tokens: int  # of the completion
    prompt_tokens: int = 0
    unanswered: str | None = field(default=None, metadata=files.LEFT_OUT)
    stage: str = ""  # `served`, `ladder` or `eval`
    model: str = ""  # the tag, file, folder or URL that was asked
    role: str | None = field(default=None, metadata=files.LEFT_OUT)  # `base`, `tuned`, or the name of a rung
    engine: str = ""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Completion(Row):
    """Is one completion and its verdict: a line of `completions/[<set>-]<role>.jsonl`.

    `strict` is the verdict by the verifier's stricter rule, None where it has none. There is no `verdict` yet in the
    file of an evaluation in progress that judges at its end.
    """

    kind: str = ""  # kind of problem as its source names it; empty: not known
    question: str = ""
    answer: str = ""  # the reference, after its last `####`
    shows_working: bool = False  # whether a worked equation stands before the answer
    steps: StepCheck | None = None  # its equations beside the problem's known steps; None: those are not known
    leaked: list[str] = field(default_factory=list)  # special tokens that show in the text
    sandbox: Sandbox | None = None  # None: nothing of it was run
    verdict: Verdict | None = field(default=None, metadata=files.LEFT_OUT)
    strict: Verdict | None = None
    extracted: str | None = None
    type: str = ""
    rule: str = ""
    why: str = ""
    verifier: Judge | None = field(default=None, metadata=files.LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class EverydayAnswer(Row):
    """Is one answer to an everyday prompt: a line of `completions/everyday-[sampled-]<role>.jsonl`."""

    problem_id: str = ""
    tokens: int = 0
    id: str
    kind: str
    prompt: str
    degenerate: str | None  # how the answer has fallen apart: `empty`, `bare number`, `repeats`; None: it has not
    fact_right: bool | None  # whether the fact asked for is in it; None: the prompt asks for none


# -- figures of one model, and of two ----------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """Is a share with its interval, 0-1."""

    value: float
    ci95: Interval


@dataclass(frozen=True)
class AtK(Share):
    """Is pass@k or maj@k, over the problems with so many completions."""

    problems: int


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Is what the completions of one model come to. All but counts and `mean_tokens` are shares, 0-1.

    `pass_at_1`, `strict` and `ci95` are over problems, each weighing the same; the other shares are over completions.
    """

    pass_at_1: float
    ci95: Interval
    right: int  # completions that are right, of `scored`
    scored: int  # completions with a verdict
    samples: int | None = field(default=None, metadata=files.LEFT_OUT)
    """Most completions of a problem, where some have several."""
    pass_at_k: dict[str, AtK] | None = field(default=None, metadata=files.LEFT_OUT)
    """By k, where problems have several completions: the chance that one of k is right."""
    maj_at_k: dict[str, AtK] | None = field(default=None, metadata=files.LEFT_OUT)
    """The same: whether the most frequent answer is right."""
    strict: float | None = None
    """Right by the verifier's stricter rule, of those on which it has a verdict; None: it has no such rule."""
    strict_ci95: Interval | None = None
    shows_working: float
    steps: StepCheck | None = None  # summed over all completions; None where no problem's steps are known
    truncated: float  # cut at the limit of tokens
    unscored: int  # completions without a verdict: in no share
    refused: int | None = field(default=None, metadata=files.LEFT_OUT)
    """Completions that decline to answer and are not right."""
    empty: float
    leaked: float  # completions in which special tokens show
    repeated: float  # of the most frequent text among all
    committed: float  # from which an answer could be extracted
    mean_tokens: float


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Is a mean difference over the same problems, in points, with its interval in points and the p of its test."""

    points: float
    ci95: Interval
    p: float | None  # None where nothing was tested
    test: str = "mcnemar-exact"  # `mcnemar-exact` (one completion a problem) or `paired-permutation`
    pairs: int = 0  # problems with a verdict on both sides
    se: float | None = None
    """Standard error in points, robust to several completions of a problem; None for one problem."""


@dataclass(frozen=True, kw_only=True)
class Lift(Paired):
    """Is tuned minus base on the same problems."""

    p: float
    gained: int  # problems on which tuned does better
    lost: int
    detectable: float | None = None
    """Smallest difference, in points, that so many problems show with 80 % power; None: below six problems."""
    p_holm: float | None = field(default=None, metadata=files.LEFT_OUT)
    """p adjusted for all kinds and sets that were looked at, where this is one of those."""


@dataclass(frozen=True)
class OverSeeds:
    """Is the mean lift of trainings that differ in their seed alone, in points; `sd` is between seeds."""

    seeds: int
    points: float
    least: float
    most: float
    sd: float
    ci95: Interval
    interval: str  # which one `ci95` is


@dataclass(frozen=True)
class LenientMeasure:
    """Is a share of the same completions by another, more lenient verifier."""

    verifier: Judge
    pass_at_1: float
    ci95: Interval
    right: int
    scored: int


@dataclass(frozen=True)
class Lenient:
    """Compares base and tuned by the verifier's lenient namesake."""

    base: LenientMeasure
    tuned: LenientMeasure
    lift: Lift


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Compares base and tuned on one set of `n` problems."""

    n: int
    split_sha256: str  # of the questions and references
    base: Measure
    tuned: Measure
    lift: Lift
    strict_lift: Lift | None = field(default=None, metadata=files.LEFT_OUT)
    """By the verifier's stricter rule, where it has one."""
    lenient: Lenient | None = field(default=None, metadata=files.LEFT_OUT)  # by its lenient namesake, where it has one
    unjudged: int | None = field(default=None, metadata=files.LEFT_OUT)
    """Problems left out because their reference cannot be judged."""


@dataclass(frozen=True)
class Missing:
    """Stands for a set that was to be scored and was not found."""

    missing: str  # where it was looked for


@dataclass(frozen=True)
class Counts:
    """Counts completions of one kind of problem."""

    right: int
    scored: int


@dataclass(frozen=True)
class KindFigures:
    """Compares base and tuned on the problems of one kind; no lift where no pair of them has a verdict."""

    base: Counts
    tuned: Counts
    lift: Lift | None


@dataclass(frozen=True)
class Below:
    """Names a kind or a set on which a model is worse beyond noise: by how many points (below 0), and the p."""

    name: str
    points: float
    p_holm: float


# -- everyday answers --------------------------------------------------------------------------


@dataclass(frozen=True)
class EverydayCounts:
    """Counts greedy everyday answers that have fallen apart, and those in which the fact asked for is right."""

    degenerate: int
    facts_right: int


@dataclass(frozen=True)
class SampledMeasure:
    """Measures sampled everyday answers: the share that has fallen apart, and how many facts are right in the mean."""

    degenerate: Share
    facts_right: float


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Compares several sampled answers to each everyday prompt; each prompt counts once.

    The two `_by_id` hold, where they differ, how many answers of base, of tuned, and of how many each.
    """

    answers: int  # of one model in all
    temperature: float
    facts: int  # prompts that ask for one
    base: SampledMeasure
    tuned: SampledMeasure
    p_facts: float  # one-sided: so few right facts by chance
    degenerate_by_id: dict[str, tuple[int, int, int]]
    facts_by_id: dict[str, tuple[int, int, int]]


@dataclass(frozen=True, kw_only=True)
class Everyday:
    """Compares one greedy answer to each of `n` everyday prompts."""

    n: int
    p_degenerate: float | None = field(default=None, metadata=files.LEFT_OUT)
    """One-sided: so many more that fell apart by chance."""
    changed: float  # share of answers that are not the base's, 0-1
    base: EverydayCounts
    tuned: EverydayCounts
    facts: int
    facts_lost: list[str]  # ids of prompts whose fact only the base gets right
    facts_gained: list[str]
    sampled: Sampled | None = field(default=None, metadata=files.LEFT_OUT)


# -- facts of the stages -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Evaluation(Compared):
    """Is what the `evaluate` stage found: base and tuned on the main set, and on all that is asked beside it."""

    split: str
    verifier: Judge
    looks: dict[str, dict[str, int]] = field(default_factory=dict)
    """By test set and role: how many times problems of it were scored with this model, this time included."""
    taken: dict[str, str] = field(default_factory=dict)
    """By name of a completions file: the run whose answers it took over."""
    by_kind: dict[str, KindFigures] = field(default_factory=dict)
    beside: dict[str, Compared | Missing] = field(default_factory=dict)  # by name of a set beside the main one
    below_base: list[Below] = field(default_factory=list)
    problems_found: list[str] = field(default_factory=list)
    """What is wrong with the tuned model as served, in words; such a model is not promoted."""
    no_system: Compared | None = field(default=None, metadata=files.LEFT_OUT)
    """The main set without the system message, where there is one."""
    everyday: Everyday | None = field(default=None, metadata=files.LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class GateFacts:
    """Is what the `gate` stage found: a checkpoint against the public model on dev problems."""

    candidate: Tagged
    against: Tagged
    metric: str  # `pass_at_1`, or `strict`: by the verifier's stricter rule
    n: int  # problems with a verdict on both sides
    split_sha256: str
    score: float | None  # the candidate's share, 0-1, by the metric; None where that has no verdicts
    score_ci95: Interval | None
    against_score: float | None
    points: float  # candidate minus public model
    lower: float | None  # one-sided lower bound of `points` at `gate.confidence`; None without problems
    best: float | None = None  # the best promoted score on these problems before this one
    passed: bool
    why: list[str]  # why it may not become public; empty where it passed


# -- the ladder --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Change(Lift):
    """Compares a rung with the one that it was made of."""

    against: str
    same: int = 0  # completions that are the same text


@dataclass(frozen=True)
class Flip:
    """Is one problem whose verdict a rung changes."""

    problem_id: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Measures one model on the way from the base to what is served. Shares are 0-1."""

    rung: str
    engine: str
    model: str = ""
    digest: str | None = None
    bytes: int | None = None  # of a GGUF
    pass_at_1: float
    ci95: Interval
    right: int = 0
    scored: int = 0
    unscored: int = 0
    truncated: float
    mean_tokens: float = 0.0
    tokens_per_s: float | None = None  # judging included; None where the rung was never asked everything at once
    seconds: float | None = None
    end_tokens: list[int] | None = None  # tokens that end a completion; None: not known
    tensor_types: dict[str, int] | None = None  # of a GGUF: number of tensors by type
    prompt_ids_sha256: str = ""
    prompt_ids_differ: str | None = None  # where the prompt is first another than in training; None where it never is
    change: Change | None = None
    flips: list[Flip] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Names the first rung that is no longer what the one before it was, and why. Points as in its `Change`."""

    rung: str
    points: float
    ci95: Interval
    p: float
    cause: str


@dataclass(frozen=True, kw_only=True)
class Quant:
    """Measures one GGUF type of the merged model against its F16."""

    quant: str
    bytes: int
    pass_at_1: float
    ci95: Interval
    right: int
    points: float  # against F16
    points_ci95: Interval
    tokens_per_s: float | None
    imatrix: bool  # whether it was made with an importance matrix
    inside: bool  # whether even the lower end of `points_ci95` is within the margin
    other_types: int  # tensors kept in a larger type, because their rows do not fit this one


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Is what `gguf.quant = "auto"` came to, and the table that says why."""

    quant: str
    imatrix: bool
    quants: list[Quant]
    n: int
    split: str
    split_sha256: str
    margin_points: float


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Is `ladder.json`: every rung, the first loss, and the quants beside the one that is served."""

    schema: int = 1
    run: str
    profile: str = ""
    split: str
    split_sha256: str = ""
    n: int
    margin_points: float  # what a rung may lose
    verifier: Judge | None = None
    rungs: list[Rung]
    first_loss: Loss | None = None
    quants: list[Quant] = field(default_factory=list)
    served_quant: str = ""
    chosen: str | None = None  # the smallest type inside the margin


# -- any model ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptIds:
    """Says which prompt token ids the engine read, of the first few problems."""

    problems: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Says what `reasoner eval` asked of which model, and who judged."""

    schema: int = 1
    model: str
    engine: str
    facts: EngineFacts
    data: dict[str, object]  # where the problems came from: `splits.Provenance`
    split: str
    split_sha256: str
    n: int
    samples: int | None
    unjudged: int
    sampling: Sampling
    system: str | None
    prompt_ids: PromptIds | None  # None where the engine does not tell
    overlap: Overlap | None  # what a run was trained on of these problems; None: not known
    verifier: Judge
    sandbox: Sandbox | None


@dataclass(frozen=True, kw_only=True)
class Result(Measure, Asked):
    """Is what `reasoner eval` found, in `result.json` and on its output."""

    lenient: LenientMeasure | None
    unanswered: int  # completions that the engine did not give
    detectable: float | None
    """Smallest difference to another model, in points, that so many problems show with 80 % power."""
    look: int | None
    """How many times problems of this split were scored with this model; None where that does not matter."""
    completions: str  # path of the completions
    seconds: float


EVALUATE = runs.Kind("evaluate", Evaluation)
GATE = runs.Kind("gate", GateFacts)
