"""Sets known by name: their files, their order, their rows."""

import json

import pytest
from made_up_sets import mbpp_row, own, settings, smol, svamp_row

from reasoner import files
from reasoner.errors import ReasonerError
from reasoner.problems import load, named
from reasoner.problems.problem import Problem, split_sha256


def test_sets_from_files_are_left_out_where_the_files_are_not(sets, monkeypatch, tmp_path):
    assert named.sets_dir() == sets
    assert load.beside(smol(), "svamp") is None
    assert load.beside(smol(), "gsm8k") is None
    monkeypatch.delenv("REASONER_DATA")
    monkeypatch.chdir(tmp_path)
    assert named.sets_dir().resolve() == tmp_path / "data"


def test_svamp(sets):
    rows = [
        svamp_row(1),
        svamp_row(2, Body="If he had 4 pens ", Answer=2.5, Type="Common-Divison"),
        svamp_row(3, Answer=-7, Type="Subtraction"),
        svamp_row(4, Answer=1e6, Type="Multiplication"),
        svamp_row(5, Type="Common-Division"),
        svamp_row(6, Type="Riddle"),
    ]
    (sets / "svamp" / "SVAMP.json").write_text(json.dumps(rows))
    problems = sorted(load.beside(smol(), "svamp"), key=lambda problem: problem.id)
    assert problems[:2] == [
        Problem("svamp-chal-1", "Dan had 2 pens. How many?", "145", "+"),
        Problem("svamp-chal-2", "If he had 4 pens, how many?", "2.5", "/"),
    ]
    assert [(p.answer, p.kind) for p in problems[2:]] == [("-7", "-"), ("1000000", "*"), ("145", "/"), ("145", "")]


def test_gsm8k_and_the_order_of_files(sets):
    rows = [{"question": f"{i} + 1? Two\u2028lines.", "answer": f"Work.\n#### {i + 1}"} for i in range(300)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (sets / "gsm8k" / "test.jsonl").write_text(text, encoding="utf-8")
    some = load.beside(smol(), "gsm8k")
    more = load.beside(smol(eval__num_beside="300"), "gsm8k")
    assert more[:12] == some
    assert [problem.id for problem in some[:3]] == ["gsm8k-test-000100", "gsm8k-test-000255", "gsm8k-test-000120"]
    assert {problem.id for problem in more} == {f"gsm8k-test-{i:06d}" for i in range(300)}
    assert {(p.id[-3:], p.question, p.answer, p.kind) for p in more} == {
        (f"{i:03d}", row["question"], row["answer"], "") for i, row in enumerate(rows)
    }


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("svamp", "[{", "Expecting"),
        ("svamp", "{}", "line 1: there is no text field `ID`"),
        ("svamp", json.dumps([svamp_row(1), {"ID": "x", "Question": "?"}]), "row 2: there is no text field `Body`"),
        ("svamp", json.dumps([svamp_row(1), 5]), "row 2: it is no JSON object: 5"),
        ("svamp", json.dumps([svamp_row(1, Answer="a dozen")]), "row 1: `Answer` is no number: 'a dozen'"),
        ("svamp", json.dumps([svamp_row(1, Answer=float("nan"))]), "row 1: `Answer` is no number: nan"),
        (
            "gsm8k",
            '{"question": "q", "answer": "#### 1"}\n{"question": "q"}\n',
            "line 2: there is no text field `answer`",
        ),
        ("gsm8k", '{"question": "q", "answer": "#### 1"}\n{"question": \n', "line 2: Expecting value"),
        ("gsm8k", "", "gsm8k has no problems in its split 'test'"),
    ],
)
def test_a_malformed_file_names_itself_and_the_row(sets, name, text, says):
    path = sets / name / {"svamp": "SVAMP.json", "gsm8k": "test.jsonl"}[name]
    path.write_text(text)
    with pytest.raises(ReasonerError) as caught:
        load.beside(smol(), name)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.code == 2


def test_a_set_without_problems_is_an_error(sets):
    (sets / "svamp" / "SVAMP.json").write_text("[]")
    with pytest.raises(ReasonerError, match="has no problems"):
        load.beside(smol(), "svamp")


def test_gsm8k_by_name(gsm8k_files):
    source = settings(source="gsm8k")
    record = load.read(source, "train").provenance
    assert (record.licence, record.verifier) == ("MIT", "number")
    assert (record.rows, record.dropped, record.carved, record.problems) == (200, {}, {"dev": 20}, 180)
    assert record.found == [
        {"path": str(gsm8k_files / f"{split}.jsonl"), "sha256": files.sha256_file(gsm8k_files / f"{split}.jsonl")}
        for split in ("train", "test")
    ]
    train = load.problems(source, "train", None)
    assert record.sha256 == split_sha256(train)
    # A fixed order that is not the file's, so that the first n are a fair sample; test is the set beside others.
    assert load.problems(source, "train", 30) == train[:30]
    assert [p.id for p in train] != sorted(p.id for p in train)
    assert load.problems(source, "test", 12) == load.beside(smol(), "gsm8k")
    dev = load.problems(source, "dev", None)
    assert len({p.id for p in train} | {p.id for p in dev}) == 200


def test_test_problems_need_no_training_file(gsm8k_files):
    (gsm8k_files / "train.jsonl").unlink()
    assert len(load.problems(settings(source="gsm8k"), "test", None)) == 50


def test_svamp_is_not_trained_on(sets):
    (sets / "svamp" / "SVAMP.json").write_text(json.dumps([svamp_row(1)]))
    with pytest.raises(ReasonerError, match="svamp has no split 'train'") as caught:
        load.problems(settings(source="svamp"), "train", 1)
    assert (caught.value.why, caught.value.code) == ("its problems are for testing only", 2)


def test_math_by_name(math_files):
    source = settings(source="math")
    test = load.problems(source, "test", None)
    assert sorted(p.id for p in test) == [f"math-test/geometry/{i}" for i in range(20, 25)]
    assert {p.kind for p in test} == {"Geometry"}
    record = load.read(source, "train").provenance
    assert record.rows == 44
    assert record.dropped == {"also in test": 6, "repeated": 1, "without an answer": 2}
    assert (record.carved, record.problems, record.kinds) == ({"dev": 3}, 32, {"Algebra": 32})
    assert (record.verifier, len(record.found)) == ("math", 3)
    train, dev = load.problems(source, "train", None), load.problems(source, "dev", None)
    assert sorted(int(p.answer) for p in train + dev) == [*range(20), *range(25, 40)]
    assert all(f"${p.answer}$" in p.question for p in train + dev + test)


def test_mbpp_by_name(code_files):
    source = settings(source="mbpp")
    train, dev, test = (load.problems(source, split, None) for split in ("train", "dev", "test"))
    assert {p.id for p in train} == {"mbpp-601", "mbpp-602", "mbpp-974"}
    assert ({p.id for p in dev}, {p.id for p in test}) == (
        {"mbpp-511", "mbpp-600"},
        {"mbpp-11", "mbpp-12", "mbpp-510"},
    )
    record = load.read(source, "train").provenance
    dropped = record.dropped
    assert (record.rows, record.problems, dropped.pop("few-shot example"), len(dropped)) == (6, 3, 2, 1)
    assert "tests cannot be lifted: " in next(iter(dropped)) and "Pair" in next(iter(dropped))
    assert (load.read(source, "test").provenance.rows, load.read(source, "dev").provenance.rows) == (3, 2)
    assert (record.verifier, record.licence[:9], len(record.found)) == ("code", "CC BY 4.0", 1)
    # The first test is shown, the others and the challenges are hidden.
    problem = next(p for p in train if p.id == "mbpp-601")
    assert problem.question == (
        "Write a function to add 601.\nYour code should pass this test:\nassert add_601(1) == 602"
    )
    task = json.loads(problem.answer)
    assert (task["entry_point"], task["tests"]) == ("add_601", ["assert add_601(1) == 602"])
    assert task["hidden_tests"] == [f"assert add_601({x}) == {x + 601}" for x in (2, 3, -1)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task_id": 975}, "`task_id` is none of 1-974: 975"),
        ({"task_id": "601"}, "`task_id` is none of 1-974: '601'"),
        ({"text": ""}, "there is no text field `text`"),
        ({"code": None}, "there is no text field `code`"),
        ({"test_list": "assert 1"}, "there is no list `test_list`"),
    ],
)
def test_mbpp_rows_that_are_no_tasks_are_named(code_files, changes, says):
    own(code_files / "mbpp", [mbpp_row(602), mbpp_row(601, **changes)], "mbpp.jsonl")
    with pytest.raises(ReasonerError) as caught:
        load.problems(settings(source="mbpp"), "train", None)
    assert caught.value.why == f"line 2: {says}"


def test_humaneval_by_name(code_files):
    source = settings(source="humaneval")
    problems = {p.id: p for p in load.problems(source, "test", None)}
    assert set(problems) == {"humaneval-0", "humaneval-115"}
    first = problems["humaneval-0"]
    assert first.question.startswith("Complete this Python function.\n\nfrom typing import List\n\n\ndef total(")
    assert (first.prose, problems["humaneval-115"].prose) == ("The sum of a list.", "Twice a number.")
    assert json.loads(first.answer)["entry_point"] == "total"
    record = load.read(source, "test").provenance
    assert (record.rows, sum(record.dropped.values()), record.licence[:3]) == (3, 1, "MIT")
    with pytest.raises(ReasonerError, match="no split 'train'"):
        load.problems(source, "train", 1)


def test_named_sets_are_pinned():
    with pytest.raises(ReasonerError, match="is pinned") as caught:
        load.problems(settings(source="gsm8k", revision="main"), "train", 1)
    assert caught.value.code == 2
