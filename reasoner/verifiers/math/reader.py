r"""Answer text -> tree: a reader of LaTeX and plain mathematics that never evaluates anything.

The tree is made of tuples, the first item its kind:

    num value | sym name | inf sign | text words | based digits base | time text | ratio items…
    add items… | neg a | mul items… | div a b | pow a b | root a n | fact a | abs a | pm a b | mp a b
    fn name args… | app name args… | deg a | pct a | unit a name
    seq open close items… | set items… | list items… | union items… | matrix kind rows… | rel (ops…) sides…
    given answer parameter set | where condition (a set of real numbers) | builder head condition (another set)
    big name variable low high body (a sum or product) | opaque text (unread)

Everything is bounded before it is built: characters, tokens, nesting, digits. Over a bound, `TooLarge` is raised;
for what is no mathematics, `Unreadable`. Commands it does not know are refused, never skipped: a formula of which a
part was dropped is another formula.
"""

# ruff: noqa: SIM905  (lists of words are easier to read and to change as text)

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

MAX_CHARS = 3_000
MAX_TOKENS = 1_200
MAX_DEPTH = 40
MAX_DIGITS = 1_000
MAX_EXPONENT = 100_000
"""Largest power of ten in computer notation (`1.5e3`)."""

Node = tuple[Any, ...]


class Unreadable(ValueError):
    """Not an answer that can be read as mathematics."""


class TooLarge(ValueError):
    """A bound was hit: there is no verdict."""


# -- characters ----------------------------------------------------------------------------------

_CHARACTERS = {
    "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-", "\ufe63": "-", "\uff0d": "-",
    "×": r"\times ", "✕": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "÷": r"\div ",
    "∗": "*", "⁄": "/", "∕": "/", "±": r"\pm ", "∓": r"\mp ", "√": r"\sqrt ", "∛": r"\sqrt[3] ", "π": r"\pi ",
    "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∖": r"\setminus ", "°": r"^\circ ", "º": r"^\circ ",
    "∅": r"\emptyset ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ",
    "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "σ": r"\sigma ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}", "…": r"\ldots ", "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
    "⌈": r"\lceil ", "⌉": r"\rceil ", "′": "'", "’": "'", "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,",
    "\u2062": "", "\u2061": "", "\u200b": "", "\ufeff": "",
}  # fmt: skip
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n", strict=True))
_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5),
    "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")


def ascii_math(text: str) -> str:
    """Unicode mathematics as LaTeX. A superscript stays a power: `4²` is `4^{2}`, never `42`."""
    if text.isascii():
        return text
    text = _RAISED.sub(lambda m: "^{" + "".join(_SUPERSCRIPTS[c] for c in m[0]) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + "".join(_SUBSCRIPTS[c] for c in m[0]) + "}", text)
    out = []
    for c in text:
        if c in _CHARACTERS:
            out.append(_CHARACTERS[c])
        elif c in _VULGAR:
            out.append("\\frac{{{}}}{{{}}}".format(*_VULGAR[c]))
        elif "\U0001d400" <= c <= "\U0001d7ff" or "\uff01" <= c <= "\uff5e":
            out.append(unicodedata.normalize("NFKC", c))
        else:
            out.append(c)
    return "".join(out)


# -- tokens --------------------------------------------------------------------------------------

_SPACE = re.compile(
    r"(?:\s|~|\\[,;:!> \n]|\\q?quad|\\(?:thinspace|enspace|displaystyle|textstyle|limits|nolimits|left|right"
    r"|[bB]igg?[lrm]?"
    r"|mathord|mathopen|mathclose|hfill|noindent|par|nonumber|notag|boxed|fbox|strut)(?![A-Za-z])\.?"
    r"|\\[hv]space\*?\s*\{[^{}]{0,20}\}|\\(?:text)?color\s*\{[^{}]{0,20}\}|\\(?:phantom|hphantom|label|tag)\s*(?:\{[^{}]{0,20}\}|[-+]))+"
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
_MONEY = re.compile(r"\\?\$|[€£¥]|\\(?:euro|pounds)(?![A-Za-z])")

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
    "imath": "i", "lnot": "not", "rightarrow": "to",
}  # fmt: skip
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln log lg exp gcd lcm"
    " max min floor ceil sgn det".split()
)
_PLAIN_FUNCTIONS = FUNCTIONS | {"sqrt", "abs", "asin", "acos", "atan", "cbrt"}
_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega"
    " Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega ell hbar".split()
)
_NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
        " seventeen eighteen nineteen".split()
    )
} | {w: 10 * (i + 2) for i, w in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())}
_TENS = re.compile(
    r"(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[- ](one|two|three|four|five|six|seven|eight|nine))?"
)
_SCALES = frozenset(
    "dozen dozens score hundred hundreds thousand thousands million millions billion billions trillion trillions k"
    " hundredth hundredths tenth tenths thousandth thousandths half halves third thirds quarter quarters squared cubed"
    " factorial percentage base mod modulo".split()
)
_POWERS = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NO_UNIT = frozenset(
    "or and not nor either neither maybe about around approximately between to than less more least most if unless plus"
    " minus times over is are was no none any nan null undefined true false infinity unknown where when for but so"
    " all".split()
)
_UNITS = {
    "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km",
    "millimeter": "mm", "millimetre": "mm", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd",
    "mile": "mi", "gram": "g", "kilogram": "kg", "pound": "lb", "lb": "lb", "ounce": "oz", "second": "s", "sec": "s",
    "minute": "min", "min": "min", "hour": "h", "hr": "h", "day": "day", "week": "week", "month": "month",
    "year": "year", "yr": "year", "liter": "l", "litre": "l", "milliliter": "ml", "dollar": "$", "cent": "cent",
    "euro": "€", "unit": "unit",
    "square": "square", "sq": "square", "cubic": "cubic", "radian": "rad", "rad": "rad", "mph": "mi/h", "kph": "km/h",
}  # fmt: skip
_SHORT_UNITS = frozenset(
    "cm mm km kg mg ml ft in yd mi lb lbs oz mph kph hr hrs min mins sec secs inches feet units pct".split()
)

Token = tuple[str, str, bool]
"""Kind (`num`, `cmd`, `word`, `text`, `op`), value, and whether white space stood before it."""


def tokens(text: str, *, commas: bool = True) -> list[Token]:
    """The tokens of an answer. `commas`: whether `1,234` outside brackets is one number (inside, it never is)."""
    if len(text) > MAX_CHARS:
        raise TooLarge(f"an answer of {len(text):,} characters")
    found: list[Token] = []
    at, depth, spaced = 0, 0, False

    def add(kind: str, value: str, is_spaced: bool = False) -> None:
        nonlocal spaced
        found.append((kind, value, spaced or is_spaced))
        spaced = False
        if len(found) > MAX_TOKENS:
            raise TooLarge("an answer of too many parts")

    while at < len(text):
        if money := _MONEY.match(text, at):
            at = money.end()
            spaced = True
            continue
        if space := _SPACE.match(text, at):
            at, spaced = space.end(), True
            continue
        if (text[at].isdecimal() and text[at].isascii()) or (text[at] == "." and text[at + 1 : at + 2].isdecimal()):
            at = _number(text, at, commas and depth == 0, add)
            ordinal = _ORDINAL.match(text, at)
            at = ordinal.end() if ordinal else at
            continue
        if group := _TEXT.match(text, at):
            end = balanced(text, group.end() - 1)
            if end is None:
                raise Unreadable("a brace is not closed")
            is_after_value = bool(found) and (found[-1][0] == "num" or found[-1][1] in (")", "}"))
            _words(text[group.end() : end - 1], text[at : group.end()], commas, is_after_value, add)
            at = end
            continue
        if command := _COMMAND.match(text, at):
            name = _ALIASES.get(command[1], command[1])
            at = command.end()
            if name in ("\\",):
                add("cmd", "\\\\")
            elif name in ("<", ">", "|", ":", "*", "/", "[", "]", "(", ")", "'"):
                depth += (name in "([") - (name in ")]")
                add("op", name)
            elif name in ("and", "or"):
                add("word", name)
            elif name in ("{", "}"):
                depth += 1 if name == "{" else -1
                add("cmd", name)
            elif name == "begin" or name == "end":
                frame = re.compile(r"\s*\{(\w{1,20})\*?\}(?:\s*\{[lcr|@. ]*\})?").match(text, at)
                if not frame:
                    raise Unreadable(f"\\{name} without a name")
                depth += 1 if name == "begin" else -1
                at = frame.end()
                add(name, frame[1])
            else:
                add("cmd", name)
            continue
        if word := _WORD.match(text, at):
            _bare(word[0], add)
            at = word.end()
            continue
        operator = _OPERATOR.match(text, at)
        assert operator is not None
        depth += (operator[0] in "([") - (operator[0] in ")]")
        add("op", {"<=": "le", ">=": "ge", "!=": "ne", "==": "=", "**": "^"}.get(operator[0], operator[0]))
        at = operator.end()
    return found


def _number(text: str, at: int, commas: bool, add: Any) -> int:
    """One number from `at`; where it ends."""
    grouped = _GROUPED.match(text, at) or (commas and (_COMMAS.match(text, at) or _SPACED.match(text, at))) or None
    if grouped:
        digits = re.sub(r"\D", "", grouped[0])
        decimals = _DECIMALS.match(text, grouped.end())
        end = decimals.end() if decimals else grouped.end()
        _check_digits(digits)
        add("num", digits + (decimals[0] if decimals else ""))
        return end
    match = _NUMBER.match(text, at)
    assert match is not None
    _check_digits(match[0])
    if match[3] is not None:
        whole, fixed, period = match[1] or "0", match[2], match[3]
        value = Fraction(int(whole + fixed + period) - int(whole + fixed), 10 ** len(fixed) * (10 ** len(period) - 1))
        add("num", str(value))
    elif match[5] is not None:
        if abs(int(match[5])) > MAX_EXPONENT:
            raise TooLarge(f"a number with the exponent {match[5]}")
        add("num", f"{match[4]}e{match[5]}")
    else:
        add("num", match[4])
    return match.end()


def _check_digits(text: str) -> None:
    if len(text) > MAX_DIGITS:
        raise TooLarge(f"a number of {len(text)} digits")


def _words(content: str, command: str, commas: bool, is_after_value: bool, add: Any) -> None:
    """The content of `\\text{…}` and its like: a connective, a number in dress, a symbol, or words."""
    plain = " ".join(content.replace("~", " ").replace(r"\ ", " ").split())
    bare = plain.strip(" ,.:;")
    lowered = bare.lower()
    if lowered in ("or", "and", "to"):
        add("word", lowered)
    elif lowered in ("and/or", ", and", ", or"):
        add("word", "and")
    elif not bare:
        if "," in plain:
            add("op", ",")
    elif is_after_value and len(bare) == 1 and bare in "mgshlLNJWVKCF" and re.match(r"\\(?:text|mbox|mathrm)", command):
        add("text", plain)
    elif (
        re.fullmatch(r"[-+]?[$]?[\d.,]+%?|[A-Za-z]|\([A-Za-z]\)", bare)
        or "\\" in bare
        or re.match(r"[-+(]?\s?[$]?\d", bare)
    ):
        for token in tokens(bare, commas=commas):
            add(*token)
    elif bare in (_PLAIN_FUNCTIONS if "operatorname" in command else FUNCTIONS) and not is_after_value:
        add("cmd", bare)
    else:
        add("text", plain)


def _bare(word: str, add: Any) -> None:
    """A run of letters: a function, a constant, a connective, a symbol, or a word."""
    joined = re.match(r"(or|and)(?=[A-Z])", word)
    if joined:
        add("word", joined[0])
        word = word[joined.end() :]
    if word in ("pi", "infty"):
        add("cmd", word)
    elif word.lower() in ("infinity", "inf"):
        add("cmd", "infty")
    elif word in _PLAIN_FUNCTIONS:
        add("cmd", {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}.get(word, word))
    else:
        add("word", word)


def balanced(text: str, at: int) -> int | None:
    """The end of the braced group that opens at `at`; None where it does not close. `\\{` and `\\}` do not count."""
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, at):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
            if depth == 0:
                return brace.end()
    return None


# -- the parser ----------------------------------------------------------------------------------

_RELATIONS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~", "in": "in", "equiv": "="}
_CLOSES = {"(": ")", "[": "]"}
_END: Token = ("end", "", False)


class _Parser:
    def __init__(self, found: Sequence[Token]) -> None:
        self.tokens = list(found)
        self.at = 0
        self.depth = 0
        self.bars = 0

    # tokens

    @property
    def now(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def ahead(self, n: int = 1) -> Token:
        return self.tokens[self.at + n] if self.at + n < len(self.tokens) else _END

    def take(self) -> Token:
        token = self.now
        self.at += 1
        return token

    def is_op(self, *values: str) -> bool:
        return self.now[0] == "op" and self.now[1] in values

    def is_cmd(self, *values: str) -> bool:
        return self.now[0] == "cmd" and self.now[1] in values

    def is_word(self, *values: str) -> bool:
        return self.now[0] == "word" and self.now[1].lower() in values

    def expect(self, kind: str, value: str) -> None:
        if self.now[:2] != (kind, value):
            raise Unreadable(f"{value!r} is missing")
        self.at += 1

    # lists, relations, sets

    def answer(self) -> Node:
        node = self.items()
        if self.now is not _END:
            raise Unreadable(f"{self.now[1]!r} is left over")
        return node

    def items(self) -> Node:
        """`a, b and c`; with semicolons, groups of those."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLarge("an answer nested too deeply")
        groups: list[list[Node]] = [[self.union()]]
        while True:
            if self.is_op(",", ";") or self.is_word("and", "or"):
                new_group = self.is_op(";")
                last = self.take()
                while self.is_op(",") or self.is_word("and", "or"):
                    last = self.take()
                if self.now is _END or self._closes():
                    if last[0] == "word":
                        raise Unreadable(f"it breaks off after {last[1]!r}")
                    break  # a trailing comma
                if new_group:
                    groups.append([])
                groups[-1].append(self.union())
            else:
                break
        self.depth -= 1
        if len(groups) > 1 and any(len(group) > 1 for group in groups):
            return ("list", *(("seq", "(", ")", *g) if len(g) > 1 else g[0] for g in groups))
        flat = [node for group in groups for node in group]
        return flat[0] if len(flat) == 1 else ("list", *flat)

    def _closes(self) -> bool:
        return (
            self.is_op(")", "]", "}")
            or self.is_cmd("}", "rangle")
            or (self.now[0] == "end" and self.now is not _END)
            or (self.is_op("|") and self.bars > 0)
        )

    def union(self) -> Node:
        parts = [self.relation()]
        while self.is_cmd("cup") or (
            self.is_word("u") and parts[-1][0] in ("seq", "union", "set") and self.ahead()[1] in "([{"
        ):
            self.take()
            parts.append(self.relation())
        node: Node = parts[0] if len(parts) == 1 else ("union", *parts)
        # `x \in A \cup B` is a statement about the union
        if len(parts) > 1 and parts[0][0] == "rel" and parts[0][1][-1] in ("in", "="):
            rel = parts[0]
            node = ("rel", rel[1], *rel[2:-1], ("union", rel[-1], *parts[1:]))
        return node

    def relation(self) -> Node:
        sides, ops = [self.ratio()], []
        while (self.now[0] in ("op", "cmd") and self.now[1] in _RELATIONS) or self.is_cmd("not"):
            negated = self.is_cmd("not")
            if negated:
                self.take()
            if self.now[1] not in _RELATIONS:
                raise Unreadable("a relation is missing")
            op = _RELATIONS[self.take()[1]]
            if self.is_op("=") and op in ("<", ">"):
                self.take()
                op += "="
            if negated:
                if op != "=":
                    raise Unreadable("a negated relation")
                op = "!="
            ops.append(op)
            sides.append(self.ratio())
        return sides[0] if not ops else ("rel", tuple(ops), *sides)

    def ratio(self) -> Node:
        parts = [self.sum()]
        while self.is_op(":"):
            self.take()
            parts.append(self.sum())
        return parts[0] if len(parts) == 1 else ("ratio", *parts)

    # arithmetic

    def sum(self) -> Node:
        node: Node | None = None
        while True:
            sign = None
            if self.is_op("+", "-"):
                sign = self.take()[1]
                while self.is_op("+", "-"):  # `+ -3`
                    sign = "-" if (self.take()[1] == "-") != (sign == "-") else "+"
            elif self.is_cmd("pm", "mp") or self.is_cmd("setminus"):
                sign = self.take()[1]
            elif node is not None:
                return node
            part = self.product()
            if sign == "-":
                part = ("neg", part)
            if sign in ("pm", "mp"):
                node = (sign, node if node is not None else ("num", Fraction(0)), part)
            elif sign == "setminus":
                if node is None:
                    raise Unreadable("a set is missing")
                node = ("add", node, ("neg", part))
            elif node is None:
                node = part
            elif node[0] == "add":
                node = (*node, part)
            else:
                node = ("add", node, part)

    def product(self) -> Node:
        node = self.power()
        while True:
            if self.is_op("*"):
                self.take()
                node = _times(node, self.signed())
            elif self.is_op("/"):
                self.take()
                if self.now[0] == "text" and node[0] == "unit":
                    node = ("unit", node[1], node[2] + "/" + unit_name(self.take()[1]))
                    continue
                below = self.signed()
                node = ("div", node, below)
            elif self.is_cmd("bmod", "mod"):
                self.take()
                node = ("fn", "mod", node, self.power())
            elif self.now[0] in ("text", "word") and self._is_unit(node):
                node = self.unit(node)
            elif self._is_degree():
                node = self._degree(node)
            elif self._starts_atom():
                if self.now[0] == "num" and _ends_in_number(node):
                    mixed_number = self._mixed(node)
                    if mixed_number is None:
                        raise Unreadable("two numbers side by side")
                    node = mixed_number
                    continue
                node = _times(node, self.power())
            else:
                return node

    def signed(self) -> Node:
        if self.is_op("-", "+"):
            sign = self.take()[1]
            part = self.signed()
            return ("neg", part) if sign == "-" else part
        return self.power()

    def _mixed(self, node: Node) -> Node | None:
        """`137 1/2`: a whole number, white space, a proper fraction of two numbers."""
        whole = _whole(node)
        if whole is None or not self.now[2]:
            return None
        above, slash, below = self.now, self.ahead(1), self.ahead(2)
        if slash[:2] != ("op", "/") or below[0] != "num" or not (above[1].isdecimal() and below[1].isdecimal()):
            return None
        if not 0 < int(above[1]) < int(below[1]):
            return None
        self.at += 3
        fraction = ("num", Fraction(int(above[1]), int(below[1])))
        return ("add", node, fraction)

    def _starts_atom(self) -> bool:
        kind, value, _ = self.now
        if kind == "num" or kind == "begin":
            return True
        if kind == "word":
            return not self.is_word("and", "or")
        if kind == "cmd":
            return value not in (
                "}", "rangle", "rfloor", "rceil", "cup", "cap", "setminus", "pm", "mp", "\\\\", "over", "choose", "not",
                "mid", "to", "%", "&", "#", "_", "circ", "$",
            ) and value not in _RELATIONS  # fmt: skip
        if kind == "op":
            return value in ("(", "[", "{") or (value == "|" and self.bars == 0)
        return False

    def power(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLarge("an answer nested too deeply")
        node = self.postfix(self.atom())
        self.depth -= 1
        return node

    def postfix(self, node: Node) -> Node:
        while True:
            if self.is_op("!") and self.ahead()[1] != "=":
                self.take()
                node = ("fact", node)
            elif self.is_op("%") or self.is_cmd("%"):
                self.take()
                node = ("pct", node)
            elif self._is_degree():
                node = self._degree(node)
            elif self.is_op("^"):
                self.take()
                exponent = self._script()
                if exponent[0] == "ordinal":
                    continue
                node = ("pow", node, exponent)
            elif self.is_op("'") and node[0] in ("sym", "app"):
                self.take()
                node = ("sym", node[1] + "'")
            else:
                return node

    def _is_degree(self) -> bool:
        if self.is_cmd("circ"):
            return True
        if self.is_op("^"):
            after = self.ahead()
            if after[:2] == ("cmd", "circ"):
                return True
            return (
                after[:2] == ("op", "{") and self.ahead(2)[:2] == ("cmd", "circ") and self.ahead(3)[:2] == ("op", "}")
            )
        return (self.now[0] in ("text", "word")) and self.now[1].strip(" .").lower() in ("degrees", "degree", "deg")

    def _degree(self, node: Node) -> Node:
        if self.is_op("^"):
            self.at += 4 if self.ahead()[:2] == ("op", "{") else 2
        else:
            self.at += 1
        return ("deg", node)

    def _script(self) -> Node:
        """What stands after `^`: a group, or one token (one digit of a number, as TeX takes it)."""
        if self.is_op("{"):
            if self.ahead()[0] in ("text", "word") and self.ahead()[1].lower() in ("th", "st", "nd", "rd"):
                self.at += 2
                self.expect("op", "}")
                return ("ordinal",)
            return self.group()
        if self.is_op("-", "+"):
            sign = self.take()[1]
            part = self._script()
            return ("neg", part) if sign == "-" else part
        if self.now[0] in ("text", "word") and self.now[1].lower() in ("th", "st", "nd", "rd"):
            self.take()
            return ("ordinal",)
        if self.now[0] == "num":
            # plain text writes 10^10 and means it; so do models in LaTeX
            node = _literal(self.take()[1])
        elif self.now[0] == "word" and len(self.now[1]) > 1:
            word = self.take()[1]
            self.tokens.insert(self.at, ("word", word[1:], False))
            node = _symbol(word[0])
        else:
            node = self.atom()
        if self.is_op("^"):
            self.take()
            return ("pow", node, self._script())
        while self.is_op("!"):
            self.take()
            node = ("fact", node)
        return node

    def group(self) -> Node:
        """`{…}`, which TeX does not show."""
        self.expect("op", "{")
        above = self.items()
        if self.is_cmd("over", "choose"):
            name = self.take()[1]
            below = self.items()
            above = ("div", above, below) if name == "over" else ("fn", "binom", above, below)
        self.expect("op", "}")
        return above

    def argument(self) -> Node:
        """An argument of a TeX command: a group, or one token; of a number, one digit (`\\frac34`)."""
        if self.is_op("{"):
            return self.group()
        if self.now[0] == "num":
            token = self.take()
            if token[1].isdecimal() and len(token[1]) > 1:
                self.tokens.insert(self.at, ("num", token[1][1:], False))
                return _literal(token[1][0])
            return _literal(token[1])
        if self.now[0] == "word" and len(self.now[1]) > 1:
            word = self.take()[1]
            self.tokens.insert(self.at, ("word", word[1:], False))
            return _symbol(word[0])
        return self.atom()

    def atom(self) -> Node:
        kind, value, _ = self.now
        if kind == "num":
            self.take()
            number = _literal(value)
            if self.is_op("_"):
                return self._in_base(value)
            if self.is_cmd("frac"):
                return self._mixed_fraction(number, value)
            return number
        if kind == "word":
            return self.word()
        if kind == "text":
            self.take()
            if self.is_op("_") and re.fullmatch(r"[0-9A-Z]+(?:\.[0-9A-Z]+)?", value):
                return self._in_base(value)
            return ("text", value)
        if kind == "begin":
            return self.matrix()
        if kind == "op":
            if value in ("(", "["):
                return self.brackets()
            if value == "{":
                return self.group()
            if value == "|":
                self.take()
                self.bars += 1
                inner = self.items()
                self.bars -= 1
                self.expect("op", "|")
                return ("abs", inner)
            raise Unreadable(f"{value!r} stands where a value should")
        if kind == "cmd":
            return self.command()
        raise Unreadable("a value is missing")

    def _in_base(self, digits: str) -> Node:
        self.take()
        base = self._script()
        if base[0] != "num" or base[1].denominator != 1 or not 2 <= base[1] <= 36:
            raise Unreadable("a number with an index")
        return ("based", digits.lstrip("0") or "0", int(base[1]))

    def _mixed_fraction(self, number: Node, digits: str) -> Node:
        r"""`1\frac{4}{5}` is a mixed number where both parts are plain and the fraction is proper."""
        at = self.at
        fraction = self.command()
        self_is_plain = (
            digits.isdecimal()
            and fraction[0] == "div"
            and all(p[0] == "num" and p[1].denominator == 1 for p in fraction[1:])
        )
        if self_is_plain and 0 < fraction[1][1] < fraction[2][1]:
            return ("add", number, fraction)
        self.at = at
        return number

    def word(self) -> Node:
        _, value, _ = self.take()
        if len(value) == 1:
            return self._symbol_or_call(value)
        if value.lower() in _NUMBER_WORDS or len(value) > 3:
            if self.is_op("_") and re.fullmatch(r"[0-9A-Z]+(?:\.[0-9A-Z]+)?", value):
                return self._in_base(value)
            return ("text", value)
        # letters side by side are a product
        self.tokens[self.at : self.at] = [("word", c, False) for c in value[1:]]
        return self._symbol_or_call(value[0])

    def _symbol_or_call(self, letter: str) -> Node:
        name = letter
        if self.is_op("_"):
            self.take()
            name += "_" + self._index()
        while self.is_op("'"):
            self.take()
            name += "'"
        if self.is_op("(") and letter in "fghFGPQWTHRp" and not self.now[2]:
            arguments = self.brackets()
            inner = arguments[3:] if arguments[0] == "seq" else (arguments,)
            return ("app", name, *inner)
        return _symbol(name)

    def _index(self) -> str:
        """A subscript as text, spaces and braces left out."""
        if self.is_op("{"):
            depth = 0
            parts: list[str] = []
            while True:
                token = self.take()
                if token is _END:
                    raise Unreadable("a brace is not closed")
                depth += (token[:2] == ("op", "{")) - (token[:2] == ("op", "}"))
                if depth == 0:
                    return "".join(parts).strip()
                if token[1] not in "{}":
                    parts.append(token[1])
        token = self.take()
        if token is _END or token[1] in ("(", ")"):
            raise Unreadable("an index is missing")
        if token[0] == "word" and len(token[1]) > 1:
            self.tokens.insert(self.at, ("word", token[1][1:], False))
            return token[1][0]
        return token[1].strip()

    def brackets(self) -> Node:
        opening = self.take()[1]
        if self.is_op(")", "]"):
            raise Unreadable("empty brackets")
        bars, self.bars = self.bars, 0
        node = self.items()
        self.bars = bars
        if not self.is_op(")", "]"):
            raise Unreadable("a bracket is not closed")
        closing = self.take()[1]
        if node[0] == "list":
            return ("seq", opening, closing, *node[1:])
        if closing != _CLOSES[opening]:
            raise Unreadable("brackets that do not belong together")
        return ("paren", node) if node[0] in ("sym", "text") else node

    def braces(self) -> Node:
        r"""`\{…\}`: a set, or where a bar stands in it, the condition of one."""
        self.take()
        if self.is_cmd("}"):
            self.take()
            return ("set",)
        bar = self._bar()
        if bar is not None:
            head = _Parser(self.tokens[self.at : bar]).answer()
            self.at = bar + 1
            is_of_reals = head[0] == "rel" and head[1] == ("in",) and head[3] == ("sym", "mathbb R")
            condition = self.items()
            node = ("where", condition) if head[0] == "sym" or is_of_reals else ("builder", head, condition)
        else:
            found = self.items()
            node = ("set", *found[1:]) if found[0] == "list" else ("set", found)
        if self.is_cmd("}"):
            self.take()
            return node
        raise Unreadable("a set is not closed")

    def _bar(self) -> int | None:
        """Where the `|` of a set-builder stands: after a symbol, and before a relation."""
        for i in range(self.at, min(self.at + 8, len(self.tokens))):
            kind, value, _ = self.tokens[i]
            if (kind, value) in (("op", "|"), ("cmd", "mid"), ("op", ":")) and i > self.at:
                rest = []
                for token in self.tokens[i + 1 :]:
                    if token[:2] == ("cmd", "}"):
                        break
                    rest.append(token)
                return i if any(t[1] in _RELATIONS for t in rest) else None
            if (kind, value) == ("op", ","):
                return None
        return None

    def matrix(self) -> Node:
        kind = self.take()[1]
        if kind not in ("pmatrix", "bmatrix", "vmatrix", "matrix", "Bmatrix", "array", "smallmatrix"):
            if kind in ("aligned", "align", "gathered", "split", "cases"):
                raise Unreadable(f"a block of {kind}")
            raise Unreadable(f"an unknown block {kind}")
        rows: list[list[Node]] = [[]]
        while self.now[0] != "end":
            if self.is_cmd("\\\\"):
                self.take()
                rows.append([])
            elif self.is_op("&") or self.is_cmd("hline"):
                self.take()
            elif self.now is _END:
                raise Unreadable("a matrix is not closed")
            else:
                rows[-1].append(self.items())
        self.take()
        rows = [row for row in rows if row]
        if not rows or len({len(row) for row in rows}) != 1:
            raise Unreadable("rows of different lengths")
        return ("matrix", "det" if kind == "vmatrix" else "", *(tuple(row) for row in rows))

    def command(self) -> Node:
        name = self.take()[1]
        if name in ("frac",):
            above = self.argument()
            return ("div", above, self.argument())
        if name == "binom":
            above = self.argument()
            return ("fn", "binom", above, self.argument())
        if name in ("sqrt", "cbrt"):
            index: Node = ("num", Fraction(3 if name == "cbrt" else 2))
            if self.is_op("[") and name == "sqrt":
                self.take()
                index = self.sum()
                self.expect("op", "]")
            return ("root", self.brackets_or_argument(), index)
        if name == "abs":
            return ("abs", self.brackets_or_argument())
        if name == "pi":
            return ("sym", "pi")
        if name == "infty":
            return ("inf",)
        if name == "emptyset":
            return ("set",)
        if name == "{":
            self.at -= 1
            return self.braces()
        if name == "langle":
            node = self.items()
            if not self.is_cmd("rangle"):
                raise Unreadable("an angle bracket is not closed")
            self.take()
            return ("seq", "(", ")", *node[1:]) if node[0] == "list" else node
        if name in ("lfloor", "lceil"):
            node = self.sum()
            self.expect("cmd", "r" + name[1:])
            return ("fn", name[1:], node)
        if name in ("sum", "prod"):
            return self.big(name)
        if name in ("lim", "int", "iint", "oint"):
            return self.opaque(name)
        if name in FUNCTIONS:
            return self.function(name)
        if name in _GREEK:
            if self.is_op("_"):
                self.take()
                return ("sym", name + "_" + self._index())
            return ("sym", name)
        if name in ("mathbb",):
            letter = self.argument()
            return ("sym", "mathbb " + str(letter[1]))
        if name in (
            "overline",
            "bar",
            "vec",
            "hat",
            "widehat",
            "overrightarrow",
            "tilde",
            "dot",
            "underline",
            "angle",
            "triangle",
        ):
            if name in ("angle", "triangle"):
                return ("sym", f"{name} {self.take()[1] if self.now[0] == 'word' else self.power()!r}")
            inner = self.argument()
            return ("sym", f"{name} {inner!r}")
        if name == "dots":
            return ("sym", "dots")
        if name in ("mathrm", "text", "mathbf"):
            return self.argument()
        raise Unreadable(f"\\{name} is not known")

    def brackets_or_argument(self) -> Node:
        if self.is_op("("):
            node = self.brackets()
            return node[1] if node[0] == "paren" else node
        if self.is_cmd("frac", "sqrt", "pi", "binom"):
            return self.command()
        if self.now[0] == "num":  # √13 in plain text; \sqrt13 by TeX would be √1·3
            value = self.now[1]
            self.take()
            return _literal(value)
        return self.argument()

    def big(self, name: str) -> Node:
        """`\\sum_{k=1}^{n} body`."""
        self.expect("op", "_")
        below = self._script()
        self.expect("op", "^")
        above = self._script()
        if below[0] != "rel" or below[1] != ("=",) or below[2][0] != "sym":
            raise Unreadable("a sum without an index")
        return ("big", name, below[2][1], below[3], above, self.product())

    def opaque(self, name: str) -> Node:
        """A limit or an integral, unread: everything up to a relation or a comma."""
        parts, depth = [name], 0
        while self.now is not _END and (
            depth or not (self._closes() or self.is_op(",", ";") or self.now[1] in _RELATIONS)
        ):
            depth += (self.now[1] in ("(", "[", "{")) - (self.now[1] in (")", "]", "}"))
            parts.append(self.take()[1])
        return ("opaque", " ".join(parts))

    def function(self, name: str) -> Node:
        power: Node | None = None
        base: Node | None = None
        while self.is_op("^", "_") and not self._is_degree():
            if self.take()[1] == "^":
                power = self._script()
            else:
                base = self._script()
        if name in ("gcd", "lcm", "max", "min") or self.is_op("("):
            if not self.is_op("("):
                raise Unreadable(f"{name} without its arguments")
            inner = self.brackets()
            arguments = inner[3:] if inner[0] == "seq" else (inner[1] if inner[0] == "paren" else inner,)
        else:
            arguments = (self._juxtaposed(),)
        if name == "log" and base is not None:
            arguments = (*arguments, base)
        elif base is not None:
            raise Unreadable(f"{name} with an index")
        if power == ("neg", ("num", Fraction(1))) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            return ("fn", "arc" + name, *arguments)
        node = ("fn", name, *arguments)
        return node if power is None else ("pow", node, power)

    def _juxtaposed(self) -> Node:
        """The argument of a function without brackets: factors side by side, up to an operator or a function."""
        if self.is_op("-", "+"):
            sign = self.take()[1]
            inner = self._juxtaposed()
            return ("neg", inner) if sign == "-" else inner
        node = self.power()
        while (
            self._starts_atom()
            and not (self.now[0] == "cmd" and self.now[1] in FUNCTIONS | {"sum", "prod"})
            and not self.is_op("(", "[", "|")
            and self.now[0] != "text"
        ):
            node = _times(node, self.power())
        return node

    # units

    def _is_unit(self, node: Node) -> bool:
        """Whether a word after a value is its unit: never where it changes the value."""
        kind, value, spaced = self.now
        if kind == "word" and (len(value) == 1 or (len(value) <= 3 and value not in _SHORT_UNITS)):
            return False
        if kind == "word" and not spaced and value not in _SHORT_UNITS:
            return False
        if kind == "text" and value.strip(" .").lower() in ("degrees", "degree", "deg"):
            return False
        return node[0] not in ("text", "list", "rel") and (kind == "text" or value.isalpha())

    def unit(self, node: Node) -> Node:
        words = []
        while self.now[0] in ("text", "word") and not self.is_word("and", "or"):
            words.append(self.take()[1])
        text = " ".join(words).lower().strip(" .,;")
        scale, _, rest = text.partition(" ")
        if scale in _POWERS:
            node, text = ("mul", node, ("num", Fraction(_POWERS[scale]))), rest
            if not text:
                return node
        if text in ("percent", "per cent", "pct", "%"):
            return ("pct", node)
        if text in ("th", "st", "nd", "rd"):
            return node
        if text == "degrees":
            return ("deg", node)
        name = unit_name(text)
        if self.is_op("^"):
            self.take()
            power = self._script()
            if power[0] != "num" or power[1].denominator != 1:
                raise Unreadable("a power of a unit")
            name += f"^{int(power[1])}"
        return ("unit", node, name)


def _times(node: Node, factor: Node) -> Node:
    return (*node, factor) if node[0] == "mul" else ("mul", node, factor)


def _whole(node: Node) -> int | None:
    return int(node[1]) if node[0] == "num" and node[1].denominator == 1 else None


def _ends_in_number(node: Node) -> bool:
    while node[0] in ("mul", "add", "neg", "div"):
        node = node[-1]
    return bool(node[0] in ("num", "based"))


def _literal(text: str) -> Node:
    value = Fraction(text)
    decimals = len(text.partition(".")[2]) if "." in text and "e" not in text.lower() else 0
    return ("num", value) if not decimals else ("num", value, text)


def _symbol(name: str) -> Node:
    return ("sym", name)


def unit_name(text: str) -> str:
    """A unit in one spelling; refuses words that change the value or hedge it."""
    words = re.findall(r"[^\W\d_]+\d*", text.lower())
    if not words or len(words) > 5:
        raise Unreadable(f"{text[:40]!r} is no unit")
    if any(word in _SCALES or word in _NUMBER_WORDS for word in words):
        raise Unreadable(f"{text[:40]!r} changes the value")
    if any(word in _NO_UNIT for word in words):
        raise Unreadable(f"{text[:40]!r} is no unit")
    names = [_UNITS.get(word) or _UNITS.get(word.removesuffix("s")) or word.removesuffix("s") for word in words]
    if names[0] in ("square", "cubic") and len(names) == 2:
        return f"{names[1]}^{2 if names[0] == 'square' else 3}"
    if len(names) == 3 and names[1] == "per":
        return f"{names[0]}/{names[2]}"
    return " ".join(names)


# -- the whole -----------------------------------------------------------------------------------

_TIME = re.compile(
    r"(?:([A-Za-z]+day),?\s+)?(\d{1,2}):([0-5]\d)(?::([0-5]\d))?\s*(?:\\?[ ,])*(?:\\(?:text|mbox|mathrm)\s*\{)?\s*"
    r"([ap])?\.?\s*(m)?\.?\s*\}?",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Za-z][A-Za-z'\- ,.()/:]*")
_WORDS_AND_NUMBERS = re.compile(r"[A-Za-z]{3,}(?: (?:[A-Za-z'-]+|\d{1,4})[.,]?)+")
_CONDITION = re.compile(
    r"\s*[,;]?\s*(?:\\q?quad\s*)*(?:\\text\s*\{\s*(?:,?\s*where|,?\s*for|,?\s*with)[a-z ]*\}|\bwhere\b|\bfor\b)?\s*\(?"
    r"\s*(?P<name>[klmn])\s*\\in\s*\\(?:mathbb|mathbf|Bbb)\s*\{?(?P<set>[ZN])\}?\s*\)?$"
)
"""At the end of an answer: over which whole numbers its parameter runs."""
_LOOSE_START = re.compile(r"(?:\\approx|\\sim|=|:)\s*")
_LOOSE_END = re.compile(r"(?:[.,;\\]|\s)++$")
_MINUS = re.compile(r"(?:(?:negative|minus)\s+|\\text\s*\{\s*(?:negative|minus)\s*\}\s*)(?=[$\d.\\])", re.IGNORECASE)
_DRESS = re.compile(r"\\(?:text\w*|mbox|mathrm|mathbf)\s*\{([^{}]*)\}")
_CHOICE = re.compile(r"\(?([A-Z])\)?")


def strip(text: str) -> str:
    """An answer without its delimiters, final stop and outer white space."""
    text = text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ").replace("\x00", " ")
    text = re.sub(r"(?<!\\)\$\$?", " ", text).strip()
    loose = _LOOSE_START.match(text)
    return _LOOSE_END.sub("", text[loose.end() :] if loose else text)


def read(text: str, *, commas: bool = True) -> Node:
    """The tree of an answer; raises `Unreadable` or `TooLarge`. `commas` as for `tokens`."""
    if len(text) > MAX_CHARS:
        raise TooLarge(f"an answer of {len(text):,} characters")
    text = strip(ascii_math(text))
    if not text:
        raise Unreadable("nothing")
    condition = _CONDITION.search(text)
    if condition and condition.start():
        return ("given", read(text[: condition.start()], commas=commas), condition["name"], condition["set"])
    text = _MINUS.sub("-", text)
    dressed = _DRESS.fullmatch(text)
    time = _TIME.fullmatch(dressed[1].strip() if dressed else text)
    if time:
        hour, minute, second = int(time[2]), time[3], time[4]
        half = (time[5] or "").lower()
        return ("time", hour, minute, second or "", half if time[6] or not half else "?")
    try:
        node = tidy(_Parser(tokens(text, commas=commas)).answer())
        if _has_stray_text(node):
            raise Unreadable("words in a formula")
        return node
    except Unreadable:
        words = plain_words(text)
        if words is None:
            raise
        return ("text", words)
    except RecursionError:
        raise TooLarge("an answer nested too deeply") from None


def tidy(node: Node) -> Node:
    """Letters side by side that spell a word are one (`Evelyn`, `not even`); a letter in brackets is a choice."""
    if node[0] == "paren":
        inner = node[1]
        return ("text", f"({inner[1]})") if inner[0] == "sym" and re.fullmatch("[A-Z]", inner[1]) else tidy(inner)
    return tuple(tidy(part) if isinstance(part, tuple) and part and isinstance(part[0], str) else part for part in node)


def _has_stray_text(node: Any) -> bool:
    """Whether words stand in arithmetic, where they have no value."""
    if not isinstance(node, tuple) or not node:
        return False
    if node[0] in ("mul", "add", "neg", "div", "pow", "root", "abs", "fact", "fn") and any(
        isinstance(part, tuple) and part and part[0] == "text" for part in node[1:]
    ):
        return True
    return any(_has_stray_text(part) for part in node)


def plain_words(text: str) -> str | None:
    """The words of an answer that is text and nothing else; None where mathematics stands in it."""
    text = re.sub(r"\\(?:text\w*|mbox|mathrm|mathbf|mathit|emph|textbf)\s*\{([^{}]*)\}", r" \1 ", text)
    text = " ".join(re.sub(r"\\[ ,;!:]|~|\{|\}", " ", text).split())
    return text if text and (_WORDS.fullmatch(text) or _WORDS_AND_NUMBERS.fullmatch(text)) else None


def number_word(text: str) -> int | None:
    """The value of a number in words up to ninety-nine, a `negative` or `minus` before it included.

    >>> number_word("forty-two"), number_word("minus seven"), number_word("a dozen")
    (42, -7, None)
    """
    text = text.lower().strip()
    for sign in ("negative ", "minus "):
        if text.startswith(sign):
            value = number_word(text[len(sign) :])
            return None if value is None else -value
    if text in _NUMBER_WORDS:
        return _NUMBER_WORDS[text]
    match = _TENS.fullmatch(text)
    return _NUMBER_WORDS[match[1]] + (_NUMBER_WORDS[match[2]] if match[2] else 0) if match else None
