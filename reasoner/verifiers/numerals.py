r"""Reads one number out of a text that is nothing else; exact, never floating point.

It takes what people write for a number: `18`, `-1,234.50`, `$18.00`, `5 apples`, `3/4`, `1\frac{1}{2}`, `½`,
`1.5 \times 10^3`, `1.8 billion`, and the value of an equation (`x = 5`, `9 * 2 = 18`). It refuses what is not one
number, worked out: hedges, ranges, lists, `36/4`, `4²`, `2x = 10`. It does not find a number within prose.
"""

# ruff: noqa: SIM905  (lists of words are easier to read and to change as text)

import re
import unicodedata
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd

MAX_DIGITS = 40
MAX_EXPONENT = 400
MAX_SPAN = 200  # longest text that is read as a number, in characters
MAX_UNIT_WORDS = 8


@dataclass(frozen=True)
class Number:
    """Holds an exact value, how it is written (`integer`, `rational`, `decimal`), and its unit (`%`, `apple`)."""

    value: Fraction
    type: str
    unit: str = ""


def parse_number(text: str) -> Fraction | None:
    """Returns the value of `read_number`."""
    found = read_number(text)
    return found.value if found else None


def read_number(text: str, *, words: bool = False) -> Number | None:
    r"""Reads the one number that `text` is, exactly; None for anything else, hedges and lists included.

    `words`: a number in English words counts too.

    >>> read_number(r"\$1{,}200.50 \text{ dollars}")
    Number(value=Fraction(2401, 2), type='decimal', unit='dollar')
    >>> [str(parse_number(text)) for text in ("9 * 2 = 18", r"-1\frac{1}{2}", "1.5 × 10³", "1.8 billion", "½")]
    ['18', '-3/2', '1500', '1800000000', '1/2']
    >>> [parse_number(text) for text in ("36/4", "12,34", "4²", "5 or 6", "18-20", "18 dozen", "3:45", "2x = 10")]
    [None, None, None, None, None, None, None, None]
    """
    text = text.strip()
    if len(text) > MAX_SPAN:
        return None
    plain = PLAIN.fullmatch(text)
    if plain:
        found = _number(text.replace(",", "").replace("$", ""))
        return found and replace(found, unit="dollar" if "$" in text else "")
    if not text.isascii():
        text = _ascii(text)
    if "\\" in text or "{" in text:
        text = _unlatex(text)
    if "**" in text:
        text = POWER.sub("^", text)
    if text[:1] == text[-1:] == "*":
        text = text.strip("*")
    text = " ".join(text.strip(" \t\n_`\"'“”").split()).removesuffix(".").rstrip()
    if said := _IN_WORDS.fullmatch(text):  # 18 (eighteen)
        text = said[1] if parse_number(_digits_for_words(said[2])) == parse_number(said[1]) else text
    if text[:1] == "(" and text[-1:] == ")" and "(" not in text[1:]:
        text = text[1:-1].strip()
    if words:
        text = _digits_for_words(text)
    if not text or _REFUSED.search(text):
        return None
    head, equals, right = text.rpartition("=")
    if not equals:
        return _read(text)
    value = _read(right.strip(" $"))
    if value is None and _NAME.fullmatch(right):  # 5 = x
        return _read(head.strip(" $"))
    if value is None or not all(_is_left_side(part) for part in head.split("=")) or is_contradicted(head, value.value):
        return None
    return value


PLAIN = re.compile(r"[-+]?\$?(?:[1-9][0-9]{0,2}(?:,[0-9]{3}){1,12}|[0-9]{1,20})(?:\.[0-9]{1,20})?")
_REFUSED = re.compile(
    r"[<>≤≥≠≈≃≅~±∓!?;|∞…\\\"@#&\[\]{}]|\.\.|--"
    r"|\b(?:or|and|to|about|around|approximately|approx|roughly|nearly|almost|maybe|perhaps|possibly|probably|between|not"
    r"|either|neither|nor|never|isn['’]t|than|if|unless|but|except|is|are|was|were|be|wrong|incorrect|guess|think|unsure"
    r"|wait|actually|no)\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"(?:(?:exactly|equal to|a total of|just|only) )?"
    r"(?P<sign>[-+]|negative |minus )? ?(?P<currency>(?:US|A|C)?\$|[€£¥₹]|(?:USD|EUR|GBP|Rs\.?) )? ?(?P<sign2>[-+])? ?"
    r"(?:(?P<whole>[0-9]{1,40}) (?P<part>[0-9]{1,3}/[0-9]{1,3})"
    r"|(?P<over>[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]{1,40}) ?/ ?(?P<under>-?[0-9]{1,40})"
    r"|(?P<power>10\^ ?-?[0-9]{1,4})"
    r"|(?P<digits>(?:[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)|[0-9]{1,40})?(?:\.[0-9]{1,40})?)"
    r"(?P<scale>[eE][-+]?[0-9]{1,4}| ?[×*xX] ?10 ?\^ ?-?[0-9]{1,4})?)"
    r"(?![0-9.,]|[eE][-+]?[0-9])(?P<rest>.*)"
)
_MONEY = {"$": "dollar", "US$": "dollar", "USD": "dollar", "€": "euro", "EUR": "euro", "£": "pound", "GBP": "pound"}
_IN_WORDS = re.compile(r"([-+$€£]{0,2}[\d,.]{1,20}) ?\(([A-Za-z][A-Za-z -]{1,60})\)")
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def _read(text: str) -> Number | None:
    amount = _AMOUNT.fullmatch(text)
    if not amount or (amount["sign"] and amount["sign2"]):
        return None
    if amount["part"]:
        over, under = map(int, amount["part"].split("/"))
        part = _fraction(over, under) if over < under else None
        found = part and Number(int(amount["whole"]) + part.value, "rational")
    elif amount["under"]:
        found = _fraction(int(amount["over"].replace(",", "")), int(amount["under"]))
    elif amount["power"]:
        found = _number("1", int(amount["power"][3:]))
    elif amount["digits"]:
        exponent = re.split(r"[eE^]", amount["scale"])[-1] if amount["scale"] else "0"
        found = _number(amount["digits"].replace(",", "").replace(" ", ""), int(exponent))
    else:
        return None
    if found is None:
        return None
    value, kind, rest = found.value, found.type, amount["rest"]
    word, _, more = rest.strip().partition(" ")
    if word.lower() in _SCALES:
        value *= _SCALES[word.lower()]
        kind, rest = "integer" if value.denominator == 1 else "decimal", more and f" {more}"
    unit = _unit(rest, is_money=bool(amount["currency"])) if rest else ""
    if amount["currency"] and unit is not None:
        unit = _MONEY.get(amount["currency"].strip(" ."), unit)
    is_negative = (amount["sign"] or amount["sign2"] or "+")[0] in "-nm"
    return None if unit is None else Number(-value if is_negative else value, kind, unit)


def _number(digits: str, exponent: int = 0) -> Number | None:
    if sum(map(str.isdecimal, digits)) > MAX_DIGITS or abs(exponent) > MAX_EXPONENT:
        return None
    value = Fraction(digits) * Fraction(10) ** exponent
    return Number(value, "integer" if value.denominator == 1 else "decimal")


def _fraction(over: int, under: int) -> Number | None:
    """Takes a fraction in lowest terms only; anything else is a division left undone."""
    if abs(under) < 2 or gcd(over, under) != 1:
        return None
    return Number(Fraction(over, under), "rational")


# -- units --------------------------------------------------------------------------------------

_UNIT = re.compile(r"(?: ?[A-Za-zµμΩ°%$¢€£¥₹]| ?\(|/ ?[A-Za-z])[A-Za-z0-9µμΩ°%$¢€£¥₹ /.()·^,'’-]{0,60}")
_UNIT_SPLIT = re.compile(r"[ /.()·,-]+")
_UNIT_WORD = re.compile(r"(?:[A-Za-zµμΩ°'’]+|°[CF])(?: ?\^ ?-?[1-4])?")
_FORMULA = re.compile(r"[A-Z][A-Za-z]?[0-9][A-Za-z0-9]*|[A-Z][A-Za-z]+[0-9]")
"""`CO2`, `H2O`: only after another word, so that no digit of them is near the number."""
_ONE_LETTER = frozenset("aghlmstACFJLNVWΩ°")
_GLUED_LETTER = frozenset("ghlmsL°")  # next to the number, `5t` is a term rather than tons
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen".split()
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NUMBER_WORDS = {word: i for i, word in enumerate(ONES)} | {word: 10 * i for i, word in enumerate(TENS, start=2)}
_NO_UNIT = NUMBER_WORDS.keys() | set(
    """
    dozen dozens hundred hundreds thousand thousands million millions billion billions trillion lakh crore k mn bn mil
    half halves third thirds fourth fourths fifth fifths sixth sixths seventh eighth eighths ninth tenth tenths
    hundredth hundredths thousandth thousandths squared cubed factorial plus minus divided multiplied times over mod
    modulo choose pi sqrt below under above squareroot root inf infinity nan st nd rd th point etc ish something false
    """.split()
)
_DEGREES = frozenset(("degree", "degrees", "deg"))
_MONEY_SCALES = frozenset(("m", "b", "t", "mm", "bn", "mn", "mil"))
_TIMES = re.compile(r" times(?: (?:as|more|larger|bigger|longer|older|faster|a|per|each|that|the)\b[^0-9]*)?$")


def _unit(rest: str, *, is_money: bool = False) -> str | None:
    """Reads the unit that follows a number, reduced (`pens` to `pen`); None where it is no unit."""
    if not _UNIT.fullmatch(rest):
        return None
    if _TIMES.match(rest):
        return "time"
    text = rest.strip()
    percent = ""
    if text[0] == "%" or re.match(r"(?:per ?cent|pct)\b", text, re.IGNORECASE):
        percent, text = "%", text[1:] if text[0] == "%" else text.partition("t")[2]
    text = text.lstrip(" $¢€£¥₹")
    text = re.sub(r"\b[ap]\.?m\b\.?", "", text, flags=re.IGNORECASE)
    words = [word for word in _UNIT_SPLIT.split(re.sub(r" ?\^ ?", "^", text)) if word]
    for i, word in enumerate(words):
        name = word.partition("^")[0]
        if not (_UNIT_WORD.fullmatch(word) or (i > 0 and _FORMULA.fullmatch(word))) or name.lower() in _NO_UNIT:
            return None
        if len(name) == 1 and name not in (_GLUED_LETTER if rest[0] != " " and i == 0 else _ONE_LETTER):
            return None
        if is_money and name.lower() in _MONEY_SCALES:
            return None
    if len(words) > MAX_UNIT_WORDS or words == ["a"]:
        return None
    return percent or " ".join("°" if word in _DEGREES else word.lower().removesuffix("s") for word in words)


# -- equations ----------------------------------------------------------------------------------
TOKEN = re.compile(r"(?:\d+(?:[.,]\d+)*|\.\d+)(?:/\d+(?:[.,]\d+)*)*")  # maybe a number; `parse_number` decides

_RUNS_ON = re.compile(r"[^,;:]*?(?:[*/×÷^]|(?<![^\s\d)])[-+x](?![^\s(]))[^,;:]*")
"""Between a right-hand side and the next number where the one is calculated with at once: ` pens - `."""


_GROUPING_COMMA = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_CALL = re.compile(r"^ ?[A-Za-z]\w{0,20} ?\([^()=]{0,40}\) ?$")
_NAME = re.compile(r" ?[A-Za-z](?:_?[0-9])? ?")
_SUBSCRIPT = re.compile(r"(?<=[A-Za-z])_?[0-9]{1,2}(?![0-9])")
_LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_TIMES_X = re.compile(r"(?<=[0-9A-Za-z)]) ?[xX] ?(?=[0-9($€£.])")


def _is_left_side(text: str) -> bool:
    """Says whether this may stand before an equals sign: a name (`x`, `f(2)`, `total cost`) or a calculation."""
    if "," in _GROUPING_COMMA.sub("", text):
        return False
    if _CALL.match(text):
        return True
    text = _SUBSCRIPT.sub("", text)
    if not any(map(str.isdecimal, text)):
        return True
    return all(letter in _ONE_LETTER for letter in _LETTER.findall(_TIMES_X.sub(" * ", text)))


def is_contradicted(head: str, value: Fraction) -> bool:
    """Says whether what stands before the last equals sign already equals something else.

    A left side that is a bare number must be `value`. Each earlier right-hand side must be `value`, be used in a
    later calculation, or run on into one (`3 + 4 = 7 - 2 = 5`).
    """
    parts = head.split("=")
    bare = TOKEN.fullmatch(parts[0].strip())
    if bare and value_of_token(bare.group()) != value:
        return True
    found = [list(TOKEN.finditer(part)) for part in parts]
    later: set[Fraction | None] = {value}
    for part, tokens in zip(reversed(parts[1:]), reversed(found[1:]), strict=True):
        if not tokens:
            continue
        first, *rest = tokens
        later.update(value_of_token(token.group()) for token in rest)
        runs_on = rest and _RUNS_ON.fullmatch(part, first.end(), rest[0].start())
        if not runs_on and value_of_token(first.group()) not in later - {None}:
            return True
        later.add(value_of_token(first.group()))
    return False


def value_of_token(text: str) -> Fraction | None:
    """Reads as `parse_number` does, but `36/2` on a left-hand side is the 18 it comes to."""
    over, slash, under = text.partition("/")
    if not slash or not under.isdecimal() or int(under) == 0:
        return parse_number(text)
    value = parse_number(over)
    return None if value is None else value / int(under)


# -- characters ---------------------------------------------------------------------------------
POWER = re.compile(r"(?<=\d)\*\*(?=\d)")
GROUPING = str.maketrans("{}&", "   ")

_CHARACTERS = {
    "\u2212": "-", "\uff0d": "-", "\ufe63": "-", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\uff0b": "+",
    "\uff0e": ".", "\uff0c": ",", "\uff0f": "/", "\u2044": "/", "\u2215": "/", "\uff05": "%", "\uff1d": "=",
    "\uff04": "$", "\uffe5": "¥", "\uffe1": "£", "\uff08": "(", "\uff09": ")", "·": "×", "⋅": "×", "∙": "×",
    "✕": "×", "╳": "×", "\u2007": " ", "\u2008": " ", "\u2009": " ", "\u200a": " ", "\u202f": " ",
    "\u00a0": " ", "\u205f": " ", "\u3000": " ",
} | {char: f" {unicodedata.normalize('NFKC', char).replace('⁄', '/')} " for char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}  # fmt: skip
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")


def _ascii(text: str) -> str:
    """Digits of other scripts and styles as digits, known signs as theirs; `4²` as `4^2`; the rest as it is.

    Not compatibility folding: that makes `42` of `4²`.
    """
    text = _RAISED_RUN.sub(lambda run: "^" + run.group().translate(_RAISED), text)
    return "".join(
        str(unicodedata.decimal(char)) if char.isdecimal() else _CHARACTERS.get(char, char) for char in text
    ).strip("\ufeff\u200b\u2060 ")


_TEX_SPACE = re.compile(r"\\(?:[,;: ]|q?quad\b)|(?<=[^\s\\~])~|\\\\\s*$")
_TEX_DROP = re.compile(
    r"\\(?:displaystyle|textstyle|left|right|bf|rm|it|tt|boldmath|Large|large|huge)(?![A-Za-z])|\\[()\[\]]"
    r"|\\(?:text)?color\s?\{[A-Za-z0-9!]{1,20}\}"
)
_TEX_FRAME = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox|boldsymbol|bm|emph|underline"
    r"|boxed|fbox|operatorname)\s?\{([^{}]*)\}"
)
_TEX_FRACTION = re.compile(
    r"\\[dtc]?frac\s?(?:\{\s*(-?[0-9,]+)\s*\}|([0-9]))\s?(?:\{\s*(-?[0-9]+)\s*\}|([0-9]))"
    r"|\{\s*(-?[0-9]+)\s*\\over\s*(-?[0-9]+)\s*\}"
)
_TEX_RAISED = re.compile(r"\^\s?\{\s*(-?[0-9]+)\s*\}")
_TEX_DEGREES = re.compile(r"\s?\^\s?(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])")
_TEX_SIGNS = re.compile(r"\\(times|cdot|ast|div|pounds|euro|yen|\$|%|#)(?![A-Za-z])")
_TEX_SIGN_OF = {"times": "×", "cdot": "×", "ast": "*", "div": "÷", "pounds": "£", "euro": "€", "yen": "¥"}


def _unlatex(text: str) -> str:
    text = text.replace("{,}", ",")
    text = _TEX_DROP.sub(" ", _TEX_SPACE.sub(" ", text.replace("\\!", "")))
    text = _TEX_DEGREES.sub("°", _TEX_RAISED.sub(r"^\1", text))
    for _ in range(3):
        text = _TEX_FRAME.sub(r" \1 ", text)
    text = _TEX_FRACTION.sub(lambda found: " {}/{} ".format(*(group for group in found.groups() if group)), text)
    text = _TEX_SIGNS.sub(lambda found: _TEX_SIGN_OF.get(found[1], found[1]), text)
    return text.translate(GROUPING).strip(" $")


# -- words --------------------------------------------------------------------------------------

_WORDS = re.compile(
    rf"(?P<sign>negative |minus )?(?P<words>(?:{'|'.join(NUMBER_WORDS)}|a(?= (?:hundred|thousand|million)))"
    rf"(?:[ -]+(?:and )?(?:{'|'.join([*NUMBER_WORDS, *_SCALES])})\b)*)(?![\w-])(?! of\b)",
    re.IGNORECASE,
)


def _digits_for_words(text: str) -> str:
    """Writes a number in words at the beginning in digits: `forty-two pens` to `42 pens`."""
    found = _WORDS.match(text)
    value = _value_of_words(found["words"].lower()) if found else None
    if not found or value is None:
        return text
    return f"{'-' if found['sign'] else ''}{value}{text[found.end() :]}"


def _value_of_words(words: str) -> int | None:
    """Returns None where the words are no number: `two three`, `twenty twelve`."""
    total, group, last = 0, 0, 10**15
    for word in words.replace("-", " ").split():
        if word in NUMBER_WORDS:
            value = NUMBER_WORDS[word]
            fits = group == 0 or (group % 100 == 0 and value) or (group % 100 >= 20 and group % 10 == 0 < value < 10)
            if not fits or (value == 0 and words != "zero"):
                return None
            group += value
        elif word == "a":
            group = 1
        elif word == "hundred":
            if not 0 < group < 10:
                return None
            group *= 100
        elif word in _SCALES:
            if not group or _SCALES[word] >= last:
                return None
            last = _SCALES[word]
            total, group = total + group * last, 0
    return total + group
