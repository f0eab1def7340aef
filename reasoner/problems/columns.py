"""Which columns of somebody's rows are the question and the answer, and how each is read.

Names are those of the usual data sets, whatever their case; `data.question` and `data.answer` name others. A name with
dots goes into nested objects: `reward_model.ground_truth` is where verl has the reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from reasoner.errors import USAGE, ReasonerError, nearest

Row = Mapping[str, object]
"""What somebody else wrote: nothing in it is known to be there, or to be of its type."""

QUESTIONS = ("question", "problem", "prompt", "input", "instruction")
ANSWERS = (
    "answer", "final_answer", "ground_truth", "reward_model.ground_truth", "target", "output", "response", "solution",
)  # fmt: skip
LABELS = ("id", "unique_id", "kind", "subject")
"""What names a problem, and its kind."""
MOST_PLAIN = 60  # characters of a `solution` that is itself the answer
_LOOKED_AT = 200  # rows from the start that say which columns there are


class UnreadableError(ValueError):
    """Says why a row is no problem: its file is refused."""


class DroppedError(ValueError):
    """Says why a row is left out: rows of one reason are counted together."""


@dataclass(frozen=True)
class Columns:
    """Names the columns taken: of each row the first that holds something. `also` is the input of an instruction.

    `unused` are those that nothing is read from, as the choices of a question that does not say them.
    """

    question: tuple[str, ...]
    answer: tuple[str, ...]
    also: str | None = None
    unused: tuple[str, ...] = ()


def choose(rows: Iterable[object], question: str | None, answer: str | None, where: str) -> Columns:
    """Chooses columns by what the first rows hold. Raises `ReasonerError` where none of the usual names is there."""
    seen: dict[str, None] = {}
    for _, row in zip(range(_LOOKED_AT), rows, strict=False):
        if isinstance(row, Mapping):
            seen |= dict.fromkeys(name for name, value in _flat(row) if not _is_nothing(value))
    if not seen:
        return Columns(QUESTIONS, ANSWERS)
    found = []
    for key, named, usual in (("question", question, QUESTIONS), ("answer", answer, ANSWERS)):
        names = [name for name in ((named.lower(),) if named else usual) if name in seen]
        if not names:
            wanted = f"no column {named!r}" if named else f"no column for the {key}"
            raise ReasonerError(
                f"{where} has {wanted}",
                why=f"it has {', '.join(seen)}; the usual names are {', '.join(usual)}",
                fix=f"--set data.{key}=COLUMN (reasoner data: --{key} COLUMN)"
                + (f"; {nearest(named, list(seen))}" if named else ""),
                code=USAGE,
            )
        found.append(tuple(names))
    also = "input" if question is None and "instruction" in found[0] and "input" in found[0] else None
    taken = {name.partition(".")[0] for name in (*found[0], *found[1], *LABELS)}
    unused = tuple(name for name in seen if "." not in name and name not in taken)
    return Columns(("instruction",) if also else found[0], found[1], also, unused)


def question_of(row: Row, columns: Columns, system: str | None) -> str:
    """Reads a question: a text, or the one turn of a chat. Raises `DroppedError`, `UnreadableError`."""
    name, value = _first(row, columns.question)
    if name is None:
        raise DroppedError("without a question")
    asked = _of_chat(value, name, system) if isinstance(value, list | tuple) else value
    if not isinstance(asked, str):
        raise UnreadableError(f"`{name}` is neither text nor a chat: {short(asked)}")
    more = _first(row, (columns.also,))[1] if columns.also else None
    return _sound(f"{asked}\n\n{more}" if isinstance(more, str) else asked, "a question")


def answer_of(row: Row, columns: Columns) -> str:
    """Reads a reference: text, a number as it was written, true or false, or a list of one of them."""
    name, value = _first(row, columns.answer)
    if name is None:
        raise DroppedError("without an answer")
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    told = str(value) if isinstance(value, bool) else text_of(value)
    if told is None:
        raise UnreadableError(f"`{name}` is neither text nor a number: {short(value)}")
    if name == "solution":
        boxed = last_boxed(told)
        if boxed is None and "####" not in told and (len(told) > MOST_PLAIN or "\n" in told.strip()):
            raise UnreadableError(r"there is no `answer`, and `solution` has no \boxed{}")
        told = boxed or told
    return _sound(told, "an answer")


def text(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UnreadableError(f"there is no text field `{name}`")
    return value


def text_of(value: object) -> str | None:
    """Returns a reference as text: text as it is, a number as it was written; None for anything else, or no text."""
    if isinstance(value, str):
        return value if value.strip() else None
    found = number(value)
    return None if found is None else f"{found:f}"


def number(value: object) -> Decimal | None:
    """Returns the exact value of a number, or of text that is one; None for anything else, or beyond 100 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    is_short = found.is_finite() and abs(found.adjusted()) < 100 and len(found.as_tuple().digits) < 100
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


def _of_chat(turns: Sequence[object], name: str, system: str | None) -> object:
    if not turns or not all(isinstance(turn, Mapping) and isinstance(turn.get("content"), str) for turn in turns):
        raise UnreadableError(f"`{name}` is a list, but no chat of role and content: {short(turns)}")
    told = [(str(turn.get("role")), str(turn["content"])) for turn in turns if isinstance(turn, Mapping)]
    if told[0][0] == "system":
        if told[0][1] != system:
            raise UnreadableError(f"its chat has the system message {short(told[0][1])}: set data.system to it")
        told = told[1:]
    if [role for role, _ in told] != ["user"]:
        raise UnreadableError(f"its chat is not one question: {', '.join(role for role, _ in told)}")
    return told[0][1]


def _first(row: Row, names: Iterable[str]) -> tuple[str | None, object]:
    values = dict(_flat(row))
    for name in names:
        if not _is_nothing(value := values.get(name)):
            return name, value
    return None, None


def _flat(row: Row) -> Iterable[tuple[str, object]]:
    for key, value in row.items():
        name = str(key).strip().lower()
        yield name, value
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", one) for inner, one in _flat(value))


def _is_nothing(value: object) -> bool:
    return value is None or value in ("", [], ()) or (isinstance(value, str) and not value.strip())


def _sound(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DroppedError(f"{what} with half a character (a lone surrogate)") from None
    return text
