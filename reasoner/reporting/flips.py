"""Pairs the completions of two models by problem: what the second one lost, gained, and what stayed as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasoner.measuring.figures import Completion
from reasoner.verifiers.code import task as tasks

Pair = tuple[Completion, Completion]
LOST = "Lost: right before, wrong after"
GAINED = "Gained: wrong before, right after"
GROUPS = {
    (True, False): (LOST, 10),
    (False, True): (GAINED, 10),
    (True, True): ("Right both times", 3),
    (False, False): ("Wrong both times", 3),
}
"""By verdict before and after: the title, and how many are shown at most."""


@dataclass(frozen=True)
class Group:
    """Is the first few of `n` pairs that changed alike."""

    title: str
    pairs: Sequence[Pair]
    n: int

    @property
    def shown(self) -> str:
        """Says how many of them these are."""
        if len(self.pairs) == self.n:
            return "All of them, as served." if self.n > 1 else "The only one, as served."
        return f"{len(self.pairs)} of {self.n:,}, the first in the order of the problems, as served."


def flips(completions: Mapping[str, Sequence[Completion]]) -> list[Group]:
    """Returns what was lost, then gained, then neither, of completions by role; in the order of the problems.

    Nothing is picked. Completions without a verdict are left out: unscored ones, and those of an evaluation in progress
    that are not judged yet.
    """
    tuned = {one.problem_id: one for one in reversed(completions.get("tuned", ()))}
    found: dict[tuple[bool, bool], list[Pair]] = {key: [] for key in GROUPS}
    seen: set[str] = set()
    for one in completions.get("base", ()):
        other = tuned.get(one.problem_id)
        if other and one.problem_id not in seen and not {one.verdict, other.verdict} & {None, "unscored"}:
            seen.add(one.problem_id)
            found[one.verdict == "right", other.verdict == "right"].append((one, other))
    return [Group(title, found[key][:most], len(found[key])) for key, (title, most) in GROUPS.items() if found[key]]


def example(completions: Mapping[str, Sequence[Completion]]) -> Pair | None:
    """Returns one problem for the end of a run: the first that was gained, else the first of what there is."""
    groups = flips(completions)
    return next((one.pairs[0] for one in groups if one.title == GAINED), groups[0].pairs[0] if groups else None)


def reference(answer: str) -> str:
    """Returns a reference as people read it: of a code task its solution and hidden tests."""
    try:
        task = tasks.parse(answer)
    except tasks.Unfit:
        return answer
    tests = [f"{one.stdin!r} -> {one.stdout!r}" if isinstance(one, tasks.Stdio) else one for one in task.hidden_tests]
    parts = [task.solution.strip("\n"), "\n".join(tests)]
    whole = "\n\n".join(part for part in parts if part)
    return whole or (task.property.reference.strip("\n") if task.property else "") or answer
