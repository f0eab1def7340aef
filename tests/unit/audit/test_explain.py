"""`reasoner check --explain ID`: how a verdict came about."""

import json

import click.testing
import pytest

from reasoner.cli import main
from reasoner.errors import ReasonerError
from reasoner.verifiers import registry

ROWS = [
    {"id": "half", "answer": "\\frac{1}{2}", "completion": "So $\\boxed{0.5}$."},
    {"id": "equation", "answer": "\\frac{1}{2}", "completion": "So $\\boxed{x \\ge 2}$."},
    {"id": "unsure", "answer": "18", "completion": "But 18 is impossible."},
    {"id": "unsure", "answer": "18", "completion": "The answer is 18 dollars."},
    {"id": "escape", "answer": "1", "completion": "\\boxed{2\x1b[31m}"},
    {"problem_id": "p-1", "answer": "18", "completion": "#### 19", "finish_reason": "stop"},
    {"problem_id": "p-1", "answer": "18", "completion": "#### 18", "finish_reason": "length"},
    {"id": "unreadable", "answer": "\\undefined{1}", "completion": "\\boxed{1}"},
    {"answer": "7", "completion": "I do not know."},
]


def explain(folder, wanted, verifier="math", rows=ROWS):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return click.testing.CliRunner().invoke(main.cli, ["check", "--verifier", verifier, "--explain", wanted, str(path)])


@pytest.mark.parametrize(
    ("wanted", "verifier", "lines"),
    [
        ("half", "math", ["half (line 1): right, says math", "taken      0.5  (in the last box)", "as  decimal 0.5",
                          "as  rational div(1, 2)", "because    the same value", "accepted   \\boxed{\\frac{1}{2}}"]),
        ("equation", "math", ["wrong, says math", "read as  inequality x >= 2",
                              "because    an inequality where the reference is a rational"]),
        ("unsure", "math", ["taken      nothing", "its last sentence says “impossible”, so it states nothing",
                            "(line 4): right", "after a phrase"]),
        ("unsure", "number-lenient", ["(line 3): wrong, says number-", "integer 18 (dollar)", "accepted   ####"]),
        ("unsure", "number", ["taken      nothing\n  reference  18"]),
        ("escape", "math", ["wrong, says math", "\\x1b[31m"]),
        ("p-1", "number", ["(line 6): wrong", "taken      19  (after ####)", "(line 7): wrong", "cut off before its"]),
        ("unreadable", "math", ["unscored, says math", "read as  not read: \\undefined is not known"]),
        ("9", "number", ["9 (line 9): wrong", "taken      nothing"]),
    ],
)  # fmt: skip
def test_what_is_told(tmp_path, wanted, verifier, lines):
    done = explain(tmp_path, wanted, verifier)
    assert done.exit_code == 0, done.exception
    at = 0
    for line in lines:
        at = done.stdout.index(line, at)
    assert "\x1b" not in done.stdout


def test_what_would_be_accepted_is_accepted(tmp_path):
    for wanted, verifier in (("half", "math"), ("p-1", "number"), ("unsure", "number-lenient")):
        out = explain(tmp_path, wanted, verifier).stdout.split("accepted   ")[1]
        forms = [line.strip() for line in out.split("\n\n")[0].splitlines()]
        answer = "\\frac{1}{2}" if wanted == "half" else "18"
        assert forms and all(registry.load(verifier).function(form, answer).verdict == "right" for form in forms)


def test_an_id_that_is_not_there_names_those_near_it(tmp_path):
    done = explain(tmp_path, "halff")
    assert isinstance(done.exception, ReasonerError) and done.exception.code == 2
    assert done.exception.fix == "IDs that are there: half"


def test_a_verifier_of_ones_own_and_a_task(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def judge(completion, answer):\n    return completion.strip() == answer\n")
    rows = [{"id": "a", "answer": "x", "completion": "y"}]
    done = explain(tmp_path, "a", f"{own}:judge", rows)
    assert "wrong" in done.stdout and "because    " in done.stdout
    task = json.dumps({"schema": 1, "entry_point": "f", "hidden_tests": ["assert f(2) == 3"]})
    rows = [{"id": "a", "answer": task, "submission": "def f(x): return x"}]
    done = explain(tmp_path, "a", "code", rows)
    assert done.exit_code == 0 and "wrong, says code" in done.stdout and "because    " in done.stdout
