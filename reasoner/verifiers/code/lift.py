"""Lifts the calls out of the tests of a task, and judges their answers later.

A test is never run. The `interpreter` reads it twice: once for the calls of the entry point (`Test.calls`), and again
for what stands around them, on the plain values that came out of the sandbox (`Test.judge`). So no expected value
enters the process that runs the submission, and nothing that comes out of it runs here.

What does not fit is refused when it is read (`Unfit`, with the reason): arguments that need a class, a package or
another answer of the submission; statements other than assignments, loops over known values, `if` on known values and
asserts. What is not promised: that a fitting test is a good one.
"""

import ast
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasoner.sandbox import Answer, Call
from reasoner.verifiers.code.bounded import Failed
from reasoner.verifiers.code.interpreter import MOST_CALLS, Check, Interpreter, Place
from reasoner.verifiers.code.task import Stdio, Task, Unfit, parse, tree


@dataclass(frozen=True)
class Test:
    """Holds one entry of `tests`, lifted: its `calls` in order, and which of its asserts are `asking` for an answer."""

    __test__ = False  # pytest would take it for one of its own

    program: tuple[ast.stmt, ...]
    names: frozenset[str]
    calls: tuple[Call, ...]
    places: Mapping[Place, int]
    asking: tuple[bool, ...]

    def judge(self, answers: Sequence[Answer]) -> list[Check]:
        """Judges its asserts on the answers of its calls, in order; a call without an answer has failed."""
        run = Interpreter(self.names, self.places, answers)
        try:
            run.statements(self.program)
        except Failed as error:  # out of operations between two asserts
            run.found += [Check("", str(error))] * (len(self.asking) - len(run.found))
        return [check for check, is_asking in zip(run.found, self.asking, strict=True) if is_asking]


@dataclass(frozen=True)
class Ready:
    """Holds a task whose tests are lifted, which is what a verifier works with."""

    task: Task
    visible: tuple[Test, ...]
    hidden: tuple[Test, ...]


@functools.lru_cache(maxsize=4096)
def read(answer: str) -> Ready:
    """Reads the task of an answer and lifts its tests. Raises `Unfit`."""
    task = parse(answer)
    if task.mode == "stdio":
        return Ready(task, (), ())
    assert task.entry_point is not None
    visible = _lifted("test", task.tests, task.entry_point)
    hidden = _lifted("hidden test", task.hidden_tests, task.entry_point)
    if not task.property and not any(any(test.asking) for test in (*visible, *hidden)):
        raise Unfit("its tests ask nothing")
    if sum(len(test.calls) for test in (*visible, *hidden)) > MOST_CALLS:
        raise Unfit(f"its tests make more than {MOST_CALLS:,} calls")
    return Ready(task, visible, hidden)


def _lifted(name: str, sources: Sequence[str | Stdio], entry_point: str) -> tuple[Test, ...]:
    found = []
    for number, source in enumerate(sources, 1):
        try:
            found.append(lift(str(source), entry_point))
        except Unfit as error:
            raise Unfit(f"{name} {number}: {error}") from None
    return tuple(found)


def lift(source: str, entry_point: str) -> Test:
    """Reads the calls and judgements of one test. Raises `Unfit`.

    >>> lift("assert sorted(f([2, 1], key=3)) == [1, 2]", "f").calls
    (Call(args=([2, 1],), kwargs={'key': 3}, is_listed=True),)
    """
    body = tree(source).body
    program, names = body, {entry_point}
    if checks := [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "check"]:
        parameters = checks[-1].args
        if len(parameters.args) != 1 or parameters.vararg or parameters.kwarg or parameters.kwonlyargs:
            raise Unfit("check does not take one candidate")
        names.add(parameters.args[0].arg)
        outside = [node for node in body if not isinstance(node, ast.FunctionDef) and not _calls_check(node)]
        program = [*outside, *checks[-1].body]
    run = Interpreter(frozenset(names))
    try:
        run.statements(program)
    except Failed as error:
        raise Unfit(str(error)) from None
    except RecursionError:
        raise Unfit("it is nested too deeply") from None
    return Test(tuple(program), frozenset(names), tuple(run.calls), run.places, tuple(run.asking))


def _calls_check(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="check"))):
            return True
    return False
