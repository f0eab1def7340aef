"""Generated problems as a source like others."""

import json

import pytest
from made_up_sets import settings

from reasoner.errors import ReasonerError
from reasoner.problems import load
from reasoner.problems.problem import split_sha256


def test_the_record_of_generated_problems():
    record = load.read(settings(max_steps="1"), "train", 20).provenance
    assert record.found == [{"generator": "wordproblems", "seed": 0, "balanced": False, "max_steps": 1}]
    assert record.problems == sum(record.kinds.values()) == 20
    assert record.sha256 == split_sha256(load.problems(settings(num_train="20", max_steps="1"), "train", 20))


def test_balanced_reaches_the_generator():
    problems = load.problems(settings(balanced="true"), "test", 40)
    assert [problem.kind[-1] for problem in problems] == list("+-*/") * 10


def test_line_tasks():
    source = settings(source="linetasks", num_train="none")
    problems = load.problems(source, "test", None)
    assert len(problems) == 500 and load.problems(source, "test", 8) == problems[:8]
    assert [p.kind.split()[0] for p in problems[:4]] == ["number", "pair", "text", "list"]
    task = json.loads(problems[0].answer)
    assert (len(task["tests"]), len(task["hidden_tests"]), sorted(task["property"])[:2]) == (1, 7, ["args", "examples"])
    assert problems[0].question == f"{problems[0].prose}\nYour code should pass this test:\n{task['tests'][0]}"
    record = load.read(settings(source="linetasks", max_steps="1"), "train", 30).provenance
    assert record.found == [{"generator": "linetasks", "seed": 0, "balanced": False, "max_steps": 1}]
    assert (record.source, record.verifier, record.problems) == ("linetasks", "code", 30)
    with pytest.raises(ReasonerError, match="no largest value"):
        load.problems(settings(source="linetasks", max_value="30"), "test", 1)
