r"""`math`: the committed answer is the reference, compared as a mathematician would, within the type of the reference.

The reference is read once and typed: integer, rational, decimal, percent, degree, time, ratio, number in a base,
tuple, interval, set, list, matrix, equation, inequality, expression, text. What the completion commits to is read the
same way and must be of that type: a list that contains the answer, an interval around it or an inequality is another
answer. `same` says what counts as the same; values are equal exactly, without a tolerance or a factor of a hundred.

Where nothing is committed by a box, a `####` line or a phrase, the answer is the whole completion if that is one short
formula, else what the last sentence states. A reference with an integral or a limit in it goes to Math-Verify, in a
worker that is killed after `SYMBOLIC_SECONDS`; an answer with one, where the reference is a value, is a calculation
left undone. A reference over a bound gives no verdict (`unscored`). An answer over one is wrong: a policy would learn
to leave its penalty so. Nothing of a completion is ever evaluated.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache

from reasoner.verifiers import worker
from reasoner.verifiers.checker import Verifier, register
from reasoner.verifiers.committed import committed, spoken
from reasoner.verifiers.math import reader, units
from reasoner.verifiers.math import tree as t
from reasoner.verifiers.math.exact import NotRational, Undefined, allow, exact
from reasoner.verifiers.math.same import same
from reasoner.verifiers.math.single import bare
from reasoner.verifiers.math.spellings import recurring
from reasoner.verifiers.math.tokens import FUNCTIONS, MAX_CHARS, ascii_math
from reasoner.verifiers.math.values import equal, real
from reasoner.verifiers.score import Score, Verdict
from reasoner.verifiers.sentence import UNSURE, last_sentence, stated

SYMBOLIC_SECONDS = 2.0  # wall time of one comparison by Math-Verify and sympy
_NUMBERS = ("integer", "rational", "decimal", "percent", "degree", "expression")


def commit(answer: str) -> str:
    r"""Returns a completion that commits to a reference: in a box, as MATH asks."""
    return f"\\boxed{{{reference_of(answer)}}}"


def strict(completion: str, answer: str) -> Score:
    """Judges by the second rule: the same text in the last box, spacing and sized brackets aside."""
    found = committed(completion)
    if found is None or found.rule != "boxed" or len(found.spans) != 1:
        return Score("wrong", rule="strict", why="no single box")
    is_same = _text_key(found.spans[0]) == _text_key(reference_of(answer))
    return Score("right" if is_same else "wrong", found.spans[0], "strict", "" if is_same else "another text")


def math(completion: str, answer: str) -> Score:
    r"""Returns `right` when the committed answer equals the reference.

    >>> math("so it is \\boxed{\\frac{3}{4}}", "0.75").verdict
    'right'
    >>> math("\\boxed{x \\ge 6}", "6").why
    'an inequality where the reference is an integer'
    """
    allow()
    try:
        return _check(completion, answer)
    except RecursionError:
        return Score("unscored", why="over a limit: nested too deeply")


def reads(text: str) -> str:
    """Says as what an answer is read: its type and its tree."""
    allow()
    try:
        node = reader.read(reference_of(text))
    except (t.TooLarge, t.Unreadable) as error:
        return f"not read: {error}"
    return f"{type_of(node)} {t.shown(node)}"


register(Verifier("math", "4", math, commit, strict, contract="math", family="math", reads=reads))


def _check(completion: str, answer: str) -> Score:
    wanted = reference_of(answer)
    try:
        reference = _read_reference(wanted)
    except t.TooLarge as limit:
        return Score("unscored", why=f"the reference is over a limit: {limit}")
    except t.Unreadable as error:
        return Score("unscored", why=f"the reference cannot be read: {error}")
    type_ = type_of(reference)
    spans, rule = _spans(completion, type_)
    if not spans:
        return Score("wrong", type=type_, why="no committed answer")
    taken = ", ".join(spans)
    if len(taken) <= MAX_CHARS and _text_key(taken) == _reference_key(wanted):
        return Score("right", taken, rule, "the same text", type_)
    if t.has(t.Opaque, reference):
        return _by_math_verify(completion, wanted)
    try:
        is_right, why = _judge(spans, reference, wanted)
    except t.TooLarge as limit:
        verdict: Verdict = "unscored" if _is_over_a_limit(reference) else "wrong"
        return Score(verdict, taken[:300], rule, f"over a limit: {limit}", type_)
    except t.Unreadable as error:
        return Score("wrong", taken[:300], rule, f"the committed answer cannot be read: {error}", type_)
    return Score("right" if is_right else "wrong", taken[:300], rule, why, type_)


def _is_over_a_limit(reference: t.Node) -> bool:
    """Returns whether the reference itself is what cannot be computed with."""
    allow()
    for node in t.walk(reference):
        try:
            exact(node)
        except t.TooLarge:
            return True
        except (NotRational, Undefined):
            with suppress(t.Unreadable):
                try:
                    real(node)
                except t.TooLarge:
                    return True
    return False


# -- spans ---------------------------------------------------------------------------------------

_FORMULA = re.compile(r"\$\$(.{1,400}?)\$\$|\$([^$\n]{1,400})\$|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
_WINDOW = 1_500
_MAX_WHOLE = 300
_PROSE = re.compile(r"[A-Za-z]{2,}")
_ANSWER_IS = re.compile(r"^(?:so )?(?:the )?(?:final )?answer\s*(?:is|:)\s*", re.IGNORECASE)
_FAREWELL = re.compile(r"(?<!\s)\s*+I hope (?:it is correct|this helps)[.!]?\s*+$", re.IGNORECASE)
_ENDING = re.compile(
    r"(?:\bis|\bare|\bequals|['’]s|=)\s+([-+]?[$€£]?\d[\d,]*(?:\.\d+)?\s?(?:[€$%]|[A-Za-z]{1,12}[²³]?)?"
    r"|[-+]?\d*(?:√\d+|[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]))\.?$"
)
"""A sentence that ends in its value."""
_ENDING_PAIR = re.compile(r"(?:\bis|\bare|=)\s+([(\[][^()\[\]=]{1,60}[)\]])\.?$")
_NEGATED = re.compile(r"\bnot\b|n['’]t\b|\b(?:that|which) (?:could|can|may|might) be\b", re.IGNORECASE)
"""Of the signs of doubt, those that are about something else: another value, or what the value is of."""
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")  # not in `4 2`, which is not `42`


def _text_key(text: str) -> str:
    """Returns a text without spacing and the sizes of brackets and fractions."""
    text = re.sub(
        r"\\(?:left|right|,|;|:|!|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])", " ", reader.strip(recurring(text))
    )
    text = text.replace("dfrac", "frac").replace("tfrac", "frac")
    return _LOOSE_SPACE.sub("", " ".join(text.split()))


_read_reference = lru_cache(maxsize=4096)(reader.read)
_reference_key = lru_cache(maxsize=4096)(_text_key)


def reference_of(answer: str) -> str:
    """Returns the answer in a reference: of a worked solution what it commits to, else the whole of it."""
    if "\\begin" not in answer:  # escaped twice; as TeX it would be a line break and letters
        answer = re.sub(r"\\\\(?=[A-Za-z])", r"\\", answer)
    may_commit = "\\boxed" in answer or "####" in answer or (len(answer) > 60 and " answer " in answer)
    if may_commit and (found := committed(answer)):
        return ", ".join(found.spans)
    return _ANSWER_IS.sub("", answer.strip())


def _spans(completion: str, type_: str) -> tuple[tuple[str, ...], str]:
    found = committed(completion)
    if found is not None:
        is_prose = found.rule == "phrase" and len(_PROSE.findall(found.spans[0])) >= 3
        said = _stated(found.spans[0], type_) if is_prose else None
        return (said,) if said else found.spans, found.rule
    text = _FAREWELL.sub("", spoken(completion[-20 * _WINDOW :])).strip()
    if text and len(text) <= _MAX_WHOLE and "\n" not in text and _is_formula(text, type_):
        return (text,), "whole"
    said = _stated(text, type_) if text else None
    return ((said,), "sentence") if said else ((), "")


_OF_ANOTHER = re.compile(
    r"\b(?:product|sum|difference|quotient|square|cube|half|twice|if|except|plus|minus|times|remains?|add|subtract|multiply"
    r"|(?:bigger|greater|larger|less|smaller|more|fewer) than)\b",
    re.IGNORECASE,
)
"""Words by which a formula in a sentence is a part of another value than its own."""
_SAYS = re.compile(r"\b(?:is|are|be|equals|gives?|makes?|gets?):?\s*$", re.IGNORECASE)
"""Before a formula that is what the sentence says, whatever it says it of: `the sum of 3 and 5 is 8`."""


def _stated(text: str, type_: str) -> str | None:
    """Returns what the last sentence states: its last formula, if nothing of weight follows, else its one number."""
    tail = text[-_WINDOW:]
    formulas = list(_FORMULA.finditer(tail))
    if formulas:
        before, after = tail[: formulas[-1].start()], tail[formulas[-1].end() :]
        sentence = re.split(r"[.!?]\s|\n", _FORMULA.sub(" ", before))[-1] + " " + after
        is_last = not re.search(r"[\d\\]", after) and not re.search(r"[.!?\n]\s*\S", after.strip())
        part = after if _SAYS.search(before) else sentence
        if is_last and not UNSURE.search(sentence) and not _OF_ANOTHER.search(part):
            return next(group for group in formulas[-1].groups() if group)
    sentence = last_sentence(text)
    if type_ in ("tuple", "interval"):
        ending = _ENDING_PAIR.search(sentence)
        return ending[1] if ending and not UNSURE.search(sentence) else None
    if type_ in _NUMBERS:
        value = stated(sentence)
        if isinstance(value, Fraction):
            return str(value)
        ending = _ENDING.search(sentence)
        if ending and not UNSURE.search(_NEGATED.sub(" ", sentence[: ending.start()])):
            return ending[1]
    return None


def _is_formula(text: str, type_: str) -> bool:
    """Returns whether a short completion is an answer and nothing else."""
    outside = _FORMULA.sub(" ", text)
    if outside != text and not set(_PROSE.findall(outside)) <= {"and", "or"}:
        return False
    plain = re.sub(r"\\(?:text\w*|mbox|mathrm|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|[$]", " ", text)
    num_words = sum(word not in FUNCTIONS | {"and", "or"} for word in _PROSE.findall(plain))
    return num_words <= (4 if type_ == "text" else 3 if re.match(r"[\s\d$€£(\[.+-]", text) else 1)


# -- types ---------------------------------------------------------------------------------------


def type_of(node: t.Node) -> str:
    """Returns the type of an answer in a word."""
    match node:
        case t.Time() | t.Ratio() | t.Set() | t.Matrix() | t.Text() | t.List():
            return type(node).__name__.lower()
        case t.Based():
            return "number in a base"
        case t.Union() | t.Seq((_, _), "[", _) | t.Seq((_, _), _, "]"):
            return "interval"
        case t.Seq(parts):
            return "interval" if len(parts) == 2 and t.has(t.Inf, *parts) else "tuple"
        case t.Where() | t.Builder():
            return "set"
        case t.Cases():
            return "function by cases"
        case t.Class():
            return "residue class"
        case t.All():
            return "inequality"
        case t.Rel(sides, ops):
            if set(ops) <= {"=", "~"}:
                return "equation"
            return type_of(sides[-1]) if set(ops) == {"in"} else "inequality"
        case t.Given(inner):
            return type_of(inner)
        case _ if isinstance(node, t.Mp) or t.has(t.Pm, node):
            return "list"
        case t.Pct():
            return "percent"
        case t.Deg():
            return "degree"
        case t.Unit(inner) | t.Neg(inner):
            return type_of(inner)
        case t.Num(value, written):
            return "decimal" if written else "integer" if value.denominator == 1 else "rational"
        case _ if t.has(t.Matrix, node):
            return "matrix"
        case t.Div() | t.Add() | t.Mul() | t.Pow() if not t.has(t.Inf, node) and not t.symbols(node):
            with suppress(NotRational, Undefined, t.TooLarge):
                return "integer" if exact(node).denominator == 1 else "rational"
    return "expression"


# -- judging -------------------------------------------------------------------------------------


def _judge(spans: Sequence[str], reference: t.Node, wanted: str) -> tuple[bool, str]:
    """Returns whether the spans say the reference, and the rule that decided. A comma has one meaning at a time."""
    tried: list[tuple[t.Node, t.Node]] = []
    errors: list[t.Unreadable] = []
    for commas in (True, False):
        try:
            nodes = [reader.read(span, commas=commas) for span in spans]
        except t.Unreadable as error:
            errors.append(error)
            continue
        got = nodes[0] if len(nodes) == 1 else t.List(tuple(nodes))
        tried.append((reference, got))
        if not commas and not _GROUPED.fullmatch(wanted):  # 6,200 is one number
            with suppress(t.Unreadable):
                tried.append((_read_reference(wanted, commas=False), got))
    if tried and units.are_other_money(wanted, reference, " ".join(spans), tried[0][1]):
        return False, "another unit"
    for ref, got in dict.fromkeys(tried):
        try:
            if why := same(ref, got):
                return True, why
        except t.Unreadable as error:
            errors.append(error)
    if len(spans) == 1 and (why := _other_spelling(reference, wanted, spans[0])):
        return True, why
    if errors:
        raise errors[-1]
    ref_type, got_type = type_of(reference), type_of(tried[0][1])
    if ref_type == got_type or (ref_type in _NUMBERS and got_type in _NUMBERS):
        return False, f"another {ref_type}"
    return False, f"{_with_article(got_type)} where the reference is {_with_article(ref_type)}"


def _with_article(type_: str) -> str:
    return f"{'an' if type_[0] in 'ei' else 'a'} {type_}"


_DRESS = re.compile(r"([\"“*_]{0,2})([^\"”*_]+)[\"”*_]{1,2}")
_IN_WORDS = re.compile(r"([-\d.,]+)\s*\(([A-Za-z]+(?:[- ][A-Za-z]+)?)\)")
_GROUPED = re.compile(r"-?\d{1,3}(?:,\d{3})+")
_CHOICE = re.compile(
    r"\\(?:text|mathrm|mathbf)(?:bf|it|rm)?\s?\{\s?\(?([A-F])(?:\)|:|\.)\s?\}?\s*"
    r"(?:\\[ ,;]|\\q?quad|~|\s)*([^{}\s].{0,200}?)\}?"
)
_NAME = re.compile(
    r"(?:(?P<head>(?P<name>[A-Za-z])(?:_\w|_\{\w{1,3}\})?(?:'{1,3}|\s?\^\{?-1\}?)?)\s?"
    r"[(\[](?P<of>(?!(?P=name)\b)[A-Za-z](?:,\s?[A-Za-z]){0,2})[)\]]"
    r"|\\[dt]?frac\s?\{d[a-z]\}\s?\{d[a-z]\}|d[a-z]/d[a-z])\s?="
)
"""What names a function, a count or a derivative before its value: `q(x) =`, `f^{-1}(x) =`, `n(A) =`, `dy/dx =`."""
_AREA = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?)(?:\s?m\s?\^\{?[23]\}?|\s[msgh])")
"""A value in square metres, metres, seconds …: set apart or with its power, else `5m` is a product."""
_TOLD = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?) ([A-Za-z]+(?: [A-Za-z]+\d*){1,4})")
_DECIMAL_COMMA = re.compile(r"(-?(?:0|(?!0)\d+)),(\d{1,2}|\d{4,}|(?<=0,)\d{3})")


def _other_spelling(reference: t.Node, wanted: str, span: str) -> str | None:
    """Returns which spelling only the reference explains: a number in words, words after it, a decimal comma."""
    core = bare(reference)[0]
    text = reader.strip(ascii_math(span))
    wanted = reader.strip(ascii_math(wanted))
    name, other = _NAME.match(wanted), _NAME.match(text)
    if name and other and name["of"] and other["of"] and name["head"] == other["head"]:
        old, new = (re.findall("[A-Za-z]", one["of"]) for one in (other, name))
        with suppress(t.Unreadable):
            body = t.rebound(reader.read(text[other.end() :]), old, new) if len(old) == len(new) else None
            if body and same(reader.read(wanted[name.end() :]), body):
                return "the same function"
    if bool(name) != bool(other):
        with suppress(t.Unreadable):
            sides = [reader.read(_NAME.sub("", one, count=1) if _NAME.match(one) else one) for one in (wanted, text)]
            if not any(isinstance(side, t.Rel) for side in sides) and same(*sides):
                return "the same, a name aside"
    letter = _CHOICE.fullmatch(text)
    if letter and not re.search(
        r"^[,;]|\([A-F]\)|\b(?:or|and|not|nor)\b", letter[2]
    ):  # the reference is its letter or its text
        if alone := re.fullmatch(r"(?:\\(?:text\w*|mathrm|mathbf)\{)?\(?([A-F])\)?\}?", wanted):
            return "the same choice, its text aside" if alone[1] == letter[1] else None
        with suppress(t.Unreadable):
            return "the same value, the letter of its choice aside" if same(reference, reader.read(letter[2])) else None
    if dress := _DRESS.fullmatch(text):
        with suppress(t.Unreadable):
            return "the same in dress" if same(reference, reader.read(dress[2])) else None
    if type_of(reference) in ("integer", "rational", "decimal"):
        if twice := _IN_WORDS.fullmatch(text):
            value = units.number_word(twice[2])
            is_same = value is not None and equal(core, t.number(value)) and same(reference, reader.read(twice[1]))
            return "the same value, in words too" if is_same else None
        value = units.number_word(re.sub(r"\\(?:text\w*|mbox|mathrm)\s*\{([^{}]*)\}", r"\1", text))
        if value is not None and equal(core, t.number(value)):
            return "a number in words"
        if area := _AREA.fullmatch(text):
            return "the same value, the unit aside" if equal(core, reader.read(area[1])) else None
        told = _TOLD.fullmatch(text)
        if told and _PROSE.search(told[2]):
            try:
                units.unit_name(told[2])
                return "the same value, the words after it aside" if equal(core, reader.read(told[1])) else None
            except t.Unreadable:
                return None
    if _is_with_comma(reference, text):
        return "a decimal comma"
    with suppress(t.Unreadable):  # 0,1 is a list of two, 0,111 none that anybody writes
        if re.fullmatch(r"-?0,\d{3,}", wanted) and _is_with_comma(reader.read(text), wanted):
            return "a decimal comma"
    return None


def _is_with_comma(decimal: t.Node, text: str) -> bool:
    comma = _DECIMAL_COMMA.fullmatch(text)
    if not comma or not isinstance(decimal, (t.Num, t.Neg)) or type_of(decimal) != "decimal":
        return False
    return equal(decimal, t.Num(Fraction(f"{comma[1]}.{comma[2]}")))


# -- Math-Verify ---------------------------------------------------------------------------------


def _by_math_verify(completion: str, wanted: str) -> Score:
    found = committed(completion)
    if found is None or len(found.spans) != 1:
        return Score("wrong", type="expression", why="no committed answer")
    span = found.spans[0]
    if len(span) > 400 or len(wanted) > 400:
        return Score("unscored", span[:300], "math-verify", "over a limit: a long formula", "expression")
    verdict: Verdict = "unscored"
    try:
        is_same = worker.call("reasoner.verifiers.math.symbolic:same", wanted, span, timeout=SYMBOLIC_SECONDS)
        verdict, why = ("right", "") if is_same else ("wrong", "another value")
    except worker.TimedOut:
        why = f"no verdict within {SYMBOLIC_SECONDS} s"
    except worker.Broken as error:
        why = f"Math-Verify failed: {error}"[:300]
    return Score(verdict, span, "math-verify", why, "expression")
