r"""Answer text -> tokens: unicode as LaTeX, then numbers, commands, words and operators, in order.

Everything is bounded before it is built: characters, tokens, digits. Nothing is dropped but white space, signs of
money and size commands: a formula of which a part was dropped is another formula.
"""

# ruff: noqa: SIM905  (lists of words are easier to read and to change as text)

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

from reasoner.verifiers.math.tree import TooLarge, Unreadable

MAX_CHARS = 3_000
MAX_TOKENS = 1_200
MAX_DIGITS = 1_000
MAX_EXPONENT = 100_000  # largest power of ten in computer notation (`1.5e3`)

_CHARACTERS = str.maketrans({
    "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-", "\ufe63": "-", "\uff0d": "-",
    "×": r"\times ", "✕": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "÷": r"\div ",
    "∗": "*", "⁄": "/", "∕": "/", "±": r"\pm ", "∓": r"\mp ", "√": r"\sqrt ", "∛": r"\sqrt[3] ", "π": r"\pi ",
    "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∖": r"\setminus ", "°": r"^\circ ", "º": r"^\circ ",
    "∅": r"\emptyset ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ",
    "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "σ": r"\sigma ", "…": r"\ldots ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "′": "'", "’": "'",
    "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,", "\u2062": "", "\u2061": "", "\u200b": "", "\ufeff": "",
} | {
    char: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", char).split("⁄")) for char in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
})  # fmt: skip
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n", strict=True))
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_STYLED = re.compile("[\U0001d400-\U0001d7ff\uff01-\uff5e]")


def ascii_math(text: str) -> str:
    """Unicode mathematics as LaTeX. A superscript stays a power: `4²` is `4^{2}`, never `42`."""
    if text.isascii():
        return text
    text = _RAISED.sub(lambda m: "^{" + "".join(_SUPERSCRIPTS[c] for c in m[0]) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + "".join(_SUBSCRIPTS[c] for c in m[0]) + "}", text)
    return _STYLED.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text.translate(_CHARACTERS))


_BLANK = re.compile(
    r"(?:\\?\$|[€£¥]|\\(?:euro|pounds)(?![A-Za-z])|\s|~|\\[,;:!> \n]|\\q?quad|\\(?:thinspace|enspace|displaystyle"
    r"|textstyle|limits|nolimits|left|right|[bB]igg?[lrm]?|mathord|mathopen|mathclose|hfill|noindent|par|nonumber|notag"
    r"|boxed|fbox|strut)(?![A-Za-z])\.?|\\[hv]space\*?\s*\{[^{}]{0,20}\}|\\(?:text)?color\s*\{[^{}]{0,20}\}"
    r"|\\(?:phantom|hphantom|label|tag)\s*(?:\{[^{}]{0,20}\}|[-+]))+"
)
_GROUPED = re.compile(r"\d{1,3}(?:(?:,\\!\s*|\{,\}|,?\\,|,\\ |\\ |\\;|\\:)\d{3})+(?!\d)")
_COMMAS = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)(?!,\d)")
_SPACED = re.compile(r"\d{1,3}(?: \d{3})+(?![\d/])")
_NUMBER = re.compile(r"(\d*)\.(\d*)\\overline\s*\{(\d+)\}|(\d+(?:\.\d+)?|\.\d+)(?:[eE]([+-]?\d{1,9})(?![\d.A-Za-z]))?")
_ORDINAL = re.compile(r"(?:st|nd|rd|th)(?![A-Za-z])")
_DECIMALS = re.compile(r"\.\d+")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|normal|up|md)?|mbox|hbox|math(?:rm|bf|it|sf|tt|cal|scr|frak)|operatorname\*?|emph"
    r"|bm|boldsymbol|mathop|rm|bf|underline)\s*\{"
)
_COMMAND = re.compile(r"\\([A-Za-z]+|[{}|%$&#_\\])\*?")
_WORD = re.compile(r"[A-Za-z]+")
_OPERATOR = re.compile(r"\*\*|<=|>=|!=|==|=|.", re.DOTALL)
_FRAME = re.compile(r"\s*\{(\w{1,20})\*?\}(?:\s*\{[lcr|@. ]*\})?")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_JOINED = re.compile(r"(or|and)(?=[A-Z])")
_CONDITION = re.compile(r"(if|for|when|where)\s(?=[^<>=]*[<>=])")
_UNIT_DRESS = re.compile(r"\\(?:text|mbox|mathrm)")
_DRESSED = re.compile(r"(?:[-+]?[$]?[\d.,]+%?|[A-Za-z]|\([A-Za-z]\))\Z|[-+(]?\s?[$]?\d")

_ALIASES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "leq": "le",
    "leqslant": "le", "geq": "ge", "geqslant": "ge", "neq": "ne", "lt": "<", "gt": ">",
    "thickapprox": "approx", "simeq": "approx", "sim": "approx", "doteq": "approx", "ast": "*", "star": "*",
    "times": "*", "cdot": "*", "cdotp": "*", "div": "/", "varnothing": "emptyset", "cupdot": "cup", "sqcup": "cup",
    "bigcup": "cup",
    "backslash": "setminus", "smallsetminus": "setminus", "degree": "circ", "lvert": "|", "rvert": "|", "vert": "|",
    "lVert": "|", "rVert": "|", "Vert": "|", "colon": ":", "ratio": ":", "lbrace": "{", "rbrace": "}",
    "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")", "ldots": "dots", "cdots": "dots", "dotsc": "dots",
    "dotsb": "dots", "arctg": "arctan", "tg": "tan", "ctg": "cot", "cosec": "csc", "varphi": "phi",
    "varepsilon": "epsilon", "vartheta": "theta", "land": "and", "wedge": "and", "lor": "or", "vee": "or", "prime": "'",
    "lnot": "not", "rightarrow": "to",
}  # fmt: skip
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln log lg exp gcd lcm"
    " max min floor ceil sgn det cis".split()
)
_PLAIN_FUNCTIONS = FUNCTIONS | {"sqrt", "abs", "asin", "acos", "atan", "cbrt"}


class Token(NamedTuple):
    """Is a piece of an answer; its kind is `num`, `cmd`, `word`, `text`, `op`, `begin` or `end`."""

    kind: str
    value: str
    is_spaced: bool = False  # whether white space stood before it


def tokens(text: str, *, commas: bool = True) -> list[Token]:
    """Returns the tokens of an answer; raises `TooLarge`, `Unreadable`.

    `commas`: whether `1,234` outside brackets is one number (inside, it never is).
    """
    if len(text) > MAX_CHARS:
        raise TooLarge(f"an answer of {len(text):,} characters")
    return _Tokenizer(text, commas).run()


class _Tokenizer:
    """Walks through a text once; each of its readers says whether it took something from `at`."""

    def __init__(self, text: str, commas: bool) -> None:
        self.text, self.commas = text, commas
        self.found: list[Token] = []
        self.at, self.depth, self.is_spaced = 0, 0, False

    def run(self) -> list[Token]:
        while self.at < len(self.text):
            if self.blank() or (self.text[self.at] == "\\" and (self.group() or self.command())):
                continue
            if not (self.number() or self.word()):
                self.operator()
        return self.found

    def add(self, kind: str, value: str, is_spaced: bool = False) -> None:
        self.found.append(Token(kind, value, self.is_spaced or is_spaced))
        self.is_spaced = False
        if len(self.found) > MAX_TOKENS:
            raise TooLarge("an answer of too many parts")

    def blank(self) -> bool:
        if space := _BLANK.match(self.text, self.at):
            self.at, self.is_spaced = space.end(), True
        return bool(space)

    def number(self) -> bool:
        text, at = self.text, self.at
        first = text[at + 1 : at + 2] if text[at] == "." else text[at] if text[at].isascii() else ""
        if not first.isdecimal():
            return False
        grouped = _GROUPED.match(text, at)
        if not grouped and self.commas and self.depth == 0:
            grouped = _COMMAS.match(text, at) or _SPACED.match(text, at)
        if grouped:
            digits = re.sub(r"\D", "", grouped[0])
            _check_digits(digits)
            decimals = _DECIMALS.match(text, grouped.end())
            self.at = decimals.end() if decimals else grouped.end()
            self.add("num", digits + (decimals[0] if decimals else ""))
        else:
            match = _NUMBER.match(text, at)
            assert match is not None
            self.at = match.end()
            self.add("num", _plain_number(match))
        if ordinal := _ORDINAL.match(text, self.at):
            self.at = ordinal.end()
        return True

    def group(self) -> bool:
        r"""Takes `\text{…}` and its like: a connective, a number in dress, a symbol, or words."""
        group = _TEXT.match(self.text, self.at)
        if not group:
            return False
        end = _balanced(self.text, group.end() - 1)
        if end is None:
            raise Unreadable("a brace is not closed")
        self.at = end
        plain = " ".join(self.text[group.end() : end - 1].replace("~", " ").replace(r"\ ", " ").split())
        bare = plain.strip(" ,.:;")
        is_after_value = bool(self.found) and (self.found[-1].kind == "num" or self.found[-1].value in (")", "}"))
        if bare.lower() in ("or", "and", "to"):
            self.add("word", bare.lower())
        elif bare.lower() == "and/or":
            self.add("word", "and")
        elif not bare:
            if "," in plain:
                self.add("op", ",")
        elif condition := _CONDITION.match(bare):
            self.add("text", condition[1])
            for token in tokens(bare[condition.end() :], commas=self.commas):
                self.add(*token)
        elif is_after_value and len(bare) == 1 and bare in "mgshlLNJWVKCF" and _UNIT_DRESS.match(group[0]):
            self.add("text", plain)
        elif _DRESSED.match(bare) or "\\" in bare:
            for token in tokens(bare, commas=self.commas):
                self.add(*token)
        elif bare in (_PLAIN_FUNCTIONS if "operatorname" in group[0] else FUNCTIONS) and not (
            is_after_value and bare in ("sec", "min")
        ):
            self.add("cmd", bare)
        else:
            self.add("text", plain)
        return True

    def command(self) -> bool:
        command = _COMMAND.match(self.text, self.at)
        if not command:
            return False
        name = _ALIASES.get(command[1], command[1])
        self.at = command.end()
        self.depth += (name in ("(", "[", "{", "begin")) - (name in (")", "]", "}", "end"))
        if name in ("<", ">", "|", ":", "*", "/", "[", "]", "(", ")", "'"):
            self.add("op", name)
        elif name in ("and", "or"):
            self.add("word", name)
        elif name in ("imath", "jmath"):
            self.add("word", name[0])
        elif name in ("begin", "end"):
            frame = _FRAME.match(self.text, self.at)
            if not frame:
                raise Unreadable(f"\\{name} without a name")
            self.at = frame.end()
            self.add(name, frame[1])
        else:
            self.add("cmd", "\\\\" if name == "\\" else name)
        return True

    def word(self) -> bool:
        """Takes a run of letters: a function, a constant, a connective, a symbol, or a word."""
        word = _WORD.match(self.text, self.at)
        if not word:
            return False
        self.at = word.end()
        letters = word[0]
        if joined := _JOINED.match(letters):
            self.add("word", joined[0])
            letters = letters[joined.end() :]
        if letters == "infty" or letters.lower() in ("infinity", "inf"):
            self.add("cmd", "infty")
        elif letters == "pi" or letters in _PLAIN_FUNCTIONS:
            self.add("cmd", {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}.get(letters, letters))
        else:
            self.add("word", letters)
        return True

    def operator(self) -> None:
        operator = _OPERATOR.match(self.text, self.at)
        assert operator is not None
        self.at = operator.end()
        self.depth += (operator[0] in "([") - (operator[0] in ")]")
        self.add("op", {"<=": "le", ">=": "ge", "!=": "ne", "==": "=", "**": "^"}.get(operator[0], operator[0]))


def _plain_number(match: re.Match[str]) -> str:
    """Returns a number as `Fraction` takes it; the digits under a bar repeat for ever."""
    _check_digits(match[0])
    if match[3] is not None:
        whole, fixed, period = match[1] or "0", match[2], match[3]
        value = Fraction(int(whole + fixed + period) - int(whole + fixed), 10 ** len(fixed) * (10 ** len(period) - 1))
        return str(value)
    if match[5] is None:
        return match[4]
    if abs(int(match[5])) > MAX_EXPONENT:
        raise TooLarge(f"a number with the exponent {match[5]}")
    return f"{match[4]}e{match[5]}"


def _check_digits(text: str) -> None:
    if len(text) > MAX_DIGITS:
        raise TooLarge(f"a number of {len(text)} digits")


def _balanced(text: str, at: int) -> int | None:
    r"""Returns the end of the braced group that opens at `at`; `\{` and `\}` do not count. None: it does not close."""
    depth = 0
    for brace in _BRACE.finditer(text, at):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.end()
    return None
