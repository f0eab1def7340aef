r"""`math`: the committed answer is the reference, compared as a mathematician would, within the type of the reference.

The reference is read once and typed: integer, rational, decimal, percent, degree, time, ratio, number in a base,
tuple, interval, set, list, matrix, equation, inequality, expression, text. What the completion commits to is read the
same way and must be of that type: a list that contains the answer, an interval around it or an inequality is another
answer.

What counts as the same, and why a mathematician would sign it:

- values: equal, exactly (`values.equal`); no tolerance, no factor of a hundred. A decimal of fifteen digits or more is
  also the number that it is the rounding of: nobody means another one by 0.0833333333333333.
- a unit, a degree sign, a percent sign that only one of the two has is left out; two different units are different.
  A bare percentage is not its number: 9 is not 9 %. Degrees and radians are the same angle.
- a name before the answer (`x = 5`, `f(x) = 2x`, `x \in [0, 1)`) is left out where the other has none; `f(z) = z` and
  `f(x) = x` are one function. The last value of a chain of equations, unless the chain contradicts itself.
- lists and sets have no order, tuples have one; `\pm` stands for its two values; an inequality in one variable is an
  interval; equations are the same up to a factor and exchanged sides; a column of numbers is a tuple.
- words: letter case, brackets and full stops aside.

Where nothing is committed by a box, a `####` line or a phrase, the answer is the whole completion if that is one short
formula, else what the last sentence states. A reference with an integral or a limit in it goes to Math-Verify, in a
worker that is killed after `SYMBOLIC_SECONDS`; an answer with one, where the reference is a value, is a calculation
left undone. Over a bound there is no verdict (`unscored`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from reasoner.verifiers import worker
from reasoner.verifiers.checker import Verifier, register
from reasoner.verifiers.committed import committed, spoken
from reasoner.verifiers.math import reader, values
from reasoner.verifiers.math.reader import Node, TooLarge, Unreadable
from reasoner.verifiers.math.values import NotRational, Undefined, equal
from reasoner.verifiers.score import Score
from reasoner.verifiers.sentence import UNSURE, last_sentence, stated

SYMBOLIC_SECONDS = 2.0
"""Wall time of one comparison by Math-Verify and sympy."""
MAX_ITEMS = 64
MANY_DIGITS = 15
"""Significant digits from which on a decimal stands for the number it is the rounding of."""
_NUMBERS = ("integer", "rational", "decimal", "percent", "degree", "expression")


def commit(answer: str) -> str:
    r"""A completion that commits to a reference: in a box, as MATH asks."""
    return f"\\boxed{{{reference_of(answer)}}}"


def strict(completion: str, answer: str) -> Score:
    """The second rule: the same text in the last box, spacing and sized brackets aside."""
    found = committed(completion)
    if found is None or found.rule != "boxed" or len(found.spans) != 1:
        return Score("wrong", rule="strict", why="no single box")
    same = _text_key(found.spans[0]) == _text_key(reference_of(answer))
    return Score("right" if same else "wrong", found.spans[0], "strict", "" if same else "another text")


def math(completion: str, answer: str) -> Score:
    r"""Right when the committed answer equals the reference.

    >>> math("so it is \\boxed{\\frac{3}{4}}", "0.75").verdict
    'right'
    >>> math("\\boxed{x \\ge 6}", "6").why
    'an inequality where the reference is an integer'
    """
    values.allow()
    try:
        return _check(completion, answer)
    except RecursionError:
        return Score("unscored", why="over a limit: nested too deeply")


register(Verifier("math", "1", math, commit, strict, contract="math", family="math"))


def _check(completion: str, answer: str) -> Score:
    wanted = reference_of(answer)
    try:
        reference = _reference(wanted)
    except TooLarge as limit:
        return Score("unscored", why=f"the reference is over a limit: {limit}")
    except Unreadable as error:
        return Score("unscored", why=f"the reference cannot be read: {error}")
    type_ = type_of(reference)
    spans, rule = _spans(completion, type_)
    if rule == "phrase" and len(_PROSE.findall(spans[0])) >= 3 and (stated := _stated(spans[0], type_)):
        spans, rule = (stated,), "phrase"
    if not spans:
        return Score("wrong", type=type_, why="no committed answer")
    taken = ", ".join(spans)
    if len(taken) <= reader.MAX_CHARS and _text_key(taken) == _text_key(wanted):
        return Score("right", taken, rule, "the same text", type_)
    if values.has(reference, "opaque"):
        return _by_math_verify(completion, wanted)
    try:
        verdict, why = _judge(spans, reference, wanted)
    except TooLarge as limit:
        return Score("unscored", taken[:300], rule, f"over a limit: {limit}", type_)
    except Unreadable as error:
        return Score("wrong", taken[:300], rule, f"the committed answer cannot be read: {error}", type_)
    return Score("right" if verdict else "wrong", taken[:300], rule, why, type_)


# -- spans ---------------------------------------------------------------------------------------

_FORMULA = re.compile(r"\$\$(.{1,400}?)\$\$|\$([^$\n]{1,400})\$|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
_WINDOW = 1_500
_MAX_WHOLE = 300
_PROSE = re.compile(r"[A-Za-z]{2,}")


def reference_of(answer: str) -> str:
    """The answer in a reference: of a worked solution what it commits to, else the whole of it."""
    if "\\begin" not in answer:
        answer = re.sub(
            r"\\\\(?=[A-Za-z])", r"\\", answer
        )  # escaped twice; as TeX it would be a line break and letters
    if "\\boxed" in answer or "####" in answer or (len(answer) > 60 and " answer " in answer):
        found = committed(answer)
        if found is not None:
            return ", ".join(found.spans)
    return _ANSWER_IS.sub("", answer.strip())


_ANSWER_IS = re.compile(r"^(?:so )?(?:the )?(?:final )?answer\s*(?:is|:)\s*", re.IGNORECASE)
_FAREWELL = re.compile(r"\s*I hope (?:it is correct|this helps)[.!]?\s*$", re.IGNORECASE)


def _spans(completion: str, type_: str) -> tuple[tuple[str, ...], str]:
    """What the completion commits to, and the rule that found it."""
    found = committed(completion)
    if found is not None:
        return found.spans, found.rule
    text = _FAREWELL.sub("", spoken(completion[-20 * _WINDOW :])).strip()
    if not text:
        return (), ""
    if len(text) <= _MAX_WHOLE and "\n" not in text and _is_formula(text, type_):
        return (text,), "whole"
    stated = _stated(text, type_)
    return ((stated,), "sentence") if stated else ((), "")


def _stated(text: str, type_: str) -> str | None:
    """The answer that the last sentence states: its last formula, if nothing of weight follows, else its one number."""
    tail = text[-_WINDOW:]
    formulas = list(_FORMULA.finditer(tail))
    if formulas:
        before, after = tail[: formulas[-1].start()], tail[formulas[-1].end() :]
        sentence = re.split(r"[.!?]\s|\n", _FORMULA.sub(" ", before))[-1] + " " + after
        is_last = not re.search(r"[\d\\]", after) and not re.search(r"[.!?\n]\s*\S", after.strip())
        if is_last and not UNSURE.search(sentence):
            return next(group for group in formulas[-1].groups() if group)
    if type_ in _NUMBERS:
        sentence = last_sentence(text)
        value = stated(sentence)
        if isinstance(value, Fraction):
            return str(value)
        ending = _ENDING.search(sentence)
        if ending and not UNSURE.search(_NEGATED.sub(" ", sentence[: ending.start()])):
            return ending[1]
    return None


_ENDING = re.compile(
    r"(?:\bis|\bare|\bequals|['’]s|=)\s+([-+]?[$€£]?\d[\d,]*(?:\.\d+)?\s?(?:[€$%]|[A-Za-z]{1,12}[²³]?)?)\.?$"
)
"""A sentence that ends in its value."""
_NEGATED = re.compile(r"\bnot\b|n['’]t\b|\b(?:that|which) (?:could|can|may|might) be\b", re.IGNORECASE)
"""Of the signs of doubt, those that are about something else: another value, or what the value is of."""


def _is_formula(text: str, type_: str) -> bool:
    """Whether a short completion is an answer and nothing else."""
    outside = _FORMULA.sub(" ", text)
    if outside != text and [word for word in _PROSE.findall(outside) if word not in ("and", "or")]:
        return False
    bare = re.sub(r"\\(?:text\w*|mbox|mathrm|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|[$]", " ", text)
    words = [word for word in _PROSE.findall(bare) if word not in ("and", "or") and word not in reader.FUNCTIONS]
    if type_ == "text":
        return len(words) <= 4
    return len(words) <= (3 if re.match(r"[\s\d$€£(\[.+-]", text) else 1)


# -- types ---------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _reference(text: str) -> Node:
    return reader.read(text)


def type_of(node: Node) -> str:
    """The type of an answer in a word."""
    kind = node[0]
    if kind in ("time", "ratio", "set", "matrix", "text", "list", "union"):
        return {"union": "interval"}.get(kind, str(kind))
    if kind == "based":
        return "number in a base"
    if kind == "seq":
        return "interval" if _is_interval(node) else "tuple"
    if kind in ("where", "builder"):
        return "set"
    if kind == "rel":
        ops = set(node[1])
        if ops <= {"=", "~"}:
            return "equation"
        return type_of(node[-1]) if ops == {"in"} else "inequality"
    if kind == "given":
        return type_of(node[1])
    if kind in ("pm", "mp") or values.has(node, "pm"):
        return "list"
    if kind == "pct":
        return "percent"
    if kind == "deg":
        return "degree"
    if kind == "unit":
        return type_of(node[1])
    if kind == "num":
        return "decimal" if len(node) > 2 else ("integer" if node[1].denominator == 1 else "rational")
    if kind == "neg":
        return type_of(node[1])
    if values.has(node, "matrix"):
        return "matrix"
    if values.has(node, "inf"):
        return "expression"
    if kind in ("div", "add", "mul", "pow") and not values.symbols(node):
        try:
            return "integer" if values.exact(node).denominator == 1 else "rational"
        except (NotRational, Undefined, TooLarge):
            return "expression"
    return "expression"


def _is_interval(node: Node) -> bool:
    if len(node) != 5:
        return False
    return node[1] == "[" or node[2] == "]" or values.has(node[3:], "inf")


_ARTICLE = {"integer": "an", "interval": "an", "equation": "an", "inequality": "an", "expression": "an"}


def _a(type_: str) -> str:
    return f"{_ARTICLE.get(type_, 'a')} {type_}"


# -- judging -------------------------------------------------------------------------------------


def _judge(spans: Sequence[str], reference: Node, wanted: str) -> tuple[bool, str]:
    """Whether the spans say the reference, and the rule that decided. A comma has one meaning at a time."""
    tried: list[tuple[Node, Node]] = []
    error: Unreadable | None = None
    for got_commas in (True, False):
        try:
            got = _together([reader.read(span, commas=got_commas) for span in spans])
        except Unreadable as failed:
            error = failed
            continue
        for ref_commas in (True, False):
            try:
                ref = reference if ref_commas else reader.read(wanted, commas=False)
            except Unreadable:
                continue
            if got_commas != ref_commas and ref != reference:
                continue
            if (ref, got) not in tried:
                tried.append((ref, got))
    if not tried:
        if len(spans) == 1 and (why := _other_spelling(reference, wanted, spans[0])):
            return True, why
        assert error is not None
        raise error
    for ref, got in tried:
        try:
            why = same(ref, got)
        except Unreadable as failed:
            error = failed
            continue
        if why:
            return True, why
    if len(spans) == 1 and (why := _other_spelling(reference, wanted, spans[0])):
        return True, why
    if error is not None:
        raise error
    ref_type, got_type = type_of(reference), type_of(tried[0][1])
    if ref_type == got_type or (ref_type in _NUMBERS and got_type in _NUMBERS):
        return False, f"another {ref_type}"
    return False, f"{_a(got_type)} where the reference is {_a(ref_type)}"


def _together(nodes: list[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else ("list", *nodes)


def _other_spelling(reference: Node, wanted: str, span: str) -> str | None:
    """Spellings that only the reference explains: a number in words, a decimal comma, words after the number."""
    core = _bare(reference)[0]
    text = reader.strip(reader.ascii_math(span))
    if type_of(reference) in ("integer", "rational", "decimal"):
        words = re.sub(r"\\(?:text\w*|mbox|mathrm)\s*\{([^{}]*)\}", r"\1", text)
        value = reader.number_word(words)
        if value is not None and equal(core, _num(value)):
            return "a number in words"
        area = _AREA.fullmatch(text)
        if area:
            return "the same value, the unit aside" if equal(core, reader.read(area[1])) else None
        told = _TOLD.fullmatch(text)
        if told and max(map(len, _PROSE.findall(told[2])), default=0) >= 2:
            try:
                reader.unit_name(told[2])
                return "the same value, the words after it aside" if equal(core, reader.read(told[1])) else None
            except Unreadable:
                return None
    for spelled, other in ((text, reference), (reader.strip(wanted), None)):
        comma = re.fullmatch(r"(-?)(\d+),(\d{1,2}|\d{4,}|(?<=0,)\d{3})", spelled)
        if comma and (not comma[2].startswith("0") or comma[2] == "0"):
            decimal = ("num", Fraction(f"{comma[1]}{comma[2]}.{comma[3]}"))
            if other is None:
                try:
                    other = reader.read(text)
                except Unreadable:
                    continue
            if other[0] in ("num", "neg") and type_of(other) == "decimal" and equal(other, decimal):
                return "a decimal comma"
    return None


_AREA = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?)(?:\s?m\s?\^\{?[23]\}?|\s[msgh])")
"""A value in square metres, metres, seconds …: set apart or with its power, else `5m` is a product."""
_TOLD = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?) ([A-Za-z]+(?: [A-Za-z]+\d*){1,4})")


def same(ref: Node, got: Node) -> str | None:
    """The rule by which two answers are the same; None where they are not."""
    if ref == got:
        return "the same form"
    if "given" in (ref[0], got[0]):
        sets = {node[3] for node in (ref, got) if node[0] == "given"}
        ref, got = (node[1] if node[0] == "given" else node for node in (ref, got))
        return same(ref, got) if len(sets) == 1 else None
    if values.has(ref, "pm", "mp"):
        ref = _spread(ref)
    if values.has(got, "pm", "mp"):
        got = _spread(got)
    ref, got = _unnamed_list(ref, got)
    for rule in (_texts, _builders, _names, _sets, _lists, _tuples, _matrices, _special, _values, _relations):
        found = rule(ref, got)
        if found is not None:
            return found or None
    return None


No = ""
"""A rule's verdict that they differ; None leaves it to the next rule."""


def _spread(node: Node) -> Node:
    r"""`1 \pm x` as the list of its values; in a list or set, each item spread in place."""
    if node[0] in ("list", "set"):
        items: list[Node] = []
        for item in node[1:]:
            items += _spread(item)[1:] if values.has(item, "pm", "mp") and item[0] != "rel" else [item]
            if items and values.has(items[-1], "pm", "mp"):
                last = items.pop()
                items += list(_spread(last)[1:])
        return (node[0], *items)
    if node[0] == "rel" and node[1] == ("=",):
        inner = _spread(node[3]) if values.has(node[3], "pm", "mp") else node[3]
        return ("list", *(("rel", ("=",), node[2], item) for item in inner[1:])) if inner[0] == "list" else node
    return ("list", *values.variants(node))


# names


def _is_name(node: Node) -> bool:
    """Whether a side of an equation only names what the other side is."""
    if node[0] == "sym":
        return node[1] not in values.CONSTANTS
    if node[0] == "text":
        return True
    if node[0] in ("app", "abs", "ratio") or (node[0] == "fn" and values.symbols(node)):
        return not _has_operation(node)
    if node[0] == "seq":
        return all(_is_name(part) for part in node[3:])
    if node[0] == "mul":  # AB, a segment; m\\angle A, a measure
        names = [part[1] for part in node[1:] if part[0] == "sym"]
        is_marked = any(name.startswith(("angle", "overline", "triangle")) for name in names)
        return len(names) == len(node) - 1 and (is_marked or all(name[:1].isupper() for name in names))
    return False


def _has_operation(node: Any) -> bool:
    if not isinstance(node, tuple):
        return False
    if node and node[0] in ("add", "neg", "div", "pow"):
        return True
    return any(_has_operation(part) for part in node)


def _split_name(node: Node) -> tuple[Node | None, Node]:
    """Name and value of `x = 5`, `5 = x`, `x \\in A`; of a chain of equations without a name, its last side."""
    if node[0] != "rel":
        return None, node
    ops, sides = node[1], node[2:]
    if ops == ("in",) and _is_name(sides[0]):
        return sides[0], sides[1]
    if not set(ops) <= {"=", "~"}:
        return None, node
    if _is_name(sides[0]):
        rest, ops = sides[1:], ops[1:]
        while len(rest) > 1 and _is_name(rest[0]):  # a = b = c = 3
            rest, ops = rest[1:], ops[1:]
        if len(rest) == 1:
            return sides[0], rest[0]
        chained = _chain(("rel", ops, *rest))
        return (sides[0], chained) if chained is not None else (None, node)
    if len(sides) == 2 and _is_name(sides[1]) and (sides[1][0] == "sym" or not _is_number(sides[0])):
        return sides[1], sides[0]
    chained = _chain(node)
    return (None, chained) if chained is not None else (None, node)


def _is_number(node: Node) -> bool:
    return not values.symbols(node) and node[0] not in ("text", "seq", "list", "set", "rel")


def _chain(node: Node) -> Node | None:
    """The value of `9 \\cdot 2 = 18`: its last side, where all are numbers and equal. `2/3 \\approx 0.67` says 2/3."""
    ops, sides = list(node[1]), list(node[2:])
    if "~" in ops:
        first = ops.index("~")
        ops, sides = ops[:first], sides[: first + 1]
    if not all(_is_number(side) for side in sides) or sides[-1][0] == "opaque":
        return None
    for side in sides[:-1]:
        if side[0] != "opaque" and same(side, sides[-1]) is None:
            return None
    last: Node = sides[-1]
    return last


def _names(ref: Node, got: Node) -> str | None:
    if ref[0] != "rel" and got[0] != "rel":
        return None
    ref_name, ref_value = _split_name(ref)
    got_name, got_value = _split_name(got)
    if ref_value is ref and got_value is got:
        return None
    if ref_name is not None and got_name is not None:
        if _same_name(ref_name, got_name):
            return (same(ref_value, got_value) and "the same after the same name") or No
        renamed = _renamed(ref_name, got_name, got_value)
        if renamed is not None:
            return (same(ref_value, renamed) and "the same function") or No
        return None if ref[0] == "rel" and got[0] == "rel" and "=" in ref[1] else No
    if ref_name is None and ref_value is ref and ref[0] == "rel" and set(ref[1]) <= {"=", "~"}:
        return None  # an equation is no value
    if got_name is None and got_value is got and got[0] == "rel" and set(got[1]) <= {"=", "~"}:
        return None
    if (ref_value[0] == "rel" and ref_value is ref) or (got_value[0] == "rel" and got_value is got):
        return None
    return (same(ref_value, got_value) and "the same, a name aside") or No


def _same_name(a: Node, b: Node) -> bool:
    if {a[0], b[0]} == {"app", "sym"}:  # y = 2x and f(x) = 2x draw one line
        return ("sym", "y") in (a, b)
    return a == b or (a[0] == b[0] == "text" and a[1].lower() == b[1].lower())


def _renamed(ref: Node, got: Node, value: Node) -> Node | None:
    """`value` in the variable of `ref`, where the names are one function of differently named variables."""
    if ref[0] != "app" or got[0] != "app" or ref[1] != got[1] or len(ref) != len(got):
        return None
    if not all(part[0] == "sym" for part in (*ref[2:], *got[2:])):
        return None
    mapping = {old[1]: new[1] for new, old in zip(ref[2:], got[2:], strict=True)}
    renamed: Node = _rename(value, mapping)
    return renamed


def _rename(node: Any, mapping: dict[str, str]) -> Any:
    if not isinstance(node, tuple):
        return node
    if len(node) == 2 and node[0] == "sym" and node[1] in mapping:
        return ("sym", mapping[node[1]])
    return tuple(_rename(part, mapping) for part in node)


def _unnamed_list(ref: Node, got: Node) -> tuple[Node, Node]:
    """Names taken off the items of lists: `a = 2, b = 1` is the tuple of its values, `x = 1, x = 2` a list."""
    if ref[0] != "list" and got[0] != "list":
        return ref, got
    a, b = _named_items(ref), _named_items(got)
    if a is None and b is None:
        return ref, got
    if a is not None and b is not None and a[0] and b[0] and len(a[0]) == len(b[0]):
        by_name = [[v for y, v in zip(*b, strict=True) if _same_name(x, y)] for x in a[0]]
        if all(by_name):  # in any order
            return ("seq", "(", ")", *a[1]), ("seq", "(", ")", *(found[0] for found in by_name))
    keep = (a is not None and bool(a[0])) or (b is not None and bool(b[0]))

    def values_of(node: Node, found: tuple[list[Node], list[Node]] | None) -> Node:
        if found is None:
            items = node[1:] if node[0] == "list" else (node,)
            return ("seq", "(", ")", *items) if keep and node[0] == "list" else node
        return ("seq", "(", ")", *found[1]) if keep else ("list", *found[1])

    return values_of(ref, a), values_of(got, b)


def _named_items(node: Node) -> tuple[list[Node], list[Node]] | None:
    """Names (empty where all are one) and values of a list with named items; None where none is named."""
    if node[0] != "list":
        return None
    names, found = [], []
    for item in node[1:]:
        name, value = _split_name(item)
        if name is None and value is not item:
            return None
        names.append(name)
        found.append(value)
        if item[0] == "rel" and name is None:
            return None
    given = [name for name in names if name is not None]
    if not given:
        return None
    if len(given) == len(names) and len(set(given)) == len(given):
        indexed = {re.sub(r"_.*", "", str(name[1])) for name in given if name[0] == "sym"}
        if len(indexed) == 1 and len(given) > 1 and all("_" in str(name[1]) for name in given if name[0] == "sym"):
            return [], found  # x_1 = …, x_2 = …: two solutions
        return given, found
    if len(set(given)) > 1:
        # `p = 5, q = 2, p = 7, q = 2`: tuples of the names in turn
        size = len(set(given))
        if len(given) == len(names) and len(names) % size == 0 and given == given[:size] * (len(names) // size):
            tuples: list[Node] = [("seq", "(", ")", *found[i : i + size]) for i in range(0, len(found), size)]
            return [], tuples
        return None
    return [], found


# words


def _text_key(text: str) -> str:
    text = reader.strip(text)
    text = re.sub(r"\\(?:left|right|,|;|:|!|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])", " ", text)
    text = text.replace("dfrac", "frac").replace("tfrac", "frac")
    return _LOOSE_SPACE.sub("", " ".join(text.split()))


_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")
"""White space that parts no two letters or digits: `4 2` is not `42`."""


def _plain(text: str) -> str:
    text = re.sub(r"[^\w\s/+-]", " ", text.lower())
    words = text.split()
    while words and words[0] in ("the", "a", "an"):
        words.pop(0)
    return " ".join(words)


def _as_words(node: Node) -> str | None:
    """A node as words: text, or letters that were read as symbols (`C`, `east` in italics)."""
    if node[0] == "text":
        return str(node[1])
    if node[0] == "unit" and node[1][0] == "text":
        return f"{node[1][1]} {node[2]}"
    if node[0] == "sym" and len(node[1]) == 1:
        return str(node[1])
    if node[0] == "mul" and all(part[0] in ("sym", "mul") for part in node[1:]):
        parts = [_as_words(part) for part in node[1:]]
        return None if None in parts else "".join(str(part) for part in parts)
    return None


def _texts(ref: Node, got: Node) -> str | None:
    if ref[0] != "text" and got[0] != "text":
        return None
    a, b = _as_words(ref), _as_words(got)
    if a is None or b is None:
        if got[0] == "text" and ref[0] in ("num", "neg"):
            value = reader.number_word(got[1])
            return "a number in words" if value is not None and equal(ref, _num(value)) else No
        if ref[0] == "text" and got[0] in ("num", "neg"):
            value = reader.number_word(ref[1])
            return "a number in words" if value is not None and equal(got, _num(value)) else No
        if ref[0] == "rel" or got[0] == "rel":
            return None
        return No
    return "the same words" if _plain(a) == _plain(b) and _plain(a) else No


def _num(value: int) -> Node:
    return ("num", Fraction(value)) if value >= 0 else ("neg", ("num", Fraction(-value)))


# collections


def _lists(ref: Node, got: Node) -> str | None:
    unordered = ("list", "set")
    if ref[0] not in unordered and got[0] not in unordered:
        return None
    if ref[0] not in unordered or got[0] not in unordered:
        single, other = (ref, got) if ref[0] in unordered else (got, ref)
        if single[0] == "set" and len(single) == 2 and other[0] not in ("seq", "matrix"):
            return (same(single[1], other) and "a set of one") or No
        return No
    return "the same items" if _matched(ref[1:], got[1:]) else No


def _matched(a: Sequence[Node], b: Sequence[Node]) -> bool:
    """Whether the items can be paired off, in any order."""
    if max(len(a), len(b)) > MAX_ITEMS:
        raise TooLarge(f"a list of {max(len(a), len(b))} items")
    if len(b) > len(a):  # a solution told twice, where the reference tells none twice
        b = [item for i, item in enumerate(b) if not any(same(item, other) for other in b[:i])]
    if len(a) != len(b):
        return False
    left = list(b)
    for item in a:
        index = next((i for i, other in enumerate(left) if same(item, other)), None)
        if index is None:
            return False
        left.pop(index)
    return True


def _tuples(ref: Node, got: Node) -> str | None:
    a, b = _row(ref), _row(got)
    if a is None or b is None or "seq" not in (ref[0], got[0]):
        return None
    if ref[0] == got[0] == "seq" and (ref[1], ref[2]) != (got[1], got[2]):
        return No
    if len(a) > MAX_ITEMS:
        raise TooLarge(f"a tuple of {len(a)} items")
    return "the same in order" if len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True)) else No


def _row(node: Node) -> Sequence[Node] | None:
    """The entries of a tuple, or of a matrix of one row or column."""
    if node[0] == "seq":
        return list(node[3:])
    if node[0] == "matrix" and not node[1]:
        rows = node[2:]
        if len(rows) == 1:
            return list(rows[0])
        if all(len(row) == 1 for row in rows):
            return [row[0] for row in rows]
    return None


def _matrices(ref: Node, got: Node) -> str | None:
    if not values.has((ref, got), "matrix"):
        return None
    if ref[0] == got[0] == "matrix" and not ref[1] and not got[1]:
        a, b = ref[2:], got[2:]
        if [len(row) for row in a] != [len(row) for row in b]:
            return No
        cells = [(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)]
        if len(cells) > MAX_ITEMS:
            raise TooLarge(f"a matrix of {len(cells)} entries")
        return "the same entries" if all(same(x, y) for x, y in cells) else No
    if (values.has(ref, "matrix") and values.has(got, "matrix")) or (
        values.has((ref, got), "matrix") and "det" in str((ref, got))
    ):
        return "the same value" if equal(ref, got) else No
    return No


# sets of numbers


def _sets(ref: Node, got: Node) -> str | None:
    """Intervals, unions of them, inequalities in one variable and set-builders: the same set of numbers."""
    kinds = {ref[0], got[0]}
    if not kinds & {"union", "where", "rel", "seq", "add", "set"} or kinds == {"seq"}:
        return None
    if not any(_is_range(node) for node in (ref, got)):
        return None
    a, b = _intervals(ref), _intervals(got)
    if a is not None and b is not None and _same_intervals(a, b):
        return "the same set"
    a, b = _all_of(ref) or a, _all_of(got) or b  # `x > 0, x < 5` says both
    if a is None or b is None:
        return None
    return "the same set" if _same_intervals(a, b) else No


def _builders(ref: Node, got: Node) -> str | None:
    """Sets by a rule, such as the even numbers: the same rule, whatever its variable is called."""
    if "builder" not in (ref[0], got[0]):
        return None
    if ref[0] != got[0]:
        return No
    names = [sorted(n for n in values.symbols(node) if not n.startswith("mathbb")) for node in (ref, got)]
    if len(names[0]) != len(names[1]):
        return No
    renamed = _rename(got, dict(zip(names[1], names[0], strict=True)))
    return "the same rule" if same(ref[1], renamed[1]) and same(ref[2], renamed[2]) else No


def _is_range(node: Node) -> bool:
    if node[0] in ("union", "where"):
        return True
    if node[0] == "rel":
        return bool(set(node[1]) & {"<", "<=", ">", ">=", "!=", "in"})
    if node[0] == "add":
        return values.has(node, "where", "union", "set") or any(part[0] == "seq" for part in node[1:])
    if node[0] == "list":
        return all(_is_range(item) for item in node[1:])
    return node == ("sym", "mathbb R")


Interval = tuple[Node, bool, Node, bool]
"""Low end, whether it belongs, high end, whether it belongs."""
_LOW: Node = ("neg", ("inf",))
_HIGH: Node = ("inf",)


def _intervals(node: Node) -> list[Interval] | None:
    kind = node[0]
    if node == ("sym", "mathbb R"):
        return [(_LOW, False, _HIGH, False)]
    if kind == "seq" and len(node) == 5:
        return [(node[3], node[1] == "[", node[4], node[2] == "]")]
    if kind == "set":
        return [(item, True, item, True) for item in node[1:]]
    if kind == "where":
        return _intervals(node[1])
    if kind in ("union", "list"):
        found = [_intervals(part) for part in node[1:]]
        return None if any(part is None for part in found) else [one for part in found if part for one in part]
    if kind == "add" and len(node) == 3 and node[2][0] == "neg":
        whole, out = _intervals(node[1]), _intervals(node[2][1])
        return None if whole is None or out is None else _without(whole, out)
    if kind == "rel":
        return _solved(node)
    return None


def _all_of(node: Node) -> list[Interval] | None:
    """What satisfies every inequality of a list; None where it is no such list, or an end is no number."""
    if node[0] != "list" or not all(item[0] == "rel" for item in node[1:]):
        return None
    parts = [_intervals(item) for item in node[1:]]
    found: list[Interval] = [(_LOW, False, _HIGH, False)]
    for part in parts:
        if part is None:
            return None
        met: list[Interval] = []
        for x in found:
            for y in part:
                ends = [_real(end) for end in (x[0], y[0], x[2], y[2])]
                if None in ends:
                    return None
                a = x if (ends[0], not x[1]) >= (ends[1], not y[1]) else y
                b = x if (ends[2], x[3]) <= (ends[3], y[3]) else y
                if (_real(a[0]) or 0.0) < (_real(b[2]) or 0.0):
                    met.append((a[0], a[1], b[2], b[3]))
        found = met
    return found


def _without(whole: list[Interval], out: list[Interval]) -> list[Interval] | None:
    """Single points taken out of intervals."""
    for low, low_in, high, high_in in out:
        if not (low_in and high_in and same(low, high)):
            return None
        rest: list[Interval] = []
        for a, a_in, b, b_in in whole:
            point = _real(low)
            left, right = _real(a), _real(b)
            if point is None or left is None or right is None:
                return None
            if left < point < right:
                rest += [(a, a_in, low, False), (low, False, b, b_in)]
            else:
                rest.append((a, a_in and left != point, b, b_in and right != point))
        whole = rest
    return whole


def _solved(node: Node) -> list[Interval] | None:
    """The solutions of an inequality in one unknown that stands alone, or of a linear one."""
    ops, sides = node[1], node[2:]
    if ops == ("in",):
        return _intervals(sides[1]) if _is_name(sides[0]) else None
    if ops == ("!=",):
        point = sides[1] if _is_name(sides[0]) else sides[0] if _is_name(sides[1]) else None
        return None if point is None else [(_LOW, False, point, False), (point, False, _HIGH, False)]
    if (
        len(ops) == 2
        and all(op in ("<", "<=") for op in ops)
        and not values.symbols(sides[1]) <= values.symbols(sides[0])
    ):
        return [(sides[0], ops[0] == "<=", sides[2], ops[1] == "<=")]
    if (
        len(ops) == 2
        and all(op in (">", ">=") for op in ops)
        and not values.symbols(sides[1]) <= values.symbols(sides[0])
    ):
        return [(sides[2], ops[1] == ">=", sides[0], ops[0] == ">=")]
    if len(ops) != 1 or ops[0] not in ("<", "<=", ">", ">="):
        return None
    op, (left, right) = ops[0], sides
    if (_is_name(left) and not _is_name(right)) or (_is_name(left) and left[0] == "sym"):
        pass
    elif _is_name(right):
        left, right, op = right, left, {"<": ">", "<=": ">=", ">": "<", ">=": "<="}[op]
    else:
        return _linear(left, right, op)
    closed = op.endswith("=")
    return [(_LOW, False, right, closed)] if op[0] == "<" else [(right, closed, _HIGH, False)]


def _linear(left: Node, right: Node, op: str) -> list[Interval] | None:
    names = values.symbols(("add", left, right))
    if len(names) != 1:
        return None
    (name,) = names
    try:
        at = [values.exact(("add", left, ("neg", right)), {name: Fraction(x)}) for x in (0, 1, 2, 5)]
    except (NotRational, Undefined):
        return None
    slope = at[1] - at[0]
    if slope == 0 or at[2] != at[0] + 2 * slope or at[3] != at[0] + 5 * slope:
        return None
    root = -at[0] / slope
    point: Node = ("num", root) if root >= 0 else ("neg", ("num", -root))
    closed, below = op.endswith("="), (op[0] == "<") == (slope > 0)
    return [(_LOW, False, point, closed)] if below else [(point, closed, _HIGH, False)]


def _real(node: Node) -> float | None:
    infinite = values.infinite(node)
    if infinite is not None:
        return infinite * float("inf")
    try:
        value = values.Numeric(values.DIGITS[0], {})(node)
        return None if isinstance(value, list) or not values.is_real(value) else float(value.real)
    except (Undefined, Unreadable, NotRational):
        return None


def _first(pair: tuple[float | None, Interval]) -> float:
    return pair[0] or 0.0


def _same_intervals(a: list[Interval], b: list[Interval]) -> bool:
    if len(a) != len(b):
        return False
    if len(a) > 1:
        ordered = []
        for one in (a, b):
            keys = [_real(interval[0]) for interval in one]
            if any(key is None for key in keys):
                ordered.append(one)
            else:
                ordered.append([interval for _, interval in sorted(zip(keys, one, strict=True), key=_first)])
        a, b = ordered
    return all(
        x[1] == y[1] and x[3] == y[3] and same(x[0], y[0]) is not None and same(x[2], y[2]) is not None
        for x, y in zip(a, b, strict=True)
    )


# single values


def _special(ref: Node, got: Node) -> str | None:
    """Times, ratios and numbers in a base: equal among themselves only."""
    kinds = {ref[0], got[0]}
    if "time" in kinds:
        if ref[0] == got[0] == "time":
            halves = {ref[4], got[4]} - {"", "?"}
            is_same = ref[1:3] == got[1:3] and (ref[3] or "00") == (got[3] or "00") and len(halves) <= 1
            return "the same time" if is_same else No
        time, other = (ref, got) if ref[0] == "time" else (got, ref)
        if other[0] == "ratio" and len(other) == 3 and not time[3] and not time[4]:  # 7:32 may be either
            return "the same figures" if equal(other[1], _num(time[1])) and equal(other[2], _num(int(time[2]))) else No
        return No
    if "ratio" in kinds:
        if not (ref[0] == got[0] == "ratio") or len(ref) != len(got):
            return No
        crossed = [equal(("mul", ref[1], got[i]), ("mul", ref[i], got[1])) for i in range(2, len(ref))]
        return "the same ratio" if all(crossed) and not equal(got[1], _num(0)) else No
    if "based" in kinds:
        return "the same digits" if ref == got else No
    return None


_WRAPPERS = ("unit", "deg", "pct")


def _bare(node: Node) -> tuple[Node, str, str]:
    """A value without its unit, degree or percent sign; which of them it had, and the unit's name."""
    if node[0] == "neg" and node[1][0] in _WRAPPERS:
        inner, tag, name = _bare(node[1])
        return ("neg", inner), tag, name
    if node[0] == "add" and len(node) == 3 and node[2][0] in _WRAPPERS:  # 1\frac12 \text{ cm}
        inner, tag, name = _bare(node[2])
        return ("add", node[1], inner), tag, name
    if node[0] == "mul" and node[-1][0] in _WRAPPERS:
        inner, tag, name = _bare(node[-1])
        return (*node[:-1], inner), tag, name
    if node[0] == "unit":
        return (node[1], "", "") if node[2] == "rad" else (node[1], "unit", node[2])
    if node[0] in ("deg", "pct"):
        return node[1], node[0], ""
    return node, "", ""


def _values(ref: Node, got: Node) -> str | None:
    if ref[0] in ("rel", "text", "where", "union") or got[0] in ("rel", "text", "where", "union", "seq", "list", "set"):
        return None if ref[0] == got[0] == "rel" or "rel" in (ref[0], got[0]) else No
    (a, a_tag, a_unit), (b, b_tag, b_unit) = _bare(ref), _bare(got)
    if a_tag == b_tag:
        if a_tag == "unit" and a_unit != b_unit:
            return No
        return "the same value" if _equal(a, b) else No
    if "deg" in (a_tag, b_tag) and not {"unit", "pct"} & {a_tag, b_tag}:
        angle, other = (a, b) if a_tag == "deg" else (b, a)
        if _equal(angle, other):
            return "the same value, the degree sign aside"
        return "the same angle" if equal(("deg", angle), other) else No
    if "pct" in (a_tag, b_tag):
        if "unit" in (a_tag, b_tag):
            return No
        if a_tag == "pct" and _equal(a, b):
            return "the same value, the percent sign aside"
        return "the same value" if _equal(("pct", a) if a_tag else a, ("pct", b) if b_tag else b) else No
    if (a_tag and b_tag) or (b_tag == "unit" and values.symbols(a)):
        return No
    return "the same value, the unit aside" if _equal(a, b) else No


def _equal(a: Node, b: Node) -> bool:
    return equal(a, b) or _parameters(a, b) or _rounded(a, b) or _rounded(b, a)


def _parameters(a: Node, b: Node) -> bool:
    r"""`\frac{\pi}{6} + \pi k` and `\frac{\pi}{6} + n \pi`: the count of periods has no fixed name."""
    left, right = values.symbols(a), values.symbols(b)
    if left == right or len(left) != 1 or len(right) != 1 or not (left | right) <= {"k", "n", "m", "l"}:
        return False
    if not values.has((a, b), "sym") or "('sym', 'pi')" not in str(a):
        return False
    return equal(a, _rename(b, {next(iter(right)): next(iter(left))}))


def _rounded(decimal: Node, other: Node) -> bool:
    """Whether a decimal of many digits is the rounding of a value that is no decimal itself."""
    sign = 1
    if decimal[0] == "neg":
        decimal, sign = decimal[1], -1
    if decimal[0] != "num" or len(decimal) < 3 or (other[0] == "num" and len(other) > 2):
        return False
    digits = decimal[2].replace(".", "").lstrip("0")
    places = len(decimal[2].partition(".")[2])
    if len(digits) < MANY_DIGITS or places < 2 or values.symbols(other):
        return False
    try:
        value = values.Numeric(values.DIGITS[1], {})(other)
    except (Undefined, Unreadable):
        return False
    if isinstance(value, list) or not values.is_real(value):
        return False
    context = values.context(values.DIGITS[1])
    distance = abs(value - sign * context.mpf(decimal[1].numerator) / decimal[1].denominator)
    return bool(distance <= context.mpf(10) ** -places)


# relations


def _relations(ref: Node, got: Node) -> str | None:
    if ref[0] != "rel" or got[0] != "rel":
        return No
    a_ops, b_ops = tuple(o if o != "~" else "=" for o in ref[1]), tuple(o if o != "~" else "=" for o in got[1])
    flipped = tuple({"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op) for op in reversed(b_ops))
    for ops, sides in ((b_ops, got[2:]), (flipped, got[:1:-1])):
        if ops == a_ops and all(same(x, y) for x, y in zip(ref[2:], sides, strict=True)):
            return "the same relation"
    if len(a_ops) == len(b_ops) == 1 and "in" not in (*a_ops, *b_ops):
        a, b = (("add", node[2], ("neg", node[3])) for node in (ref, got))
        if any(
            side[0] in ("text", "seq", "list", "set", "matrix", "ratio", "rel")
            for node in (ref, got)
            for side in node[2:]
        ):
            return No
        sign = _proportional(a, b)
        if a_ops == b_ops and a_ops[0] in ("=", "!="):
            return "the same equation" if sign else No
        if (sign > 0 and a_ops == b_ops) or (sign < 0 and a_ops == flipped):
            return "the same inequality"
    return No


def _proportional(a: Node, b: Node) -> int:
    """The sign of c where a = c b for all values of the symbols, c a number other than 0; else 0."""
    names = values.symbols(a)
    if names != values.symbols(b) or not names:
        return 0
    ratios = []
    for index in range(5):
        at = {name: values.point(name, index) for name in names}
        try:
            x, y = values.Numeric(values.DIGITS[-1], dict(at))(a), values.Numeric(values.DIGITS[-1], dict(at))(b)
        except Undefined:
            continue
        if isinstance(x, list) or isinstance(y, list) or x == 0 or y == 0:
            return 0
        ratios.append(x / y)
    if len(ratios) < 3 or not all(values.near(ratio, ratios[0], values.DIGITS[-1]) for ratio in ratios):
        return 0
    if not values.is_real(ratios[0]):
        return 0
    return 1 if ratios[0].real > 0 else -1


# -- Math-Verify ---------------------------------------------------------------------------------


def _by_math_verify(completion: str, wanted: str) -> Score:
    found = committed(completion)
    if found is None or len(found.spans) != 1:
        return Score("wrong", type="expression", why="no committed answer")
    span = found.spans[0]
    if len(span) > 400 or len(wanted) > 400:
        return Score("unscored", span[:300], "math-verify", "over a limit: a long formula", "expression")
    try:
        is_same = worker.call("reasoner.verifiers.math.symbolic:same", wanted, span, timeout=SYMBOLIC_SECONDS)
    except worker.TimedOut:
        return Score("unscored", span, "math-verify", f"no verdict within {SYMBOLIC_SECONDS} s", "expression")
    except worker.Broken as error:
        return Score("unscored", span, "math-verify", f"Math-Verify failed: {error}"[:300], "expression")
    return Score("right" if is_same else "wrong", span, "math-verify", "" if is_same else "another value", "expression")
