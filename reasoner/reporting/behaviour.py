"""What reward did to the model without anybody asking for it: how completions look, in training and at the end.

Counts of text, never part of a reward. All figures of the report about behaviour are made here. Completions of training
are sampled at the training temperature, those of the end are served greedily: the first are read along the steps, the
second base against tuned; one is not compared with the other.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reasoner.files import read_jsonl
from reasoner.verifiers import working as arithmetic

PHRASES = (
    "wait", "hold on", "hmm", "let me check", "let's check", "let me double-check", "double-check", "let me verify",
    "let's verify", "let me re-read", "let me reconsider", "let me try again", "let's try again", "on second thought",
    "i made a mistake", "that's not right", "that is not right", "that can't be right", "actually,", "correction:",
)  # fmt: skip
"""Phrases of self-correction. A word problem may have one of its own ("how long does Ann wait"): a share that was there
from the start says nothing, one that grows does."""
MOST_STEPS = 200
"""Steps of training that are looked at, evenly spread where there are more."""

_PHRASE = re.compile(
    "|".join(rf"(?<!\w){re.escape(p)}(?!\w)" for p in sorted(PHRASES, key=len, reverse=True)), re.IGNORECASE
)
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")

Row = dict[str, Any]


def figures(rows: Sequence[Row]) -> dict[str, Any] | None:
    """What these completions look like; None without any.

    - `shows_working`: share with a worked equation before the answer line
    - `length`: mean tokens
    - `numbers`: mean count of different numbers written in one completion, a repeated one counted once
    - `equations`, `correct`: calculations written (`3 + 4 = 7`), and those of them that hold exactly
    - `known`, `in_order`: steps of the problems that are known, those found in their order; None where none is known
    - `corrects_itself`: share with at least one of `PHRASES`; `phrases`: completions that hold each
    """
    if not rows:
        return None
    n, numbers, working, correcting = len(rows), 0, 0, 0
    equations = correct = known = in_order = 0
    phrases: Counter[str] = Counter()
    for row in rows:
        text = row["completion"]
        numbers += len({_plain(found) for found in _NUMBER.findall(text)})
        working += arithmetic.shows_working(text)
        spoken = {found.lower() for found in _PHRASE.findall(text.replace("’", "'"))}
        phrases.update(spoken)
        correcting += bool(spoken)
        checked = arithmetic.steps(text, ())
        equations, correct = equations + checked.equations, correct + checked.correct
        if stored := row.get("steps"):
            known, in_order = known + stored["known"], in_order + stored["in_order"]
    return {
        "n": n,
        "shows_working": working / n,
        "length": sum(row["tokens"] for row in rows) / n,
        "numbers": numbers / n,
        "equations": equations,
        "correct": correct,
        "known": known or None,
        "in_order": in_order if known else None,
        "corrects_itself": correcting / n,
        "phrases": dict(phrases.most_common()),
    }


def _plain(number: str) -> str:
    """One spelling for `1,000`, `1000` and `1000.0`."""
    digits = number.replace(",", "")
    return (digits.rstrip("0").rstrip(".") if "." in digits else digits).lstrip("0") or "0"


def training(rollouts: Path) -> list[dict[str, Any]]:
    """The figures of each step's rollouts, each with its `step`, oldest first; at most `MOST_STEPS` of them."""
    files = {int(path.stem.removeprefix("step-")): path for path in rollouts.glob("step-*.jsonl")}
    steps = sorted(files)
    if len(steps) > MOST_STEPS:
        steps = [steps[round(i * (len(steps) - 1) / (MOST_STEPS - 1))] for i in range(MOST_STEPS)]
    found = []
    for step in steps:
        stat = files[step].stat()
        if counted := _of_file(files[step], stat.st_mtime_ns, stat.st_size):
            found.append({"step": step, **counted})
    return found


@functools.lru_cache(maxsize=4 * MOST_STEPS)
def _of_file(path: Path, mtime_ns: int, size: int) -> dict[str, Any] | None:
    """Kept, so that a page of a run in progress reads each step once."""
    return figures(read_jsonl(path))
