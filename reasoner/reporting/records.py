"""Reads the records that the stages of a run left, as far as it has come. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reasoner import runs
from reasoner.export import facts
from reasoner.measuring.figures import Evaluation
from reasoner.runs import Kind, Record
from reasoner.training.facts import TRAIN, TrainFacts


@dataclass(frozen=True)
class PromoteFacts:
    """Says whether the model became public, under which tag, and why not."""

    promoted: bool
    why: list[str] = field(default_factory=list)
    tag: str | None = None
    digest: str | None = None


EVALUATE = Kind("evaluate", Evaluation)
PROMOTE = Kind("promote", PromoteFacts)


@dataclass(frozen=True)
class Records:
    """Is a record for each stage that is done, in their order."""

    base: Record[facts.BaseFacts] | None = None
    train: Record[TrainFacts] | None = None
    merge: Record[facts.MergeFacts] | None = None
    gguf: Record[facts.GgufFacts] | None = None
    modelfile: Record[facts.ModelfileFacts] | None = None
    register: Record[facts.RegisterFacts] | None = None
    evaluate: Record[Evaluation] | None = None
    promote: Record[PromoteFacts] | None = None

    @property
    def done(self) -> dict[str, Record[Any]]:
        """Those that are there, by stage."""
        return {name: record for name, record in vars(self).items() if record}

    @property
    def seconds(self) -> dict[str, float]:
        """What each stage took; the promotion, which takes none, is left out."""
        return {name: record.seconds for name, record in self.done.items() if name != "promote"}

    @property
    def versions(self) -> dict[str, str]:
        """What the newest record that says so was made with."""
        return next((record.versions for record in reversed(self.done.values()) if record.versions), {})


KINDS: tuple[Kind[Any], ...] = (
    facts.BASE, TRAIN, facts.MERGE, facts.GGUF, facts.MODELFILE, facts.REGISTER, EVALUATE, PROMOTE,
)  # fmt: skip


def read(run: runs.Run, steps: int) -> Records:
    """Reads the records of a run and of the export of its last step; raises where another version wrote one."""
    export = run.export_dir(steps)
    return Records(**{
        kind.name: runs.read_record((run.path if kind.is_of_run else export) / f"{kind.name}.json", kind)
        for kind in KINDS
    })  # fmt: skip
