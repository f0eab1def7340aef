"""A person's own files and folders: fields, numbers, and errors that name the row."""

import json

import pytest
from made_up_sets import counting, own, settings

from reasoner.errors import ReasonerError
from reasoner.problems import load, rows
from reasoner.problems.problem import Problem


def test_a_folder_with_dev_by_another_name_and_two_files_for_one(tmp_path):
    own(tmp_path, counting(30), "train.jsonl")
    (tmp_path / "validation.json").write_text(json.dumps([{"question": "Why?", "answer": "#### 1"}]))
    source = settings(source=str(tmp_path))
    assert [p.question for p in load.problems(source, "dev", None)] == ["Why?"]
    assert len(load.problems(source, "test", None)) == 3
    own(tmp_path, counting(3), "dev.jsonl")
    with pytest.raises(ReasonerError, match="two files for the split 'dev'"):
        load.problems(source, "train", None)


def test_a_mistyped_path_names_the_nearest(tmp_path):
    path = own(tmp_path, counting(3))
    with pytest.raises(ReasonerError) as caught:
        load.problems(settings(source=path.replace("mine", "mien")), "train", 1)
    assert caught.value.fix == f"did you mean {path}?"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"question": "1 + 1?", "solution": "2"}', r"line 3: there is no `answer`, and `solution` has no \boxed{}"),
        ('{"question": "1 + 1?"}', "line 3: there is no `answer`, and no `solution` with one"),
        ('{"question": "1 + 1?", "answer": [2]}', "line 3: `answer` is neither text nor a number: [2]"),
        ('{"question": "1 + 1?", "answer": NaN}', "line 3: `answer` is neither text nor a number: nan"),
        ('{"question": "1 + 1?", "answer": true}', "line 3: `answer` is neither text nor a number: True"),
        ('{"question": "1 + 1?", "answer": 1e999999999}', "line 3: `answer` is neither text nor a number: inf"),
        ('{"question": "1 + 1?", "answer": " "}', "line 3: `answer` is neither text nor a number: ' '"),
        ('{"prompt": "1 + 1?", "answer": "2"}', "line 3: there is no text field `question` (or `problem`)"),
        ('{"question": " ", "answer": "2"}', "line 3: there is no text field `question`"),
        ('{"question": "1 + 1?", "answer": "2"', "line 3: Expecting ',' delimiter"),
        ("[1]", "line 3: it is no JSON object: [1]"),
    ],
)
def test_rows_that_are_no_problems_are_named_by_line(tmp_path, row, says):
    (tmp_path / "bad.jsonl").write_text(f'{{"question": "2 + 2?", "answer": "4"}}\n\n{row}\n')
    with pytest.raises(ReasonerError, match="bad.jsonl has rows that are no problems") as caught:
        load.problems(settings(source=str(tmp_path / "bad.jsonl")), "train", None)
    assert caught.value.why.startswith(says)
    assert caught.value.code == 2


def test_many_bad_rows_are_counted(tmp_path):
    (tmp_path / "bad.jsonl").write_text("{}\n" * 7)
    with pytest.raises(ReasonerError) as caught:
        load.problems(settings(source=str(tmp_path / "bad.jsonl")), "train", None)
    assert caught.value.why.splitlines()[5] == "and 2 more of 7"


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ('"question": "q", "answer": 0.10', "0.10"),
        ('"question": "q", "answer": -3', "-3"),
        ('"question": "q", "answer": 1E+3', "1000"),
        (
            '"question": "q", "answer": 12345678901234567890.000000000000000001',
            "12345678901234567890.000000000000000001",
        ),
        ('"problem": "q", "solution": "so $\\\\boxed{\\\\frac{1}{2}}$."', r"\frac{1}{2}"),
        ('"problem": "q", "solution": "$\\\\boxed{1}$", "answer": "2"', "2"),
        ('"problem": "q", "answer": "p - q"', "p - q"),
    ],
)
def test_fields_and_numbers_of_own_rows(tmp_path, fields, answer):
    (tmp_path / "test.jsonl").write_text(f"{{{fields}}}\n")
    assert load.problems(settings(source=str(tmp_path)), "test", None) == [Problem("test-000001", "q", answer)]


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"$\boxed{\left\{1, 2\right\}}$", r"\left\{1, 2\right\}"),
        (r"$\boxed{1}$ or rather $\fbox{2}$", "2"),
        (r"$\boxed{1}$, $\boxed{2", "1"),
        (r"$\boxed 7$", "7"),
        (r"$\boxed {7}$", "7"),
        (r"$\boxed\frac12$", None),
        (r"$\boxed{ }$", None),
        ("7", None),
    ],
)
def test_the_last_box_is_the_answer_of_a_solution(solution, answer):
    assert rows.last_boxed(solution) == answer


def test_ids_that_repeat_are_made_unique(tmp_path):
    path = own(tmp_path, [*counting(3, id="x"), {"question": "Why?", "answer": 1, "id": 7}], "test.jsonl")
    problems = load.problems(settings(source=str(path.rpartition("/")[0])), "test", None)
    assert [p.id for p in problems] == ["x", "x-000002", "x-000003", "7"]


def test_no_problems_is_an_error(tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ReasonerError, match="has no problems"):
        load.problems(settings(source=str(tmp_path / "none.jsonl")), "train", None)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json"])
def test_a_file_that_is_no_text_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReasonerError, match="cannot be read"):
        load.problems(settings(source=str(tmp_path / name)), "train", None)
