r"""Judges one number, by two verifiers: `number` and `number-lenient`.

`number`: the committed answer (see `committed`) is the reference. A number that merely stands somewhere in the text is
not an answer. What is committed must be one number as `numerals` reads it. Wrong is all else:

- hedges, ranges, lists, dates, times, ratios, versions, number words, LaTeX it cannot read, `12,34`, `4²`, `2x = 10`;
- a division left undone (`36/4`): a fraction counts in lowest terms only, and so does a reference;
- another unit than that of the reference, money included, where both have one. `75%` is a bare 75, `75 percent` and
  dozens change the value.

`number-lenient`, for a base that was never shown an answer format. A committed answer may be in words (`forty-two`).
Failing a committed answer, it is the one value that the last sentence states (see `sentence`): naming candidates, in
one sentence or in many, cannot buy a second guess. What a careful reader would not sign stays wrong:

- hedges, negations, ranges, lists, several numbers without an equation, questions, trailing off, LaTeX it cannot read;
- what is called impossible, wrong or too big, what is still to be used, an equation with an unknown in it;
- a calculation left undone: `2 x 9`, `half of 18`, `36/4`;
- an equation that another contradicts: an intermediate result must be used later or be the value
  (`3 + 4 = 7, 7 - 2 = 5` says 5; `3 + 4 = 7, 3 x 4 = 12` says two things; so does `5 = 6`);
  `5 = 5` says 5: working is never paid for, so none is asked for;
- number words in a sentence (`eighteen`, `2 dozen`) are no numbers.

What neither does: check the working (`4 x 5 = 18` says 18), or know the problem and the numbers of its question.
"""

import re
from fractions import Fraction
from functools import lru_cache

from reasoner.verifiers.checker import Verifier, register
from reasoner.verifiers.committed import Committed, committed, spoken
from reasoner.verifiers.numerals import MAX_SPAN, PLAIN, Number, read_number
from reasoner.verifiers.score import Score
from reasoner.verifiers.sentence import last_sentence, stated

MAX_LIST = 8  # boxes in a row that are looked at for whether they all say the same
_DIGIT = re.compile(r"\d")


def commit(answer: str) -> str:
    """Writes a completion that commits to this reference in the asked format."""
    return f"#### {reference_of(answer)}"


def plain_number(completion: str, answer: str) -> Score:
    """Judges as `number` does, and takes only digits, sign, thousands commas and decimals after `####` or in a box."""
    score = number(completion, answer)
    if score.verdict != "right":
        return score
    if score.rule not in ("boxed", "hashes") or not PLAIN.fullmatch(score.extracted or ""):
        return Score("wrong", score.extracted, score.rule, "not a plain number in the asked format", score.type)
    return score


def number(completion: str, answer: str) -> Score:
    """Says right when the committed number equals the reference number.

    >>> number("2 + 3 = 5\\n#### 5", "... #### 5").verdict
    'right'
    >>> number("5", "#### 5").verdict
    'wrong'
    """
    reference = _reference(answer)
    if isinstance(reference, Score):
        return reference
    found = committed(completion)
    if found is None:
        return Score("wrong", why="no committed answer", type=reference.type)
    return _compare_committed(found, _read_committed(found), reference)


def number_lenient(completion: str, answer: str) -> Score:
    """Says right when the committed number, or failing one the number of the last sentence, is the reference.

    >>> number_lenient("9 pens a box, so Leo has 2 x 9 = 18 pens.", "18").verdict
    'right'
    >>> number_lenient("So Leo has 18 or 19 pens.", "18").why
    'the last sentence is a question, a hedge or unfinished'
    """
    reference = _reference(answer)
    if isinstance(reference, Score):
        return reference
    found = committed(completion)
    if found is not None:
        value = _read_committed(found, words=True)
        # "The answer is, as he has 2 boxes, 18" commits to no number in a clause; the sentence may still state one.
        is_final = found.rule in ("boxed", "tag") or (found.rule == "hashes" and _DIGIT.search(found.spans[0]))
        if value is not None or is_final:
            return _compare_committed(found, value, reference)
    sentence = last_sentence(spoken(completion))
    said = stated(sentence)
    if isinstance(said, str):
        return Score("wrong", sentence[-100:] or None, "sentence", said, reference.type)
    return _compare(said, reference, str(said), "sentence")


@lru_cache(4096)
def _reference(answer: str) -> Number | Score:
    text = reference_of(answer)
    return read_number(text) or Score("unscored", why=f"the reference is not a number: {text[:60]!r}")


def _read_committed(found: Committed, *, words: bool = False) -> Number | None:
    """Reads the committed number; None for a list, unless all of it is the same number in other writing."""
    numbers = [read_number(span, words=words) for span in found.spans[:MAX_LIST]]
    units = {number.unit for number in numbers if number} - {""}
    values = {number and (number.value, number.unit == "%") for number in numbers}
    if len(values) > 1 or len(units) > 1 or len(found.spans) > MAX_LIST:
        return None
    return max(numbers, key=lambda number: bool(number and number.unit))


def _compare_committed(found: Committed, value: Number | None, reference: Number) -> Score:
    taken = ", ".join(found.spans)[:MAX_SPAN]
    if value is None:
        why = "a list of answers" if len(found.spans) > 1 else "the committed answer is not one number"
        return Score("wrong", taken, found.rule, why, reference.type)
    is_percent = value.unit == "%" and not reference.unit and "%" not in taken  # 75% of a bare 75; 18 percent is not 18
    if is_percent or (value.unit and reference.unit and value.unit != reference.unit):
        return Score("wrong", taken, found.rule, "another unit", reference.type)
    return _compare(value.value, reference, taken, found.rule)


def _compare(value: Fraction, reference: Number, taken: str, rule: str) -> Score:
    if value == reference.value:
        return Score("right", taken, rule, type=reference.type)
    return Score("wrong", taken, rule, "another number", reference.type)


def reference_of(answer: str) -> str:
    """Gives what follows the last `####` of a GSM8K-like reference, else the whole of it."""
    return answer.rpartition("####")[2].strip()


def reads(text: str) -> str:
    """Says as which number a text is read."""
    found = read_number(text.rpartition("####")[2], words=True)
    return f"{found.type} {found.value}{f' ({found.unit})' if found.unit else ''}" if found else "no one number"


register(Verifier("number", "3", number, commit, plain_number, contract="number", family="number",
                  lenient="number-lenient", reads=reads))  # fmt: skip
register(Verifier("number-lenient", "3", number_lenient, commit, number, contract="lenient", family="number",
                  reads=reads,
                  label="a committed answer, else the value that the last sentence states"))  # fmt: skip
