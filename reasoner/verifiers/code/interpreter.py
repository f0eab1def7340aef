"""Interprets the tests of a task's author, with a fixed set of operations and bounded work.

It makes one pass through a test. Without answers it lifts: the calls of the entry point are noted, and what they give
is unknown. With answers it judges. Loops and conditions go by known values only: a call has one place in both passes.
"""

from __future__ import annotations

import ast
import functools
import operator
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from reasoner.sandbox import Answer, Call
from reasoner.verifiers.code import bounded
from reasoner.verifiers.code.bounded import UNKNOWN, Failed, apply
from reasoner.verifiers.code.task import Unfit
from reasoner.verifiers.code.values import clipped, is_plain, shown

MOST_CALLS = 10_000
MOST_STEPS = 1_000_000  # of one judgement; past them, an answer cannot be judged, and the test has failed

Values = dict[str, Any]  # what the names of a test hold, or the keywords of a call


Place = tuple[int, tuple[int, ...]]  # where a call stands: its node, and the turn of every loop around it


@dataclass(frozen=True)
class Check:
    """Holds an assert that has been worked out; `why` is empty where it holds."""

    source: str
    why: str = ""


_ERRORS = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
"""What working with an answer of the wrong kind raises."""


@dataclass(frozen=True)
class _Poison:
    """Is held by a name whose assignment failed."""

    why: str


@dataclass(frozen=True)
class _Module:
    """Is held by a name that stands for an imported module."""

    name: str


@dataclass(frozen=True)
class _Function:
    run: Interpreter
    node: ast.Lambda
    values: Values

    def __call__(self, *args: Any) -> Any:
        names = [arg.arg for arg in self.node.args.args]
        if len(args) != len(names):
            raise TypeError(f"{_line(self.node)} takes {len(names)} arguments")
        outer, self.run.values = self.run.values, {**self.values, **dict(zip(names, args, strict=True))}
        try:
            return self.run.value(self.node.body)
        finally:
            self.run.values = outer


class Interpreter:
    """Makes one pass through a test; `answers` is None while it lifts.

    `names` are those of the entry point, `places` says which call stands where, as an earlier pass found it. What a
    pass finds: `calls`, `places`, for each assert whether it is `asking` for an answer, and what was `found` of it.
    """

    def __init__(
        self, names: frozenset[str], places: Mapping[Place, int] = {}, answers: Sequence[Answer] | None = None
    ) -> None:
        self.names, self.answers = names, answers
        self.places = dict(places or {})
        self.calls: list[Call] = []
        self.iterated: set[int] = set()
        self.asking: list[bool] = []
        self.found: list[Check] = []
        self.values: Values = {}
        self.path: tuple[int, ...] = ()
        self.steps = 0
        self.random = random.Random(0)
        self.given: list[tuple[ast.Call, Any]] = []
        self.may_call = True

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
                    if alias.name not in bounded.MODULES:
                        raise Unfit(f"it needs the module {alias.name}")
                    self.values[alias.asname or alias.name] = _Module(alias.name)
            case ast.ImportFrom(module=str() as name, names=names, level=0):
                for alias in names:
                    self.values[alias.asname or alias.name] = self.member(name, alias.name)
            case ast.Pass() | ast.Expr(value=ast.Constant() | ast.Name() | ast.Call(func=ast.Name(id="print"))):
                pass
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                raise Unfit(f"it defines {name}")
            case _:
                raise Unfit(f"it has a statement that cannot be lifted: {_line(node)}")

    def check(self, test: ast.expr) -> None:
        if self.answers is None:
            holds = self.lifted(test)
            if holds is not UNKNOWN and not holds:
                raise Unfit(f"it asks for what never holds: {_line(test)}")
            self.asking.append(holds is UNKNOWN)
            return
        self.given = []
        try:
            why = "" if self.value(test) else self.said()
        except Failed as error:
            why = str(error) or self.said()
        except _ERRORS as error:
            why = f"{self.said()} ({type(error).__name__}: {error})"[:300]
        self.found.append(Check(_line(test), why))

    def said(self) -> str:
        given = [f"{_line(node, 60)} gave {shown(value)}" for node, value in self.given]
        return ", ".join(given) or "it does not hold"

    def assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        result: Any
        if self.answers is None:
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
        result = self.lifted(node) if self.answers is None else self.value(node)
        if result is UNKNOWN:
            raise Unfit(f"it has {what} an answer: {_line(node)}")
        return result

    def bind(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name) if name not in self.names:
                self.values[name] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts) if not any(isinstance(p, ast.Starred) for p in parts):
                for part, one in zip(parts, _unpacked(value, len(parts)), strict=True):
                    self.bind(part, one)
            case _:
                raise Unfit(f"it assigns to {_line(target)}")

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
                return self.gather(parts, bounded.make_set)
            case ast.Dict(keys=keys, values=values):
                if any(key is None for key in keys):
                    raise Unfit(f"it has a dictionary of dictionaries: {_line(node)}")
                parts, num = [*cast(list[ast.expr], keys), *values], len(keys)
                return self.gather(parts, lambda both: bounded.make_dict(zip(both[:num], both[num:], strict=True)))
            case ast.UnaryOp(op=op, operand=operand):
                return apply(bounded.UNARY[type(op)], self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                if type(op) not in bounded.BINARY:
                    raise Unfit(f"it has an operation that cannot be judged: {_line(node)}")
                return apply(bounded.BINARY[type(op)], self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=parts):
                return self.both(isinstance(op, ast.And), parts)
            case ast.Compare(left=left, ops=ops, comparators=parts):
                return self.compare(left, ops, parts)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                which = self.value(test)
                if which is UNKNOWN:
                    return (self.value(body), self.value(orelse), UNKNOWN)[-1]
                return self.value(body if which else orelse)
            case ast.Subscript(value=inner, slice=index):
                return apply(operator.getitem, self.value(inner), self.value(index))
            case ast.Slice(lower=low, upper=high, step=by):
                parts = [ast.Constant(None) if part is None else part for part in (low, high, by)]
                return self.gather(parts, lambda ends: slice(*ends))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                items = self.comprehension(node.generators, lambda: self.value(node.elt))
                return apply(bounded.make_set, items) if isinstance(node, ast.SetComp) else items
            case ast.DictComp():
                pair = ast.Tuple([node.key, node.value], ast.Load())
                return apply(bounded.make_dict, self.comprehension(node.generators, lambda: self.value(pair)))
            case ast.JoinedStr(values=parts):
                return self.gather(parts, "".join)
            case ast.FormattedValue(value=inner, conversion=-1, format_spec=None):
                return apply(str, self.value(inner))
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
        if name not in self.values and name not in bounded.BUILTINS:
            raise Unfit(f"it needs {name}, which is not part of the test")
        value = self.values[name] if name in self.values else bounded.BUILTINS[name]
        if isinstance(value, _Poison):
            raise Failed(value.why)
        return value

    def expanded(self, parts: Sequence[ast.expr]) -> list[Any]:
        """Works out the items of a display or the arguments of a call."""
        values: list[Any] = []
        for part in parts:
            if isinstance(part, ast.Starred):
                inner = self.value(part.value)
                values.extend([inner] if inner is UNKNOWN else inner)
            else:
                values.append(self.value(part))
        return values

    def gather(self, parts: Sequence[ast.expr], make: Callable[[list[Any]], Any]) -> Any:
        values = self.expanded(parts)
        return UNKNOWN if any(value is UNKNOWN for value in values) else make(values)

    def both(self, is_and: bool, parts: Sequence[ast.expr]) -> Any:
        is_unknown, value = False, None
        for part in parts:
            value = self.value(part)
            if value is UNKNOWN:
                is_unknown = True
            elif bool(value) is not is_and and not is_unknown:
                return value
        return UNKNOWN if is_unknown else value

    def compare(self, left: ast.expr, ops: Sequence[ast.cmpop], parts: Sequence[ast.expr]) -> Any:
        one, result = self.value(left), True
        for op, part in zip(ops, parts, strict=True):
            other = self.value(part)
            found = apply(bounded.COMPARE[type(op)], one, other)
            if found is UNKNOWN:
                result = cast(Any, UNKNOWN)
            elif result is True and not found:
                return False
            one = other
        return result

    def comprehension(self, generators: Sequence[ast.comprehension], make: Callable[[], Any]) -> Any:
        outer, path, items = dict(self.values), self.path, []

        def turn(depth: int) -> bool:
            """Fills `items`, and says whether they are known."""
            if depth == len(generators):
                items.append(make())
                return True
            one = generators[depth]
            over = self.value(one.iter)
            if over is UNKNOWN:
                self.blind(lambda: sightless(depth))
                return False
            around, is_known = self.path, True
            for number, item in enumerate(over):
                self.step()
                self.path = (*around, number)
                self.bind(one.target, item)
                wanted = [self.value(condition) for condition in one.ifs]
                if any(found is UNKNOWN for found in wanted):
                    self.blind(lambda: turn(depth + 1))
                    is_known = False
                elif all(wanted):
                    is_known = turn(depth + 1) and is_known
            self.path = around
            return is_known

        def sightless(depth: int) -> None:
            self.bind(generators[depth].target, UNKNOWN)
            for condition in generators[depth].ifs:
                self.value(condition)
            turn(depth + 1)

        self.iterated.update(id(one.iter) for one in generators)
        try:
            is_known = turn(0)
        finally:
            self.values, self.path = outer, path
        return items if is_known and not any(item is UNKNOWN for item in items) else UNKNOWN

    def blind(self, look: Callable[[], object]) -> None:
        """Looks at what is done with unknown values, where no call of the entry point can stand."""
        before, self.may_call = self.may_call, False
        look()
        self.may_call = before

    def function(self, node: ast.Lambda) -> _Function:
        args = node.args
        if args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs or args.defaults:
            raise Unfit(f"it has a lambda that cannot be judged: {_line(node)}")
        found = _Function(self, node, dict(self.values))
        if self.answers is None:
            self.blind(lambda: found(*[UNKNOWN] * len(args.args)))
        return found

    def as_module(self, name: str) -> str | None:
        held = self.values.get(name)
        if isinstance(held, _Module):
            return held.name
        return name if held is None and name in bounded.MODULES and name not in self.names else None

    def member(self, module: str, name: str) -> Any:
        if module not in bounded.MODULES:
            raise Unfit(f"it needs the module {module}")
        if module == "random" and name in bounded.RANDOM:
            return getattr(self.random, name)
        if name not in bounded.MODULES[module]:
            raise Unfit(f"it needs {module}.{name}")
        return bounded.MODULES[module][name]

    def call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id in bounded.ITERATING:
            self.iterated.update(map(id, node.args))
        args = self.expanded(node.args)
        keywords: Values = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise Unfit(f"it has keywords that cannot be lifted: {_line(node)}")
            keywords[keyword.arg] = self.value(keyword.value)
        is_unknown = any(value is UNKNOWN for value in (*args, *keywords.values()))
        match node.func:
            case ast.Name(id=name) if name in self.names:
                return self.ask(node, args, keywords, is_unknown)
            case ast.Name(id="isinstance"):
                return UNKNOWN if is_unknown else isinstance(*args, **keywords)
            case ast.Name(id=name):
                function = self.name(name)
                if not (function in bounded.CALLABLE or isinstance(function, _Function) or self.is_random(function)):
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
            return UNKNOWN
        if function is not type:
            args = [bounded.BOUNDED.get(arg, arg) if isinstance(arg, type) else arg for arg in args]
        return bounded.BOUNDED.get(function, function)(*args, **keywords)

    def is_random(self, function: Any) -> bool:
        return getattr(function, "__self__", None) is self.random

    def method(self, inner: ast.expr, name: str, args: list[Any], keywords: Values, is_unknown: bool) -> Any:
        if not any(name in names for names in bounded.METHODS.values()):
            raise Unfit(f"it calls the method {name}")
        held = self.value(inner)
        if is_unknown or held is UNKNOWN:
            return UNKNOWN
        kind = next((kind for kind in type(held).__mro__ if kind in bounded.METHODS), None)
        if kind is None or name not in bounded.METHODS[kind]:
            raise Failed(f"{self.said()}: no {name} of {type(held).__name__}")
        if name == "replace" and len(held) * max(len(part) for part in args[:2]) > bounded.LONGEST:
            raise Failed("a text that is too long to judge")
        result = getattr(held, name)(*args, **keywords)
        return list(result) if kind is dict and name in ("keys", "values", "items") else result

    def ask(self, node: ast.Call, args: list[Any], keywords: Values, is_unknown: bool) -> Any:
        place = (id(node), self.path)
        if self.answers is None:
            if is_unknown:
                raise Unfit(f"it calls with another answer: {_line(node)}")
            if not self.may_call:
                raise Unfit(f"it calls where answers decide whether: {_line(node)}")
            if not is_plain([*args, *keywords.values()]):
                raise Unfit(f"it calls with what is no plain value: {_line(node)}")
            self.places[place] = len(self.calls)
            self.calls.append(Call(tuple(args), keywords, id(node) in self.iterated))
            if len(self.calls) > MOST_CALLS:
                raise Unfit(f"it makes more than {MOST_CALLS:,} calls")
            return UNKNOWN
        at, what = self.places[place], _line(node, 60)
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
    return clipped(ast.unparse(node), most)


def _unpacked(value: Any, num: int) -> list[Any]:
    """Gives the values for so many names; each is poison where there are not as many."""
    if value is UNKNOWN or isinstance(value, _Poison):
        return [value] * num
    try:
        values = list(value)
    except TypeError as error:
        return [_Poison(f"TypeError: {error}")] * num
    return values if len(values) == num else [_Poison(f"{len(values)} values for {num} names")] * num
