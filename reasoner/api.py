"""The Python interface: check answers, use a verifier as a reward in any trainer, score a model, run the whole path.

What a name raises is a `ReasonerError` that says what, why and how to mend it. `verify`, `reward` and `verifier` load
only what a verifier needs; `evaluate` and `run` need the extras `train` and `serve`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reasoner.verifiers import registry
from reasoner.verifiers.checker import verifier
from reasoner.verifiers.score import Score

if TYPE_CHECKING:
    from reasoner.measuring.figures import Result
    from reasoner.reporting.summary import Summary

__all__ = ["Reward", "Score", "evaluate", "reward", "run", "verifier", "verify"]


def verify(name: str, completion: str, answer: str, *, is_finished: bool = True) -> Score:
    """Judges one completion against its reference by the verifier `name`, or `path/to/file.py:name`.

    A completion that was cut off (`is_finished` is False) is wrong. A verifier that fails, or cannot read the
    reference, gives `unscored`, which is no verdict.

    >>> verify("math", r"So it is \\boxed{\\frac{1}{2}}.", "0.5").verdict
    'right'
    >>> verify("number", "#### 12 or 13", "12").verdict, verify("number", "#### 12", "twelve").verdict
    ('wrong', 'unscored')
    """
    return registry.verify(registry.load(name), completion, answer, is_finished=is_finished)


@dataclass(frozen=True)
class Reward:
    """A reward function as TRL calls it: 1 right, 0 wrong, None where the verifier has no verdict.

    `completions` are texts, or chats whose last message counts; `answer` is the column of references. Other columns are
    passed over. It can be pickled.
    """

    name: str

    @property
    def __name__(self) -> str:
        return self.name.rpartition(":")[2]

    def __call__(
        self, completions: Sequence[str | Sequence[Mapping[str, str]]], answer: Sequence[str], **_: object
    ) -> list[float | None]:
        texts = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
        rows = [(text, reference, True) for text, reference in zip(texts, answer, strict=True)]
        return [score.reward for score in registry.verify_many(registry.load(self.name), rows)]


def reward(name: str) -> Reward:
    """Gives a verifier as a reward function that plain TRL accepts: `GRPOTrainer(reward_funcs=reward("math"), …)`.

    >>> reward("number")(["#### 4", "it is 5", [{"role": "assistant", "content": "#### 6"}]], answer=["4", "4", "x"])
    [1.0, 0.0, None]
    """
    registry.load(name)
    return Reward(name)


def evaluate(model: str, *, data: str | None = None, num: int | None = None, **options: Any) -> Result:
    """Scores a model and gives its figures: pass@1 with its interval, the verifier, the split, the completions' path.

    `model` is a run, a tag in Ollama, a GGUF, a model folder, or URL#MODEL; `data` a set by name, a hub id, a folder or
    a file (None: a run's own held-out problems); `num` the first so many problems. Further `options` are the fields of
    `reasoner.measuring.one.Options`: split, samples, temperature, engine, verifier, system, max_tokens, out …
    """
    from reasoner.measuring import one
    from reasoner.measuring.collect import Listener

    return one.run(model, one.Options(source=data, num=num, **options), Listener())


def run(
    profile: str, *, name: str | None = None, set: Mapping[str, object] | None = None, until: str = "report"
) -> Summary | None:
    """Trains, exports, registers and scores, as `make reasoner` does; does only what is missing.

    `name` is the run's (default: the profile's), `set` maps config keys to values (`{"train.steps": 50}`), `until`
    names the last stage. Gives the summary, None where the report was not asked for. Raises with code 4 where the
    scored model was not fit to be promoted.
    """
    from reasoner import config, runs
    from reasoner.machine import cpu, device

    cpu.share_cores()
    from reasoner.pipeline import plan
    from reasoner.pipeline.job import Job

    found = runs.new(name or profile)
    given = {key: "none" if value is None else str(value) for key, value in (set or {}).items()}
    if found.config_path.exists():
        settings, origin = config.read(found.config_path, given)
    else:
        settings, origin = config.resolve(profile, given, device.kind())
    return plan.run(Job(settings, found), origin, until)
