r"""Rows that others wrote become problems, or an error that names the row.

A person's own rows have `question` and `answer`, as `openai/gsm8k` does, or `problem` and `solution`, as MATH does:
there the last `\boxed{}` is the answer. Readers of published sets stand in `named`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation

from reasoner.errors import USAGE, ReasonerError
from reasoner.problems.problem import Problem
from reasoner.problems.splits import Pile

Row = Mapping[str, object]
"""What somebody else wrote: nothing in it is known to be there, or to be of its type."""
Reader = Callable[[Row, int], Problem | None]
"""`(row, index from 0) -> problem`; None is a row of another split. Raises `UnreadableError` or `DroppedError`."""

OWN_FIX = "give every row a text `question` and an `answer`, or `problem` and `solution` as MATH has"
_SHOWN = 5
"""Bad rows named in one error."""


class UnreadableError(ValueError):
    """Says why a row is no problem: its file is refused."""


class DroppedError(ValueError):
    """Says why a row is left out: rows of one reason are counted together."""


def fill(found: Pile, given: Iterable[tuple[str, object]], reader: Reader, name: str, fix: str = OWN_FIX) -> Pile:
    """Fills a pile with the problems of rows, each with the label that an error calls it by, and returns it.

    Raises `ReasonerError` with the first bad rows of the place, which it calls `name`, and how many there are.
    """
    bad = []
    for index, (label, row) in enumerate(given):
        found.rows += 1
        try:
            _take(found, row, index, reader)
        except DroppedError as error:
            found.dropped[str(error)] += 1
        except UnreadableError as error:
            bad.append(f"{label}: {error}")
    if bad:
        more = [f"and {len(bad) - _SHOWN} more of {found.rows}"] if len(bad) > _SHOWN else []
        why = "\n".join(bad[:_SHOWN] + more)
        raise ReasonerError(f"{name} has rows that are no problems", why=why, fix=fix, code=USAGE)
    _make_ids_unique(found.problems)
    return found


def _take(found: Pile, row: object, index: int, reader: Reader) -> None:
    if isinstance(row, UnreadableError):
        raise row
    if not isinstance(row, dict):
        raise UnreadableError(f"it is no JSON object: {short(row)}")
    problem = reader(row, index)
    if problem is None:
        found.rows -= 1
    else:
        found.problems.append(problem)


def _make_ids_unique(problems: list[Problem]) -> None:
    """Puts its place behind an id that repeats: completions are grouped by problem id."""
    seen: set[str] = set()
    for index, problem in enumerate(problems):
        if problem.id in seen:
            problems[index] = problem = dataclasses.replace(problem, id=f"{problem.id}-{index + 1:06d}")
        seen.add(problem.id)


def own(stem: str) -> Reader:
    """Returns the reader of a person's own rows; a problem without an id is named after its file and line."""

    def problem(row: Row, index: int) -> Problem:
        name = next((name for name in ("question", "problem") if name in row), None)
        if name is None:
            raise UnreadableError("there is no text field `question` (or `problem`)")
        question, found = text(row, name), answer(row.get("answer"))
        if found is None:
            if row.get("answer") is not None:
                raise UnreadableError(f"`answer` is neither text nor a number: {short(row['answer'])}")
            solution = row.get("solution")
            if not isinstance(solution, str):
                raise UnreadableError("there is no `answer`, and no `solution` with one")
            found = last_boxed(solution)
            if found is None:
                raise UnreadableError(r"there is no `answer`, and `solution` has no \boxed{}")
        given = next((value for key in ("id", "unique_id") if isinstance(value := row.get(key), str | int)), "")
        kind = next((value for key in ("kind", "subject") if isinstance(value := row.get(key), str)), "")
        return Problem(str(given) if given != "" else f"{stem}-{index + 1:06d}", question, found, kind)

    return problem


# -- fields ------------------------------------------------------------------------------------


def text(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UnreadableError(f"there is no text field `{name}`")
    return value


def answer(value: object) -> str | None:
    """Returns a reference as text: text as it is, a number as it was written; None for anything else, or no text."""
    if isinstance(value, str):
        return value if value.strip() else None
    found = number(value)
    return None if found is None else f"{found:f}"


_MOST_DIGITS = 100


def number(value: object) -> Decimal | None:
    """Returns the exact value of a number, or of text that is one; None for anything else, or beyond 100 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    is_short = (
        found.is_finite() and abs(found.adjusted()) < _MOST_DIGITS and len(found.as_tuple().digits) < _MOST_DIGITS
    )
    return found if is_short else None


def short(value: object) -> str:
    told = str(value) if isinstance(value, Decimal) else repr(value)
    return told if len(told) <= 60 else told[:57] + "..."


def last_boxed(solution: str) -> str | None:
    r"""Returns what stands in the last `\boxed{}` (or `\fbox{}`) whose braces balance; also `\boxed 5`, a bare number.

    >>> last_boxed(r"so $x = \boxed{\frac{1}{2}}$, as $\boxed{\{1\}$ is unfinished")
    '\\frac{1}{2}'
    """
    closed: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACE.finditer(solution):
        if brace.group() == "{":
            opened.append(brace.end())
        elif brace.group() == "}" and opened:
            closed[opened.pop()] = brace.start()
    for mark in reversed(list(_BOXED.finditer(solution))):
        if mark["number"]:
            return mark["number"]
        if mark.end() in closed:
            return solution[mark.end() : closed[mark.end()]].strip() or None
    return None


_BOXED = re.compile(r"\\(?:boxed|fbox)(?:\s*\{|\s*(?P<number>-?\d+(?:\.\d+)?)(?![\d.]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text
