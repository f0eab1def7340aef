"""Scores completions that already exist: rows in, verdicts out, nothing trained.

A row is a JSON object on a line of its own: `answer` and `completion` are text, `id` is any text or number (without
one, the row's is the `problem_id` of a run's completions, else its line number), `finish_reason: "length"` says that
the completion was cut off. Other keys are passed over. Every row that can be read gives one row of verdict, in the
order of the rows; one that cannot is named by its line number and counted, and stops nothing. A verifier may read rows
of another layout too (`Verifier.rows`): for `code`, `submission`, source as it is, stands in the place of `completion`,
and a task's fields in that of `answer`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from queue import Queue
from typing import BinaryIO, NamedTuple

from reasoner.errors import USAGE, ReasonerError
from reasoner.verifiers.checker import Rows
from reasoner.verifiers.registry import Verifier, verify

EVERY_S = 10.0  # between two words on how far it is
SHAPE = 'one {"id": …, "answer": "…", "completion": "…"} on each line'

Identity = str | int | float


class Row(NamedTuple):
    """Holds what is judged of a line. `is_source`: the text is the answer itself, not a completion that holds it."""

    id: Identity
    answer: str
    text: str
    is_finished: bool = True
    is_source: bool = False


class Malformed(Exception):
    """Is raised for a line that is no row; the text says why."""


def run(source: str, checker: Verifier, say: Callable[[str], None]) -> None:
    """Writes the verdicts of the rows of a file, or of standard input (`-`), each as soon as it is known.

    Returns early and in silence once nobody reads them.
    """
    with opened(source) as lines:
        try:
            counts = score(lines, checker, sys.stdout.buffer, say)
        except BrokenPipeError:
            # What is left in the buffer would fail once more when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    if not counts.total() - counts["malformed"]:
        why = f"{counts['malformed']} malformed" if counts["malformed"] else "it is empty"
        raise ReasonerError(f"{_named(source)} has no row that can be read", why=why, fix=SHAPE, code=USAGE)
    say(summary(counts))


@contextmanager
def opened(source: str) -> Iterator[BinaryIO]:
    """Opens a file of rows, or standard input (`-`)."""
    with ExitStack() as stack:
        try:
            lines = stack.enter_context(open(0 if source == "-" else source, "rb", closefd=source != "-"))
        except FileNotFoundError:
            raise ReasonerError(f"there is no file {source}", fix=f"a JSONL file, or -: {SHAPE}", code=USAGE) from None
        except OSError as error:
            raise ReasonerError(
                f"{_named(source)} cannot be read", why=error.strerror, fix=SHAPE, code=USAGE
            ) from error
        yield lines


def _named(source: str) -> str:
    return "standard input" if source == "-" else source


def score(lines: Iterable[bytes], checker: Verifier, out: BinaryIO, say: Callable[[str], None]) -> Counter[str]:
    """Writes the verdicts, and gives the number of rows of each, and of `malformed` lines."""
    if checker.ready is not None:
        checker.ready()
    counts: Counter[str] = Counter()
    said = time.monotonic()
    for number, found in (_side_by_side if checker.is_parallel else _in_turn)(lines, checker):
        if isinstance(found, Malformed):
            counts["malformed"] += 1
            say(f"line {number}: {found}")
            continue
        counts[str(found["verdict"])] += 1
        out.write(json.dumps(found).encode("ascii") + b"\n")
        if time.monotonic() - said > EVERY_S:
            said = time.monotonic()
            say(f"{number} lines so far")
    return counts


Verdict = dict[str, object]  # a row of verdict, as it is written
Numbered = Iterator[tuple[int, Verdict | Malformed]]  # each after the number of its line


def _judge(row: Row, checker: Verifier) -> Verdict:
    started = time.perf_counter()
    score = verify(suited(checker, row), row.text, row.answer, is_finished=row.is_finished)
    ms = round((time.perf_counter() - started) * 1000, 3)
    told = {key: getattr(score, key) for key in ("verdict", "extracted", "type", "rule", "why")}
    return {"id": row.id, **told, "ms": ms}


def suited(checker: Verifier, row: Row) -> Verifier:
    """Returns the verifier as it judges this row: as source, where the row holds that."""
    return replace(checker, function=checker.rows.check_source) if row.is_source and checker.rows else checker


def _rows(lines: Iterable[bytes], layout: Rows | None) -> Iterator[tuple[int, Row | Malformed]]:
    for number, line in enumerate(lines, 1):
        try:
            row = read(line, number, layout)
        except Malformed as error:
            yield number, error
            continue
        if row is not None:
            yield number, row


def _in_turn(lines: Iterable[bytes], checker: Verifier) -> Numbered:
    for number, row in _rows(lines, checker.rows):
        yield number, row if isinstance(row, Malformed) else _judge(row, checker)


def _side_by_side(lines: Iterable[bytes], checker: Verifier) -> Numbered:
    """Judges while another thread reads on."""
    num = 2 * (os.cpu_count() or 1)
    waiting: Queue[tuple[int, Malformed | OSError | Future[Verdict] | None]] = Queue(num)

    def read_on() -> None:
        with ThreadPoolExecutor(num) as threads:
            try:
                for number, row in _rows(lines, checker.rows):
                    waiting.put((number, threads.submit(_judge, row, checker) if isinstance(row, Row) else row))
            except OSError as error:
                waiting.put((0, error))
        waiting.put((0, None))

    # A daemon: where nobody reads our verdicts, it is left at its next line.
    threading.Thread(target=read_on, daemon=True).start()
    while True:
        number, held = waiting.get()
        if held is None:
            return
        if isinstance(held, OSError):
            raise held
        yield number, held if isinstance(held, Malformed) else held.result()


def read(line: bytes, number: int, rows: Rows | None = None) -> Row | None:
    """Reads a line as a row, of another layout too where the verifier has one; None where the line is blank.

    >>> read(b'{"answer": "5", "completion": "#### 5"}', 3)
    Row(id=3, answer='5', text='#### 5', is_finished=True, is_source=False)
    """
    row = _object(line, number)
    if row is None:
        return None
    answer = rows.answer_of(row) if rows else None
    if answer is None:
        answer = _text(row, "answer")
    is_source = rows is not None and "submission" in row
    text = _text(row, "submission" if is_source else "completion")
    return Row(_identity(row, number), answer, text, row.get("finish_reason") != "length", is_source)


def _object(line: bytes, number: int) -> dict[str, object] | None:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 (byte {error.start + 1})") from None
    if not text.strip():
        return None
    try:
        row = json.loads(text)
    except RecursionError:
        raise Malformed("not JSON that can be read: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg} (column {error.colno})") from None
    except ValueError as error:  # a number of thousands of digits
        raise Malformed(f"not JSON that can be read: {error}") from None
    if not isinstance(row, dict):
        raise Malformed(f"{_kind(row)}, not an object")
    return row


def _text(row: Mapping[str, object], key: str) -> str:
    if key not in row:
        raise Malformed(f"no {key!r}")
    if not isinstance(row[key], str):
        raise Malformed(f"{key!r} is {_kind(row[key])}, not text")
    return str(row[key])


def _identity(row: Mapping[str, object], number: int) -> Identity:
    identity = row.get("id", row.get("problem_id"))
    if identity is None:
        return number
    if isinstance(identity, bool) or not isinstance(identity, str | int | float):
        raise Malformed(f"'id' is {_kind(identity)}, neither text nor a number")
    return identity


def summary(counts: Counter[str]) -> str:
    """Writes the counts as a person reads them.

    >>> summary(Counter(right=88, wrong=170, unscored=6, malformed=2))
    '264 rows: 88 right, 170 wrong, 6 unscored; 2 malformed'
    """
    rows = counts.total() - counts["malformed"]
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("right", "wrong", "unscored"))
    return f"{rows} row{'' if rows == 1 else 's'}: {said}; {counts['malformed']} malformed"


def _kind(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
