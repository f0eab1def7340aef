"""Published sets in small, in a folder of their own."""

import json

import pytest
from made_up_sets import counting, math_row, mbpp_row, own


@pytest.fixture
def sets(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_DATA", str(tmp_path))
    for name in ("svamp", "gsm8k", "math500", "math-train", "math-test"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def gsm8k_files(sets):
    own(sets / "gsm8k", counting(200), "train.jsonl")
    own(sets / "gsm8k", [{"question": f"{i} * 2?", "answer": f"#### {2 * i}"} for i in range(50)], "test.jsonl")
    return sets / "gsm8k"


@pytest.fixture
def math_files(sets):
    held_out = [
        {"problem": f"Find ${i}$.", "solution": rf"$\boxed{{{i}}}$", "answer": str(i), "subject": "Geometry"}
        | {"level": 1, "unique_id": f"test/geometry/{i}.json"}
        for i in range(20, 25)
    ]
    own(sets / "math500", held_out, "test.jsonl")
    train = [math_row(i) for i in range(20)]
    train += [math_row(90, answer=None), math_row(0, problem="find  $0$."), math_row(22, problem="Find $ 22 $.")]
    (sets / "math-train" / "train.json").write_text(json.dumps(train))
    rest = [
        {"problem": f"Find ${i}$.", "level": "Level 1", "type": "Algebra", "solution": rf"$\boxed{{{i}}}$", "idx": i}
        for i in range(20, 40)
    ]
    own(sets / "math-test", [*rest, {**rest[0], "problem": "Find $91$.", "solution": "None."}], "test.jsonl")
    return sets


@pytest.fixture
def code_files(sets):
    (sets / "mbpp").mkdir()
    (sets / "humaneval").mkdir()
    rows = [mbpp_row(i) for i in (1, 2, 11, 12, 510, 511, 600, 601, 602, 603, 974)]
    rows[9]["test_list"] = ["assert add_603(Pair(1, 2)) == 3"] * 3
    own(sets / "mbpp", rows, "mbpp.jsonl")
    prompt = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """ The sum of a list.\n'
    prompt += '    >>> total([1])\n    1\n    """\n'
    late = 'def twice(x):\n    import math\n    """\n    Twice a number.\n    Example:\n    twice(1) == 2\n    """\n'
    human = [
        {
            "task_id": "HumanEval/0",
            "prompt": prompt,
            "entry_point": "total",
            "canonical_solution": "    return sum(xs)\n",
        }
        | {"test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n"},
        {"task_id": "HumanEval/115", "prompt": late, "entry_point": "twice", "canonical_solution": "    return 2 * x\n"}
        | {"test": "def check(candidate):\n    assert candidate(2) == 4\n"},
        {"task_id": "HumanEval/7", "prompt": late, "entry_point": "twice", "canonical_solution": "    return 2 * x\n"}
        | {"test": "def check(candidate):\n    import numpy\n    assert candidate(2) == numpy.int64(4)\n"},
    ]
    own(sets / "humaneval", human, "HumanEval.jsonl")
    return sets
