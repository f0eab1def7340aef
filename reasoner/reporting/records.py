"""Reads the records that the stages of a run left, as far as it has come. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from reasoner import files, runs
from reasoner.errors import USAGE, ReasonerError
from reasoner.export import facts
from reasoner.measuring.figures import EVALUATE, Evaluation
from reasoner.training.facts import TRAIN, TrainFacts

KINDS: tuple[runs.Kind[Any], ...] = (
    facts.BASE, TRAIN, facts.MERGE, facts.GGUF, facts.MODELFILE, facts.REGISTER, EVALUATE, facts.PROMOTE,
)  # fmt: skip


@dataclass(frozen=True)
class Records:
    """Is a record for each stage that is done, in their order."""

    base: runs.Record[facts.BaseFacts] | None = None
    train: runs.Record[TrainFacts] | None = None
    merge: runs.Record[facts.MergeFacts] | None = None
    gguf: runs.Record[facts.GgufFacts] | None = None
    modelfile: runs.Record[facts.ModelfileFacts] | None = None
    register: runs.Record[facts.RegisterFacts] | None = None
    evaluate: runs.Record[Evaluation] | None = None
    promote: runs.Record[facts.PromoteFacts] | None = None

    @property
    def done(self) -> dict[str, runs.Record[Any]]:
        """Returns those that are there, by stage."""
        return {name: record for name, record in vars(self).items() if record}

    @property
    def seconds(self) -> dict[str, float]:
        """Returns what each stage took; the promotion, which takes no time, is left out."""
        return {name: record.seconds for name, record in self.done.items() if name != "promote"}

    @property
    def versions(self) -> dict[str, str]:
        """Returns what the newest record that says so was made with."""
        return next((record.versions for record in reversed(self.done.values()) if record.versions), {})


def read(run: runs.Run, steps: int) -> Records:
    """Reads the records of a run and of the export of its last step; raises where another version wrote one."""
    return Records(**{kind.name: run.record(kind, steps) for kind in KINDS})


Read = TypeVar("Read")


def parse(kind: type[Read], value: object, what: str, fix: str = "make it again") -> Read:
    """Parses JSON; raises where another version wrote `what` otherwise."""
    try:
        return files.parse(kind, value)
    except ValueError as error:
        told = f"{what} was written by another version of reasoner"
        raise ReasonerError(told, why=str(error), fix=f"read it with that version, or {fix}", code=USAGE) from None
