"""A code task as data, and its tests as calls and judgements.

A task travels as the `answer` of a problem: one line of JSON, `{"schema": 1, ...}` with the keys of `FIELDS`.

    entry_point   the function's name; null in mode "stdio"
    mode          "call": tests are Python text; "stdio": tests are {"stdin": "…", "stdout": "…"}
    tests         the visible tests: the policy may have seen them
    hidden_tests  held-out tests of the same shape
    property      null, or {"args", "reference"}: a hypothesis strategy over `st` for the tuple of arguments, and
                  trusted source that defines `reference`; also "examples" (60) and "tolerance" (null: exact)
    setup         source that runs before the submission, such as the imports that its prompt shows ("")
    prompt        source that ends within the entry point's function, after its signature and docstring: what a
                  submission that begins with an indented line goes on from ("")
    solution      a right submission, for the audit ("")
    again         false where the order of calls has meaning: else the tests are asked twice, the second time shuffled

A test is assert lines, or a `check(candidate)` function. It is never run: it is read as a syntax tree, its calls of the
entry point are lifted out (`Test.calls`) and made in the sandbox, and what stands around them is worked out here on the
plain values that come back (`Test.judge`), by a small interpreter with a fixed set of operations and bounded work. So
no expected value enters the process that runs the submission, and nothing that comes out of it runs here.

What does not fit is refused when it is read (`Unfit`, with the reason): arguments that need a class, a package or
another answer of the submission; statements other than assignments, loops over known values, `if` on known values and
asserts. What is not promised: that a fitting test is a good one.
"""

from __future__ import annotations

import ast
import collections
import copy
import functools
import json
import math
import operator
import random
import string
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol, cast

SCHEMA = 1
FIELDS = ("entry_point", "mode", "tests", "hidden_tests", "property", "setup", "prompt", "solution", "again")
"""The keys of a task, beside `schema`."""
MOST_CALLS = 10_000
MOST_STEPS = 1_000_000
"""Operations of one judgement; past them, an answer is one that cannot be judged, and the test has failed."""
MOST_BYTES = 4_000_000
"""Of a task's JSON."""
_LONGEST = 10_000_000
"""Items of a sequence that a judgement may build."""
_MOST_BITS = 1_000_000
_EQUAL_HASHES = 64
EXAMPLES = 60


class Unfit(Exception):
    """A task that cannot be judged; the text says why."""


class Failed(Exception):
    """A test that does not hold, whatever its values: no answer, or one that cannot be worked with."""


@dataclass(frozen=True)
class Property:
    """For all arguments drawn from a strategy, the answer equals that of a trusted reference."""

    args: str
    reference: str
    examples: int = EXAMPLES
    tolerance: float | None = None
    """Relative and absolute, for the floats of an answer; None compares them exactly."""


@dataclass(frozen=True)
class Stdio:
    """A run of a whole program: what it reads, and what it must print."""

    stdin: str
    stdout: str


@dataclass(frozen=True)
class Task:
    """What a submission must do. `to_answer` and `read` are its way to JSON and back."""

    entry_point: str | None
    mode: Literal["call", "stdio"] = "call"
    tests: tuple[str | Stdio, ...] = ()
    hidden_tests: tuple[str | Stdio, ...] = ()
    property: Property | None = None
    setup: str = ""
    prompt: str = ""
    solution: str = ""
    again: bool = True

    def to_answer(self) -> str:
        """The canonical JSON: the same task gives the same text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, sort_keys=True, separators=(",", ":"))


class Answered(Protocol):
    """What came out of one call."""

    @property
    def kind(self) -> str: ...
    @property
    def value(self) -> Any: ...
    @property
    def text(self) -> str: ...


class Asked(NamedTuple):
    """A call of the entry point; `is_listed` where only the items of its answer matter, as in `sorted(f(x))`."""

    args: tuple[Any, ...]
    keywords: dict[str, Any]
    is_listed: bool = False


_Place = tuple[int, tuple[int, ...]]
"""Where a call stands: its node, and the turn of every loop around it."""


@dataclass(frozen=True)
class Check:
    """One assert, worked out: `why` is empty where it holds."""

    source: str
    why: str = ""


@dataclass(frozen=True)
class Test:
    """One entry of `tests`, lifted: its `calls` in order, and the asserts that ask for an answer."""

    __test__ = False  # pytest would take it for one of its own

    source: str
    program: tuple[ast.stmt, ...]
    names: frozenset[str]
    calls: tuple[Asked, ...]
    places: Mapping[_Place, int]
    asking: tuple[bool, ...]

    @property
    def num_checks(self) -> int:
        return sum(self.asking)

    def judge(self, answers: Sequence[Answered]) -> list[Check]:
        """Its asserts on the answers of its calls, in order; a call without an answer has failed."""
        run = _Run(self.names, self.places, answers)
        try:
            run.statements(self.program)
        except Failed as error:  # out of operations between two asserts
            run.found += [Check("", str(error))] * (len(self.asking) - len(run.found))
        return [check for check, is_asking in zip(run.found, self.asking, strict=True) if is_asking]


@dataclass(frozen=True)
class Ready:
    """A task whose tests are lifted: what a verifier works with."""

    task: Task
    visible: tuple[Test, ...]
    hidden: tuple[Test, ...]


@functools.lru_cache(maxsize=4096)
def read(answer: str) -> Ready:
    """The task of an answer, with its tests lifted. Raises `Unfit`."""
    task = parse(answer)
    if task.mode == "stdio":
        return Ready(task, (), ())
    assert task.entry_point is not None
    piles: list[tuple[Test, ...]] = []
    for kind, sources in (("test", task.tests), ("hidden test", task.hidden_tests)):
        pile = []
        for number, source in enumerate(cast(tuple[str, ...], sources), 1):
            try:
                pile.append(lift(source, task.entry_point))
            except Unfit as error:
                raise Unfit(f"{kind} {number}: {error}") from None
        piles.append(tuple(pile))
    visible, hidden = piles
    if not task.property and not sum(test.num_checks for test in (*visible, *hidden)):
        raise Unfit("its tests ask nothing")
    if sum(len(test.calls) for test in (*visible, *hidden)) > MOST_CALLS:
        raise Unfit(f"its tests make more than {MOST_CALLS:,} calls")
    return Ready(task, visible, hidden)


def parse(answer: str) -> Task:
    """The task of an answer, its fields checked and its tests not yet read. Raises `Unfit`."""
    if len(answer) > MOST_BYTES:
        raise Unfit(f"the task has {len(answer):,} characters (at most {MOST_BYTES:,})")
    try:
        row = json.loads(answer)
    except RecursionError:
        raise Unfit("the answer is not the JSON of a task: nested too deeply") from None
    except ValueError as error:
        raise Unfit(f"the answer is not the JSON of a task: {error}") from None
    if not isinstance(row, dict):
        raise Unfit("the answer is not the JSON of a task")
    if row.get("schema") != SCHEMA:
        raise Unfit(f"the task has schema {row.get('schema')!r}, we read {SCHEMA}")
    return from_fields({key: value for key, value in row.items() if key != "schema"})


def from_fields(row: Mapping[str, Any]) -> Task:
    """The task of a row with the keys of `FIELDS`; all but `tests` may be left out, no other may be there."""
    if unknown := sorted(set(row) - set(FIELDS)):
        raise Unfit(f"unknown fields: {', '.join(unknown)}")
    mode = row.get("mode", "call")
    if mode not in ("call", "stdio"):
        raise Unfit(f"mode is {mode!r}, not 'call' or 'stdio'")
    entry = row.get("entry_point")
    if mode == "call" and not (isinstance(entry, str) and entry.isidentifier()):
        raise Unfit(f"entry_point is {entry!r}, not a name")
    if mode == "stdio" and entry is not None:
        raise Unfit("entry_point is not null, but the mode is stdio")
    piles = []
    for key in ("tests", "hidden_tests"):
        pile = row.get(key) or []
        if isinstance(pile, str) and mode == "call":
            pile = [pile]
        if not isinstance(pile, list | tuple):
            raise Unfit(f"{key} is not a list")
        piles.append(tuple(_test_of(one, mode, f"{key} {number}") for number, one in enumerate(pile, 1)))
    given = row.get("property")
    if given is not None and mode == "stdio":
        raise Unfit("a property is for calls, but the mode is stdio")
    prop = None if given is None else _property_of(given)
    if not any(piles) and prop is None:
        raise Unfit("it has no tests")
    texts = {key: row.get(key, "") for key in ("setup", "prompt", "solution")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise Unfit(f"{key} is not text")
    again = row.get("again", True)
    if not isinstance(again, bool):
        raise Unfit("again is neither true nor false")
    return Task(entry, mode, piles[0], piles[1], prop, **texts, again=again)


def _test_of(one: object, mode: str, where: str) -> str | Stdio:
    if mode == "call":
        if not isinstance(one, str):
            raise Unfit(f"{where} is not text")
        return one
    if not isinstance(one, dict) or set(one) != {"stdin", "stdout"}:
        raise Unfit(f'{where} is not {{"stdin", "stdout"}}')
    if not all(isinstance(text, str) for text in one.values()):
        raise Unfit(f"{where}: stdin and stdout are not both text")
    return Stdio(one["stdin"], one["stdout"])


def _property_of(given: object) -> Property:
    if not isinstance(given, dict):
        raise Unfit("property is not an object")
    if unknown := sorted(set(given) - {"args", "reference", "examples", "tolerance"}):
        raise Unfit(f"property has unknown fields: {', '.join(unknown)}")
    for key in ("args", "reference"):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise Unfit(f"property has no {key}")
    examples, tolerance = given.get("examples", EXAMPLES), given.get("tolerance")
    if isinstance(examples, bool) or not isinstance(examples, int) or not 1 <= examples <= 1000:
        raise Unfit("property: examples is not a number from 1 to 1000")
    if tolerance is not None and (isinstance(tolerance, bool) or not isinstance(tolerance, int | float)):
        raise Unfit("property: tolerance is not a number")
    if tolerance is not None and not 0 <= tolerance < 1:
        raise Unfit("property: tolerance is not from 0 to 1")
    return Property(given["args"], given["reference"], examples, None if tolerance is None else float(tolerance))


# -- the public sets ---------------------------------------------------------------------------


def from_humaneval(row: Mapping[str, Any]) -> Task:
    """A row of HumanEval. Its `check` is hidden; what stands above the function in its prompt is the setup.

    From the function on it is the task's prompt: a completion may be the rest of the function, as its authors ask for.
    """
    prompt, entry = str(row["prompt"]), str(row["entry_point"])
    functions = [node for node in tree(prompt).body if isinstance(node, ast.FunctionDef) and node.name == entry]
    if not functions:
        raise Unfit(f"its prompt does not define {entry}")
    lines, above = prompt.splitlines(keepends=True), functions[0].lineno - 1
    setup = "".join(lines[:above]).strip()
    return Task(
        entry,
        hidden_tests=(str(row["test"]),),
        setup=f"{setup}\n" if setup else "",
        prompt="".join(lines[above:]),
        solution=prompt + str(row["canonical_solution"]),
    )


def from_mbpp(row: Mapping[str, Any], visible: int = 1) -> Task:
    """A row of MBPP; the first `visible` tests are for the prompt, the others and the challenge tests are hidden.

    The entry point is the function of its code that its tests call.
    """
    shown = [str(test) for test in row["test_list"]]
    tests = [*shown, *(str(test) for test in row.get("challenge_test_list", []))]
    solution = str(row["code"]).replace("\r\n", "\n")
    defined = {
        node.name for node in tree(solution).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    } | {
        target.id
        for node in tree(solution).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    called = {
        node.func.id
        for test in tests
        for node in ast.walk(tree(test))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    if len(found := sorted(defined & called)) != 1:
        raise Unfit(f"its tests call {', '.join(found) or 'no function'} of its code: not one entry point")
    setup = str(row.get("test_setup_code", "")).replace("\r\n", "\n")
    return Task(found[0], "call", tuple(tests[:visible]), tuple(tests[visible:]), setup=setup, solution=solution)


# -- values ------------------------------------------------------------------------------------


def equal(one: Any, other: Any, tolerance: float | None = None) -> bool:
    """Python's `==`, but for NaN, which equals NaN here, and floats within a tolerance where there is one.

    >>> equal((1, [2.0, float("nan")]), (1, [2, float("nan")])), equal([1], (1,))
    (True, False)
    """
    if one == other:
        return True
    if isinstance(one, int | float) and isinstance(other, int | float):
        if one != one or other != other:
            return one != one and other != other
        try:
            return tolerance is not None and math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        except OverflowError:  # a whole number beyond the floats
            return False
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        return all(equal(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return all(equal(value, other[key], tolerance) for key, value in one.items())
    return False


def shown(value: object, most: int = 80) -> str:
    """A value for people, in one line of bounded length."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        text = f"a value of type {type(value).__name__} with a number of thousands of digits"
    return text if len(text) <= most else f"{text[: most - 1]}…"


# -- lifting and judging -----------------------------------------------------------------------


_NAME = "<task>"
# A data set's escapes are its own affair: each would be told on standard error, from Python 3.12 on.
warnings.filterwarnings("ignore", message="invalid escape sequence", module=_NAME)


def tree(source: str) -> ast.Module:
    """The syntax tree of a data set's text (never of a submission's). Raises `Unfit`."""
    try:
        return ast.parse(source, _NAME)
    except SyntaxError as error:
        raise Unfit(f"it is not Python: {error.msg} (line {error.lineno})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unfit(f"it is not Python that can be read: {error or type(error).__name__}") from None


def lift(source: str, entry_point: str) -> Test:
    """The calls and judgements of one test. Raises `Unfit`.

    >>> lift("assert sorted(f([2, 1], key=3)) == [1, 2]", "f").calls
    (Asked(args=([2, 1],), keywords={'key': 3}, is_listed=True),)
    """
    body = tree(source).body
    program, names = body, {entry_point}
    if checks := [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "check"]:
        parameters = checks[-1].args
        if len(parameters.args) != 1 or parameters.vararg or parameters.kwarg or parameters.kwonlyargs:
            raise Unfit("check does not take one candidate")
        names.add(parameters.args[0].arg)
        outside = [node for node in body if not isinstance(node, ast.FunctionDef) and not _is_call_of_check(node)]
        program = [*outside, *checks[-1].body]
    run = _Run(frozenset(names))
    try:
        run.statements(program)
    except Failed as error:
        raise Unfit(str(error)) from None
    except RecursionError:
        raise Unfit("it is nested too deeply") from None
    return Test(source, tuple(program), frozenset(names), tuple(run.calls), run.places, tuple(run.asking))


def _is_call_of_check(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="check"))):
            return True
    return False


def evaluate(node: ast.expr, values: Mapping[str, Any] | None = None) -> Any:
    """The value of an expression of a data set's author. Raises `Unfit`, `Failed`, and what Python's own would."""
    run = _Run(frozenset(), {}, ())
    run.values.update(values or {})
    return run.value(node)


class _Unknown:
    """Stands for an answer while a test is lifted. Every operation on it is unknown."""


_UNKNOWN = _Unknown()
_ERRORS = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
"""What working with an answer of the wrong kind raises."""


@dataclass(frozen=True)
class _Poison:
    """What a name holds whose assignment failed."""

    why: str


@dataclass(frozen=True)
class _Module:
    name: str


@dataclass(frozen=True)
class _Function:
    """A lambda of a test's author."""

    run: _Run
    node: ast.Lambda
    values: dict[str, Any]

    def __call__(self, *args: Any) -> Any:
        names = [arg.arg for arg in self.node.args.args]
        if len(args) != len(names):
            raise TypeError(f"{_line(self.node)} takes {len(names)} arguments")
        return self.run.within({**self.values, **dict(zip(names, args, strict=True))}, self.node.body)


class _Run:
    """One pass through a test. Without answers it lifts: the calls are noted, and what they give is unknown.

    Both passes take the same way, since loops and conditions go by known values only: a call has the same place in
    both.
    """

    def __init__(
        self,
        names: frozenset[str],
        places: Mapping[_Place, int] | None = None,
        answers: Sequence[Answered] | None = None,
    ) -> None:
        self.names, self.answers = names, answers
        self.places = dict(places or {})
        self.calls: list[Asked] = []
        self.iterated: set[int] = set()
        self.asking: list[bool] = []
        self.found: list[Check] = []
        self.values: dict[str, Any] = {}
        self.path: tuple[int, ...] = ()
        self.steps = 0
        self.random = random.Random(0)
        self.given: list[tuple[ast.Call, Any]] = []
        self.may_call = True

    @property
    def is_lifting(self) -> bool:
        return self.answers is None

    # statements

    def statements(self, nodes: Iterable[ast.stmt]) -> None:
        for node in nodes:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assert(test=test):
                self.check(test)
            case ast.Assign(targets=targets, value=value):
                self.assign(targets, value)
            case ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value):
                self.assign([target], value)
            case ast.For(target=target, iter=over, body=body, orelse=[]):
                outer = self.path
                for turn, item in enumerate(self.known(over, "a loop over")):
                    self.step()
                    self.path = (*outer, turn)
                    self.bind(target, item)
                    self.statements(body)
                self.path = outer
            case ast.If(test=test, body=body, orelse=orelse):
                self.statements(body if self.known(test, "an `if` on") else orelse)
            case ast.Import(names=names):
                for alias in names:
                    if alias.name not in _MODULES:
                        raise Unfit(f"it needs the module {alias.name}")
                    self.values[alias.asname or alias.name] = _Module(alias.name)
            case ast.ImportFrom(module=str() as name, names=names, level=0):
                for alias in names:
                    self.values[alias.asname or alias.name] = self.member(name, alias.name)
            case ast.Expr(value=ast.Constant() | ast.Name()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
                pass
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                raise Unfit(f"it defines {name}")
            case _:
                raise Unfit(f"it has a statement that cannot be lifted: {_line(node)}")

    def check(self, test: ast.expr) -> None:
        if self.is_lifting:
            holds = self.lifted(test)
            if holds is not _UNKNOWN and not holds:
                raise Unfit(f"it asks for what never holds: {_line(test)}")
            self.asking.append(holds is _UNKNOWN)
            return
        self.given, why = [], ""
        try:
            holds = bool(self.value(test))
        except Failed as error:
            holds, why = False, str(error)
        except _ERRORS as error:
            holds, why = False, f"{self.said()} ({type(error).__name__}: {error})"[:300]
        self.found.append(Check(_line(test), "" if holds else why or self.said()))

    def said(self) -> str:
        """What the calls of an assert gave."""
        given = [f"{_line(node, 60)} gave {shown(value)}" for node, value in self.given]
        return ", ".join(given) or "it does not hold"

    def assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        result: Any
        if self.is_lifting:
            result = self.lifted(value)
        else:
            try:
                result = self.value(value)
            except Failed as error:
                result = _Poison(str(error))
            except _ERRORS as error:
                result = _Poison(f"{type(error).__name__}: {error}"[:300])
        for target in targets:
            self.bind(target, result)

    def lifted(self, node: ast.expr) -> Any:
        try:
            return self.value(node)
        except RecursionError:
            raise
        except _ERRORS as error:
            raise Unfit(f"it fails by itself, {type(error).__name__}: {error}: {_line(node)}"[:300]) from None
        except Failed as error:
            raise Unfit(f"{error}: {_line(node)}") from None

    def known(self, node: ast.expr, what: str) -> Any:
        result = self.lifted(node) if self.is_lifting else self.value(node)
        if result is _UNKNOWN:
            raise Unfit(f"it has {what} an answer: {_line(node)}")
        return result

    def bind(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                if name in self.names:
                    raise Unfit(f"it assigns to {name}")
                self.values[name] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts) if not any(isinstance(p, ast.Starred) for p in parts):
                values: list[Any]
                if value is _UNKNOWN or isinstance(value, _Poison):
                    values = [value] * len(parts)
                else:
                    try:
                        values = list(value)
                    except TypeError as error:
                        values = [_Poison(f"TypeError: {error}")] * len(parts)
                    if len(values) != len(parts):
                        values = [_Poison(f"{len(values)} values for {len(parts)} names")] * len(parts)
                for part, one in zip(parts, values, strict=True):
                    self.bind(part, one)
            case _:
                raise Unfit(f"it assigns to {_line(target)}")

    # expressions

    def step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Failed(f"it takes more than {MOST_STEPS:,} operations to judge")

    def value(self, node: ast.expr) -> Any:
        self.step()
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.name(name)
            case ast.List(elts=parts):
                return self.gather(parts, list)
            case ast.Tuple(elts=parts):
                return self.gather(parts, tuple)
            case ast.Set(elts=parts):
                return self.gather(parts, _set)
            case ast.Dict(keys=keys, values=values):
                if any(key is None for key in keys):
                    raise Unfit(f"it has a dictionary of dictionaries: {_line(node)}")
                return self.gather(
                    [*cast(list[ast.expr], keys), *values],
                    lambda both: _dict(list(zip(both[: len(keys)], both[len(keys) :], strict=True))),
                )
            case ast.UnaryOp(op=op, operand=operand):
                return _apply(_UNARY[type(op)], self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                if type(op) not in _BINARY:
                    raise Unfit(f"it has an operation that cannot be judged: {_line(node)}")
                return _apply(_BINARY[type(op)], self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=parts):
                return self.both(isinstance(op, ast.And), parts)
            case ast.Compare(left=left, ops=ops, comparators=parts):
                return self.compare(left, ops, parts)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                which = self.value(test)
                if which is _UNKNOWN:
                    return (self.value(body), self.value(orelse), _UNKNOWN)[-1]
                return self.value(body if which else orelse)
            case ast.Subscript(value=inner, slice=index):
                return _apply(operator.getitem, self.value(inner), self.value(index))
            case ast.Slice(lower=low, upper=high, step=by):
                parts = [ast.Constant(None) if part is None else part for part in (low, high, by)]
                return self.gather(parts, lambda ends: slice(*ends))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                items = self.comprehension(node.generators, lambda: self.value(node.elt))
                return _apply(_set, items) if isinstance(node, ast.SetComp) else items
            case ast.DictComp():
                pair = ast.Tuple([node.key, node.value], ast.Load())
                return _apply(_dict, self.comprehension(node.generators, lambda: self.value(pair)))
            case ast.JoinedStr(values=parts):
                return self.gather(parts, "".join)
            case ast.FormattedValue(value=inner, conversion=-1, format_spec=None):
                return _apply(str, self.value(inner))
            case ast.Lambda():
                return self.function(node)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if module := self.as_module(name):
                return self.member(module, attribute)
            case ast.Call():
                return self.call(node)
        raise Unfit(f"it has what cannot be judged: {_line(node)}")

    def name(self, name: str) -> Any:
        if name in self.names:
            raise Unfit(f"it uses {name} without calling it")
        if name in self.values:
            value = self.values[name]
            if isinstance(value, _Poison):
                raise Failed(value.why)
            return value
        if name in _BUILTINS:
            return _BUILTINS[name]
        raise Unfit(f"it needs {name}, which is not part of the test")

    def gather(self, parts: Sequence[ast.expr], make: Callable[[list[Any]], Any]) -> Any:
        values: list[Any] = []
        for part in parts:
            if isinstance(part, ast.Starred):
                inner = self.value(part.value)
                values.extend([inner] if inner is _UNKNOWN else inner)
            else:
                values.append(self.value(part))
        return _UNKNOWN if any(value is _UNKNOWN for value in values) else make(values)

    def both(self, is_and: bool, parts: Sequence[ast.expr]) -> Any:
        is_unknown, value = False, None
        for part in parts:
            value = self.value(part)
            if value is _UNKNOWN:
                is_unknown = True
            elif bool(value) is not is_and and not is_unknown:
                return value
        return _UNKNOWN if is_unknown else value

    def compare(self, left: ast.expr, ops: Sequence[ast.cmpop], parts: Sequence[ast.expr]) -> Any:
        one, result = self.value(left), True
        for op, part in zip(ops, parts, strict=True):
            other = self.value(part)
            found = _apply(_COMPARE[type(op)], one, other)
            if found is _UNKNOWN:
                result = cast(Any, _UNKNOWN)
            elif result is True and not found:
                return False
            one = other
        return result

    def comprehension(self, generators: Sequence[ast.comprehension], make: Callable[[], Any]) -> Any:
        outer, path, items = dict(self.values), self.path, []

        def turn(depth: int) -> bool:
            """Fills `items`; whether they are known."""
            if depth == len(generators):
                items.append(make())
                return True
            one = generators[depth]
            over = self.value(one.iter)
            if over is _UNKNOWN:
                self.blind(lambda: sightless(depth))
                return False
            around, is_known = self.path, True
            for number, item in enumerate(over):
                self.step()
                self.path = (*around, number)
                self.bind(one.target, item)
                wanted = [self.value(condition) for condition in one.ifs]
                if any(found is _UNKNOWN for found in wanted):
                    self.blind(lambda: turn(depth + 1))
                    is_known = False
                elif all(wanted):
                    is_known = turn(depth + 1) and is_known
            self.path = around
            return is_known

        def sightless(depth: int) -> None:
            self.bind(generators[depth].target, _UNKNOWN)
            for condition in generators[depth].ifs:
                self.value(condition)
            turn(depth + 1)

        self.iterated.update(id(one.iter) for one in generators)
        try:
            is_known = turn(0)
        finally:
            self.values, self.path = outer, path
        return items if is_known and not any(item is _UNKNOWN for item in items) else _UNKNOWN

    def blind(self, look: Callable[[], object]) -> None:
        """Look at what is done with unknown values, where no call of the entry point can stand."""
        before, self.may_call = self.may_call, False
        look()
        self.may_call = before

    def within(self, values: dict[str, Any], node: ast.expr) -> Any:
        before, self.values = self.values, values
        try:
            return self.value(node)
        finally:
            self.values = before

    def function(self, node: ast.Lambda) -> _Function:
        args = node.args
        if args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs or args.defaults:
            raise Unfit(f"it has a lambda that cannot be judged: {_line(node)}")
        found = _Function(self, node, dict(self.values))
        if self.is_lifting:
            self.blind(lambda: found(*[_UNKNOWN] * len(args.args)))
        return found

    def as_module(self, name: str) -> str | None:
        held = self.values.get(name)
        if isinstance(held, _Module):
            return held.name
        return name if held is None and name in _MODULES and name not in self.names else None

    def member(self, module: str, name: str) -> Any:
        if module not in _MODULES:
            raise Unfit(f"it needs the module {module}")
        if module == "random" and name in _RANDOM:
            return getattr(self.random, name)
        if name not in _MODULES[module]:
            raise Unfit(f"it needs {module}.{name}")
        return _MODULES[module][name]

    def call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id in _ITERATING:
            self.iterated.update(map(id, node.args))
        args: list[Any] = []
        for part in node.args:
            if isinstance(part, ast.Starred):
                inner = self.value(part.value)
                args.extend([inner] if inner is _UNKNOWN else inner)
            else:
                args.append(self.value(part))
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise Unfit(f"it has keywords that cannot be lifted: {_line(node)}")
            keywords[keyword.arg] = self.value(keyword.value)
        is_unknown = any(value is _UNKNOWN for value in (*args, *keywords.values()))
        match node.func:
            case ast.Name(id=name) if name in self.names:
                return self.ask(node, args, keywords, is_unknown)
            case ast.Name(id="isinstance"):
                return _UNKNOWN if is_unknown else isinstance(*args, **keywords)
            case ast.Name(id=name):
                function = self.name(name)
                if not (function in _CALLABLE or isinstance(function, _Function) or self.is_random(function)):
                    raise Unfit(f"it calls {name}")
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if module := self.as_module(name):
                function = self.member(module, attribute)
            case ast.Attribute(value=inner, attr=attribute):
                return self.method(inner, attribute, args, keywords, is_unknown)
            case _:
                raise Unfit(f"it calls what cannot be judged: {_line(node.func)}")
        if not callable(function):
            raise Unfit(f"it calls {_line(node.func)}")
        if is_unknown:
            return _UNKNOWN
        if function is not type:
            args = [_BOUNDED.get(arg, arg) if isinstance(arg, type) else arg for arg in args]
        return _BOUNDED.get(function, function)(*args, **keywords)

    def is_random(self, function: Any) -> bool:
        return getattr(function, "__self__", None) is self.random

    def method(self, inner: ast.expr, name: str, args: list[Any], keywords: dict[str, Any], is_unknown: bool) -> Any:
        if not any(name in names for names in _METHODS.values()):
            raise Unfit(f"it calls the method {name}")
        held = self.value(inner)
        if is_unknown or held is _UNKNOWN:
            return _UNKNOWN
        kind = next((kind for kind in type(held).__mro__ if kind in _METHODS), None)
        if kind is None or name not in _METHODS[kind]:
            raise Failed(f"{self.said()}: no {name} of {type(held).__name__}")
        if name == "replace" and len(held) * max(len(part) for part in args[:2]) > _LONGEST:
            raise Failed("a text that is too long to judge")
        result = getattr(held, name)(*args, **keywords)
        return list(result) if kind is dict and name in ("keys", "values", "items") else result

    def ask(self, node: ast.Call, args: list[Any], keywords: dict[str, Any], is_unknown: bool) -> Any:
        place = (id(node), self.path)
        if self.answers is None:
            if is_unknown:
                raise Unfit(f"it calls with another answer: {_line(node)}")
            if not self.may_call:
                raise Unfit(f"it calls where answers decide whether: {_line(node)}")
            for one in (*args, *keywords.values()):
                if not is_plain(one):
                    raise Unfit(f"it calls with what is no plain value: {_line(node)}")
            self.places[place] = len(self.calls)
            self.calls.append(Asked(tuple(args), keywords, id(node) in self.iterated))
            if len(self.calls) > MOST_CALLS:
                raise Unfit(f"it makes more than {MOST_CALLS:,} calls")
            return _UNKNOWN
        at = self.places[place]
        what = _line(node, 60)
        if at >= len(self.answers):
            raise Failed(f"{what} gave no answer")
        answer = self.answers[at]
        if answer.kind == "raised":
            raise Failed(f"{what} raised {answer.text}"[:300])
        if answer.kind != "value":
            raise Failed(f"{what} gave no plain value{': ' if answer.text else ''}{answer.text}"[:300])
        self.given.append((node, answer.value))
        return answer.value


@functools.lru_cache(maxsize=100_000)
def _line(node: ast.AST, most: int = 120) -> str:
    """The source of a node, in one line of bounded length."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


_TYPES = frozenset({bool, bytes, complex, dict, float, int, list, set, str, tuple})
"""What may stand among arguments beside plain values: these types themselves, as in `only(values, int)`."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def is_plain(value: Any) -> bool:
    """Whether a value can stand among the arguments of a call."""
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(one) for key, one in value.items())
    return type(value) in _PLAIN or (isinstance(value, type) and value in _TYPES)


def holds_type(value: Any) -> bool:
    """Whether a type stands among the arguments: such a call cannot be sent as values, only as source."""
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_type, value))
    if isinstance(value, dict):
        return any(holds_type(part) for pair in value.items() for part in pair)
    return isinstance(value, type)


def source_of(value: Any) -> str:
    """Python source of an argument.

    >>> source_of({"a": [int, (1.5, float("inf"))]})
    "{'a': [int, (1.5, float('inf'),)]}"
    """
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{source_of(key)}: {source_of(one)}' for key, one in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}([{', '.join(map(source_of, value))}])"
    if isinstance(value, list):
        return f"[{', '.join(map(source_of, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{source_of(one)}, ' for one in value).rstrip()})"
    return repr(value)


# -- what a judgement may do -------------------------------------------------------------------
# Values may be a submission's, so whatever can take long or much memory on a value of a few megabytes is bounded here.


def _apply(function: Callable[..., Any], *args: Any) -> Any:
    return _UNKNOWN if any(arg is _UNKNOWN for arg in args) else function(*args)


def _bits(*values: Any) -> int:
    return max((value.bit_length() for value in values if isinstance(value, int)), default=0)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and _bits(base) * abs(exponent) > _MOST_BITS:
        raise Failed("a number that is too large to judge")
    return base**exponent


def _product(one: Any, other: Any) -> Any:
    if _bits(one) + _bits(other) > _MOST_BITS:
        raise Failed("a number that is too large to judge")
    for left, right in ((one, other), (other, one)):
        if isinstance(left, str | bytes | list | tuple) and isinstance(right, int) and len(left) * right > _LONGEST:
            raise Failed("a sequence that is too long to judge")
    return one * other


def _division(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def divide(one: Any, other: Any) -> Any:
        if isinstance(one, str | bytes):
            raise Failed("a text with %, which is not judged")
        if _bits(one, other) > _MOST_BITS // 10:
            raise Failed("a number that is too large to judge")
        return function(one, other)

    return divide


def _round(value: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > 1000:
        raise Failed("a rounding to more than 1000 digits")
    return round(value, digits)


def _range(*ends: int) -> range:
    found = range(*ends)
    if _bits(*ends) > 60 or len(found) > 1_000_000:
        raise Failed("a range of more than a million numbers")
    return found


def _sum(values: Any, start: Any = 0) -> Any:
    items = list(values)
    if not isinstance(start, int | float) and len(items) > 1000:
        raise Failed("a sum of more than 1000 sequences")
    return sum(items, start)


def _set(values: Any = ()) -> set[Any]:
    return set(_hashable(values))


def _frozenset(values: Any = ()) -> frozenset[Any]:
    return frozenset(_hashable(values))


def _dict(values: Any = (), **more: Any) -> dict[Any, Any]:
    pairs = list(values.items() if isinstance(values, dict) else values)
    _hashable(pair[0] for pair in pairs)
    return dict(pairs, **more)


def _hashable(values: Any) -> list[Any]:
    """The values as a list, unless so many different ones of the same hash are among them that a set takes minutes."""
    items = list(values)
    if len(items) > _EQUAL_HASHES:
        ((worst, times),) = collections.Counter(map(hash, items)).most_common(1)
        different: list[Any] = []
        for item in items if times > _EQUAL_HASHES else ():
            if hash(item) == worst and item not in different:
                different.append(item)
                if len(different) > _EQUAL_HASHES:
                    raise Failed("values of too many equal hashes to judge")
    return items


def _factor(function: Callable[..., int]) -> Callable[..., int]:
    def bounded(*args: int) -> int:
        if any(isinstance(arg, int) and arg > 3000 for arg in args):
            raise Failed("a number that is too large to judge")
        return function(*args)

    return bounded


def _listed(function: Callable[..., Iterable[Any]]) -> Callable[..., list[Any]]:
    def listed(*args: Any, **keywords: Any) -> list[Any]:
        return list(function(*args, **keywords))

    return listed


def _is(one: Any, other: Any) -> bool:
    """Identity, of values that have gone through a pipe: the same type and equal."""
    return type(one) is type(other) and bool(one == other)


_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _product,
    ast.Div: _division(operator.truediv),
    ast.FloorDiv: _division(operator.floordiv),
    ast.Mod: _division(operator.mod),
    ast.Pow: _power,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: _is,
    ast.IsNot: lambda one, other: not _is(one, other),
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
_BUILTINS: dict[str, Any] = {
    **{one.__name__: one for one in (abs, all, any, bin, bool, bytes, chr, float, frozenset, hex, int, len)},
    **{one.__name__: one for one in (list, max, min, oct, ord, sorted, str, tuple, type)},
    "dict": dict,
    "divmod": _division(divmod),
    "enumerate": _listed(enumerate),
    "filter": _listed(filter),
    "isinstance": isinstance,
    "map": _listed(map),
    "pow": _power,
    "range": _range,
    "reversed": _listed(reversed),
    "round": _round,
    "set": set,
    "sum": _sum,
    "zip": _listed(zip),
}
_BOUNDED: dict[Any, Callable[..., Any]] = {dict: _dict, frozenset: _frozenset, set: _set}
"""Types that stand for themselves in `isinstance`, and are called through these."""
_ITERATING = frozenset(
    {"all", "any", "dict", "enumerate", "filter", "frozenset", "list", "map", "max", "min", "set", "sorted", "sum"}
    | {"tuple", "zip"}
)
"""What takes an iterator as well as a list."""
_MATH = "acos asin atan atan2 ceil copysign cos degrees dist e exp fabs floor fmod frexp fsum gcd hypot inf isclose"
_MATH += " isfinite isinf isnan isqrt lcm log log10 log1p log2 nan pi radians sin sqrt tan tau trunc"
_TEXTS = "ascii_letters ascii_lowercase ascii_uppercase digits hexdigits punctuation whitespace"
_RANDOM = frozenset({"choice", "randint", "random", "randrange", "sample", "uniform"})
"""Drawn by a generator of fixed seed: the same numbers whenever the test is read."""
_MODULES: dict[str, dict[str, Any]] = {
    "collections": {"Counter": collections.Counter, "OrderedDict": dict},
    "copy": {"copy": copy.copy, "deepcopy": copy.deepcopy},
    "math": {
        **{name: getattr(math, name) for name in _MATH.split()},
        **{name: _factor(getattr(math, name)) for name in ("comb", "factorial", "perm")},
        "pow": lambda one, other: float(one) ** float(other),
        "prod": lambda values: functools.reduce(_product, values, 1),
    },
    "random": {},
    "string": {name: getattr(string, name) for name in _TEXTS.split()},
    "sys": {"getsizeof": sys.getsizeof, "maxsize": sys.maxsize},
    "typing": dict.fromkeys(("Any", "Dict", "Iterable", "List", "Optional", "Set", "Tuple", "Union")),
}
_CALLABLE = frozenset(
    one for one in (*_BUILTINS.values(), *(v for held in _MODULES.values() for v in held.values())) if callable(one)
)
_TEXT_METHODS = "capitalize casefold count encode endswith find index isalnum isalpha isascii isdecimal isdigit islower"
_TEXT_METHODS += " isidentifier isnumeric isspace istitle isupper join lower lstrip partition removeprefix removesuffix"
_TEXT_METHODS += " replace rfind rindex rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
_SET_METHODS = "copy difference intersection isdisjoint issubset issuperset symmetric_difference union"
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    bytes: frozenset({"count", "decode", "endswith", "find", "hex", "startswith"}),
    list: frozenset({"copy", "count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"copy", "get", "items", "keys", "values"}),
    set: frozenset(_SET_METHODS.split()),
    frozenset: frozenset(_SET_METHODS.split()),
    int: frozenset({"bit_count", "bit_length"}),
    float: frozenset({"is_integer"}),
}
