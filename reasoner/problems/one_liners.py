"""One-line Python functions to be written, from nothing: the smallest thing that a reward for code can teach.

A task asks for one function of one or two steps on a number, two numbers, a text or a list ("Write a Python function
grow(x) that adds 7 to x, then doubles the result."). Rows carry a reference solution, one visible test, hidden tests
and a property (a hypothesis strategy and a trusted reference), so that they become problems as those of MBPP do.

What the splits promise stands in `generator`; parameters have names of a split's own, as functions do. Kinds (`number`,
`pair`, `text`, `list`) come in turn. Expected values are computed by this module's own functions, never by running the
text of a solution. The hidden tests tell a function from its input, from a single value and, of two steps, from either
one alone; none of their inputs is a visible one. Not promised: train, dev and test share operations and their
combinations, in other words or with other numbers; a test may have one right answer in several spellings, but never two
right values.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from reasoner.errors import USAGE, ReasonerError
from reasoner.problems.generator import check, distinct, integer, is_of, named_after, pick

KINDS = ("number", "pair", "text", "list")
SIZES = {"train": 2000, "dev": 200, "test": 500, "ood": 200}  # where no number is asked for
MIN_STEPS, MAX_STEPS = 1, 2
NUM_HIDDEN = 7

NAMES = {
    "train": "compute solve change convert apply transform process update adjust build derive evaluate perform "
    "handle make_it do_it run_it work_out figure_out go",
    "dev": "calc prepare rework treat",
    "test": "produce modify turn get_result determine operate shape",
}
PARAMETERS = {
    "number": {"train": "x n number value", "dev": "num v", "test": "k amount m"},
    "pair": {"train": "a,b x,y first,second m,n", "dev": "p,q", "test": "u,v left,right"},
    "text": {"train": "s text word", "dev": "string", "test": "t line phrase"},
    "list": {"train": "numbers xs values", "dev": "nums", "test": "items data lst"},
}


@dataclass(frozen=True)
class Op:
    """Describes an operation: `of` what it takes, `to` what it gives, `says` how (|-separated), for `ood` how else.

    In the wording, {v} is what it works on and {c} its constant; `code` is an expression on {v}, {c}, and `call` is
    the same as a function, of the value and the constant.
    """

    name: str
    of: str
    to: str
    says: str
    ood: str
    code: str
    call: Callable[[Any, Any], Any]
    constants: tuple[Any, ...] = (None,)


_SMALL = tuple(range(2, 11))
_MORE = tuple(range(2, 31))
_LETTERS = tuple("aeiostrnl")
_ENDS = ("!", "?", ".", "ing", "ed", "s", "_1", "abc", " end", "-x")

OPERATIONS = (
    # A number.
    Op("add", "number", "number", "adds {c} to {v} | increases {v} by {c}", "puts {c} on top of {v}",
          "{v} + {c}", lambda v, c: v + c, _MORE),
    Op("sub", "number", "number", "subtracts {c} from {v} | decreases {v} by {c}", "takes {c} away from {v}",
          "{v} - {c}", lambda v, c: v - c, _MORE),
    Op("mul", "number", "number", "multiplies {v} by {c} | computes {c} times {v}", "makes {v} {c} times as large",
          "{v} * {c}", lambda v, c: v * c, _SMALL),
    Op("double", "number", "number", "doubles {v}", "makes {v} twice as large", "{v} * 2", lambda v, c: v * 2),
    Op("square", "number", "number", "squares {v} | multiplies {v} by itself", "raises {v} to the power of two",
          "{v} ** 2", lambda v, c: v**2),
    Op("negate", "number", "number", "negates {v} | changes the sign of {v}", "flips the sign of {v}",
          "-{v}", lambda v, c: -v),
    Op("abs", "number", "number", "takes the absolute value of {v}", "drops the sign of {v}",
          "abs({v})", lambda v, c: abs(v)),
    Op("max", "number", "number", "takes the larger of {v} and {c} | takes the maximum of {v} and {c}",
          "lets {v} be no less than {c}", "max({v}, {c})", max, tuple(range(-5, 11))),
    Op("min", "number", "number", "takes the smaller of {v} and {c} | takes the minimum of {v} and {c}",
          "lets {v} be no more than {c}", "min({v}, {c})", min, tuple(range(-5, 11))),
    Op("above", "number", "truth", "checks whether {v} is greater than {c}", "tells if {v} lies above {c}",
          "{v} > {c}", lambda v, c: v > c, tuple(range(-5, 11))),
    Op("even", "number", "truth", "checks whether {v} is even", "tells if two divides {v}",
          "{v} % 2 == 0", lambda v, c: v % 2 == 0),
    # Two numbers.
    Op("sum2", "pair", "number", "adds {a} and {b} | takes the sum of {a} and {b}", "totals {a} and {b}",
          "{a} + {b}", lambda v, c: v[0] + v[1]),
    Op("sub2", "pair", "number", "subtracts {b} from {a} | takes {a} minus {b}", "takes {b} away from {a}",
          "{a} - {b}", lambda v, c: v[0] - v[1]),
    Op("mul2", "pair", "number", "multiplies {a} by {b} | takes the product of {a} and {b}",
          "finds what {a} times {b} is", "{a} * {b}", lambda v, c: v[0] * v[1]),
    Op("max2", "pair", "number", "takes the larger of {a} and {b} | takes the maximum of {a} and {b}",
          "keeps the one of {a} and {b} that is not smaller", "max({a}, {b})", lambda v, c: max(v)),
    Op("min2", "pair", "number", "takes the smaller of {a} and {b} | takes the minimum of {a} and {b}",
          "keeps the one of {a} and {b} that is not larger", "min({a}, {b})", lambda v, c: min(v)),
    Op("plus2", "pair", "number", "adds {a}, {b} and {c} | takes the sum of {a}, {b} and {c}",
          "totals {a}, {b} and {c}", "{a} + {b} + {c}", lambda v, c: v[0] + v[1] + c, _MORE),
    Op("times2", "pair", "number", "adds {a} to {c} times {b} | takes {a} plus {c} times {b}",
          "puts {c} times {b} on top of {a}", "{a} + {c} * {b}", lambda v, c: v[0] + c * v[1], _SMALL),
    Op("same2", "pair", "truth", "checks whether {a} and {b} are equal", "tells if {a} is the same as {b}",
          "{a} == {b}", lambda v, c: v[0] == v[1]),
    # A text.
    Op("upper", "text", "text", "turns {v} into upper case | converts {v} to uppercase",
          "writes {v} in capital letters", "{v}.upper()", lambda v, c: v.upper()),
    Op("lower", "text", "text", "turns {v} into lower case | converts {v} to lowercase",
          "writes {v} in small letters", "{v}.lower()", lambda v, c: v.lower()),
    Op("reverse", "text", "text", "reverses {v} | reverses the characters of {v}", "writes {v} backwards",
          "{v}[::-1]", lambda v, c: v[::-1]),
    Op("append", "text", "text", "adds '{c}' to the end of {v} | appends '{c}' to {v}", "writes '{c}' behind {v}",
          "{v} + '{c}'", lambda v, c: v + c, _ENDS),
    Op("prepend", "text", "text", "adds '{c}' to the start of {v} | puts '{c}' before {v}",
          "writes '{c}' in front of {v}", "'{c}' + {v}", lambda v, c: c + v, _ENDS),
    Op("repeat", "text", "text", "repeats {v} {c} times", "writes {v} {c} times in a row",
          "{v} * {c}", lambda v, c: v * c, (2, 3, 4, 5)),
    Op("without", "text", "text", "removes every '{c}' from {v} | deletes all letters '{c}' from {v}",
          "leaves out each '{c}' of {v}", "{v}.replace('{c}', '')", lambda v, c: v.replace(c, ""), _LETTERS),
    Op("head", "text", "text", "takes the first {c} characters of {v}", "cuts {v} off after {c} characters",
          "{v}[:{c}]", lambda v, c: v[:c], (2, 3, 4, 5)),
    Op("length", "text", "number", "takes the length of {v} | counts the characters of {v}",
          "finds how long {v} is", "len({v})", lambda v, c: len(v)),
    Op("count", "text", "number", "counts how often '{c}' occurs in {v} | counts the letters '{c}' in {v}",
          "finds how many times {v} has '{c}'", "{v}.count('{c}')", lambda v, c: v.count(c), _LETTERS),
    Op("has", "text", "truth", "checks whether {v} contains '{c}'", "tells if '{c}' stands in {v}",
          "'{c}' in {v}", lambda v, c: c in v, _LETTERS),
    # A list of whole numbers, never empty.
    Op("total", "list", "number", "takes the sum of {v} | adds up all numbers in {v}",
          "totals the numbers in {v}", "sum({v})", lambda v, c: sum(v)),
    Op("size", "list", "number", "takes the length of {v} | counts the elements of {v}",
          "finds how many elements are in {v}", "len({v})", lambda v, c: len(v)),
    Op("largest", "list", "number", "takes the largest number in {v} | takes the maximum of {v}",
          "finds the number in {v} that no other exceeds", "max({v})", lambda v, c: max(v)),
    Op("smallest", "list", "number", "takes the smallest number in {v} | takes the minimum of {v}",
          "finds the number in {v} that exceeds no other", "min({v})", lambda v, c: min(v)),
    Op("first", "list", "number", "takes the first element of {v}", "finds what {v} starts with",
          "{v}[0]", lambda v, c: v[0]),
    Op("last", "list", "number", "takes the last element of {v}", "finds what {v} ends with",
          "{v}[-1]", lambda v, c: v[-1]),
    Op("sort", "list", "list", "sorts {v} | sorts {v} in ascending order", "puts {v} in order, smallest first",
          "sorted({v})", lambda v, c: sorted(v)),
    Op("turn", "list", "list", "reverses {v} | reverses the order of {v}", "turns {v} around, last element first",
          "{v}[::-1]", lambda v, c: v[::-1]),
    Op("each_add", "list", "list", "adds {c} to each number in {v} | adds {c} to every element of {v}",
          "makes all numbers in {v} larger by {c}", "[one + {c} for one in {v}]", lambda v, c: [one + c for one in v],
          _MORE),
    Op("each_mul", "list", "list", "multiplies each number in {v} by {c} | multiplies every element of {v} by {c}",
          "makes all numbers in {v} {c} times as large", "[one * {c} for one in {v}]",
          lambda v, c: [one * c for one in v], _SMALL),
    Op("keep", "list", "list", "keeps only the numbers in {v} that are greater than {c}",
          "leaves out what is not above {c} in {v}", "[one for one in {v} if one > {c}]",
          lambda v, c: [one for one in v if one > c], tuple(range(-5, 11))),
    Op("keep_even", "list", "list", "keeps only the even numbers in {v}", "leaves out what is odd in {v}",
          "[one for one in {v} if one % 2 == 0]", lambda v, c: [one for one in v if one % 2 == 0]),
    Op("push", "list", "list", "appends {c} to the end of {v} | adds {c} at the end of {v}",
          "puts {c} behind all of {v}", "{v} + [{c}]", lambda v, c: [*v, c], _MORE),
    Op("within", "list", "truth", "checks whether {c} is in {v} | checks whether {v} contains {c}",
          "tells if {c} stands among {v}", "{c} in {v}", lambda v, c: c in v, tuple(range(0, 10))),
)  # fmt: skip
_MAY_EMPTY = {"keep", "keep_even"}
_NEEDS_ONE = {"largest", "smallest", "first", "last"}  # must not come after those
OPENINGS = (
    "Write a Python function {f} that {does} and returns the result.",
    "Write a function {f} that {does}. Return the result.",
    "Define a Python function {f} which {does} and returns what comes out.",
)
OOD_OPENINGS = ("In Python, {f} is to be a function that gives back what comes out when it {does}.",)
LINKS = (", then ", " and then ")
OOD_LINKS = (" and, after that, ",)

_INTEGERS = "st.integers(-50, 50)"
STRATEGIES = {
    "number": f"st.tuples({_INTEGERS})",
    "pair": f"st.tuples({_INTEGERS}, {_INTEGERS})",
    "text": "st.tuples(st.text(alphabet='aeiostrnlAEXyz ', max_size=10))",
    "list": f"st.tuples(st.lists({_INTEGERS}, min_size=1, max_size=6))",
}
"""What the arguments are drawn from, by kind: a hypothesis strategy over `st` for their tuple."""
_WORDS = ("apple", "Tree", "stone", "ROSE", "hello", "Lion", "sea salt", "noon", "Rattle", "list", "oil", "A")


class LineTask(TypedDict):
    """Is one generated task.

    `kind` is what the function takes (and `in 2 steps` where it has two), `steps` are their names, `text` is what is
    asked, `code` a solution, `visible` and `hidden` are assert lines. `property` has `args`, a strategy, and
    `reference`, source that defines `reference`. `skeleton` is the wording and the numbers, without names.
    """

    id: str
    kind: str
    steps: list[str]
    text: str
    entry_point: str
    code: str
    visible: list[str]
    hidden: list[str]
    property: dict[str, str]
    skeleton: str


def generate(
    split: str, n: int, seed: int = 0, *, min_steps: int = MIN_STEPS, max_steps: int = MAX_STEPS
) -> list[LineTask]:
    """Returns `n` different tasks of one split, the same ones for the same arguments everywhere.

    >>> row = generate("test", 1, min_steps=1, max_steps=1)[0]
    >>> row["code"].startswith(f"def {row['entry_point']}(") and row["visible"][0].startswith("assert ")
    True
    """
    check(split, n, seed)
    if not MIN_STEPS <= min_steps <= max_steps <= MAX_STEPS:
        raise ReasonerError(
            f"line tasks have no {min_steps}-{max_steps} steps",
            fix=f"use {MIN_STEPS} <= data.min_steps <= data.max_steps <= {MAX_STEPS}",
            code=USAGE,
        )
    rng = random.Random(f"linetasks-1:{split}:{seed}:{min_steps}:{max_steps}")

    def draw(place: int) -> LineTask | None:
        return _attempt(rng, split, KINDS[place % len(KINDS)], integer(rng, min_steps, max_steps))

    why = f"{min_steps}-{max_steps} steps leave too few"
    fix = "ask for fewer (data.num_train, eval.num_problems), or for two steps too"
    return distinct(n, draw, lambda row: row["text"], f"{split} tasks", why, fix)


_Steps = list[tuple[Op, Any, str]]  # each operation with its constant and its wording


def _attempt(rng: random.Random, split: str, kind: str, num_steps: int) -> LineTask | None:
    """Draws a task; None where its steps do not fit each other, or its skeleton belongs to another split."""
    is_ood = split == "ood"
    names = "test" if is_ood else split
    steps: _Steps = []
    of = kind
    for _ in range(num_steps):
        if not (options := [one for one in OPERATIONS if one.of == of]):
            return None
        step = pick(rng, options)
        if steps and steps[-1][0].name in _MAY_EMPTY and step.name in _NEEDS_ONE:
            return None
        steps.append((step, pick(rng, step.constants), pick(rng, (step.ood if is_ood else step.says).split(" | "))))
        of = step.to
    openings, links = (OOD_OPENINGS, OOD_LINKS) if is_ood else (OPENINGS, LINKS)
    opening, link = pick(rng, openings), pick(rng, links)
    bones = f"{'ood-' if is_ood else ''}{kind} {openings.index(opening)} {links.index(link)}"
    bones = " ".join([bones, *(f"{step.name}:{constant}:{says}" for step, constant, says in steps)])
    if not is_of(split, bones):
        return None
    entry = pick(rng, NAMES[names].split())
    given = pick(rng, PARAMETERS[kind][names].split()).split(",")
    if (tests := _tests(rng, kind, entry, steps)) is None:
        return None
    told = link.join(says.format(**_filled(given, constant, k, "the result")) for k, (_, constant, says) in
                     enumerate(steps))  # fmt: skip
    text = opening.format(f=f"{entry}({', '.join(given)})", does=told)
    return {
        "id": named_after(f"line-{split}", text),
        "kind": kind if num_steps == 1 else f"{kind} in {num_steps} steps",
        "steps": [step.name for step, _, _ in steps],
        "text": text,
        "entry_point": entry,
        "code": _source(entry, given, steps),
        "visible": tests[:1],
        "hidden": tests[1:],
        "property": {"args": STRATEGIES[kind], "reference": _source("reference", given, steps)},
        "skeleton": bones,
    }


def _filled(given: list[str], constant: Any, place: int, result: str) -> dict[str, object]:
    """Returns what fills the braces of a step: the parameters in the first one, the result so far in a later one."""
    return {"v": result if place else given[0], "a": given[0], "b": given[-1], "c": constant}


def _source(name: str, given: list[str], steps: _Steps) -> str:
    codes = [step.code.format(**_filled(given, constant, k, "result")) for k, (step, constant, _) in enumerate(steps)]
    lines = [f"    result = {code}" for code in codes[:-1]] + [f"    return {codes[-1]}"]
    return "\n".join([f"def {name}({', '.join(given)}):", *lines, ""])


def _tests(rng: random.Random, kind: str, entry: str, steps: _Steps) -> list[str] | None:
    """Returns assert lines on different inputs, the visible one first; None where they tell too little."""
    cases: dict[str, tuple[Any, Any]] = {}
    for given in _inputs(rng, kind):
        told = ", ".join(map(repr, given)) if kind == "pair" else repr(given)
        cases.setdefault(told, (given, _run(given, steps)))
    # Shown is a case in which something happens and comes out, if there is one.
    telling = [told for told, (given, value) in cases.items() if given and value != given]
    visible = next((told for told in telling if cases[told][1] not in (0, [], "")), next(iter(telling), None))
    if visible is None:
        return None
    kept = [visible, *[told for told in cases if told != visible][:NUM_HIDDEN]]
    hidden = Counter(repr(cases[told][1]) for told in kept[1:])
    if len(hidden) < (2 if steps[-1][0].to == "truth" else 3) or max(hidden.values()) > NUM_HIDDEN - 2:
        return None
    pairs = [cases[told] for told in kept[1:]]
    if sum(given != value for given, value in pairs) < 2:
        return None
    for k in range(len(steps)):
        others = steps[:k] + steps[k + 1 :]
        if others and others[0][0].of == kind and all(_run(given, others) == value for given, value in pairs):
            return None
    return [f"assert {entry}({told}) == {cases[told][1]!r}" for told in kept]


def _run(value: Any, steps: _Steps) -> Any:
    for step, constant, _ in steps:
        value = step.call(value, constant)
    return value


def _inputs(rng: random.Random, kind: str) -> list[Any]:
    """Draws inputs enough for the tests of one task: an ordinary one first, edges among the rest."""
    some: list[Any]
    if kind == "number":
        some = [integer(rng, 2, 12), 0, -integer(rng, 1, 9), 1] + [integer(rng, -30, 30) for _ in range(12)]
    elif kind == "pair":
        same = integer(rng, 1, 9)
        one = (integer(rng, 2, 9), integer(rng, 2, 9))
        some = [one, (0, integer(rng, 1, 9)), (same, same), (-integer(rng, 1, 9), 4)]
        some += [(integer(rng, -20, 20), integer(rng, -20, 20)) for _ in range(12)]
    elif kind == "text":
        first = int(rng.random() * len(_WORDS))
        some = [_WORDS[(first + i) % len(_WORDS)] for i in range(len(_WORDS))]
        some.insert(2, "")
    else:
        some = [[integer(rng, 1, 15) for _ in range(4)], [integer(rng, -9, 9)], [integer(rng, -9, 0) for _ in range(3)]]
        some += [[integer(rng, -20, 20) for _ in range(integer(rng, 2, 6))] for _ in range(12)]
    return some
