"""What is lifted out of a test, what is worked out here, and what is refused."""

import doctest
from dataclasses import dataclass

import pytest

from reasoner.verifiers.code import interpreter
from reasoner.verifiers.code import lift as lifting
from reasoner.verifiers.code.lift import lift
from reasoner.verifiers.code.task import Unfit


@dataclass
class Answer:
    kind: str = "value"
    value: object = None
    text: str = ""


def asked(source):
    return [(call.args, call.kwargs) for call in lift(source, "f").calls]


def judged(source, *values):
    """Why each assert fails, on these answers; empty where it holds."""
    test = lift(source, "f")
    assert len(test.calls) == len(values)
    answers = [value if isinstance(value, Answer) else Answer(value=value) for value in values]
    return [check.why for check in test.judge(answers)]


def holds(source, *values):
    found = judged(source, *values)
    assert found
    return not any(found)


def test_examples_in_the_text_run():
    assert doctest.testmod(lifting).failed == 0


def test_calls_are_lifted_and_expected_values_stay():
    test = lift("assert f([1, 2], k='a') == 3 and f() is None, 'told'", "f")
    assert [(call.args, call.kwargs) for call in test.calls] == [(([1, 2],), {"k": "a"}), ((), {})]
    assert sum(test.asking) == 1
    assert [check.why for check in test.judge([Answer(value=3), Answer()])] == [""]
    (check,) = test.judge([Answer(value=4), Answer()])
    assert (check.source, check.why) == ("f([1, 2], k='a') == 3 and f() is None", "f([1, 2], k='a') gave 4")


@pytest.mark.parametrize(
    ("source", "value", "verdict"),
    [
        ("assert f(1) == [1, 2]", [1, 2], True),
        ("assert f(1) == [1, 2]", (1, 2), False),
        ("assert f(1) == 6", "6", False),
        ("assert f(1) == 6", 6.0, True),
        ("assert f(1) == 1", True, True),
        ("assert f(1) == {'a': 1}", {"a": 1}, True),
        ("assert f(1) == 0.3", 0.1 + 0.2, False),
        ("assert f(1)", "x", True),
        ("assert f(1)", [], False),
        ("assert not f(1)", 0, True),
        ("assert f(1) is True", True, True),
        ("assert f(1) is True", 1, False),
        ("assert f(1) is not None", 0, True),
        ("assert f(1) is None", None, True),
        ("assert f(1) != 2", 2, False),
        ("assert 1 < f(1) <= 3", 3, True),
        ("assert 1 < f(1) <= 3", 1, False),
        ("assert f(1) in (1, 2)", 2, True),
        ("assert f(1) not in (1, 2)", 2, False),
        ("assert abs(f(1) - 2.5) < 1e-6", 2.5000001, True),
        ("assert math.isclose(f(1), 2.5, rel_tol=0.01)", 2.51, True),
        ("assert round(f(1), 2) == 0.33", 1 / 3, True),
        ("assert sorted(f(1)) == [1, 2]", {2, 1}, True),
        ("assert set(f(1)) == {1, 2}", [2, 1, 1], True),
        ("assert len(f(1)) == 2", "ab", True),
        ("assert len(f(1)) == 2", 5, False),
        ("assert f(1)[0] == 'a'", "ab", True),
        ("assert f(1)[0] == 'a'", "", False),
        ("assert f(1)[-1:] == [3]", [1, 3], True),
        ("assert f(1)['a']['b'] == 2", {"a": {"b": 2}}, True),
        ("assert isinstance(f(1), (list, tuple))", (), True),
        ("assert isinstance(f(1), set)", set(), True),
        ("assert type(f(1)) is int", True, False),
        ("assert type(f(1)) == dict", {}, True),
        ("assert all(x > 0 for x in f(1))", [1, 2], True),
        ("assert all(x > 0 for x in f(1) if x != -1)", [1, -1], True),
        ("assert any(x > 5 for x in f(1))", [1, 2], False),
        ("assert [x * 2 for x in f(1)] == [2]", [1], True),
        ("assert {k: v + 1 for k, v in f(1).items()} == {'a': 2}", {"a": 1}, True),
        ("assert f(1).upper() == 'A'", "a", True),
        ("assert f(1).upper() == 'A'", 5, False),
        ("assert ' '.join(f(1)) == 'a b'", ["a", "b"], True),
        ("assert sorted(f(1), key=lambda p: -p) == [2, 1]", [1, 2], True),
        ("assert sorted(f(1), key=len) == ['a', 'bb']", ["bb", "a"], True),
        ("assert max(f(1), default=None) is None", [], True),
        ("assert tuple(f(1)) == (1,)", [1], True),
        ("assert (f(1) if True else 0) == 2", 2, True),
        ("assert f(1) % 7 == 3 and f(1) // 2 == 5".replace("f(1) //", "10 //"), 10, True),
        ("assert f(1) == -2 ** 3", -8, True),
        ("assert f(1) == f'{1}a'", "1a", True),
        ("assert str(f(1)) == '5'", 5, True),
        ("import math\nassert f(1) == math.pi", 3.141592653589793, True),
        ("from math import sqrt\nassert f(1) == sqrt(4)", 2.0, True),
        ("from collections import Counter\nassert Counter(f(1)) == Counter('aab')", ["a", "b", "a"], True),
        ("want = [1]\nassert f(1) == want", [1], True),
        ("got = f(1)\nassert got == 1", 1, True),
        ("a, b = f(1)\nassert a < b", (1, 2), True),
        ("a, b = f(1)\nassert a < b", (1, 2, 3), False),
        ("a, b = f(1)\nassert a < b", 5, False),
        ("assert f(1) == int('7')", 7, True),
        ("assert list(zip(f(1), 'ab')) == [(1, 'a'), (2, 'b')]", [1, 2], True),
        ("def check(candidate):\n    assert candidate(1) == 1\ncheck(f)", 1, True),
        ("METADATA = {'a': 'b'}\ndef check(g):\n    assert True, 'said'\n    assert g(1) == 1", 1, True),
    ],
)
def test_one_answer(source, value, verdict):
    assert holds(source, value) is verdict


def test_a_failed_assignment_fails_what_goes_by_it():
    assert judged("a = f(1)[0]\nassert a == 1\nassert f(2) == 2", [], 2) == ["IndexError: list index out of range", ""]
    assert judged("a = f(1)\nassert a == 1", Answer("raised", text="ValueError: x")) == ["f(1) raised ValueError: x"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer("raised", text="SystemExit: 0"), "f(1) raised SystemExit: 0"),
        (Answer("none", text="it took more than 5 s"), "f(1) gave no plain value: it took more than 5 s"),
        (Answer("none"), "f(1) gave no plain value"),
    ],
)
def test_no_value_never_holds(answer, why):
    for source in ("assert f(1) == 1", "assert f(1) != 1", "assert not f(1)", "assert f(1) or True"):
        assert judged(source, answer) == [why]


def test_missing_answers_fail():
    assert [check.why for check in lift("assert f(1) == 1", "f").judge([])] == ["f(1) gave no answer"]


def test_loops_are_unrolled_over_known_values():
    source = "for x, y in [(1, 2), (3, 4)]:\n    if x < 3:\n        assert f(x) == y\n    assert f(y, k=x) == 0"
    assert asked(source) == [((1,), {}), ((2,), {"k": 1}), ((4,), {"k": 3})]
    assert judged(source, 2, 0, 1)[2].startswith("f(y, k=x) gave 1")
    assert holds("assert all(f(x) == x * x for x in range(3))", 0, 1, 4)
    assert not holds("assert [f(x) for x in range(3)] == [0, 1, 4]", 0, 1, 5)
    assert asked("assert [f(x, y) for x in range(2) for y in range(x + 1)]") == [
        ((0, 0), {}),
        ((1, 0), {}),
        ((1, 1), {}),
    ]


def test_random_arguments_are_the_same_whenever_they_are_read():
    source = "import random\nfor i in range(20):\n    x = random.randint(0, 1000)\n    assert f(x) == x + 1"
    calls = asked(source)
    assert calls == asked(source)
    assert len({call[0] for call in calls}) > 10
    assert holds(source, *(args[0] + 1 for args, _ in calls))


def test_calls_that_short_circuit_keep_their_answers():
    source = "for x in (1, 2):\n    assert f(x) is None or f(x, 1) == 5\n    assert f(x, 2) == x"
    assert judged(source, None, 9, 1, 0, 5, 2) == ["", "", "", ""]
    assert judged(source, 0, 5, 1, None, 9, 3)[3]


def test_a_shadowing_name_of_the_submission_changes_nothing():
    assert not holds("assert abs(f(1) - 2) < 0.1", 0)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("assert f(", "it is not Python"),
        ("assert f(Node(1)) == 2", "it needs Node"),
        ("assert f(root) == 2", "it needs root, which is not part of the test"),
        ("assert f(f(1)) == 2", "it calls with another answer"),
        ("assert f == 2", "it uses f without calling it"),
        ("assert f(1) == g(2)", "it needs g"),
        ("import numpy as np\nassert f(1) == np.array([1])", "it needs the module numpy"),
        ("from numpy import array\nassert f(1)", "it needs the module numpy"),
        ("assert f(1) == __import__('os').system('true')", "it calls the method system"),
        ("assert f(1) == open('/etc/passwd').read()", "it calls the method read"),
        ("assert ().__class__ == f(1)", "it has what cannot be judged"),
        ("assert f(1).__class__ == int", "it has what cannot be judged"),
        ("while True:\n    assert f(1)", "it has a statement that cannot be lifted"),
        ("for x in f(1):\n    assert x", "it has a loop over an answer"),
        ("if f(1):\n    assert f(2)", "it has an `if` on an answer"),
        ("def g(): pass\nassert f(1)", "it defines g"),
        ("with open('x'):\n    assert f(1)", "it has a statement that cannot be lifted"),
        ("try:\n    f(1)\nexcept ValueError:\n    pass", "it has a statement that cannot be lifted"),
        ("assert f(1) == 1 / 0", "it fails by itself, ZeroDivisionError"),
        ("assert 1 == 2", "it asks for what never holds"),
        ("assert all(f(x) for x in f(1))", "it calls with another answer"),
        ("assert all(f(2) == x for x in f(1))", "it calls where answers decide whether"),
        ("assert map(lambda x: f(1), [1])", "it calls where answers decide whether"),
        ("assert f(lambda: 1)", "it calls with what is no plain value"),
        ("assert f(range(10**9))", "a range of more than a million numbers"),
        ("assert f('a' * 10**9)", "a sequence that is too long"),
        ("assert f(9 ** 9 ** 9)", "a number that is too large"),
        ("for i in range(20_000):\n    assert f(i)", "it makes more than 10,000 calls"),
        ("for a in range(3000):\n    for b in range(3000):\n        x = 1", "it takes more than 1,000,000 operations"),
        ("def check(a, b):\n    assert a(1) == b", "check does not take one candidate"),
        ("f = 5\nassert f(1)", "it assigns to f"),
        ("assert f(*f(1))", "it calls with another answer"),
        ("assert f(**{'a': 1})", "it has keywords that cannot be lifted"),
        ("assert " + "(" * 150 + "f(1)" + ")" * 150, None),
        ("assert " + "-" * 5000 + "f(1)", "it is "),
        ("assert f(1)\0", "it is not Python"),
    ],
)
def test_what_does_not_fit_is_refused(source, why):
    if why is None:
        assert sum(lift(source, "f").asking) == 1
        return
    with pytest.raises(Unfit) as caught:
        lift(source, "f")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("assert f(1) ** 10 == 2", lambda: 1 << 1_000_000),
        ("assert 3 ** f(1) == 2", lambda: 10**9),
        ("assert 'a' * f(1) == 2", lambda: 10**12),
        ("assert f(1) * 3 == 2", lambda: 1 << 2_000_000),
        ("assert range(f(1)) == 2", lambda: 10**12),
        ("assert f(1) % 5 == 2", lambda: "%1000000000d"),
        ("assert f(1) % 5 == 2", lambda: 1 << 2_000_000),
        ("assert round(5, f(1)) == 2", lambda: -(10**9)),
        ("assert sum(f(1), []) == 2", lambda: [[1]] * 100_000),
        ("assert set(f(1)) == 2", lambda: [k * (2**61 - 1) for k in range(100_000)]),
        ("assert math.factorial(f(1)) == 2", lambda: 10**6),
        ("assert f(1).replace('a', 'bbbbbbbbbbbb') == 2", lambda: "a" * 4_000_000),
        ("assert [x for x in f(1) for y in (1, 2, 3)] == 2", lambda: [0] * 900_000),
        ("assert str(f(1)) == 'a'", lambda: 1 << 100_000),
    ],
)
def test_answers_that_would_cost_too_much_fail_at_once(quick, source, value):
    assert not quick(5, holds, source, value())


def test_operations_are_counted_over_the_whole_test(monkeypatch):
    monkeypatch.setattr(interpreter, "MOST_STEPS", 50_000)
    source = "x = [y for y in f(1)]\nfor i in range(3):\n    assert i == x[i]\nassert f(2) == 2"
    assert judged(source, [0, 1, 2], 2) == [""] * 4
    assert all(judged(source, [0] * 49_500, 2))


def test_iterated_answers_are_listed():
    def is_listed(source):
        return [call.is_listed for call in lift(source, "f").calls]

    assert is_listed("assert sorted(f(1)) == list(f(2)) and f(3) == 1") == [True, True, False]
    assert is_listed("assert all(x for x in f(1))") == [True]
    assert is_listed("assert len(f(1)) == f(2)[0]") == [False, False]
