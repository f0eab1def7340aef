"""Code as a reward, in the real sandbox: the table of cases, the public sets where they are, rows in and out."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reasoner import config, files
from reasoner.audit import audit, hostile
from reasoner.audit.results import Tally
from reasoner.errors import ReasonerError
from reasoner.problems import load, named
from reasoner.problems.problem import Problem
from reasoner.sandbox import attacks, choose, selftest
from reasoner.verifiers import registry
from reasoner.verifiers.code import examples, pools, task
from reasoner.verifiers.code import verdict as code
from reasoner.verifiers.score import Score

pytestmark = pytest.mark.slow
TABLE = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "unit" / "verifiers" / "code.jsonl").read_text().splitlines()
]


@pytest.fixture(scope="module", autouse=True)
def sandbox():
    try:
        choose()
    except ReasonerError as error:
        if os.environ.get("CI"):
            raise  # CI is expected to have one
        pytest.skip(f"no sandbox here: {error.what}")
    yield
    code.close()


def scored(pairs):
    return registry.verify_many(registry.load("code"), [(*pair, True) for pair in pairs])


def audited(checker, problems, source):
    return files.as_json(audit.run(checker, problems, source))


def test_the_table_of_cases():
    scores = scored((row["completion"], row["answer"]) for row in TABLE)
    wrong = [
        (row["verdict"], score, row["completion"])
        for row, score in zip(TABLE, scores, strict=True)
        if score.verdict != row["verdict"]
    ]
    assert wrong == []


def test_reasons_are_for_people():
    def why(completion_has, verdict="wrong"):
        row = next(row for row in TABLE if completion_has in row["completion"] and row["verdict"] == verdict)
        return registry.verify(registry.load("code"), row["completion"], row["answer"]).why

    assert why("str(sum") == "test 1: sum_even([1, 2, 3, 4]) == 6: sum_even([1, 2, 3, 4]) gave '6'"
    assert "SystemExit" in why("raise SystemExit(0)")
    assert "exit code 0" in why("os._exit(0)")
    assert "more than " in why("while 1")  # 5 s of processor; by the clock on a busy machine
    assert "ModuleNotFoundError: No module named 'numpy'" in why("import numpy")
    assert "sum_even" in why("def evens")
    assert "property: sum_even([" in why("{(1, 2, 3, 4): 6")
    assert "asked again in another order" in why("answers = iter")
    assert "exit code 1" in why("raise SystemExit(1)")


def test_a_package_that_the_task_needs_is_named():
    found = [code.code(row["completion"], row["answer"]) for row in TABLE if row["verdict"] == "unscored"]
    assert [word for score in found for word in ("numpy", "pandas") if word in score.why] == [
        "pandas",
        "numpy",
        "numpy",
    ]


def drawn(args, num=20, seed=0):
    asked = task.Property(args, "def reference(*_):\n    return 0\n", num)
    return examples.drawn(asked, pools.drawing().run(examples.request(asked, asked.reference, seed)))


STRATEGIES = (
    "st.tuples(st.none(), st.booleans())",
    "st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True).map(sorted))",
    "st.tuples(st.integers().filter(lambda x: 10 < x < 20))",  # hypothesis must find the text of the lambda
    "st.tuples(st.dictionaries(st.sampled_from(['a', 'b']), st.floats(0, 1)), st.sets(st.integers(0, 5)))",
    "st.tuples(st.one_of(st.just('x'), st.binary(max_size=2)) | st.none(), st.permutations([1, 2, 3]))",
    "st.tuples(st.emails(), st.from_regex('[a-z]+'), st.uuids().map(str), st.datetimes().map(str), st.text())",
    "st.tuples(st.from_type(int), st.decimals(0, 1).map(str), st.fractions().map(str), st.complex_numbers())",
    "import random\nst.tuples(st.randoms(use_true_random=False).map(lambda r: r.random()), st.just(random.random()))",
)


def test_the_same_examples_are_drawn_by_whichever_process():
    """Also after other strategies, which must leave nothing behind."""
    first = [drawn(args) for args in STRATEGIES]
    assert all(isinstance(one, tuple) for found in first for one in found)
    assert [drawn(args, seed=1) for args in STRATEGIES] != first
    code.close()
    assert [drawn(args) for args in reversed(STRATEGIES)] == first[::-1]
    assert drawn("st.just((1, [2]))") == [(1, [2])]


def test_examples_are_those_of_before():
    """Whoever changes them changes verdicts: the version of `code` rises."""
    assert drawn("st.tuples(st.lists(st.integers(-50, 50), max_size=8))", 30)[1:4] == FIRST_LISTS


FIRST_LISTS = [([0],), ([-22],), ([21],)]


def test_a_strategy_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(examples, "DRAW_S", 0.3)
    for args in ("while True:\n    pass\nst.tuples()", "st.tuples(st.integers().map(lambda x: sum(iter(int, 1))))"):
        with pytest.raises(task.Unfit, match=r"no examples can be drawn: .*more than 0.3 s of processor"):
            drawn(args)


def test_a_strategy_reaches_no_file_and_no_package_of_ours():
    seen = drawn(f"""
import sys
def found(path):
    try:
        return bool(open(path).read(1))
    except OSError:
        return False
st.just((found({examples.__file__!r}), found(sys.modules["hypothesis"].__file__), "reasoner" in sys.modules,
         any("packages" in path for path in sys.path)))""")
    assert seen == [(False, False, False, False)]


def test_a_submission_finds_neither_hypothesis_nor_what_is_drawn():
    answer = task.Task("f", property=task.Property("st.tuples(st.integers())", "def reference(x):\n    return x\n"))
    spy = (
        "import sys\ndef f(x):\n    assert not [one for one in sys.modules if 'hypothesis' in one or 'drawing' in one]"
    )
    (wrong, right) = scored([(f"{spy}\n    import hypothesis\n    return x", answer.to_answer()),
                             (f"{spy}\n    return x", answer.to_answer())])  # fmt: skip
    assert (right.verdict, wrong.verdict) == ("right", "wrong")
    assert "ModuleNotFoundError" in wrong.why


def test_no_attack_gets_through_where_examples_are_drawn():
    with attacks.Bait() as bait:
        some = [one for one in attacks.ATTACKS if not one.is_slow]
        found = [selftest._attack(one, pools.drawing(), bait) for one in some]
    assert [(one.name, one.text) for one in found if not one.held] == []


def test_the_audit_lists_tasks_that_cannot_be_drawn_from():
    def problem(name, args):
        asked = task.Property(args, "def reference(x):\n    return x\n")
        return Problem(name, "?", task.Task("f", property=asked).to_answer())

    strategies = {"good": "st.tuples(st.integers())", "date": "st.tuples(st.dates())", "text": "st.tuples(",
                  "few": "st.tuples(st.integers().filter(lambda x: hash(str(x)) % 1000 == 0))"}  # fmt: skip
    check, judged, unjudged = audit._references(registry.load("code"), [problem(*one) for one in strategies.items()])
    assert check.holds
    assert [one.id for one in judged] == ["good"]
    assert [one.id for one in unjudged] == ["date", "text", "few"]
    for one, why in zip(unjudged, ("date is not a plain value", "SyntaxError", "of 60"), strict=True):
        assert why in one.why


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_own_solutions_of_the_public_sets_are_right(name):
    problems = named.read_local(name, "test")
    if problems is None:
        pytest.skip(f"{name} is not in {named.sets_dir()}")
    some = problems[:40]
    scores = scored((code.commit(problem.answer), problem.answer) for problem in some)
    assert [score.verdict for score in scores] == ["right"] * len(some)
    scores = scored(
        (f"```python\ndef {task.parse(problem.answer).entry_point}(*_):\n    return None\n```", problem.answer)
        for problem in some
    )
    assert {score.verdict for score in scores} == {"wrong"}


def test_rows_in_verdicts_out(tmp_path):
    fields = {"mode": "call", "entry_point": "f", "tests": ["assert f(2) == 4"], "hidden_tests": [], "property": None}
    sources_ = [
        "def f(x):\n    return x * 2\n",
        "def f(x):\n    return 4 if x else 4\n",
        "f = abs\n",
        "raise SystemExit\n",
    ]
    rows = [{"id": str(at), **fields, "submission": source} for at, source in enumerate(sources_)]
    rows.append({"id": "task", "answer": TABLE[0]["answer"], "completion": TABLE[0]["completion"]})
    done = subprocess.run(
        [sys.executable, "-m", "reasoner", "check", "--verifier", "code", "-"],
        input=b"".join(json.dumps(row).encode() + b"\n" for row in rows * 3),
        capture_output=True,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["id"], row["verdict"]) for row in found] == [
        ("0", "right"),
        ("1", "right"),
        ("2", "wrong"),
        ("3", "wrong"),
        ("task", "right"),
    ] * 3
    assert list(tmp_path.iterdir()) == []


def test_the_audit_holds_the_verifier_to_mutations_and_runs_no_text_outside(monkeypatch):
    monkeypatch.setattr(hostile, "BOMBS", hostile.BOMBS[18:20])
    problems = load.problems(config.Data(source="linetasks", num_train=12), "train", 12)
    value = audited(registry.load("code"), problems, "linetasks")
    checks = {check["name"]: check for check in value["checks"]}
    assert value["failed"] == []
    families = checks["near misses that must fail"]["by_family"]
    assert sum(cell["n"] for name, cell in families.items() if name.startswith("mutation: ")) > 30
    assert checks["canary for execution of the text"]["n"] == 7 * len(hostile.CANARIES)
    assert checks["canary for execution of the text"]["unscored"] == 6 * len(hostile.CANARIES)  # those beside a number
    assert checks["time and memory bombs"]["unscored"] == 0


def test_a_verifier_that_takes_mutations_fails_its_audit(monkeypatch):
    def lax(completion, answer):  # the visible test alone, of one
        found = code.outcome(code.submission_of(completion), answer)
        return Score("right" if found.visible[0] else "wrong", type=found.score.type)

    monkeypatch.setattr(hostile, "bombs", lambda *_: Tally("time and memory bombs").check())
    monkeypatch.setattr(hostile, "canary", lambda *_: Tally("canary for execution of the text").check())
    problems = load.problems(config.Data(source="linetasks", num_train=12), "train", 12)
    checker = dataclasses.replace(registry.load("code"), name="lax", function=lax)
    value = audited(checker, problems, "linetasks")
    assert [why.partition(":")[0] for why in value["failed"]] == ["near misses that must fail"]


def test_a_body_goes_on_from_the_prompt_and_a_body_that_does_nothing_is_wrong():
    prompt = 'def add(x: int, y: int):\n    """Add two numbers.\n    >>> add(2, 3)\n    5\n    """\n'
    test = "def check(candidate):\n    assert candidate(0, 1) == 1\n    assert candidate(2, 3) == 5\n"
    row = {"prompt": f"import math\n\n\n{prompt}", "entry_point": "add", "canonical_solution": "", "test": test}
    answer = task.from_humaneval(row).to_answer()
    bodies = {
        "    return x + y\n": "right",
        "    # add them\n    total = x + y\n\n    return total\n\n\ndef other():\n    pass\n": "right",
        "```python\n    return math.floor(x + y)\n```": "right",
        "    return y\n": "wrong",
        "    pass\n": "wrong",
        "    # nothing\n": "wrong",
        "": "wrong",
        "return x + y": "wrong",  # HumanEval's own harness has it so
        "    return x +\n": "wrong",
        "    return type('A', (), {'__eq__': lambda *_: True})()\n": "wrong",
        "    import sys\n    sys.exit(0)\n": "wrong",
        "def add(x, y):\n    return x + y\n": "right",
        "import math\nadd = lambda x, y: x + y\n": "right",
    }
    scores = scored((body, answer) for body in bodies)
    assert [score.verdict for score in scores] == list(bodies.values())
