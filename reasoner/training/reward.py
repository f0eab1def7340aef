"""The outcome reward of a completion: the verdict on it, and nothing for its form.

1 right, 0 wrong, None (left out) without a verdict; `verifier.reward` can make it the share of the hidden tests that
hold. No term asks for worked steps. What else is measured here pays nothing and takes nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from reasoner import files, runs
from reasoner.config import Config
from reasoner.training import alarms
from reasoner.training.curriculum import Curriculum, group_rates
from reasoner.training.facts import Rollout
from reasoner.verifiers import registry
from reasoner.verifiers.number import reference_of
from reasoner.verifiers.working import shows_working

RECHECKED = 256
"""Most accepted completions of a step that the stricter rule judges again, evenly over the step."""


class Reward:
    """Gives TRL the reward of each completion, and writes its line in `rollouts/`.

    Accepted completions are judged again by the verifier's stricter rule, where it has one: `strict_gap` is the share
    that it rejects. A gap that grows is a policy that found what only the reward accepts. Where the base has no answer
    format and a lenient rule is trained on (`smol`), it is near 1 from the start, and says nothing but that.

    Where the verdict is one over many tests, `visible_share` and `hidden_share` are the mean shares that hold, over
    completions with tests of both kinds, and `hidden_gap` is the first less the second.
    """

    __name__ = "verifier"

    def __init__(self, config: Config, checker: registry.Verifier, run: runs.Run) -> None:
        self._settings, self._checker, self._run = config.verifier, checker, run
        self._strict = strict_rule(checker)
        self.begun = ""
        """Thought that every prompt has begun (`templates.begun`): a completion goes on inside it."""
        self.eos_ids: set[int] = set()
        """Tokens that end a completion: one without is cut off, and earns nothing. The trainer knows them."""
        self.scored = self.unscored = self.step_unscored = 0
        self.shows_working = 0.0
        self.mean: float | None = None
        """Mean reward of the newest step, over all completions with a verdict."""
        self.strict_gap, self.hidden_gap = alarms.Gap(), alarms.Gap()
        self.visible_share: float | None = None
        self.hidden_share: float | None = None
        self.curriculum: Curriculum | None = None

    def __call__(
        self,
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        answer: list[str],
        problem_id: list[str],
        kind: list[str],
        trainer_state: Any,
        **_: Any,
    ) -> list[float | None]:
        """Returns the rewards of a step, in order; raises `ReasonerError` where too many have no verdict."""
        step = trainer_state.global_step + 1
        texts = [self.begun + completion[0]["content"] for completion in completions]
        finished = [bool(ids) and ids[-1] in self.eos_ids for ids in completion_ids]
        scores = registry.verify_many(self._checker, list(zip(texts, answer, finished, strict=True)))
        rollouts = [
            Rollout(
                step=step,
                problem_id=problem_id[at],
                kind=kind[at],
                question=prompts[at][-1]["content"],
                answer=reference_of(answer[at]),
                completion=texts[at],
                verdict=score.verdict,
                extracted=score.extracted,
                type=score.type,
                rule=score.rule,
                why=score.why,
                visible=score.shares.visible if score.shares else None,
                hidden=score.shares.hidden if score.shares else None,
                finish_reason="stop" if finished[at] else "length",
                tokens=len(completion_ids[at]),
            )
            for at, score in enumerate(scores)
        ]
        rollouts = self._judged_again(rollouts, answer)
        self._take_shares(rollouts)
        self.shows_working = sum(map(shows_working, texts)) / len(texts)
        if self.curriculum:
            self.curriculum.observe(group_rates(problem_id, kind, [score.reward for score in scores]))
        file = f"{runs.step_name(step)}.jsonl"
        files.append_jsonl(self._run.path / "rollouts" / file, [files.as_json(rollout) for rollout in rollouts])
        self._check_unscored(rollouts, file)
        rewards = [score.share_reward if self._settings.reward == "share" else score.reward for score in scores]
        self.mean = alarms.mean([reward for reward in rewards if reward is not None])
        return rewards

    def _judged_again(self, rollouts: list[Rollout], answers: list[str]) -> list[Rollout]:
        """Gives a sample of the accepted ones their `strict` verdict, and takes the gap."""
        if self._strict is None:
            return rollouts
        found = list(rollouts)
        accepted = [at for at, rollout in enumerate(rollouts) if rollout.verdict == "right"]
        num = min(len(accepted), RECHECKED)
        for at in (accepted[i * len(accepted) // num] for i in range(num)):
            verdict = registry.verify(self._strict, rollouts[at].completion, answers[at]).verdict
            found[at] = dataclasses.replace(rollouts[at], strict=verdict)
        self.strict_gap.add([float(one.strict == "wrong") for one in found if one.strict in ("right", "wrong")])
        return found

    def _take_shares(self, rollouts: list[Rollout]) -> None:
        pairs = [(one.visible, one.hidden) for one in rollouts if one.visible is not None and one.hidden is not None]
        self.visible_share = alarms.mean([visible for visible, _ in pairs])
        self.hidden_share = alarms.mean([hidden for _, hidden in pairs])
        self.hidden_gap.add([visible - hidden for visible, hidden in pairs])

    def _check_unscored(self, rollouts: list[Rollout], file: str) -> None:
        """Counts what has no verdict; too many is a share above the limit, of this step and of all so far."""
        num, why = len(rollouts), [rollout.why for rollout in rollouts if rollout.verdict == "unscored"]
        self.step_unscored = len(why)
        self.unscored += len(why)
        self.scored += num - len(why)
        share = min(len(why) / num, self.unscored / (self.scored + self.unscored))
        told = {"verifier": self._checker.name, "unscored": len(why), "num": num, "first": "".join(why[:1])}
        alarms.UNSCORED.check(share, self._settings.max_unscored, self._run, file=file, **told)


def strict_rule(checker: registry.Verifier) -> registry.Verifier | None:
    """Returns the stricter rule as a verifier of its own, to be called through `registry.verify`."""
    if checker.strict is None:
        return None
    return dataclasses.replace(checker, name=f"{checker.name} (strict)", function=checker.strict, strict=None)
