"""Two checkers of one number, `number` and `number-lenient`; arithmetic is exact, never floating point.

`number`: the committed answer is the reference. Committed means, in this order: the last `\\boxed{…}`; else the last
line that starts with `####`; else a closing "the answer is …". A number that merely stands somewhere in the text is
not an answer. What is committed must be one number: a list, a range or a hedge ("12 or 13") is wrong.

`number-lenient`, for a base that was never shown an answer format: failing a committed answer, the value that the
last sentence states. That is the right-hand side of its last equation (`so Leo has 2 x 9 = 18 pens.`), else the only
number in it. Exactly one value is ever taken, and always from the end: naming candidates, in one sentence or in many,
cannot buy a second guess. What a careful reader would not sign stays wrong:

- hedges, negations, ranges, lists, several numbers without an equation, questions, trailing off, LaTeX it cannot read;
- a calculation left undone: `2 x 9`, `half of 18`, and `36/4` too, which is why a fraction counts in lowest terms only;
- an equation that another contradicts: an intermediate result must be used later or be the value
  (`3 + 4 = 7, 7 - 2 = 5` says 5; `3 + 4 = 7, 3 x 4 = 12` says two things; so does `5 = 6`);
  `5 = 5` says 5: working is never paid for, so none is asked for;
- number words (`eighteen`, `2 dozen`) are no numbers.

What it does not do: check the working (`4 x 5 = 18` says 18), or know the problem (a number of the question, told
again as a statement, is a value like any other).
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd

from reasoner.verifiers import Score, verifier

MAX_CHARS = 20_000
MAX_DIGITS = 40
MAX_SPAN = 200
"""Longest committed answer, in characters."""

_BOXED = re.compile(r"\\boxed\s*\{([^{}]{0,200})\}")
_HASHES = re.compile(r"^[ \t]*####([^\n]*)", re.MULTILINE)
_PHRASE = re.compile(r"\b(?:final )?answer(?: is|:)[ \t]*:?[ \t]*", re.IGNORECASE)
# Possessive where white space may stand: no run of it is tried twice.
_NUMBER = re.compile(
    r"(?P<sign>[-+\u2212]?)\s*+[$€£¥]?\s*+(?P<sign2>-?)"
    r"(?:(?P<grouped>\d{1,3}(?:,\d{3})+)|(?P<plain>\d+))?(?P<decimals>\.\d+)?"
    r"(?:\s*+/\s*+(?P<denominator>\d+))?"
    r"(?P<unit>\s*+(?:%|°|[A-Za-z][A-Za-z .²³-]{0,30})?)"
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
        return _no_reference(answer)
    taken, rule = committed(completion[-MAX_CHARS:])
    if taken is None:
        return Score("wrong", why="no committed answer")
    value = parse_number(taken)
    if value is None:
        return Score("wrong", taken, rule, "the committed answer is not one number")
    return _compare(value, reference, taken, rule)


@verifier("number-lenient", version="1")
def number_lenient(completion: str, answer: str) -> Score:
    """Right when the committed number, or failing one the number that the last sentence states, is the reference.

    >>> number_lenient("9 pens a box, so Leo has 2 x 9 = 18 pens.", "18").verdict
    'right'
    >>> number_lenient("So Leo has 18 or 19 pens.", "18").why
    'the last sentence is a question, a hedge or unfinished'
    """
    reference = parse_number(reference_of(answer))
    if reference is None:
        return _no_reference(answer)
    taken, rule = committed(completion[-MAX_CHARS:])
    value = parse_number(taken) if taken is not None else None
    if taken is not None and value is not None:
        if not _is_worked_out(taken):
            return Score("wrong", taken, rule, "a division is left undone")
        return _compare(value, reference, taken, rule)
    # A heading (`#### Solution`) and "the answer is 2 x 9 = 18" commit to no number; the sentence still may.
    if taken is not None and (rule == "boxed" or (rule == "hashes" and _DIGIT.search(taken))):
        return Score("wrong", taken, rule, "the committed answer is not one number")
    sentence = last_sentence(completion)
    stated = _stated(sentence)
    if isinstance(stated, str):
        return Score("wrong", sentence[-100:] or None, "sentence", stated)
    return _compare(stated, reference, str(stated), "sentence")


def _no_reference(answer: str) -> Score:
    return Score("unscored", why=f"the reference is not a number: {reference_of(answer)[:60]!r}")


def _compare(value: Fraction, reference: Fraction, taken: str, rule: str) -> Score:
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
    for line in reversed(_HASHES.findall(completion)):
        if len(line.strip(" \t")) <= MAX_SPAN:
            return line.strip(), "hashes"
    last_line = completion.rstrip().rsplit("\n", 1)[-1][-400:]
    for phrase in _PHRASE.finditer(last_line):
        span = last_line[phrase.end() :].rstrip(" \t.")
        if 0 < len(span) <= MAX_SPAN:
            return span.strip(" *$"), "phrase"
    return None, ""


def parse_number(text: str) -> Fraction | None:
    """The one number that `text` is, exactly; None for anything else, hedges and lists included.

    Thousands separators, a currency sign and one trailing unit are accepted: `$1,200`, `7 apples`.
    """
    text = text.strip().strip("*_`").strip().removesuffix(".")
    if len(text) > MAX_SPAN or _HEDGE.search(text):
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


# -- the last sentence --------------------------------------------------------------------------

_WINDOW = 1_200
"""Characters from the end in which the last sentence is looked for."""
_MAX_SENTENCE = 400
"""A longer one states nothing that a reader would call an answer."""

_DIGIT = re.compile(r"\d")
_TOKEN = re.compile(r"(?:\d+(?:[.,]\d+)*|\.\d+)(?:/\d+(?:[.,]\d+)*)*")
"""Whatever looks like a number; `parse_number` decides whether it is one (`12,34` and `1.2.3` are not)."""

_STOP = re.compile(r"[.!?]+[)\]\"'”’]*(?=\s|$)")
_NO_STOP = re.compile(
    r"(?:^(?:step )?\d{1,2}"
    r"|\b(?:mr|mrs|ms|dr|st|jr|sr|no|nr|vs|approx|ca|etc|lbs?|oz|ft|hrs?|mins?|secs?|[a-z]))$",
    re.IGNORECASE,
)
"""Before a full stop that ends no sentence: list numbers, abbreviations, initials (so `e.g.` and `p.m.` too)."""
_GOES_ON = re.compile(
    r"(?:[,:;(\[{=+*/×÷≈-]|\.\.|…|\b(?:or|and|to|about|around|approximately|maybe|perhaps|between|not|plus|minus|by"
    r"|the|of|is|are|has))$",
    re.IGNORECASE,
)
"""The end of something unfinished. A line that ends so goes on in the next one."""
_UNSURE = re.compile(
    r"[?<>≤≥≠≈~±\\]|!="
    r"|\b(?:or|either|neither|nor|not|cannot|never|maybe|perhaps|possibly|probably|likely|might|guess|unsure|about"
    r"|approximately|approx|roughly|nearly|almost|suppose|assum\w{1,4}|how many|how much|at least|at most|up to"
    r"|close to|(?:could|may) be|let'?s say)\b"
    r"|n['’]t\b|\b(?:around|between|ca\.?|say) \d|(?<=[\d -])ish\b",
    re.IGNORECASE,
)
_SIGN = re.compile(r"(?:^|[\s(])[-+]$")
_BEFORE = re.compile(
    r"(?:[-+*/×÷^√]|(?:^|[\s\d)])x|\b(?:plus|minus|times|(?:divided|multiplied) by|over|under|above|below"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower) than"
    r"|(?:twice|double|triple|thrice|half|percent|(?:third|quarter|fifth|tenth)s?)(?: of)?(?: \w{1,12})?))\s*$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r" ?(?:[+*×÷^½⅓⅔¼¾⅛²³⁴]|/(?! ?[a-z])|-(?!\w)|-\d|x\b|\(\d|(?-i:[kKMB]\b)"
    r"|-?(?:dozen|hundred|thousand|million|billion|half|halves|third|quarter|fourth|fifth|tenth|hundredth)s?\b"
    r"|and (?:a|one|two|three) (?:half|third|quarter|fifth|tenth)|(?:plus|minus|divided|multiplied)\b|times \d)",
    re.IGNORECASE,
)
"""What makes a number a part of a calculation, of a number in words, or of a mixed number."""
_RUNS_ON = re.compile(r"[^,;:]*?(?:[*/×÷^]|(?<![^\s\d)])[-+x](?![^\s(]))[^,;:]*")
"""Between a right-hand side and the next number where the one is calculated with at once: ` pens - `."""
_FRACTION = re.compile(r"([\d.,]+)\s*/\s*(\d+)")

_SIGNS = str.maketrans({"\u2212": "-", "∙": "×", "·": "×", "⋅": "×", "⁄": "/", "\u00a0": " ", "\u202f": " ", "`": " "})
_ANNOTATION = re.compile(r"<<[^<>\n]{0,200}>>")
_CURRENCY = re.compile(r"(?<![\d.,/])[$€£¥] ?")
_LATEX_FRAME = re.compile(r"\\(?:begin|end)\s?\{\w{1,20}\*?\}")
_LATEX_GROUP = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)\s?\{([^{}]{0,200})\}")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}]{0,60})\}\s?\{([^{}]{0,60})\}")
_LATEX = re.compile(r"\\([a-zA-Z]+|.)")
_LATEX_MEANS = {
    "times": "×", "cdot": "×", "ast": "×", "div": "÷", "%": "%", "$": "$", "\\": "\n", "newline": "\n",
    "(": " ", ")": " ", "[": " ", "]": " ", ",": " ", ";": " ", ":": " ", "!": "", " ": " ", "quad": " ", "qquad": " ",
    "left": " ", "right": " ", "displaystyle": " ",
}  # fmt: skip
_GROUPING = str.maketrans("{}&", "   ")
_RULE = re.compile(r"[-=_*]{3,}$")
_EMPHASIS = re.compile(r"(?<![\w*)])\*([^*\s][^*\n]{0,80})\*(?![\w*(])")
_POWER = re.compile(r"(?<=\d)\*\*(?=\d)")
_MARKER = re.compile(r"^(?:#{1,6} |[-*+•] (?=.*[A-Za-z=])|(?:step )?\d{1,2}[.):]+ (?=.*[A-Za-z=]))+", re.IGNORECASE)
"""A heading, a bullet or a list number before words or an equation. Before a bare number it stays: that is a list."""


def last_sentence(completion: str) -> str:
    r"""The last sentence, freed of Markdown and LaTeX; empty where none begins within reach of the end.

    >>> last_sentence("Mr. Lee buys 2.5 kg.\n\n**So he pays \\( 2 \\times 9 = 18 \\) dollars.**")
    'So he pays 2 × 9 = 18 dollars.'
    """
    text = _plain(completion[-MAX_CHARS:].rstrip()[-_WINDOW:])
    lines = [line for line in (" ".join(line.split()) for line in text.split("\n")) if line and not _RULE.match(line)]
    if not lines:
        return ""
    line = _MARKER.sub("", lines.pop(), count=1)
    while lines and len(line) <= _MAX_SENTENCE and _GOES_ON.search(lines[-1][-20:]) and lines[-1][-1] not in ":;":
        line = f"{lines.pop()} {line}"
    start = 0
    for stop in _STOP.finditer(line):
        marks = stop.group()
        is_abbreviation = marks == "." and _NO_STOP.search(line, max(0, stop.start() - 8), stop.start())
        if stop.end() < len(line) and ".." not in marks and not is_abbreviation:
            start = stop.end()
    is_cut = len(completion) > _WINDOW and not lines and not start
    return "" if is_cut else line[start:].strip()


def _plain(text: str) -> str:
    text = _ANNOTATION.sub(" ", text).translate(_SIGNS)
    if "\\" in text:
        text = _LATEX_FRAME.sub(" ", text.replace("{,}", ","))
        text = _LATEX_GROUP.sub(r"\1", _LATEX_GROUP.sub(r"\1", text))  # \boxed{18 \text{ pens}}
        text = _LATEX.sub(lambda found: _LATEX_MEANS.get(found[1], found[0]), _LATEX_FRACTION.sub(r" \1/\2 ", text))
        text = text.translate(_GROUPING)
    if "*" in text:
        text = _EMPHASIS.sub(r"\1", _POWER.sub("^", text).replace("**", ""))
    return _CURRENCY.sub("", text).replace("$", " ")


def _stated(sentence: str) -> Fraction | str:
    """The value that a sentence states, or why it states none."""
    if len(sentence) > _MAX_SENTENCE:
        return "the last sentence is too long to be an answer"
    if not _DIGIT.search(sentence):
        return "the last sentence has no number"
    body = sentence.rstrip(" \"'”’)]")
    if _UNSURE.search(body) or _GOES_ON.search(body) or _GOES_ON.search(body.removesuffix(".")):
        return "the last sentence is a question, a hedge or unfinished"
    head, equals, tail = body.rpartition("=")
    tokens = list(_TOKEN.finditer(tail))
    if not tokens:
        return "the last equation has no right-hand side"
    if not equals and len(tokens) > 1:
        return "the last sentence has several numbers and no equation"
    if equals and tail[: tokens[0].start()].strip(" ([-+"):
        return "the right-hand side of the last equation is not one number"
    value = _value(tail, tokens[0], is_first=bool(equals))
    if value is None:
        return "the last sentence does not end in one number, worked out"
    if any(_value(tail, token) != value for token in tokens[1:]):
        return "the last sentence goes on to another number"
    if equals and _is_contradicted(head, value):
        return "the equations of the last sentence say different things"
    return value


def _value(text: str, token: re.Match[str], *, is_first: bool = False) -> Fraction | None:
    """A number's value, its sign included; None where it is malformed or a part of something larger.

    `is_first`: it opens a right-hand side, so a minus before it is a sign, whatever the spacing.
    """
    before, sign = text[: token.start()], ""
    if is_first:
        before, sign = "", before.strip(" ([").replace(" ", "")
    elif _SIGN.search(before):
        before, sign = before[:-1], before[-1]
    if _BEFORE.search(before[-40:]) or _AFTER.match(text, token.end()) or not _is_worked_out(token.group()):
        return None
    return parse_number(sign + token.group()) if len(sign) <= 1 else None


def _is_worked_out(text: str) -> bool:
    """Whether a fraction, if there is one, is in lowest terms: `3/4` is a value, `36/4` a division left undone."""
    fraction = _FRACTION.search(text)
    if fraction is None:
        return True
    return fraction[1].isdecimal() and int(fraction[2]) > 1 and gcd(int(fraction[1]), int(fraction[2])) == 1


def _is_contradicted(head: str, value: Fraction) -> bool:
    """Whether what stands before the last equals sign already equals something else.

    A left side that is a bare number must be `value`. Each earlier right-hand side must be `value`, be used in a
    later calculation, or run on into one (`3 + 4 = 7 - 2 = 5`).
    """
    parts = head.split("=")
    bare = _TOKEN.fullmatch(parts[0].strip())
    if bare and parse_number(bare.group()) != value:
        return True
    found = [list(_TOKEN.finditer(part)) for part in parts]
    later: set[Fraction | None] = {value}
    for part, tokens in zip(reversed(parts[1:]), reversed(found[1:]), strict=True):
        if not tokens:
            continue
        first, *rest = tokens
        later.update(parse_number(token.group()) for token in rest)
        runs_on = rest and _RUNS_ON.fullmatch(part, first.end(), rest[0].start())
        if not runs_on and parse_number(first.group()) not in later - {None}:
            return True
        later.add(parse_number(first.group()))
    return False
