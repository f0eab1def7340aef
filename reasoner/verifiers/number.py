"""`number`: the committed answer is the reference number, exactly.

Committed means, in this order: the last `\\boxed{…}`; else the last line that starts with `####`;
else a closing "the answer is …". A number that merely stands somewhere in the text is not an
answer. What is committed must be one number: a list, a range or a hedge ("12 or 13") is wrong.
Arithmetic is exact (integers, decimals, fractions), never floating point.
"""

from __future__ import annotations

import re
from fractions import Fraction

from reasoner.verifiers import Score, verifier

MAX_CHARS = 20_000
MAX_DIGITS = 40

_BOXED = re.compile(r"\\boxed\s*\{([^{}]{0,200})\}")
_HASHES = re.compile(r"^[ \t]*####[ \t]*(.{0,200}?)[ \t]*$", re.MULTILINE)
_PHRASE = re.compile(r"\b(?:final )?answer(?: is|:)[ \t]*:?[ \t]*([^\n]{1,200}?)[ \t.]*$", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?P<sign>[-+\u2212]?)\s*[$€£¥]?\s*(?P<sign2>-?)"
    r"(?:(?P<grouped>\d{1,3}(?:,\d{3})+)|(?P<plain>\d+))?(?P<decimals>\.\d+)?"
    r"(?:\s*/\s*(?P<denominator>\d+))?"
    r"(?P<unit>\s*(?:%|°|[A-Za-z][A-Za-z .²³-]{0,30})?)"
)
_HEDGE = re.compile(r"\b(?:or|and|to|about|around|approximately|maybe|between|not)\b", re.IGNORECASE)


@verifier("number", version="1")
def number(completion: str, answer: str) -> Score:
    """Right when the committed number equals the reference number.

    >>> number("2 + 3 = 5\\n#### 5", "... #### 5").verdict
    'right'
    >>> number("5", "#### 5").verdict
    'wrong'
    """
    reference = parse_number(reference_of(answer))
    if reference is None:
        return Score("unscored", why=f"the reference is not a number: {reference_of(answer)[:60]!r}")
    taken, rule = committed(completion[-MAX_CHARS:])
    if taken is None:
        return Score("wrong", why="no committed answer")
    value = parse_number(taken)
    if value is None:
        return Score("wrong", taken, rule, "the committed answer is not one number")
    if value == reference:
        return Score("right", taken, rule)
    return Score("wrong", taken, rule, "another number")


def reference_of(answer: str) -> str:
    """What follows the last `####` of a GSM8K-like reference, else the whole of it."""
    return answer.rpartition("####")[2].strip()


def committed(completion: str) -> tuple[str | None, str]:
    """The span that the completion commits to as its answer, and the rule that found it."""
    boxed = _BOXED.findall(completion)
    if boxed:
        return boxed[-1].strip(), "boxed"
    hashes = _HASHES.findall(completion)
    if hashes:
        return hashes[-1].strip(), "hashes"
    lines = completion.rstrip().rsplit("\n", 1)
    phrase = _PHRASE.search(lines[-1][-400:])
    if phrase:
        return phrase.group(1).strip(" *$"), "phrase"
    return None, ""


def parse_number(text: str) -> Fraction | None:
    """The one number that `text` is, exactly; None for anything else, hedges and lists included.

    Thousands separators, a currency sign and one trailing unit are accepted: `$1,200`, `7 apples`.
    """
    text = text.strip().strip("*_`").strip().removesuffix(".")
    if len(text) > 200 or _HEDGE.search(text):
        return None
    match = _NUMBER.fullmatch(text)
    if not match or not (match["grouped"] or match["plain"] or match["decimals"]):
        return None
    digits = (match["grouped"] or match["plain"] or "0").replace(",", "") + (match["decimals"] or "")
    denominator = match["denominator"] or "1"
    if len(digits) > MAX_DIGITS or len(denominator) > MAX_DIGITS or int(denominator) == 0:
        return None
    negative = (match["sign"] in ("-", "\u2212")) != (match["sign2"] == "-")
    value = Fraction(digits) / int(denominator)
    return -value if negative else value
