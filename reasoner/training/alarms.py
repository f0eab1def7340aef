"""The limits that stop a training, as one table, and what the gaps among them go by.

A limit that is None only records. Nothing here measures: reward, chat and fast loop do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasoner import config, runs
from reasoner.errors import USAGE, ReasonerError
from reasoner.training.facts import StepMetrics

GAP_STEPS = 10
"""Steps that `alarms.max_strict_gap` and `alarms.max_hidden_gap` go by."""
GAP_LEAST = 20
"""Completions measured in them below which a gap says nothing."""
MAX_MISMATCH = 0.5
"""Mean difference of log-probabilities, sampler against trainer, in nats, above which something is broken: bf16 gives
0.01-0.03."""


@dataclass(frozen=True)
class Alarm:
    """One limit: what went wrong, why it says so, what to do, and where in the run folder to look.

    The texts may name `{value}`, `{limit}`, both `_points` of them (times 100), and whatever the caller knows.
    """

    what: str
    why: str
    fix: str
    log: str | None = None

    def check(self, value: float | None, limit: float | None, run: runs.Run | None = None, **known: object) -> None:
        """Raises `ReasonerError` where both are numbers and the value is above the limit."""
        if value is None or limit is None or not value > limit:
            return
        known |= {"value": value, "limit": limit, "value_points": 100 * value, "limit_points": 100 * limit}
        what, why, fix = (text.format_map(known) for text in (self.what, self.why, self.fix))
        log = run.path / self.log.format_map(known) if run and self.log else None
        raise ReasonerError(what, why=why, fix=fix, log=log)


UNSCORED = Alarm(
    "the verifier {verifier} gave no verdict on {unscored} of {num} completions",
    why="{first}",
    fix="repair the references or the verifier; verifier.max_unscored is the limit",
    log="rollouts/{file}",
)
MISMATCH = Alarm(
    "llama.cpp samples from another model than is trained",
    why="log-probabilities differ by {value:.2f} nats on average (limit {limit})",
    fix="--set train.loop=plain; this is a bug worth reporting",
)
AFTER_STEP = {
    "max_strict_gap": Alarm(
        "training stopped at step {step}: the policy earns what the stricter rule rejects",
        why=f"of the accepted completions of the last {GAP_STEPS} steps it rejects {{value:.1%}} (limit {{limit:g}})",
        fix="read the rows with `strict` = wrong; repair the verifier, or raise alarms.max_strict_gap",
        log="rollouts",
    ),
    "max_hidden_gap": Alarm(
        "training stopped at step {step}: the policy passes the tests it sees, and not the hidden ones",
        why=f"over the last {GAP_STEPS} steps the share of visible tests that hold is {{value_points:.1f}}"
        " points above that of the hidden ones (limit {limit_points:g})",
        fix="read the rows with `visible` above `hidden`; show fewer tests or write more hidden ones, or"
        " raise alarms.max_hidden_gap",
        log="rollouts",
    ),
    "max_chat_kl": Alarm(
        "training stopped at step {step}: the model forgets how to chat",
        why="KL to the base on everyday text is {value:.3f} nats a token (limit {limit:g})",
        fix="train again under another name with a lower train.learning_rate, a train.chat_kl term, or"
        " fewer steps; checkpoints up to step {kept} are kept",
        log="metrics.jsonl",
    ),
}
"""What is checked after each step, in this order, by the name of its limit in `[alarms]`."""


LENGTHS_LEAST = 16
"""Completions of the first step below which their lengths say nothing."""
MOST_CUT = 0.8
"""Share of the base's own answers that the limit may cut: training makes answers shorter, but only those that end earn
anything."""
LENGTHS_ASKED = 8
"""Problems that are asked again, with all the room there is, to say what limit would do."""


def too_short(cut: float, limit: int, whole: Sequence[int], asked: int, room: int) -> ReasonerError:
    """Makes the refusal of a limit that cuts the share `cut` of the base's own answers.

    `whole` are the lengths of those of `asked` that end within `room` tokens.
    """
    why = f"asked again, {len(whole)} of {asked} end within the {room} tokens that serve.num_ctx leaves"
    fix = "choose a base that ends its answers (an instruct model), or raise serve.num_ctx"
    if 2 * len(whole) >= asked:
        most = sorted(whole)[-1 - len(whole) // 10]
        why += f", most of them within {most}"
        fix = f"--set train.max_completion_tokens={min(-(-most // 32) * 32, room)}, and serve.num_predict not below it"
    what = f"{cut:.0%} of the base's own answers are cut at train.max_completion_tokens = {limit}"
    return ReasonerError(what, why, fix, code=USAGE)


FIRST_STEPS = 10
"""Steps after which a training that has learned nothing so far never will."""
ALL_CUT = Alarm(
    "training stopped at step {step}: the completions do not come to an end",
    why="of those of the first steps {value:.0%} were cut at train.max_completion_tokens = {tokens}",
    fix="raise train.max_completion_tokens; `reasoner eval` with the base shows how long its own answers are",
    log="rollouts",
)
NO_SIGNAL = Alarm(
    "training stopped at step {step}: nothing in it to learn from",
    why="in each group of the first steps all completions earned the same; the mean reward was {reward:.0%}",
    fix="where it is 0: easier problems, a base that solves some, or a verifier that reads its answers (rollouts show"
    " what was read); where it is 100 %: harder problems",
    log="rollouts",
)


def check_first(run: runs.Run, rows: Sequence[StepMetrics], tokens: int) -> None:
    """Raises `ReasonerError` where the first steps show that the rest will teach nothing."""
    if len(rows) != FIRST_STEPS:
        return
    cut = mean([row.truncated for row in rows]) or 0.0
    known = {"step": rows[-1].step, "tokens": tokens, "reward": mean([row.reward for row in rows])}
    ALL_CUT.check(cut, 0.9, run, **known)
    NO_SIGNAL.check(float(not any(row.signal for row in rows)), 0.5, run, **known)


def check_step(limits: config.Alarms, run: runs.Run, step: int, values: Mapping[str, float | None]) -> None:
    """Raises `ReasonerError` for the first of `AFTER_STEP` that goes off; `values` by the same names."""
    kept = (runs.ready_steps(run.checkpoints_dir) or [0])[-1]
    for name, alarm in AFTER_STEP.items():
        alarm.check(values[name], getattr(limits, name), run, step=step, kept=kept)


class Gap:
    """Follows something that grows where the reward is hacked: its mean in the newest step and over the last ones."""

    def __init__(self) -> None:
        self._steps: deque[Sequence[float]] = deque(maxlen=GAP_STEPS)

    def add(self, values: Sequence[float]) -> None:
        """Takes in what was measured in one step, a value a completion."""
        self._steps.append(values)

    @property
    def newest(self) -> float | None:
        """The mean of the newest step; None where nothing was measured, which is not a gap of 0."""
        return mean(self._steps[-1]) if self._steps else None

    @property
    def recent(self) -> float | None:
        """The mean over the last `GAP_STEPS` steps; None below `GAP_LEAST` completions."""
        values = [value for step in self._steps for value in step]
        return mean(values) if len(values) >= GAP_LEAST else None


def mean(values: Sequence[float]) -> float | None:
    """Returns the mean, or None of nothing."""
    return sum(values) / len(values) if values else None
