"""Holds the verdict on one completion, which every verifier gives and everything above the verifiers reads."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Verdict = Literal["right", "wrong", "unscored"]


class Shares(NamedTuple):
    """Holds the shares (0 to 1) of tests that hold, among those that a policy may have seen and among the others.

    A share is None where there are no such tests.
    """

    visible: float | None
    hidden: float | None


@dataclass(frozen=True)
class Score:
    """Holds a verdict and how it came about.

    `extracted` is the answer as taken from the completion, `rule` the rule that found it or that decided, `why` a
    short reason for the verdict, `type` the type of the reference (`integer`, `interval`, …; empty: not read). `shares`
    says how many tests hold, where the verdict is one over many tests.
    """

    verdict: Verdict
    extracted: str | None = None
    rule: str = ""
    why: str = ""
    type: str = ""
    shares: Shares | None = None

    @property
    def reward(self) -> float | None:
        """Returns 1, 0, or None where there is no verdict: the trainer leaves such a row out."""
        return {"right": 1.0, "wrong": 0.0, "unscored": None}[self.verdict]

    @property
    def share_reward(self) -> float | None:
        """Returns the share of the hidden tests that hold, or the verdict's reward where there is no such share."""
        if self.verdict == "unscored" or self.shares is None or self.shares.hidden is None:
            return self.reward
        return self.shares.hidden


@dataclass(frozen=True)
class Judge:
    """Names a verifier, and the version of its rules: another version may give other verdicts."""

    name: str
    version: str
