"""Judges a submission, which must pass every test of its task. It runs in the sandbox; the verdict is made here.

The answer is a task (see `task`); `submission` says which part of the completion is run.

All its calls are made in one process, in order: visible tests, hidden tests, then the examples of the property, or,
where the task has none, the same tests once more in another order: a list of answers that is read off in the order of
the calls is right only once. Programs (mode "stdio") run once a test, and their output is compared line by line, but
for white space at the ends of lines and empty lines at the end; an exit code other than 0 has failed.

What decides are values that came out of the sandbox as plain data, and expected values that never went in. Whatever the
submission does to end early, to print, to raise or to time out is a failed test. `unscored` is for what is not its
doing: a task that cannot be judged, a reference or a setup that fails, a sandbox that is not there.

What it does not promise: that the tests are good. Visible tests are there to be learnt by heart; only a property, or
hidden tests that nobody can guess, tell a solution from a table of answers. `Score.shares` are of both: the gap
between them is the alarm. The share of hidden tests passed can be a reward too, a weaker one: it pays for half a
solution, and for a constant that is often right.
"""

import functools
import hashlib
import os
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from reasoner.errors import USAGE, ReasonerError
from reasoner.sandbox import Answer, Call, Request, Result
from reasoner.verifiers.checker import Rows, Verifier, register
from reasoner.verifiers.code import examples, lift, pools
from reasoner.verifiers.code import task as tasks
from reasoner.verifiers.code.interpreter import Check
from reasoner.verifiers.code.lift import Ready
from reasoner.verifiers.code.submission import program, submission_of
from reasoner.verifiers.code.task import Stdio, Task, Unfit
from reasoner.verifiers.code.values import equal, holds_type, shown, source_of
from reasoner.verifiers.score import Score, Shares

CPU_S = 5.0  # processor time of one submission with all its calls; of each program in mode "stdio"
AGAIN_S = 2.0  # more of it where the tests are asked a second time
WALL_S = 9.0  # by the clock, for what sleeps or waits; for how long the machine kept it from a processor is not counted
NEAR_MISSES, NEAR_MISS_S = 6, 1.0  # mutations that an audit tries; the processor time after which one is left out
_MOST_SHOWN = 4000

Count = tuple[int, int]  # (held, of)


@dataclass(frozen=True)
class Outcome:
    """Holds a score with what it was made of. Counts are asserts, programs or examples: (held, of)."""

    score: Score
    visible: Count = (0, 0)
    hidden: Count = (0, 0)
    examples: Count = (0, 0)
    ended: str = ""
    tier: str = ""
    ms: float = 0.0


def shares(visible: Count, hidden: Count, examples: Count) -> Shares:
    """Makes shares of counts; examples of a property are among the hidden tests.

    >>> shares((3, 3), (1, 2), (1, 6))
    Shares(visible=1.0, hidden=0.25)
    """

    def share(held: int, of: int) -> float | None:
        return held / of if of else None

    return Shares(share(*visible), share(hidden[0] + examples[0], hidden[1] + examples[1]))


# -- the verifier ------------------------------------------------------------------------------


def commit(answer: str) -> str:
    """Writes a completion with the task's own solution, or with the reference of its property."""
    try:
        source = _solution(tasks.parse(answer))
    except Unfit as error:
        raise ReasonerError("there is no task to solve", why=str(error), code=USAGE) from None
    if not source:
        fix = 'give it "solution", or a property with a reference'
        raise ReasonerError("the task has no solution of its own", fix=fix, code=USAGE)
    return _fenced(source)


def _solution(task: Task) -> str:
    if not task.solution and task.property:
        return f"{task.property.reference.rstrip()}\n\n\n{task.entry_point} = reference\n"
    return task.solution


def _fenced(source: str) -> str:
    return f"```python\n{source.rstrip()}\n```"


def near_misses(answer: str) -> Iterator[tuple[str, str]]:
    """Makes completions with a small mistake in the task's solution by which an assert of its tests fails.

    That is asked of the tests in one process, as their authors run them.
    """
    from reasoner.verifiers.code.mutations import mutations, usual

    task = lift.read(answer).task
    if task.mode == "stdio":
        return
    chance = random.Random(hashlib.sha256(answer.encode("utf-8")).digest())
    made = mutations(_solution(task), NEAR_MISSES, chance)
    requests = [Request(usual(task, text), stdin=("",), cpu_s=NEAR_MISS_S) for _, text in made]
    with ThreadPoolExecutor(pools.running().workers) as threads:
        results = list(threads.map(pools.running().run, requests))
    for (how, text), result in zip(made, results, strict=True):
        (ran,) = result.answers
        if result.ended == "ok" and ran.kind == "value" and ran.value[1] != 0:
            yield f"mutation: {how}", _fenced(text)


def ready() -> None:
    """Opens the pool now, and so refuses, before any work, a machine that cannot run submissions safely."""
    pools.running()


def code(completion: str, answer: str) -> Score:
    """Says right when the submission of the completion passes every test of the task that the answer is."""
    return outcome(submission_of(completion), answer).score


def outcome(submission: str, answer: str) -> Outcome:
    """Runs the source of a submission and says what it comes to."""
    taken = submission[:_MOST_SHOWN] if submission.strip() else None
    try:
        plan = _plan(lift.read(answer))
        request = _request(plan, program(plan.ready.task, submission))
    except Unfit as error:
        return Outcome(Score("unscored", taken, why=str(error)[:500]))
    result = pools.running().run(request)
    whys = plan.judge(result)
    visible, hidden, examples = counts = [(sum(not why for why in pile), len(pile)) for pile in whys]
    told = ((visible[0] + hidden[0], visible[1] + hidden[1], "tests"), (*examples, "examples"))
    rule = ", ".join(f"{held} of {of} {what}" for held, of, what in told if of)
    first = next((why for pile in whys for why in pile if why), "")
    score = Score("wrong" if first else "right", taken, rule, first[:500], plan.ready.task.mode, shares(*counts))
    return Outcome(score, visible, hidden, examples, result.ended, result.tier, result.ms)


def _check_source(submission: str, answer: str) -> Score:
    return outcome(submission, answer).score


register(
    Verifier(
        "code", "3", code, commit, is_parallel=True, ready=ready, has_shares=True, near_misses=near_misses,
        family="code", is_sandboxed=True, rows=Rows(tasks.answer_of, _check_source),
    )
)  # fmt: skip


@dataclass(frozen=True)
class _Prepared:
    """Holds what is worked out once for a task: examples of the property with the reference's answers, or a problem."""

    examples: tuple[tuple[Any, ...], ...] = ()
    expected: tuple[Any, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class _Plan:
    """Holds the calls of a task and what their answers must be. `again` is the order of the second asking."""

    ready: Ready
    calls: tuple[Call, ...]
    prepared: _Prepared
    again: tuple[int, ...]

    def judge(self, result: Result) -> list[list[str]]:
        """Says why each visible test, each hidden test and each example has failed; empty where it holds."""
        task = self.ready.task
        if task.mode == "stdio":
            tests = [*task.tests, *task.hidden_tests]
            programs = [*map(_judge_program, tests, _answers(result, len(tests)))]
            at = len(task.tests)
            return [_numbered("test", programs[:at]), _numbered("hidden test", programs[at:]), []]
        num, examples = len(self.calls), self.prepared.examples
        answers = _answers(result, num + len(self.again) + len(examples))
        first, later = answers[:num], answers[num : num + len(self.again)]
        second = [answer for _, answer in sorted(zip(self.again, later, strict=True), key=lambda pair: pair[0])]
        found, at = [], 0
        for name, pile in (("test", self.ready.visible), ("hidden test", self.ready.hidden)):
            whys: list[str] = []
            for test in pile:
                part = slice(at, at := at + len(test.calls))
                checks = test.judge(first[part])
                whys += map(_why, checks, test.judge(second[part]) if second else checks)
            found.append(_numbered(name, whys))
        drawn = zip(examples, self.prepared.expected, answers[num + len(self.again) :], strict=True)
        return [*found, [_judge_example(task, *one) for one in drawn]]


def _answers(result: Result, num: int) -> list[Answer]:
    """Returns an answer for each call, also for those that were not reached."""
    missing = Answer("none", None, result.why or f"the run ended: {result.ended}")
    return [*result.answers[:num], *[missing] * (num - len(result.answers))]


def _plan(ready: Ready) -> _Plan:
    """Plans the calls of a task. Raises `Unfit` where it cannot be judged."""
    task = ready.task
    prepared = _Prepared()
    if task.property or task.setup.strip():
        with _preparing:
            prepared = _prepared(task)
    if prepared.problem:
        raise Unfit(prepared.problem)
    calls = tuple(call for test in (*ready.visible, *ready.hidden) for call in test.calls)
    order: list[int] = []
    if task.again and not task.property:
        order = list(range(len(calls)))
        random.Random(hashlib.sha256(task.to_answer().encode("ascii")).digest()).shuffle(order)
        if order == sorted(order):
            order.reverse()
    return _Plan(ready, calls, prepared, tuple(order))


def _request(plan: _Plan, source: str) -> Request:
    task = plan.ready.task
    if task.mode == "stdio":
        tests = [test for test in (*task.tests, *task.hidden_tests) if isinstance(test, Stdio)]
        return Request(source, stdin=tuple(test.stdin for test in tests), cpu_s=CPU_S, wall_s=WALL_S)
    asked = [*plan.calls, *(plan.calls[at] for at in plan.again), *map(Call, plan.prepared.examples)]
    entry, calls = task.entry_point, asked
    if any(holds_type((call.args, call.kwargs)) for call in asked):
        # A type among the arguments is no value that can be sent: the calls go in as source, after the submission.
        entry = "lifted_call"
        texts = "".join(f"        lambda: {task.entry_point}({', '.join(_texts(call))}),\n" for call in asked)
        source = f"{source}\n\ndef {entry}(number):\n    return [\n{texts}    ][number]()\n"
        calls = [Call((at,), {}, call.is_listed) for at, call in enumerate(asked)]
    return Request(source, entry, tuple(calls), cpu_s=CPU_S + (AGAIN_S if plan.again else 0), wall_s=WALL_S)


def _texts(call: Call) -> list[str]:
    return [*map(source_of, call.args), *(f"{name}={source_of(value)}" for name, value in call.kwargs.items())]


# -- judging -----------------------------------------------------------------------------------


def _numbered(name: str, whys: Sequence[str]) -> list[str]:
    return [f"{name} {number}: {why}" if why else "" for number, why in enumerate(whys, 1)]


def _why(first: Check, second: Check) -> str:
    """Says why an assert fails, when its calls are made first or again in another order."""
    if first.why:
        return f"{first.source}: {first.why}"
    return f"{second.source}: asked again in another order, {second.why}" if second.why else ""


def _judge_example(task: Task, args: tuple[Any, ...], expected: Any, answer: Answer) -> str:
    assert task.property is not None
    if answer.kind == "value" and equal(answer.value, expected, task.property.tolerance):
        return ""
    return f"property: {task.entry_point}{_listed(args)} {_said(answer)}, the reference gives {shown(expected)}"


def _said(answer: Answer) -> str:
    if answer.kind == "value":
        return f"gave {shown(answer.value)}"
    if answer.kind == "raised":
        return f"raised {answer.text[:200]}"
    return f"gave no value: {answer.text[:200]}"


def _judge_program(test: str | Stdio, answer: Answer) -> str:
    assert isinstance(test, Stdio)
    if answer.kind != "value":
        return _said(answer)
    printed, exit_code = answer.value
    if exit_code != 0:
        return f"exit code {exit_code}{f' ({answer.text[:200]})' if answer.text else ''}"
    wanted, got = _lines(test.stdout), _lines(printed)
    for number, (one, other) in enumerate(zip(wanted, got, strict=False), 1):
        if one != other:
            return f"line {number} is {shown(other)}, not {shown(one)}"
    return "" if len(wanted) == len(got) else f"it printed {len(got)} lines, not {len(wanted)}"


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _listed(args: tuple[Any, ...]) -> str:
    return f"({', '.join(shown(arg) for arg in args)})"


# -- what is worked out once -------------------------------------------------------------------


_preparing = threading.Lock()


@functools.lru_cache(maxsize=4096)
def _prepared(task: Task) -> _Prepared:
    """Returns the examples of a task and their expected values: strategy and reference run in the sandbox too.

    Worked out once and kept: the same examples for a whole group, and for every other completion in this process.
    Raises `Unfit` where the sandbox may be what failed: that is not kept.
    """
    setup = task.setup.rstrip()
    if setup:
        result = pools.running().run(Request(f"{setup}\n", stdin=("",), cpu_s=CPU_S))
        (answer,) = result.answers or (None,)
        if answer is None or answer.kind != "value" or answer.value[1] != 0:
            why = result.why or result.ended
            if answer is not None and answer.kind == "value":
                why = f"exit code {answer.value[1]} ({answer.text[:200]})"
            return _failed(f"the task's setup fails: {why}", result)
    if not task.property:
        return _Prepared()
    source = f"{setup}\n\n{task.property.reference}" if setup else task.property.reference
    result = pools.drawing().run(examples.request(task.property, source))
    try:
        drawn = examples.drawn(task.property, result)
    except Unfit as error:
        return _failed(str(error), result)
    result = pools.running().run(Request(source, "reference", tuple(Call(args) for args in drawn), cpu_s=CPU_S))
    for args, answer in zip(drawn, result.answers, strict=False):
        if answer.kind != "value":
            why = f"the property's reference fails: reference{_listed(args)} {_said(answer)}"
            return _failed(why[:300], result)
    if len(result.answers) < len(drawn):
        return _failed(f"the property's reference fails: {result.why or result.ended}", result)
    return _Prepared(tuple(drawn), tuple(answer.value for answer in result.answers))


def _failed(problem: str, result: Result) -> _Prepared:
    if result.ended in ("wall", "died"):
        raise Unfit(problem)
    return _Prepared(problem=problem)


def close() -> None:
    """Closes the pools, if there are any, and forgets what was worked out; the next submission opens another."""
    pools.close()
    _prepared.cache_clear()


def _after_fork() -> None:
    global _preparing
    _preparing = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
