"""Compares a verifier with a person's own labels: what it wrongly accepts, and what it wrongly rejects.

A row has `completion` (or `response`, or `response_parts`, `[[text, times], …]`), `answer` (or `gold`) and `expected`,
true or false; where there are any, an `id`, a `family`, `tag`, `type` or `rewrite` to count by, and a `format`, by
which is counted too. A row with a short answer, `pred`, instead of a completion is judged as a completion that commits
to it, unless it is of `kind` `response` or commits by itself. A row `disputed` is left out. A `finish_reason` other
than `stop` says that a completion was cut off. Rows that cannot be read are listed by line.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from reasoner import files
from reasoner.audit.results import Case, Example, Labelled, Malformed, Tally, example
from reasoner.errors import USAGE, ReasonerError
from reasoner.verifiers.registry import Verifier, verify


def labelled(checker: Verifier, path: Path) -> Labelled:
    """Judges the rows of a JSONL file; rates are of the rows with a verdict."""
    accepts, rejects = Tally("wrong accepted", must_hold=False), Tally("right rejected", must_hold=False)
    malformed: list[Malformed] = []
    disagreed: list[Example] = []
    disputed, slowest = 0, 0.0
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReasonerError(f"{path} cannot be read", why=str(error), fix="name a JSONL file", code=USAGE) from None
    for at, line in enumerate(content.rstrip("\n").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if isinstance(row, dict) and row.get("disputed") is not None:
                disputed += 1
                continue
            case = _case(checker, row, at)
        except ValueError as error:
            malformed.append(Malformed(at, str(error)))
            continue
        started = time.perf_counter()
        score = verify(checker, case.completion, case.answer, is_finished=case.is_finished)
        slowest = max(slowest, time.perf_counter() - started)
        is_failure = (score.verdict == "right") != case.expected
        tally = rejects if case.expected else accepts
        if score.verdict == "unscored":
            tally.unscored += 1
        else:
            tally.add(case, score, is_failure=is_failure)
        if is_failure or score.verdict == "unscored":
            disagreed.append(example(case, score))
    if not accepts.n + accepts.unscored + rejects.n + rejects.unscored:
        raise ReasonerError(
            f"{path} has no row that can be read",
            why="\n".join(f"line {row.line}: {row.why}" for row in malformed[:5]) or "it is empty",
            fix='one JSON object a line: {"completion": "…", "answer": "…", "expected": true}',
            code=USAGE,
        )
    sha256 = files.sha256_file(path)
    found = (accepts.check(), rejects.check(), disputed, malformed, round(slowest, 3), disagreed)
    return Labelled(path.name, sha256, *found)


_COMMITS = re.compile(r"\\boxed|\\fbox|####|answer\s+is", re.IGNORECASE)


def _case(checker: Verifier, row: object, at: int) -> Case:
    """Reads one row as a case; `ValueError` says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    answer = row.get("answer", row.get("gold"))
    if not isinstance(answer, str):
        raise ValueError("no text `answer` (or `gold`)")
    if not isinstance(row.get("expected"), bool):
        raise ValueError("`expected` is not true or false")
    completion = row.get("completion", row.get("response"))
    if completion is None and "response_parts" in row:
        try:
            completion = "".join(text * times for text, times in row["response_parts"])
        except TypeError:
            raise ValueError("`response_parts` is not [[text, times], …]") from None
    if completion is None and isinstance(pred := row.get("pred"), str):
        is_short = row.get("kind") != "response" and not _COMMITS.search(pred)
        completion = checker.commit(pred) if is_short else pred
    if not isinstance(completion, str):
        raise ValueError("no text `completion` (or `response`, `response_parts`, `pred`)")
    family = next((row[name] for name in ("family", "tag", "type", "rewrite") if row.get(name)), "")
    is_finished = row.get("finish_reason", "stop") == "stop"
    id_, form = str(row.get("id", f"line {at}")), str(row.get("format", ""))
    return Case(str(family), completion, answer, row["expected"], id_, is_finished=is_finished, format=form)
