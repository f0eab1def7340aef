"""Which kinds of problem the next step draws: where the policy's groups carry signal.

A group teaches only where its completions differ in reward: with success rate p and G completions that has probability
1 - p^G - (1-p)^G. Problems fall into *families* (an operation; all problems of so many steps) and, within one, into
*kinds* by the size of their numbers. A kind is let in when the policy solves what comes before it: the same operation
with smaller numbers, or, for problems of more steps, those of fewer. Families and the kinds in them are drawn in
proportion to their signal, but none below a floor: a kind left out is a kind forgotten, and the neighbours of what is
trained are forgotten first. The rates follow the rollouts, so the curriculum follows the policy, not the calendar.

A draw is a function of seed, step and rates: a run that goes on from a checkpoint draws as the first one would have.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reasoner import files
from reasoner.bases import templates
from reasoner.config import Config
from reasoner.errors import ReasonerError
from reasoner.problems.problem import Problem
from reasoner.training import engine
from reasoner.training.facts import CurriculumState
from reasoner.verifiers import registry

FAMILY_FLOOR, KIND_FLOOR = 0.5, 0.15
"""Least weight of a family, and of a kind in it, on the scale of the signal's probability (0-1)."""
ADMIT = 0.6
"""Mean success rate of what comes before a kind at which it is let in."""
MEMORY = 0.8
"""How much of a rate is kept when a new group of its kind is seen."""
SIZES = (10, 20)
"""Largest numbers at which a one-step problem still belongs to the first, and to the second kind of its family."""
PROBLEMS_PER_KIND, COMPLETIONS_PER_PROBLEM = 8, 2
"""By how much the base is measured before a curriculum starts."""
STATE_FILE = "curriculum.json"
"""Where a checkpoint keeps the curriculum."""


def family(operations: str) -> str:
    """Returns the operation of a one-step problem, else its number of steps; a kind in words is its own family.

    >>> family("+"), family("*-"), family(""), family("Algebra")
    ('+', '2 steps', 'all', 'Algebra')
    """
    if not set(operations) <= set("+-*/"):
        return operations
    return operations if len(operations) == 1 else f"{len(operations)} steps" if operations else "all"


def kind(operations: str, size: int) -> str:
    """Names what is measured and drawn as one; `size` is the largest number in the problem's steps, 0 where unknown.

    >>> kind("+", 9), kind("+", 12), kind("+", 30), kind("+-", 30), kind("", 0)
    ('+ to 10', '+ to 20', '+ beyond', '2 steps', 'all')
    """
    name = family(operations)
    if len(operations) != 1 or not size:
        return name
    return f"{name} " + next((f"to {limit}" for limit in SIZES if size <= limit), "beyond")


def num_steps(operations: str) -> int:
    """Counts the steps of a problem: one for each operation; a kind in words has one, or says how many.

    >>> num_steps("*-"), num_steps("list"), num_steps("list in 2 steps"), num_steps("")
    (2, 1, 2, 0)
    """
    if set(operations) <= set("+-*/"):
        return len(operations)
    said = re.search(r" in (\d+) steps$", operations)
    return int(said[1]) if said else 1


class Curriculum:
    """Draws from problems given by (operations, size) in the order of the training set.

    `rates` are the base's success rates, by kind.
    """

    def __init__(
        self, problems: Sequence[tuple[str, int]], *, num_generations: int, seed: int, rates: Mapping[str, float]
    ) -> None:
        self._members: dict[str, list[int]] = {}
        self._families: dict[str, str] = {}
        order: dict[str, tuple[int, int]] = {}
        for index, (operations, size) in enumerate(problems):
            name = kind(operations, size)
            self._members.setdefault(name, []).append(index)
            self._families[name] = family(operations)
            rank = sum(size > limit for limit in SIZES) if len(operations) == 1 else 0
            order[name] = (num_steps(operations), rank)
        self._before = {name: self._waits_for(name, order) for name in order}
        self._num_generations, self._seed = num_generations, seed
        self.rates = {name: float(rates[name]) for name in self._members}
        self.base_rates = dict(self.rates)
        self.admitted = {name for name, before in self._before.items() if not before}

    def _waits_for(self, name: str, order: Mapping[str, tuple[int, int]]) -> list[str]:
        steps, rank = order[name]
        smaller = [n for n in order if self._families[n] == self._families[name] and order[n] < order[name]]
        if rank and smaller:
            return [max(smaller, key=lambda n: order[n])]
        fewer = {s for s, _ in order.values() if s < steps}
        return [n for n, (s, _) in order.items() if fewer and s == max(fewer)]

    @property
    def state(self) -> CurriculumState:
        """What a checkpoint must remember, as it is now."""
        return CurriculumState(dict(self.rates), self.base_rates, sorted(self.admitted))

    def restore(self, state: CurriculumState) -> None:
        """Goes on from what a checkpoint remembers."""
        self.rates = {name: state.rates[name] for name in self._members}
        self.base_rates, self.admitted = state.base_rates, set(state.admitted)

    def observe(self, groups: Iterable[tuple[str, float]]) -> None:
        """Takes in the share of right completions of each group, by kind; lets in what is due."""
        for name, share in groups:
            self.rates[name] = MEMORY * self.rates[name] + (1 - MEMORY) * share
        for name, before in self._before.items():
            if sum(self.rates[n] for n in before) >= ADMIT * len(before):
                self.admitted.add(name)

    def _signal(self, name: str) -> float:
        rate = self.rates[name]
        return 1 - float(rate**self._num_generations) - float((1 - rate) ** self._num_generations)

    def shares(self) -> dict[str, float]:
        """Returns the expected share of the draws, by kind; kinds not let in yet are left out."""
        groups: dict[str, dict[str, float]] = {}
        for name in self._members:
            if name in self.admitted:
                groups.setdefault(self._families[name], {})[name] = max(KIND_FLOOR, self._signal(name))
        weights = {of: max(FAMILY_FLOOR, *kinds.values()) for of, kinds in groups.items()}
        total = sum(weights.values())
        return {
            name: weights[of] / total * weight / sum(kinds.values())
            for of, kinds in groups.items()
            for name, weight in kinds.items()
        }

    def draw(self, step: int, num: int) -> list[int]:
        """Returns indices of `num` problems for a step, spread over the kinds as evenly as their shares allow."""
        rng = random.Random(f"curriculum:{self._seed}:{step}")
        shares = self.shares()
        chosen: list[int] = []
        upto, point = 0.0, rng.random()
        for name, share in shares.items():  # systematic sampling: each kind gets its share, rounded up or down
            upto += share * num
            count = 0
            while point < upto - 1e-9:
                count, point = count + 1, point + 1
            members = self._members[name]
            chosen += rng.sample(members, count) if count <= len(members) else rng.choices(members, k=count)
        while len(chosen) < num:  # rounding of the last share
            chosen.append(rng.choice(self._members[next(reversed(shares))]))
        rng.shuffle(chosen)
        return chosen[:num]


def group_rates(
    problem_ids: Sequence[str], kinds: Sequence[str], rewards: Sequence[float | None]
) -> list[tuple[str, float]]:
    """Returns (kind, share of right completions) of each group; completions without a verdict do not count.

    >>> group_rates(["a", "a", "b"], ["+", "+", "-"], [1.0, 0.0, None])
    [('+', 0.5)]
    """
    groups: dict[tuple[str, str], list[float]] = {}
    for problem, of, value in zip(problem_ids, kinds, rewards, strict=True):
        if value is not None:
            groups.setdefault((problem, of), []).append(value)
    return [(of, sum(values) / len(values)) for (_, of), values in groups.items()]


class Draws:
    """Indices for the data loader, in the order of TRL's `RepeatSampler`, drawn when they are needed."""

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._step = trainer, trainer.first_step

    def __len__(self) -> int:
        return len(self._trainer.train_dataset) * int(self._trainer.num_generations)

    def __iter__(self) -> Iterator[int]:
        trainer = self._trainer
        num = trainer.args.generation_batch_size // trainer.num_generations
        while True:
            self._step += 1
            chosen = trainer.curriculum.draw(self._step, num)
            for _ in range(trainer.num_iterations * trainer.args.steps_per_generation):
                for index in chosen:
                    yield from [index] * trainer.num_generations


def start(
    config: Config,
    trainer: Any,
    checker: registry.Verifier,
    problems: Sequence[Problem],
    resume: Path | None,
    say: Callable[[str], None],
) -> Curriculum:
    """Returns the curriculum as the checkpoint `resume` left it, or from what the base can do."""
    kinds = [kind(problem.kind, problem.size) for problem in problems]
    state = files.read_json(resume / STATE_FILE) if resume else None
    found = Curriculum(
        [(problem.kind, problem.size) for problem in problems],
        num_generations=config.train.num_generations,
        seed=config.train.seed,
        rates=dict.fromkeys(kinds, 0.0) if state else _measured(config, trainer, checker, problems, kinds, say),
    )
    if state:
        found.restore(files.parse(CurriculumState, state))
    return found


def _measured(
    config: Config,
    trainer: Any,
    checker: registry.Verifier,
    problems: Sequence[Problem],
    kinds: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, float]:
    """Measures the base's success rate on each kind, by a few sampled completions."""
    asked: list[tuple[str, Problem]] = []
    for name in sorted(set(kinds)):
        asked += [(name, p) for p, of in zip(problems, kinds, strict=True) if of == name][:PROBLEMS_PER_KIND]
    settings = config.train
    groups = trainer.sample(
        [engine.prompt_ids(config, trainer.processing_class, problem.question) for _, problem in asked],
        COMPLETIONS_PER_PROBLEM,
        temperature=settings.temperature,
        max_tokens=settings.max_completion_tokens,
        seed=settings.seed,
    )
    begun = templates.begun(templates.rendered(trainer.processing_class))
    rewards: dict[str, list[float]] = {name: [] for name in kinds}
    for (name, problem), group in zip(asked, groups, strict=True):
        for ids in group:
            text = begun + str(trainer.processing_class.decode(ids, skip_special_tokens=True))
            is_finished = ids[-1] in trainer.eos_token_ids
            reward = registry.verify(checker, text, problem.answer, is_finished=is_finished).reward
            rewards[name] += [] if reward is None else [reward]
    silent = [name for name, values in rewards.items() if not values]
    if silent:
        raise ReasonerError(
            f"the verifier {checker.name} gave no verdict on any completion of kind {silent[0]!r}",
            fix="repair the verifier: no verdict is not a rate of 0",
        )
    rates = {name: sum(values) / len(values) for name, values in sorted(rewards.items())}
    shown = ", ".join(f"{name} {100 * rate:.0f} %" for name, rate in rates.items())
    say(f"the base, sampled at temperature {settings.temperature:g}: {shown} right")
    return rates
