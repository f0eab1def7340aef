"""Scores completions that already exist: rows in, verdicts out, nothing trained.

A row is a JSON object on a line of its own: `answer` and `completion` are text, `id` is any text or number (without
one, the row's is its line number), `finish_reason: "length"` says that the completion was cut off. Other keys are
passed over. Every row that can be read gives one row of verdict, in the order of the rows; one that cannot is named by
its line number and counted, and stops nothing.

For the verifier `code` a row may have `submission`, source as it is, in the place of `completion`, and the fields of a
task (`reasoner.verifiers.code.task.FIELDS`) in the place of `answer`. There several rows are on their way at once, as
many as the sandbox takes; their verdicts come in the order of the rows all the same.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from reasoner.errors import USAGE, ReasonerError
from reasoner.verifiers.registry import Verifier, verify
from reasoner.verifiers.score import Score

if TYPE_CHECKING:
    from concurrent.futures import Future

EVERY_S = 10.0
"""Seconds between two words on how far it is."""

SHAPE = 'one {"id": …, "answer": "…", "completion": "…"} on each line'


Identity = str | int | float


class Malformed(Exception):
    """A line that is no row; the text says why."""


def run(source: str, checker: Verifier, say: Callable[[str], None]) -> None:
    """Verdicts of the rows of a file, or of standard input (`-`), to standard output, each as soon as it is known.

    Returns early and in silence once nobody reads them.
    """
    name = "standard input" if source == "-" else source
    with ExitStack() as stack:
        try:
            lines = stack.enter_context(open(0 if source == "-" else source, "rb", closefd=source != "-"))
        except FileNotFoundError:
            raise ReasonerError(f"there is no file {source}", fix=f"a JSONL file, or -: {SHAPE}", code=USAGE) from None
        except OSError as error:
            raise ReasonerError(f"{name} cannot be read", why=error.strerror, fix=SHAPE, code=USAGE) from error
        try:
            counts = score(lines, checker, sys.stdout.buffer, say)
        except BrokenPipeError:
            # What is left in the buffer would fail once more when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    if not counts.total() - counts["malformed"]:
        why = f"{counts['malformed']} malformed" if counts["malformed"] else "it is empty"
        raise ReasonerError(f"{name} has no row that can be read", why=why, fix=SHAPE, code=USAGE)
    say(summary(counts))


def score(lines: Iterable[bytes], checker: Verifier, out: BinaryIO, say: Callable[[str], None]) -> Counter[str]:
    """Rows of each verdict, and `malformed` lines; the verdicts themselves go out."""
    if checker.name == "code":
        return score_code(lines, checker, out, say)
    counts: Counter[str] = Counter()
    said = time.monotonic()
    for number, line in enumerate(lines, 1):
        try:
            row = read(line, number)
        except Malformed as error:
            counts["malformed"] += 1
            say(f"line {number}: {error}")
            continue
        if row is None:
            continue
        identity, answer, completion, is_finished = row
        started = time.perf_counter()
        found = verify(checker, completion, answer, is_finished=is_finished)
        counts[found.verdict] += 1
        _write(out, identity, found, time.perf_counter() - started)
        if time.monotonic() - said > EVERY_S:
            said = time.monotonic()
            say(f"{number} lines so far")
    return counts


def _write(out: BinaryIO, identity: Identity, found: Score, seconds: float) -> None:
    verdict = {
        "id": identity,
        "verdict": found.verdict,
        "extracted": found.extracted,
        "type": found.type,
        "rule": found.rule,
        "why": found.why,
        "ms": round(seconds * 1000, 3),
    }
    out.write(json.dumps(verdict).encode("ascii") + b"\n")
    out.flush()


def score_code(lines: Iterable[bytes], checker: Verifier, out: BinaryIO, say: Callable[[str], None]) -> Counter[str]:
    """What `score` does, for submissions: another thread reads on while the first ones run."""
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from queue import Queue

    from reasoner.verifiers.code import verdict as code

    code.ready()
    source = replace(checker, function=lambda submission, answer: code.outcome(submission, answer).score)
    num = 2 * (os.cpu_count() or 1)
    waiting: Queue[tuple[int, Malformed | OSError | Future[tuple[Identity, Score, float]] | None]] = Queue(num)

    def judged(row: tuple[Identity, str, str, bool, bool]) -> tuple[Identity, Score, float]:
        identity, answer, text, is_finished, is_source = row
        started = time.perf_counter()
        found = verify(source if is_source else checker, text, answer, is_finished=is_finished)
        return identity, found, time.perf_counter() - started

    def read_on() -> None:
        number = 0
        with ThreadPoolExecutor(num) as threads:
            try:
                for number, line in enumerate(lines, 1):
                    try:
                        row = read_code(line, number)
                    except Malformed as error:
                        waiting.put((number, error))
                        continue
                    if row is not None:
                        waiting.put((number, threads.submit(judged, row)))
            except OSError as error:
                waiting.put((number, error))
        waiting.put((number, None))

    counts: Counter[str] = Counter()
    said = time.monotonic()
    # A daemon: where nobody reads our verdicts, it is left at its next line.
    threading.Thread(target=read_on, daemon=True).start()
    while True:
        number, held = waiting.get()
        if held is None:
            return counts
        if isinstance(held, OSError):
            raise held
        if isinstance(held, Malformed):
            counts["malformed"] += 1
            say(f"line {number}: {held}")
            continue
        identity, found, seconds = held.result()
        counts[found.verdict] += 1
        _write(out, identity, found, seconds)
        if time.monotonic() - said > EVERY_S:
            said = time.monotonic()
            say(f"{number} lines so far")


def read(line: bytes, number: int) -> tuple[Identity, str, str, bool] | None:
    """(id, answer, completion, whether it came to its end) of a line; None where it is blank.

    >>> read(b'{"answer": "5", "completion": "#### 5"}', 3)
    (3, '5', '#### 5', True)
    """
    row = _object(line, number)
    if row is None:
        return None
    answer, completion = _text(row, "answer"), _text(row, "completion")
    return _identity(row, number), answer, completion, row.get("finish_reason") != "length"


def read_code(line: bytes, number: int) -> tuple[Identity, str, str, bool, bool] | None:
    """(id, task as an answer, text, whether it came to its end, whether the text is source) of a row for `code`.

    >>> read_code(b'{"submission": "x = 1", "entry_point": "f", "tests": ["assert f(1) == 2"]}', 3)[1:3]
    ('{"entry_point": "f", "schema": 1, "tests": ["assert f(1) == 2"]}', 'x = 1')
    """
    from reasoner.verifiers.code import task

    row = _object(line, number)
    if row is None:
        return None
    fields = {key: row[key] for key in task.FIELDS if key in row}
    if "answer" in row or not fields:
        answer = _text(row, "answer")
    else:
        answer = json.dumps({"schema": task.SCHEMA, **fields}, sort_keys=True)
    is_source = "submission" in row
    text = _text(row, "submission" if is_source else "completion")
    return _identity(row, number), answer, text, row.get("finish_reason") != "length", is_source


def _object(line: bytes, number: int) -> dict[str, Any] | None:
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


def _text(row: dict[str, Any], key: str) -> str:
    if key not in row:
        raise Malformed(f"no {key!r}")
    if not isinstance(row[key], str):
        raise Malformed(f"{key!r} is {_kind(row[key])}, not text")
    return str(row[key])


def _identity(row: dict[str, Any], number: int) -> Identity:
    identity = row.get("id")
    if identity is None:
        return number
    if isinstance(identity, bool) or not isinstance(identity, str | int | float):
        raise Malformed(f"'id' is {_kind(identity)}, neither text nor a number")
    return identity


def summary(counts: Counter[str]) -> str:
    """The counts as a person reads them.

    >>> summary(Counter(right=88, wrong=170, unscored=6, malformed=2))
    '264 rows: 88 right, 170 wrong, 6 unscored; 2 malformed'
    """
    rows = counts.total() - counts["malformed"]
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("right", "wrong", "unscored"))
    return f"{rows} row{'' if rows == 1 else 's'}: {said}; {counts['malformed']} malformed"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names[type(value)]
