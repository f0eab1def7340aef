"""Lets a curriculum choose the problems of each step: how it starts, and how TRL's data loader asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from reasoner import files, verifiers
from reasoner.config import Config
from reasoner.errors import ReasonerError
from reasoner.problems.problem import Problem
from reasoner.training import curriculum, engine
from reasoner.training.facts import CurriculumState

PROBLEMS_PER_KIND, COMPLETIONS_PER_PROBLEM = 8, 2
"""By how much the base is measured before a curriculum starts."""
STATE_FILE = "curriculum.json"
"""Where a checkpoint keeps the curriculum."""


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
    checker: verifiers.Verifier,
    problems: Sequence[Problem],
    resume: Path | None,
    say: Callable[[str], None],
) -> curriculum.Curriculum:
    """Returns the curriculum as the checkpoint `resume` left it, or from what the base can do."""
    kinds = [curriculum.kind(problem.kind, problem.size) for problem in problems]
    state = files.read_json(resume / STATE_FILE) if resume else None
    found = curriculum.Curriculum(
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
    checker: verifiers.Verifier,
    problems: Sequence[Problem],
    kinds: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, float]:
    """Measures the base's success rate on each kind, by a few sampled completions."""
    asked: list[tuple[str, Problem]] = []
    for name in sorted(set(kinds)):
        asked += [(name, p) for p, kind in zip(problems, kinds, strict=True) if kind == name][:PROBLEMS_PER_KIND]
    settings = config.train
    groups = trainer.sample(
        [engine.prompt_ids(config, trainer.processing_class, problem.question) for _, problem in asked],
        COMPLETIONS_PER_PROBLEM,
        temperature=settings.temperature,
        max_tokens=settings.max_completion_tokens,
        seed=settings.seed,
    )
    rewards: dict[str, list[float]] = {name: [] for name in kinds}
    for (name, problem), group in zip(asked, groups, strict=True):
        for ids in group:
            text = str(trainer.processing_class.decode(ids, skip_special_tokens=True))
            is_finished = ids[-1] in trainer.eos_token_ids
            reward = verifiers.verify(checker, text, problem.answer, is_finished=is_finished).reward
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
