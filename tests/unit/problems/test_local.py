"""A person's own files and folders: fields, numbers, and errors that name the row."""

import json

import pytest
from made_up_sets import counting, own, settings

from reasoner.errors import ReasonerError
from reasoner.problems import columns, load
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
        (
            '{"question": "q", "solution": "' + "so it is two. " * 9 + '"}',
            r"line 3: there is no `answer`, and `solution` has",
        ),
        ('{"question": "1 + 1?", "answer": [2, 3]}', "line 3: `answer` is neither text nor a number: [2, 3]"),
        ('{"question": "1 + 1?", "answer": {"x": 2}}', "line 3: `answer` is neither text nor a number: {'x': 2}"),
        ('{"question": "1 + 1?", "answer": NaN}', "line 3: `answer` is neither text nor a number: nan"),
        ('{"question": "1 + 1?", "answer": 1e999999999}', "line 3: `answer` is neither text nor a number: inf"),
        ('{"question": 5, "answer": "2"}', "line 3: `question` is neither text nor a chat: 5"),
        ('{"question": ["a"], "answer": "2"}', "line 3: `question` is a list, but no chat of role and content: ['a']"),
        (
            '{"question": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "answer": "2"}',
            "line 3: its chat is not one question: user, assistant",
        ),
        (
            '{"question": [{"role": "system", "content": "Brief!"}, {"role": "user", "content": "a"}], "answer": "2"}',
            "line 3: its chat has the system message 'Brief!': set data.system to it",
        ),
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
    (tmp_path / "bad.jsonl").write_text("[]\n" * 7)
    with pytest.raises(ReasonerError) as caught:
        load.problems(settings(source=str(tmp_path / "bad.jsonl")), "train", None)
    assert caught.value.why.splitlines()[5] == "and 2 more of 7"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"question": "1 + 1?"}', "without an answer"), ('{"question": "1 + 1?", "answer": " "}', "without an answer"),
        ('{"question": "1 + 1?", "answer": null}', "without an answer"), ('{"answer": "2"}', "without a question"),
        ('{"question": " ", "answer": "2"}', "without a question"), ("{}", "without a question"),
        (r'{"question": "a \ud83d b", "answer": "2"}', "a question with half a character (a lone surrogate)"),
        (r'{"question": "a", "answer": "\ud83d"}', "an answer with half a character (a lone surrogate)"),
    ],
)  # fmt: skip
def test_rows_without_what_a_problem_needs_are_left_out_and_counted(tmp_path, row, reason):
    (tmp_path / "mine.jsonl").write_text(f'{{"question": "2 + 2?", "answer": "4"}}\n{row}\n')
    found = load.read(settings(source=str(tmp_path / "mine.jsonl")), "all")
    assert [problem.answer for problem in found.problems] == ["4"]
    assert (found.provenance.dropped, found.provenance.lines) == ({reason: 1}, {reason: ["line 2"]})


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
        ('"prompt": "q", "solution": "2"', "2"),
        ('"Question": "q", " Answer ": "2"', "2"),
        ('"question": "q", "answer": true', "True"),
        ('"question": "q", "answer": ["2"]', "2"),
        ('"question": "q", "output": "2"', "2"),
        ('"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": "2", "style": "rule"}', "2"),
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
    assert columns.last_boxed(solution) == answer


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
