r"""Finds the value that the last sentence of a completion states, for text without a committed answer.

Exactly one value is ever taken, and always from the end: the right-hand side of the last equation
(`so Leo has 2 x 9 = 18 pens.`), else the only number of the sentence. `stated` says why others state nothing.
"""

import re
from fractions import Fraction

from reasoner.verifiers.numerals import GROUPING, POWER, TOKEN, is_contradicted, parse_number, read_number

MAX_CHARS = 20_000  # characters from the end in which a last sentence is looked for
_WINDOW = 1_200  # characters from the end in which the last sentence is looked for
_MAX_SENTENCE = 400  # A longer one states nothing that a reader would call an answer

_DIGIT = re.compile(r"\d")
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
UNSURE = re.compile(
    r"[?<>≤≥≠≈~±\\]|!="
    r"|\b(?:or|either|neither|nor|not|cannot|never|maybe|perhaps|possibly|probably|likely|might|guess|unsure|about"
    r"|approximately|approx|roughly|nearly|almost|suppose|assum\w{1,4}|how many|how much|at least|at most|up to"
    r"|close to|(?:could|may) be|let'?s say)\b"
    r"|\b(?:reference|expected|gold|wrong|incorrect) answer\b|\b(?:if|whether) the (?:final |correct )?answer\b"
    r"|n['’]t\b|\b(?:around|between|ca\.?|say) \d|(?<=[\d -])ish\b"
    r"|\b(?:impossible|contradict\w*|however|too (?:big|small|large|little|much|many|few|high|low)"
    r"|must now|remains to|(?:is|was|be) (?:wrong|incorrect)|still (?:has|have|needs?) to"
    r"|(?:next|now),? (?:add|subtract|multiply|divide))\b"
    r"|\b(?:has|have|needs?) to (?:add|subtract|multiply|divide)\b|\bwould (?:be|have)\b.{0,60}\bif\b"
    r"|^\W*(?:so |then |now )?let (?:it|this|that|the \w+|[a-z])\s(?:be|equal|=)(?!.*\bthen\b)"
    r"|\b(?:has|have|needs?) to\W*$|\b(?:square|cube)d [a-z]|\bexcept\b|^\W*if\b(?!.*\bthen\b.*\d)",
    re.IGNORECASE,
)
_UNSOLVED = re.compile(
    r"(?:^|[A-Za-z:,]\s)x\s?[-+*/×÷]"
    r"|(?<!\w)[a-wyz]\s?[-+*/×÷]|[-+*/×÷]\s?[a-wyz](?!\w)|(?<![\w\d) ])\s?x\s?[-+*/×÷]|[-+*/÷]\s?x(?!\w)"
)
"""An unknown that is still reckoned with, left of the last equals sign: `x + 2 = 18` does not state 18."""
_IN_WORDS = re.compile(r"\d\s?\(([a-z]+(?:[- ][a-z]+)?)\)", re.IGNORECASE)
_SIGN = re.compile(r"(?:^|[\s(])[-+]$")
_BEFORE = re.compile(
    r"(?:[-+*/×÷^√]|(?:^|[\s\d)])x|\b(?:plus|minus|times|(?:divided|multiplied) by|over|under|above|below"
    r"|(?:more|less|fewer|greater|larger|bigger|smaller|higher|lower) than"
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
_SIGNS = str.maketrans({"\u2212": "-", "∙": "×", "·": "×", "⋅": "×", "⁄": "/", "\u00a0": " ", "\u202f": " ", "`": " "})
ANNOTATION = re.compile(r"<<[^<>\n]{0,200}>>")
_CURRENCY = re.compile(r"(?<![\d.,/])[$€£¥] ?")
_LATEX_FRAME = re.compile(r"\\(?:begin|end)\s?\{\w{1,20}\*?\}")
_LATEX_GROUP = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)\s?\{([^{}]{0,200})\}")
LATEX_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}]{0,60})\}\s?\{([^{}]{0,60})\}")
_LATEX = re.compile(r"\\([a-zA-Z]+|.)")
_LATEX_MEANS = {
    "times": "×", "cdot": "×", "ast": "×", "div": "÷", "%": "%", "$": "$", "\\": "\n", "newline": "\n",
    "(": " ", ")": " ", "[": " ", "]": " ", ",": " ", ";": " ", ":": " ", "!": "", " ": " ", "quad": " ", "qquad": " ",
    "left": " ", "right": " ", "displaystyle": " ",
}  # fmt: skip
_RULE = re.compile(r"[-=_*]{3,}$")
_EMPHASIS = re.compile(r"(?<![\w*)])\*([^*\s][^*\n]{0,80})\*(?![\w*(])")
_MARKER = re.compile(r"^(?:#{1,6} |[-*+•] (?=.*[A-Za-z=])|(?:step )?\d{1,2}[.):]+ (?=.*[A-Za-z=]))+", re.IGNORECASE)
"""A heading, a bullet or a list number before words or an equation. Before a bare number it stays: that is a list."""


def last_sentence(completion: str) -> str:
    r"""Returns the last sentence, freed of Markdown and LaTeX; empty where none begins within reach of the end.

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
    text = ANNOTATION.sub(" ", text).translate(_SIGNS).replace("{,}", ",")
    if "\\" in text:
        text = _LATEX_FRAME.sub(" ", text)
        text = _LATEX_GROUP.sub(r"\1", _LATEX_GROUP.sub(r"\1", text))  # \boxed{18 \text{ pens}}
        text = _LATEX.sub(lambda found: _LATEX_MEANS.get(found[1], found[0]), LATEX_FRACTION.sub(r" \1/\2 ", text))
        text = text.translate(GROUPING)
    if "*" in text:
        text = _EMPHASIS.sub(r"\1", POWER.sub("^", text).replace("**", ""))
    return _CURRENCY.sub("", text).replace("$", " ")


def stated(sentence: str) -> Fraction | str:
    """Returns the value that a sentence states, or why it states none."""
    if len(sentence) > _MAX_SENTENCE:
        return "the last sentence is too long to be an answer"
    if not _DIGIT.search(sentence):
        return "the last sentence has no number"
    body = sentence.rstrip(" \"'”’)]")
    if UNSURE.search(body) or _GOES_ON.search(body) or _GOES_ON.search(body.removesuffix(".")):
        return "the last sentence is a question, a hedge or unfinished"
    head, equals, tail = body.rpartition("=")
    tokens = list(TOKEN.finditer(tail))
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
    words = _IN_WORDS.search(tail)
    if words and (other := read_number(words[1], words=True)) and other.value != value:
        return "the last sentence says another number in words"
    if equals and _UNSOLVED.search(head):
        return "the last equation is not solved"
    if equals and is_contradicted(head, value):
        return "the equations of the last sentence say different things"
    return value


def _value(text: str, token: re.Match[str], *, is_first: bool = False) -> Fraction | None:
    """Returns a number's value, its sign included; None where it is malformed or a part of something larger.

    `is_first`: it opens a right-hand side, so a minus before it is a sign, whatever the spacing.
    """
    before, sign = text[: token.start()], ""
    if is_first:
        before, sign = "", before.strip(" ([").replace(" ", "")
    elif _SIGN.search(before):
        before, sign = before[:-1], before[-1]
    if _BEFORE.search(before[-40:]) or _AFTER.match(text, token.end()):
        return None
    return parse_number(sign + token.group()) if len(sign) <= 1 else None
