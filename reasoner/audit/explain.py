"""Says how a verdict came about: what was taken, both sides as they were read, the rule, and what would be accepted.

It asks the verifier for the verdict, and its readers how they read what it took (of which a score keeps the first 300
characters) and the reference. Forms that would be accepted are shown only after the verifier has accepted them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from reasoner.audit import rewrites
from reasoner.audit.check import Malformed, Row, opened, read, suited
from reasoner.errors import USAGE, ReasonerError
from reasoner.verifiers.checker import Verifier, verify
from reasoner.verifiers.score import Score
from reasoner.verifiers.sentence import UNSURE, last_sentence

MOST_FORMS = 4
_MOST_TEXT = 200  # characters of a text that is shown


def run(source: str, checker: Verifier, wanted: str) -> Iterator[str]:
    """Yields the lines of the explanation of each row with an ID. Raises `ReasonerError` where there is none."""
    if checker.ready is not None:
        checker.ready()
    known, is_found = [], False
    with opened(source) as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = read(line, number, checker.rows)
            except Malformed as error:
                if wanted == str(number):
                    raise ReasonerError(f"line {number} is no row", why=str(error), code=USAGE) from None
                continue
            if row is None:
                continue
            known.append(str(row.id))
            if wanted == known[-1]:
                yield from ([""] if is_found else [])
                yield from _explained(row, number, suited(checker, row))
                is_found = True
    if not is_found:
        near = difflib.get_close_matches(wanted, known, n=3) or known[:3]
        fix = f"IDs that are there: {', '.join(near)}" if near else "give a file with rows"
        raise ReasonerError(f"no row has the ID {wanted!r}", fix=fix, code=USAGE)


def _explained(row: Row, number: int, checker: Verifier) -> Iterator[str]:
    score = verify(checker, row.text, row.answer, is_finished=row.is_finished)
    yield f"{row.id} (line {number}): {score.verdict}, says {checker.name} {checker.version}"
    if score.extracted is None:
        yield "  taken      nothing"
        if checker.contract in ("math", "lenient") and (word := UNSURE.search(last_sentence(row.text))):
            yield f"             its last sentence says “{word[0].strip()}”, so it states nothing"
    else:
        yield f"  taken      {_short(score.extracted)}" + (
            f"  ({_MARKS.get(score.rule, score.rule)})" if score.rule else ""
        )
        yield from _as_read(score.extracted, checker)
    yield f"  reference  {_short(row.answer)}" + (f"  ({score.type})" if score.type else "")
    yield from _as_read(row.answer, checker)
    yield f"  because    {score.why or _plainly(score)}"
    if row.is_source:
        return
    for place, form in enumerate(_accepted(row.answer, score, checker)):
        yield f"  {'accepted' if place == 0 else '':<10} {_short(form)}"


_MARKS = {
    "boxed": "in the last box",
    "hashes": "after ####",
    "phrase": "after a phrase such as “the answer is”",
    "tag": "in an answer tag",
    "whole": "the whole completion",
    "sentence": "what the last sentence states",
}


def _plainly(score: Score) -> str:
    return {"right": "it is the same", "wrong": "it is not the same"}.get(score.verdict, "there is no verdict")


def _as_read(text: str, checker: Verifier) -> Iterator[str]:
    if checker.reads is not None:
        yield f"    read as  {_short(checker.reads(text))}"


def _accepted(answer: str, score: Score, checker: Verifier) -> list[str]:
    """Returns completions that the verifier accepts for a reference: as it is asked for, then written otherwise."""
    asked = verify(checker, checker.commit(answer), answer)
    text = asked.extracted or answer
    one = rewrites.Reference("", answer, text, score.type, rewrites.number_in(text))
    forms = [checker.commit(answer), *(checker.commit(told) for _, told in rewrites.same(one, checker.contract))]
    found = (form for form in dict.fromkeys(forms) if verify(checker, form, answer).verdict == "right")
    return [form for _, form in zip(range(MOST_FORMS), found, strict=False)]


def _short(text: str) -> str:
    told = " ".join(text.split())
    return told if len(told) <= _MOST_TEXT else told[: _MOST_TEXT - 3] + "..."
