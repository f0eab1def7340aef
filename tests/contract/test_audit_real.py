"""The audit finds what is planted, and the verifiers that ship pass it."""

import dataclasses
import doctest
import json
from fractions import Fraction

import click.testing
import pytest

from reasoner import files
from reasoner.audit import audit, child, hostile, labelled, results, rewrites
from reasoner.audit.results import Case, Tally
from reasoner.audit.rewrites import Reference, number_in
from reasoner.cli import main
from reasoner.errors import ReasonerError
from reasoner.problems import stories
from reasoner.problems.problem import Problem, split_sha256
from reasoner.verifiers import registry
from reasoner.verifiers.registry import Verifier
from reasoner.verifiers.score import Score


def problems(*answers):
    return [Problem(f"p{at}", "?", answer) for at, answer in enumerate(answers)]


def generated(num):
    return [Problem(row["id"], row["question"], row["answer"]) for row in stories.generate("train", num)]


def audited(checker, problems, source="mine"):
    """The audit as its JSON has it."""
    return files.as_json(audit.run(checker, problems, source))


def named(value):
    return {check["name"]: check for check in value["checks"]}


@pytest.fixture
def no_children(monkeypatch):
    """Without the parts that start processes."""
    for name in ("bombs", "canary"):
        monkeypatch.setattr(hostile, name, lambda checker, *_, name=name: Tally(name).check())


@pytest.fixture
def own(tmp_path):
    """A verifier of the user's own, from the body of `check(completion, answer)`."""

    def make(body):
        path = tmp_path / "mine.py"
        path.write_text(f"import re, time\n\ndef check(completion, answer):\n    {body}\n")
        return registry.load(f"{path}:check")

    return make


# -- the verifiers that ship -------------------------------------------------------------------


def test_a_built_in_verifier_holds():
    value = audited(registry.load("number"), generated(40), "wordproblems")
    assert value["failed"] == []
    assert value["holds"] is True
    assert value["unjudged"] == []
    checks = named(value)
    assert checks["references against themselves"]["n"] == 40
    assert checks["rewrites that must pass"]["n"] > 400
    assert checks["near misses that must fail"]["n"] > 1000
    assert checks["time and memory bombs"]["n"] == len(hostile.BOMBS)
    assert checks["canary for execution of the text"]["n"] == 6 * len(hostile.CANARIES)
    assert all(check["must_hold"] for check in value["checks"])
    assert checks["near misses that must fail"]["by_family"]["off by one, up"]["n"] == 40
    assert value["data"]["sha256"] == split_sha256(generated(40))
    json.dumps(value)


@pytest.mark.parametrize("name", ["number", "number-lenient"])
def test_the_checkers_of_numbers_hold(no_children, name):
    value = audited(registry.load(name), generated(40), "wordproblems")
    assert value["failed"] == []
    assert named(value)["rewrites that must pass"]["n"] > 400


def test_it_is_the_same_every_time(no_children):
    def once():
        value = audited(registry.load("number"), generated(20), "wordproblems")
        return {key: value[key] for key in value if key not in ("seconds", "checks_per_second")}

    assert once() == once()


def test_the_table_is_whole():
    rows = hostile.table()
    assert {name for row in rows for name in row.reads} == {"number", "lenient", "math"}
    keys = [(row.answer, row.completion) for row in rows]
    assert len(keys) == len(set(keys))
    for row in rows:
        assert isinstance(row.expected, bool)


# -- what is planted is found ------------------------------------------------------------------


def last_number(completion, answer):
    import re

    wanted = answer.rpartition("####")[2].strip()
    found = re.findall(r"-?\d+(?:\.\d+)?", completion)
    return Score("right" if found and found[-1] == wanted else "wrong", found[-1] if found else None, type="integer")


def test_the_last_number_is_no_reward(no_children):
    checker = Verifier(
        "number", "1", last_number, lambda answer: f"#### {answer.rpartition('####')[2].strip()}", contract="number"
    )
    value = audited(checker, problems("12", "7", "1500"), "mine")
    assert value["holds"] is False
    near = named(value)["near misses that must fail"]
    assert near["by_family"]["a hedge, second"]["failed"] == 3
    assert near["by_family"]["off by one, up"]["failed"] == 0
    assert near["examples"][0]["verdict"] == "right"
    rewritten = named(value)["rewrites that must pass"]
    assert rewritten["by_family"]["thousands separated"] == {
        "n": 1, "failed": 1, "rate": 1.0, "ci95": [0.025, 1.0],
    }  # fmt: skip


def test_ones_own_verifier_is_not_held_to_formats_that_it_does_not_promise(no_children):
    def only_line(completion, answer):
        return Score("right" if completion.strip().removesuffix("?") == answer else "wrong")

    value = audited(Verifier("mine.py:only", "1", only_line), problems("12", "7"), "mine")
    promised, beyond = (
        named(value)["near misses that must fail"],
        named(value)["near misses that must fail, not promised"],
    )
    assert (promised["failed"], promised["must_hold"]) == (0, True)
    assert (beyond["failed"], beyond["must_hold"]) == (2, False)  # `12?`
    assert named(value)["rewrites that must pass, not promised"]["failed"] > 0
    assert value["holds"] is True


def test_ones_own_commit_need_only_take_references(no_children, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def check(completion, answer):\n    return completion == f'= {int(answer)}'\n\n"
        "check.commit = lambda answer: f'= {int(answer)}'\n"
    )
    value = audited(registry.load(f"{path}:check"), problems("12", "7"), "mine")
    assert value["failed"] == []
    assert named(value)["near misses that must fail"]["by_family"]["off by one, up"]["n"] == 2
    assert "a placeholder" not in named(value)["near misses that must fail"]["by_family"]


def test_a_reference_that_is_wrong_against_itself_fails_and_one_without_a_verdict_is_left_out(no_children):
    def fussy(completion, answer):
        if "9" in answer:
            return Score("unscored", why="too large")
        return Score("right" if completion == answer.replace("8", "7") else "wrong")

    value = audited(Verifier("mine", "1", fussy), problems("5", "8", "9", "19"), "mine")
    assert [(row["index"], row["id"], row["answer"], row["why"]) for row in value["unjudged"]] == [
        (2, "p2", "9", "too large"), (3, "p3", "19", "too large"),
    ]  # fmt: skip
    assert (value["data"]["n"], value["data"]["judged"]) == (4, 2)
    assert named(value)["references against themselves"]["failed"] == 1
    assert value["failed"] == ["references against themselves: 1 of 2"]


def test_nothing_judged_does_not_hold(no_children):
    value = audit.run(registry.load("number"), problems("blue", "green"), "mine")
    assert value.failed == ["no reference can be judged"]
    with pytest.raises(ReasonerError, match="fails its audit") as caught:
        audit.refuse(value, "reasoner audit --run x")
    assert caught.value.code == 4
    assert "reasoner audit --run x" in caught.value.fix


def test_text_that_is_executed_leaves_its_canary(own):
    checker = own("eval(completion.strip('$').removeprefix('\\\\boxed{').removesuffix('}')); return False")
    found = hostile.canary(checker)
    assert found.failed >= 3
    assert found.examples[0].failure == "executed: canary appeared"
    assert hostile.canary(own("return completion == answer")).failed == 0


def test_a_bomb_that_hangs_is_killed_and_one_that_fits_any_reference_is_found(own, monkeypatch):
    monkeypatch.setattr(child, "KILL_S", 1.0)
    monkeypatch.setattr(hostile, "BOMBS", hostile.BOMBS[:2] + hostile.BOMBS[11:14])
    checker = own("time.sleep(60 if '**' in completion else 0); return '999' in completion")
    found = hostile.bombs(dataclasses.replace(checker, contract="number"))
    assert (found.n, found.failed) == (5, 2)
    hung, accepted = found.examples
    assert hung.id == "bomb-1"
    assert hung.failure == "no verdict after 1 s: killed"
    assert accepted.failure == "accepted"
    monkeypatch.setattr(hostile, "BOMBS", hostile.BOMBS[2:])
    assert hostile.bombs(checker).failed == 0


# -- what is generated is what it says ---------------------------------------------------------

NUMBERS = [
    "0",
    "1",
    "-1",
    "7",
    "12",
    "-12",
    "1500",
    "1,500",
    "2.5",
    "-0.25",
    "0.10",
    "0.1234567890123456",
    r"\frac{1}{3}",
    "3/4",
    "-7/2",
    "1/2",
]


def reference(text, type_="integer"):
    return Reference("p0", text, text, type_, number_in(text), "")


@pytest.mark.parametrize("text", NUMBERS)
def test_another_number_is_another_number(text):
    one = reference(text)
    others = list(rewrites.others(one))
    assert len(others) >= 4
    for name, other in others:
        assert number_in(other) is not None, (name, other)
        assert number_in(other) != one.value, (name, other)
    for contract in ("number", "math"):
        for name, same in rewrites.same(one, contract):
            value = number_in(same.removeprefix("$").removesuffix(" apples").removeprefix("\\,"))
            assert value == one.value, (name, same)


@pytest.mark.parametrize(
    ("type_", "text", "others"),
    [
        ("interval", "[0, 1)", {"(0, 1)", "[0, 1]", "[0, 1 + 1)", "[0 - 1, 1)"}),
        ("interval", r"(-\infty, 3]", {r"(-\infty, 3)", r"(-\infty, 3 + 1]"}),
        ("interval", r"(0, 1) \cup (2, 3)", set()),
        ("tuple", "(1, 2)", {"(2, 1)", "(1, 2, 987654)", "(1)", "(1, 987654)"}),
        ("tuple", "(3, 3)", {"(3, 3, 987654)", "(3, 987654)"}),
        ("tuple", r"\left(\frac{1}{2}, 5\right)",
         {r"(5, \frac{1}{2})", r"(\frac{1}{2}, 5, 987654)", r"(\frac{1}{2})", r"(\frac{1}{2}, 987654)"}),
        ("set", r"\{1, 2\}", {r"\{1, 2, 987654\}", r"\{1\}", r"\{1, 987654\}"}),
        ("list", "1, -3", {"1, -3, 987654", "1", "1, 987654"}),
        ("expression", r"2\sqrt{5}", {r"2\sqrt{5} + 1", r"2\sqrt{5} - 1", r"-(2\sqrt{5})", r"2(2\sqrt{5})"}),
        ("expression", r"1 \pm \sqrt{2}", set()),
        ("equation", "y = 2x + 1", {"y = 2x + 1 + 1"}),
        ("text", r"\text{Ada}", {r"\text{not Ada}", r"\text{zeppelin}", r"\text{Adaq}"}),
        ("degree", r"90^\circ", {r"91^\circ", r"901^\circ", r"-90^\circ"}),
        ("percent", r"12.5\%", {r"13.5\%", r"12.95\%", r"-12.5\%"}),
        ("ratio", "3:4", {"4:4", "4:3"}),
        ("matrix", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
         {r"\begin{pmatrix} 2 & 2 \\ 3 & 4 \end{pmatrix}",
          r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \\ 987654 \end{pmatrix}"}),
        ("something new", "a b c", set()),
    ],
)  # fmt: skip
def test_near_misses_of_a_type(type_, text, others):
    assert {other for _, other in rewrites.others(reference(text, type_))} == others


def test_the_neighbours_answer_is_taken_only_where_it_differs_for_sure():
    one, same, other = reference("5"), reference("5.0"), reference("6")
    word, formula = reference(r"\text{Ada}", "text"), reference("x", "expression")
    assert audit.with_other(one, [one, same, other], 0).other == "6"
    assert audit.with_other(one, [one, same], 0).other == ""
    assert audit.with_other(word, [word, formula, other], 0).other == "6"
    assert audit.with_other(formula, [formula, word, other], 0).other == ""


def test_a_rare_type_is_not_lost_in_the_sample():
    many = [Reference(str(at), "1", "1", "integer", Fraction(1)) for at in range(1000)]
    rare = [Reference("r", "x", "x", "expression", None)] * 3
    chosen = audit.spread([*many, *rare], 50)
    assert len(chosen) == 50
    assert sum(one.type == "expression" for one in chosen) == 3
    assert audit.spread(many[:7], 50) == many[:7]


def test_a_near_miss_without_a_verdict_is_no_failure_and_a_rewrite_without_one_is():
    silent = Verifier("silent", "1", lambda completion, answer: Score("unscored", why="no"))
    check = Tally("x")
    check.judge(silent, Case("f", "1", "1", False))
    check.judge(silent, Case("f", "1", "1", True))
    assert (check.n, check.check().failed, check.unscored) == (2, 1, 2)


def test_examples_of_the_docstrings():
    assert doctest.testmod(rewrites).failed == doctest.testmod(results).failed == 0


def test_the_interval_is_the_textbook_one():
    """Clopper-Pearson, 0 of n: 1 - 0.025^(1/n); R: binom.test(3, 20)."""
    assert results.rate(0, 30).ci95 == [0.0, round(1 - 0.025 ** (1 / 30), 5)]
    assert results.rate(3, 20).ci95 == [0.03207, 0.37893]
    assert results.rate(0, 0).rate is None


# -- labelled rows -----------------------------------------------------------------------------

ROWS = [
    {"id": "a", "completion": "#### 5", "answer": "5", "expected": True},
    {"id": "b", "response": "It is 5, I say.", "gold": "5", "expected": True, "family": "prose", "format": "none"},
    {"id": "c", "response": "#### 5", "gold": "5", "expected": False, "tag": "mislabelled"},
    {"id": "d", "response_parts": [["#### ", 1], ["1", 3]], "gold": "111", "expected": True, "type": "parts"},
    {"id": "e", "kind": "pair", "pred": "7", "gold": "7", "expected": True, "disputed": None},
    {"id": "f", "kind": "response", "pred": "7", "gold": "7", "expected": False, "disputed": None},
    {"id": "g", "pred": "\\boxed{7}", "gold": "7", "expected": True},
    {"id": "h", "pred": "7", "gold": "7", "expected": True, "disputed": "a policy"},
    {"id": "i", "completion": "#### 5", "answer": "blue", "expected": False},
    {"id": "j", "completion": "#### 5", "answer": "5", "expected": False, "finish_reason": "length"},
]
BAD = ["{", "[1]", '{"completion": "5", "expected": true}', '{"completion": "5", "answer": "5", "expected": 1}',
       '{"answer": "5", "expected": true}', '{"answer": "5", "expected": true, "response_parts": [[1]]}']  # fmt: skip


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_labelled_rows_of_every_layout(tmp_path):
    path = write(tmp_path / "rows.jsonl", [json.dumps(row) for row in ROWS] + BAD)
    found = files.as_json(labelled.labelled(registry.load("number"), path))
    rejected, accepted = found["right_rejected"], found["wrong_accepted"]
    assert (rejected["n"], rejected["failed"], rejected["unscored"]) == (5, 1, 0)
    assert (accepted["n"], accepted["failed"], accepted["unscored"]) == (3, 1, 1)
    assert accepted["by_family"]["mislabelled"]["failed"] == 1
    assert rejected["by_format"]["none"]["failed"] == 1
    assert [row["id"] for row in found["disagreements"]] == ["b", "c", "i"]
    assert found["disputed"] == 1
    assert [row["line"] for row in found["malformed"]] == [11, 12, 13, 14, 15, 16]
    assert "no text `answer`" in found["malformed"][2]["why"]
    assert "not true or false" in found["malformed"][3]["why"]


def test_nothing_readable_is_a_wrong_file(tmp_path):
    checker = registry.load("number")
    with pytest.raises(ReasonerError, match="no row that can be read") as caught:
        labelled.labelled(checker, write(tmp_path / "bad.jsonl", BAD))
    assert caught.value.code == 2
    assert "line 2: not a JSON object" in caught.value.why
    with pytest.raises(ReasonerError, match="cannot be read"):
        labelled.labelled(checker, tmp_path / "missing.jsonl")


# -- as a person and as a program see it -------------------------------------------------------


def test_the_command_says_what_failed_and_exits_with_4(no_children, monkeypatch, tmp_path):
    monkeypatch.setattr(hostile, "adversarial", lambda checker: Tally("adversarial table").check())
    rows = tmp_path / "mine.jsonl"
    rows.write_text("".join(json.dumps({"question": f"q{n}", "answer": str(n)}) + "\n" for n in range(10, 40)))
    labels = write(tmp_path / "labelled.jsonl", [json.dumps(row) for row in ROWS])
    call = click.testing.CliRunner().invoke
    argv = ["audit", "--data", str(rows), "--labelled", str(labels)]
    told = call(main.cli, argv, standalone_mode=False)
    assert told.exit_code == 0, told.output
    assert "rewrites that must pass" in told.output
    assert "right rejected" in told.output
    assert "family 'mislabelled'" in told.output
    assert "holds: it may be a reward" in told.output
    as_json = call(main.cli, [*argv, "--json"], standalone_mode=False)
    value = json.loads(as_json.stdout)
    assert value["verifier"] == {"name": "number", "version": registry.load("number").version, "contract": "number"}
    assert value["labelled"]["wrong_accepted"]["failed"] == 1  # information: the exit code is that of the audit
    hedger = Verifier("number", "0", last_number, lambda answer: f"#### {answer}", contract="number")
    monkeypatch.setattr(registry, "load", lambda name: hedger)
    failed = call(main.cli, argv, standalone_mode=True)
    assert failed.exit_code == 4
    assert "does not hold: it must not be a reward: rewrites that must pass: 24 of 480" in failed.output


def test_a_run_or_a_data_set_not_both():
    with pytest.raises(ReasonerError, match="both name references"):
        audit.asked(None, "gsm8k", "train", "latest")
