"""A code task as data: to JSON and back, what is refused, the rows of the public sets, and plain values."""

import doctest
import json

import pytest

from reasoner.verifiers.code import task as tasks
from reasoner.verifiers.code import values
from reasoner.verifiers.code.lift import read
from reasoner.verifiers.code.task import Stdio, Task, Unfit, parse
from reasoner.verifiers.code.values import equal


def test_examples_in_the_text_run():
    assert doctest.testmod(values).failed == 0


def test_equal():
    nan = float("nan")
    assert equal({"a": [nan, 1.0]}, {"a": [nan, 1]})
    assert not equal([nan], (nan,))
    assert not equal(nan, 1.0)
    assert not equal({1: nan}, {2: nan})
    assert not equal(0.1 + 0.2, 0.3)
    assert equal([0.1 + 0.2], [0.3], 1e-9)
    assert not equal(10**400, 1.5, 1e-9)
    assert not equal("a", 1)


TASK = Task(
    "f",
    "call",
    ("assert f(1) == 2",),
    ("def check(c):\n    assert c(2) == 3\n",),
    tasks.Property("st.tuples(st.integers())", "def reference(x):\n    return x + 1\n", 10, 1e-9),
    "import math\n",
    "def f(x):\n",
    "def f(x):\n    return x + 1\n",
    False,
)


def test_a_task_is_one_line_of_json_and_back():
    for task in (TASK, Task(None, "stdio", (Stdio("1\n", "2\n"),)), Task("f", tests=("assert f(1)",))):
        answer = task.to_answer()
        assert "\n" not in answer
        assert parse(answer) == task
        assert parse(answer).to_answer() == answer
    assert json.loads(TASK.to_answer())["schema"] == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": 2}, "the task has schema 2, we read 1"),
        ({"mode": "shell"}, "mode is 'shell'"),
        ({"entry_point": None}, "entry_point is None, not a name"),
        ({"entry_point": "f()"}, "entry_point is 'f()', not a name"),
        ({"tests": "f(1"}, "test 1: it is not Python"),
        ({"tests": 5}, "tests is not a list"),
        ({"tests": [5]}, "tests 1 is not text"),
        ({"tests": [], "hidden_tests": [], "property": None}, "it has no tests"),
        ({"tests": ["f(1)"], "hidden_tests": [], "property": None}, "test 1: it has a statement"),
        ({"tests": ["assert True"], "hidden_tests": [], "property": None}, "its tests ask nothing"),
        ({"hidden_tests": ["assert f(Node())"]}, "hidden test 1: it needs Node"),
        ({"property": {}}, "property has no args"),
        ({"property": {"args": "st.none()"}}, "property has no reference"),
        ({"property": {"args": "a", "reference": "b", "examples": 0}}, "examples is not a number from 1 to 1000"),
        ({"property": {"args": "a", "reference": "b", "tolerance": 2}}, "tolerance is not from 0 to 1"),
        ({"property": {"args": "a", "reference": "b", "arg": 2}}, "property has unknown fields: arg"),
        ({"setup": None}, "setup is not text"),
        ({"prompt": 5}, "prompt is not text"),
        ({"again": 1}, "again is neither true nor false"),
        ({"timeout": 1}, "unknown fields: timeout"),
        ({"mode": "stdio"}, "entry_point is not null, but the mode is stdio"),
        ({"mode": "stdio", "entry_point": None}, "tests 1 is not"),
    ],
)
def test_a_task_that_cannot_be_read(change, why):
    row = json.loads(TASK.to_answer()) | change
    with pytest.raises(Unfit) as caught:
        read(json.dumps(row))
    assert why in str(caught.value)


@pytest.mark.parametrize("answer", ["", "5", "[]", "{", "#### 5", "[" * 100_000, "9" * 10_000, "{}" + " " * 5_000_000])
def test_an_answer_that_is_no_task(answer):
    with pytest.raises(Unfit):
        read(answer)


def test_humaneval_and_mbpp_rows():
    prompt = 'from typing import List\n\n\ndef helper(x):\n    return x\n\n\ndef f(x: int) -> int:\n    """Adds."""\n'
    task = tasks.from_humaneval(
        {
            "prompt": prompt,
            "entry_point": "f",
            "canonical_solution": "    return x + 1\n",
            "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(1) == 2\n",
        }
    )
    assert task.setup == "from typing import List\n\n\ndef helper(x):\n    return x\n"
    assert task.prompt == 'def f(x: int) -> int:\n    """Adds."""\n'
    assert task.solution.endswith("    return x + 1\n")
    assert [call.args for call in read(task.to_answer()).hidden[0].calls] == [(1,)]
    row = {
        "code": "def g(x):\r\n  return x\r\ndef f(x):\r\n  return g(x)",
        "test_list": ["assert f(1)==1", "assert f(2)==2"],
    }
    task = tasks.from_mbpp(row)
    assert (task.entry_point, task.tests, task.hidden_tests) == ("f", ("assert f(1)==1",), ("assert f(2)==2",))
    with pytest.raises(Unfit, match="not one entry point"):
        tasks.from_mbpp(row | {"test_list": ["assert h(1)"]})
