"""The verdict on code: made outside, from values; here with a pool that gives what the test says."""

import doctest
import json
import random
import threading
from dataclasses import dataclass, field

import pytest

from reasoner import sandbox
from reasoner.audit import check
from reasoner.errors import ReasonerError
from reasoner.sandbox import Answer, Result
from reasoner.verifiers import registry
from reasoner.verifiers.code import examples, mutations, submission
from reasoner.verifiers.code import task as tasks
from reasoner.verifiers.code import verdict as code
from reasoner.verifiers.code.submission import submission_of
from reasoner.verifiers.code.task import Property, Stdio, Task
from reasoner.verifiers.code.verdict import outcome, shares
from reasoner.verifiers.score import Score, Shares


@dataclass
class FakePool:
    """Runs nothing: a source is answered by the function of the test that stands for it."""

    programs: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    ended: str = "ok"
    most: int | None = None
    workers: int = 1

    def run(self, request):
        self.requests.append(request)
        program = next((value for key, value in self.programs.items() if key in request.source), None)
        if isinstance(program, Exception):
            raise program
        if program is None:
            return Result((), "syntax", "SyntaxError: invalid syntax (line 1)", "fake", 1.0, 0.1)
        if request.stdin is not None:
            return Result(
                tuple(Answer("value", program(text)) for text in request.stdin), self.ended, "", "fake", 1.0, 0.1
            )
        answers = [self.answer(program, call) for call in request.calls]
        why = "" if self.ended == "ok" else "it used more than 5 s of processor time"
        return Result(tuple(answers[: self.most]), self.ended, why, "fake", 1.0, 0.1)

    def answer(self, program, call):
        try:
            value = program(*call.args, **call.kwargs)
        except Exception as error:  # noqa: BLE001
            return Answer("raised", None, f"{type(error).__name__}: {error}")
        return value if isinstance(value, Answer) else Answer("value", value)

    def close(self):
        self.programs.clear()


@dataclass
class FakeDrawing:
    """Draws nothing: whatever the strategy, these are its examples."""

    answer: Answer
    ended: str = "ok"
    requests: list = field(default_factory=list)

    def run(self, request):
        self.requests.append(request)
        return Result((self.answer,), self.ended, "", "fake", 1.0, 0.1)

    def close(self):
        pass


@pytest.fixture
def drawing():
    return FakeDrawing(Answer("value", [([2, 1, 3][:at], at % 3) for at in range(4)] + [([0], 1), ([5, 4], 2)]))


@pytest.fixture
def pool(monkeypatch, drawing):
    fake = FakePool()
    code.close()
    monkeypatch.setattr(sandbox, "choose", lambda: "full")
    monkeypatch.setattr(sandbox, "Pool", lambda tier, workers=None, prelude=None: drawing if prelude else fake)
    yield fake
    code.close()


def task(*visible, hidden=(), **more):
    return Task("f", "call", visible, hidden, **more).to_answer()


ADD = task("assert f(1) == 2", hidden=("assert f(5) == 6", "def check(g):\n    assert g(7) == 8\n    assert g(8) == 9"))


def test_examples_in_the_text_run():
    assert doctest.testmod(code).failed == 0
    assert doctest.testmod(submission).failed == 0
    assert doctest.testmod(examples).failed == 0
    assert doctest.testmod(check).failed == 0


def test_right_only_if_every_test_holds(pool):
    pool.programs = {"right": lambda x: x + 1, "special": lambda x: {1: 2}.get(x, 0)}
    score = registry.verify(registry.load("code"), "So:\n```python\nright\n```", ADD)
    assert score == Score("right", "right\n", "4 of 4 tests", "", "call", Shares(1.0, 1.0))
    found = outcome("special", ADD)
    assert found.score == Score("wrong", "special", "1 of 4 tests", "hidden test 1: f(5) == 6: f(5) gave 0", "call",
                                Shares(1.0, 0.0))  # fmt: skip
    assert (found.visible, found.hidden) == ((1, 1), (0, 3))
    assert found.tier == "fake"


def test_expected_values_never_go_in(pool):
    pool.programs = {"src": lambda *_: 0}
    secret = task("assert f(1) == 987654321", hidden=("assert f([2]) == 'wanted-text'",))
    outcome("src", secret)
    (request,) = pool.requests
    assert "987654321" not in repr(request)
    assert "wanted-text" not in repr(request)
    assert request.entry == "f"
    assert request.source == "src"


def test_calls_go_in_order_and_come_again_in_another(pool):
    pool.programs = {"src": lambda x: x}
    answer = task(*(f"assert f({x}) == {x}" for x in range(8)))
    assert outcome("src", answer).score.verdict == "right"
    args = [call.args[0] for call in pool.requests[0].calls]
    assert args[:8] == list(range(8))
    assert sorted(args[8:]) == args[:8] != args[8:]
    outcome("src", answer)
    assert pool.requests[0] == pool.requests[1]


def test_answers_read_off_in_order_are_right_only_once(pool):
    for answers in ([True, False, True, False, False, True], [1, 2]):
        for table in (answers, answers * 2):
            table = iter(table)
            pool.programs = {"src": lambda x, table=table: next(table)}
            answer = task(*(f"assert f({x}) == {value}" for x, value in enumerate(answers)))
            found = outcome("src", answer)
            assert found.score.verdict == "wrong"
            assert "asked again in another order" in found.score.why


def test_a_task_whose_order_has_meaning_is_asked_once(pool):
    values = iter(range(1, 4))
    pool.programs = {"src": lambda: next(values)}
    assert outcome("src", task("assert f() == 1", "assert f() == 2", again=False)).score.verdict == "right"


@pytest.mark.parametrize("ended", ["cpu", "wall", "memory", "output", "died"])
def test_an_early_end_is_wrong(pool, ended):
    pool.programs = {"src": lambda x: x + 1}
    pool.ended, pool.most = ended, 1
    found = outcome("src", ADD)
    assert found.score.verdict == "wrong"
    assert found.score.why == "test 1: f(1) == 2: asked again in another order, f(1) gave no plain value:" + (
        " it used more than 5 s of processor time"
    )
    assert found.ended == ended


def test_what_is_no_program_is_wrong(pool):
    for text in ("", "```python\n```", "I do not know."):
        score = registry.verify(registry.load("code"), text, ADD)
        assert (score.verdict, score.rule) == ("wrong", "0 of 4 tests"), text
        assert "SyntaxError" in score.why
    assert registry.verify(registry.load("code"), "", ADD).extracted is None


def test_exceptions_are_wrong(pool):
    def fails(x):
        raise ValueError("a" * 10_000)

    pool.programs = {"src": fails, "none": lambda x: Answer("none", None, "object is not a plain value")}
    score = outcome("src", ADD).score
    assert score.verdict == "wrong"
    assert score.why.startswith("test 1: f(1) == 2: f(1) raised ValueError: aaa")
    assert len(score.why) <= 500
    assert "object is not a plain value" in outcome("none", ADD).score.why


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("#### 5", "the answer is not the JSON of a task"),
        (task(), "it has no tests"),
        (task("assert f(Node(1)) == 2"), "test 1: it needs Node"),
        (task("import numpy\nassert f(1)"), "test 1: it needs the module numpy"),
        (task(property=Property("st", "nothing", 6)), "the property's reference fails: SyntaxError"),
        (task(property=Property("st", "broken", 6)), "reference([], 0) raised ZeroDivisionError"),
        (task(property=Property("st", "broken", 5)), "property: what was drawn are no examples"),
        (task("assert f(1)", setup="import numpy\n"), "the task's setup fails: exit code 1 ()"),
    ],
)
def test_a_task_that_cannot_be_judged_is_unscored(pool, answer, why):
    pool.programs = {"broken": lambda *_: 1 / 0, "import numpy": lambda text: ("", 1)}
    for _ in range(2):
        score = registry.verify(registry.load("code"), "```python\nsrc\n```", answer)
        assert score.verdict == "unscored"
        assert why in score.why
    assert not any("src" in request.source for request in pool.requests)


def test_a_submission_that_is_no_text_to_run_is_unscored(pool):
    assert outcome("x = '\ud800'", ADD).score.why == "the submission is not UTF-8 (character 6)"
    assert outcome("#" * 10_000_000, ADD).score.why == "the submission has 10,000,000 bytes (at most 1,000,000)"
    assert pool.requests == []


def test_a_sandbox_that_is_not_there_is_unscored(pool):
    pool.programs = {"src": ReasonerError("no tier of isolation works here")}
    score = registry.verify(registry.load("code"), "src", ADD)
    assert (score.verdict, score.why) == ("unscored", "code failed: ReasonerError: no tier of isolation works here")


PROPERTY = Property("st.tuples(st.lists(st.integers(0, 9), max_size=4), st.integers(0, 3))", "trusted", 40)


def test_a_property_sees_what_tests_do_not(pool):
    pool.programs = {
        "trusted": lambda xs, k: sorted(xs)[:k],
        "honest": lambda xs, k: sorted(xs)[:k],
        "table": lambda xs, k: [1, 2] if xs == [2, 1] else xs[:k],
    }
    answer = task("assert f([2, 1], 2) == [1, 2]", property=PROPERTY)
    found = outcome("honest", answer)
    assert found.score == Score("right", "honest", "1 of 1 tests, 6 of 6 examples", "", "call", Shares(1.0, 1.0))
    found = outcome("table", answer)
    assert found.score.verdict == "wrong"
    assert found.score.why.startswith("property: f([")
    assert ", the reference gives [" in found.score.why
    assert found.visible == (1, 1)
    assert found.score.shares.visible == 1.0
    assert 0 < found.score.shares.hidden < 1
    assert found.score.share_reward == found.score.shares.hidden > found.score.reward


def test_examples_are_drawn_once_and_stay_the_same(pool, drawing):
    pool.programs = {"trusted": lambda xs, k: 0, "src": lambda xs, k: 0}
    answer = task("assert f([], 1) == 0", property=PROPERTY)
    for _ in range(3):
        outcome("src", answer)
    assert [request.source for request in pool.requests] == ["trusted", "src", "src", "src"]
    assert pool.requests[1] == pool.requests[3]
    assert [call.args for call in pool.requests[0].calls] == [call.args for call in pool.requests[1].calls[1:]]
    (asked,) = drawing.requests
    assert asked == examples.request(PROPERTY, "trusted") != examples.request(PROPERTY, "trusted", seed=1)
    assert asked.source.startswith("trusted\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer("raised", None, "NameError: name 'x'\nis"), "no examples can be drawn: NameError: name 'x' is"),
        (Answer("none", None, "date is not a plain value"), "no examples can be drawn: date is not a plain value"),
        (Answer("value", []), "what was drawn are no examples"),
        (Answer("value", {(1,): 2}), "what was drawn are no examples"),
        (Answer("value", [()] * 41), "what was drawn are no examples"),
        (Answer("value", [(1,), [1]]), "the strategy gives list, not a tuple of arguments"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(pool, drawing, answer, why):
    """What comes out of the process of a strategy is that strategy's to write."""
    drawing.answer = answer
    for _ in range(2):
        score = outcome("src", task("assert f([], 1) == 0", property=PROPERTY)).score
        assert (score.verdict, score.why) == ("unscored", f"property: {why}")
    assert (len(drawing.requests), pool.requests) == (1, [])


def test_an_uncertain_failure_to_draw_is_tried_again(pool, drawing):
    pool.programs = {"trusted": lambda xs, k: 0, "src": lambda xs, k: 0}
    answer, drawn = task("assert f([], 1) == 0", property=PROPERTY), drawing.answer
    drawing.ended, drawing.answer = "died", Answer("none", None, "its process was killed")
    assert outcome("src", answer).score.verdict == "unscored"
    drawing.ended, drawing.answer = "ok", drawn
    assert outcome("src", answer).score.verdict == "right"


def test_an_uncertain_failure_of_the_reference_is_tried_again(pool):
    pool.programs = {"trusted": lambda xs, k: 0, "src": lambda xs, k: 0}
    answer = task("assert f([], 1) == 0", property=PROPERTY)
    pool.ended, pool.most = "died", 3
    assert outcome("src", answer).score.verdict == "unscored"
    pool.ended, pool.most = "ok", None
    assert outcome("src", answer).score.verdict == "right"


def test_nan_and_tolerance_of_a_property(pool, drawing):
    drawing.answer = Answer("value", [(0,), (1,)])
    nan = float("nan")
    pool.programs = {"trusted": lambda x: [nan, 0.3], "exact": lambda x: [nan, 0.3], "near": lambda x: [nan, 0.1 + 0.2]}
    drawn = "st.tuples(st.integers(0, 3))"
    strict, loose = (task(property=Property(drawn, "trusted", 10, tolerance)) for tolerance in (None, 1e-9))
    assert [outcome(s, a).score.verdict for a in (strict, loose) for s in ("exact", "near")] == [
        "right",
        "wrong",
        "right",
        "right",
    ]


STDIO = Task(None, "stdio", (Stdio("1\n", "2\n3\n"),), (Stdio("5\n", "6\n"),)).to_answer()


@pytest.mark.parametrize(
    ("printed", "verdict", "why"),
    [
        (("2\n3\n", 0), "right", ""),
        (("2  \r\n3\t\n\n\n", 0), "right", ""),
        (("2\n3", 0), "right", ""),
        (("2\n3\n", 1), "wrong", "test 1: exit code 1"),
        (("2\n", 0), "wrong", "test 1: it printed 1 lines, not 2"),
        (("", 0), "wrong", "test 1: it printed 0 lines, not 2"),
        (("2\n3\n4\n", 0), "wrong", "test 1: it printed 3 lines, not 2"),
        (("2\n 3\n", 0), "wrong", "test 1: line 2 is ' 3', not '3'"),
        (("\n2\n3\n", 0), "wrong", "test 1: line 1 is '', not '2'"),
    ],
)
def test_programs(pool, printed, verdict, why):
    pool.programs = {"src": lambda text: printed if text == "1\n" else ("6\n", 0)}
    score = outcome("src", STDIO).score
    assert (score.verdict, score.why, score.type) == (verdict, why, "stdio")
    assert pool.requests[0].stdin == ("1\n", "5\n")


def test_setup_stands_before_the_submission(pool):
    pool.programs = {"import math": lambda *given: ("", 0) if given == ("",) else 2}
    answer = task("assert f(1) == 2", setup="import math\n")
    assert outcome("src", answer).score.verdict == "right"
    assert pool.requests[-1].source == "import math\n\nsrc"
    outcome('"""Doc."""\nfrom __future__ import (annotations,\n  division)\nx = 1', answer)
    assert pool.requests[-1].source == (
        'from __future__ import (annotations, division)\nimport math\n\n"""Doc."""\npass\nx = 1'
    )


def test_a_type_among_the_arguments_goes_in_as_source(pool):
    pool.programs = {"src": lambda number: [(1,), (1,)][number]}
    answer = task("assert f((1, 'a'), int) == (1,)")
    assert outcome("src", answer).score.verdict == "right"
    assert "        lambda: f((1, 'a',), int),\n" in pool.requests[0].source
    assert pool.requests[0].entry != "f"


@pytest.mark.parametrize(
    ("completion", "source"),
    [
        ("x = 1\n", "x = 1\n"),
        ("", ""),
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```py\nx = 1\n```\n```\nother\n```", "x = 1\n"),
        ("```\nx = 1\n```\nor\n```\ny = 1\n```", "y = 1\n"),
        ("```python\nx = 1\n```\nbetter:\n```Python3\ny = 1\n```\nDone: `y`", "y = 1\n"),
        ("```python title=a.py\nx = 1\n```", "x = 1\n"),
        ("```{.python}\nx = 1\n```", "x = 1\n"),
        ("```text\nout\n```\n```python\nx = 1\n```\n```output\n1\n```", "x = 1\n"),
        ("```bash\nls\n```", "```bash\nls\n```"),
        ("~~~python\nx = '```'\n~~~", "x = '```'\n"),
        ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
        ("- so:\n  ```python\n  def f():\n    return 1\n  ```\n", "def f():\n  return 1\n"),
        ("```python\nx = 1", "x = 1\n"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r\n"),
        ("```python\n```", ""),
        ("<think>\n```python\nx = 0\n```\n</think>\n```python\nx = 1\n```", "x = 1\n"),
        ("Use `f(x)` or ```f(x)```.", "Use `f(x)` or ```f(x)```."),
        ("```python\nx = 'a\u2028b\x0c'\n```", "x = 'a\u2028b\x0c'\n"),
    ],
)
def test_the_submission_of_a_completion(completion, source):
    assert submission_of(completion) == source


def test_a_megabyte_of_fences_is_read_at_once():
    for text in ("`" * 1_000_000, "```\n" * 250_000, "~~~python\n" * 100_000, " " * 1_000_000 + "```"):
        submission_of(text)


def test_commit():
    with pytest.raises(ReasonerError, match="no solution"):
        code.commit(ADD)
    with pytest.raises(ReasonerError, match="no task"):
        code.commit("5")
    assert submission_of(code.commit(task("assert f(1)", solution="def f(x):\n    return x\n"))) == (
        "def f(x):\n    return x\n"
    )
    given = submission_of(code.commit(task(property=Property("st.tuples()", "def reference():\n    return 1\n"))))
    assert given.endswith("\n\n\nf = reference\n")


def test_many_at_once_are_the_same_scores(pool):
    pool.programs = {"right": lambda x: x + 1, "wrong": lambda x: x}
    pairs = [("right", ADD), ("wrong", ADD), ("right", "5"), ("```python\nright\n```", ADD)] * 3
    scores = registry.verify_many(registry.load("code"), [(*pair, True) for pair in pairs])
    assert scores == [code.code(*pair) for pair in pairs]
    assert [score.verdict for score in scores][:4] == ["right", "wrong", "unscored", "right"]


def test_threads_share_what_is_prepared(pool):
    pool.programs = {"trusted": lambda xs, k: 0, "src": lambda xs, k: 0}
    answer = task("assert f([], 1) == 0", property=PROPERTY)
    found = []
    threads = [threading.Thread(target=lambda: found.append(outcome("src", answer))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.score.verdict for one in found] == ["right"] * 8
    assert [request.source for request in pool.requests].count("trusted") == 1


def test_shares_of_nothing(pool):
    assert shares((0, 0), (0, 0), (0, 0)) == Shares(None, None)
    assert outcome("src", "5").score.shares is None
    assert [Score("right").share_reward, Score("wrong").share_reward] == [1.0, 0.0]
    assert Score("right", shares=Shares(1.0, None)).share_reward == 1.0
    assert Score("unscored", shares=Shares(1.0, 1.0)).share_reward is None


PROMPT = 'def f(x):\n    """One more."""\n'
BODY = task("assert f(1) == 2", setup="import math\n", prompt=PROMPT)


@pytest.mark.parametrize(
    "submission",
    [
        "    return x + 1\n",
        "\n  \n    # one more\n    return x + 1",
        "# one more\n    return x + 1",
        "\tif x:\n\t\treturn x + 1",
        "    return x + 1\n\n\ndef g():\n    return 2\n",
    ],
)
def test_what_begins_indented_goes_on_from_the_prompt(pool, submission):
    pool.programs = {"import math\n\n" + PROMPT: lambda x: x + 1, "import math": lambda text: ("", 0)}
    assert outcome(submission, BODY).score.verdict == "right"
    assert pool.requests[-1].source == f"import math\n\n{PROMPT}{submission}"
    assert outcome(submission, BODY).score.extracted == submission
    outcome(submission, task("assert f(1) == 2"))
    assert pool.requests[-1].source == submission  # a task without a prompt


@pytest.mark.parametrize(
    "submission",
    [
        "",
        " \n\t\n",
        "    # to do\n",
        "# to do\n\n",
        "return x + 1",
        "def f(x):\n    return x + 1\n",
        "x = 1\n    y = 2",
    ],
)
def test_anything_else_stands_by_itself(pool, submission):
    pool.programs = {PROMPT: lambda x: x + 1, "import math\n": lambda text: ("", 0)}
    outcome(submission, BODY)
    assert pool.requests[-1].source == f"import math\n\n{submission}"


def test_a_body_in_a_block_and_after_a_future_import(pool):
    pool.programs = {PROMPT: lambda x: x + 1}
    answer = task("assert f(1) == 2", prompt=PROMPT)
    completion = "The rest:\n```python\n    return x + 1\n```"
    assert registry.verify(registry.load("code"), completion, answer).verdict == "right"
    assert pool.requests[-1].source == f"{PROMPT}    return x + 1\n"


def test_much_before_the_first_line_of_code_are_read_at_once():
    for text in (" " * 200_000, "\n" * 200_000, " \n" * 100_000, "#\n" * 100_000, " #" * 100_000):
        assert submission.INDENTED.match(text) is None


SOLVED = task("assert f(1) == 2", "assert f(0) == 1", solution="def f(x):\n    return x + 1\n")


def test_near_misses_are_mutations_that_fail_the_asserts(pool):
    failing = ["return x + 2", "return x + 0", "return x - 1", "return [x + 1]", "return None"]
    pool.programs = {**dict.fromkeys(failing, lambda text: ("", 1)), "return not x + 1": lambda text: ("\nheld\n", 0)}
    found = list(code.near_misses(SOLVED))
    assert all(request.source.endswith("assert f(1) == 2\nassert f(0) == 1\nprint('\\nheld')\n")
               for request in pool.requests)  # fmt: skip
    assert len(pool.requests) == 6
    texts = [submission_of(text) for _, text in found]
    assert sorted(texts) == sorted(f"def f(x):\n    {line}\n" for line in failing)
    assert {kind for kind, _ in found} == {f"mutation: {kind}" for kind in ("+1", "-1", "operator", "wrapped", "none")}
    assert found == list(code.near_misses(SOLVED))  # the same every time
    pool.ended = "cpu"
    assert list(code.near_misses(SOLVED)) == []  # not known to fail
    assert list(code.near_misses(STDIO)) == list(code.near_misses(task("assert f(1) == 2"))) == []


def test_mutations_are_different_and_each_is_one_change():
    source = "def f(xs):\n    total = 0\n    for x in xs:\n        if x > 2 and x != 5:\n            total += x\n"
    source += "    return max(total, 1)\n"
    found = mutations.mutations(source, 100, random.Random(0))
    texts = [text for _, text in found]
    assert len(set(texts)) == len(texts) > 10
    assert source not in texts
    names = {kind for kind, _ in found}
    assert names >= {"operator", "comparison", "+1", "-1", "none", "wrapped", "negated", "condition", "drop",
                     "arguments"}  # fmt: skip
    assert "    return max(1, total)\n" in "".join(texts)
    assert mutations.mutations(source, 3, random.Random(1)) == mutations.mutations(source, 3, random.Random(1))
    assert len(mutations.mutations(source, 3, random.Random(1))) == 3


def test_tests_are_run_as_their_authors_run_them():
    given = tasks.from_fields({"entry_point": "f", "tests": ["assert f(1) == 2"], "setup": "import math",
                               "hidden_tests": ["def check(candidate):\n    assert candidate(2) == 3"]})  # fmt: skip
    assert mutations.usual(given, "f = abs") == (
        "import math\nf = abs\nassert f(1) == 2\ndef check(candidate):\n    assert candidate(2) == 3\ncheck(f)\n"
        "print('\\nheld')\n"
    )


class Out:
    def __init__(self):
        self.rows = []

    def write(self, line):
        self.rows.append(json.loads(line))

    def flush(self):
        pass


def test_rows_of_tasks_are_checked_in_order(pool):
    pool.programs = {"right": lambda x: x + 1, "wrong": lambda x: x}
    fields = {"entry_point": "f", "mode": "call", "tests": ["assert f(1) == 2"], "hidden_tests": [], "property": None}
    rows = [
        {"id": "a", **fields, "submission": "right", "kind": "hack", "expected_pass": True},
        {"id": "b", **fields, "submission": "wrong"},
        {"id": "c", "answer": ADD, "completion": "```python\nright\n```"},
        {"id": "d", "answer": ADD, "submission": "right ```python\n```"},
        {"id": "e", **fields, "tests": [], "submission": "right"},
        {"id": "f", **fields, "completion": "right", "finish_reason": "length"},
        {"id": "g", "submission": "right"},
        {"id": "h", **fields},
        {"id": "i", "answer": 5, "completion": ""},
        {"id": "j", **fields, "mode": 7, "submission": "right"},
        {**fields, "tests": "assert f(2) == 3", "submission": "right"},
    ]
    lines, out, said = [json.dumps(row).encode() + b"\n" for row in rows] + [b"{\n", b"\n"], Out(), []
    counts = check.score(lines * 20, registry.load("code"), out, said.append)
    assert [(row["id"], row["verdict"]) for row in out.rows[:8]] == [
        ("a", "right"),
        ("b", "wrong"),
        ("c", "right"),
        ("d", "right"),
        ("e", "unscored"),
        ("f", "wrong"),
        ("j", "unscored"),
        (11, "right"),
    ]
    assert [row["id"] for row in out.rows if isinstance(row["id"], str)] == list("abcdefj") * 20
    assert list(out.rows[0]) == ["id", "verdict", "extracted", "type", "rule", "why", "ms"]
    assert out.rows[4]["why"] == "it has no tests"
    assert said[:4] == [
        "line 7: no 'answer'",
        "line 8: no 'completion'",
        "line 9: 'answer' is a number, not text",
        "line 12: not JSON: Expecting property name enclosed in double quotes (column 1)",
    ]
    assert counts == {"right": 80, "wrong": 40, "unscored": 40, "malformed": 80}


def test_a_row_is_answered_while_the_next_is_not_yet_there(pool):
    pool.programs = {"right": lambda x: x + 1}
    answered = threading.Event()

    class Seen(Out):
        def write(self, line):
            super().write(line)
            answered.set()

    def lines():
        for _ in range(3):
            answered.clear()
            yield json.dumps({"answer": ADD, "submission": "right"}).encode()
            assert answered.wait(10)

    out = Seen()
    check.score(lines(), registry.load("code"), out, print)
    assert [row["id"] for row in out.rows] == [1, 2, 3]
