"""Small data sets for tests: settings, rows in their published form, and files of them."""

import json

from reasoner import config


def settings(**overrides):
    return config.resolve("pocket", {f"data.{key}": value for key, value in overrides.items()})[0].data


def own(tmp_path, rows, name="mine.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def counting(num, **fields):
    return [{"question": f"{i} + 1?", "answer": f"#### {i + 1}", **fields} for i in range(num)]


def smol(**overrides):
    values = {"data.source": "wordproblems", "data.num_train": "10", "data.max_value": "30", "eval.num_problems": "40"}
    values |= {"eval.num_beside": "12"} | {key.replace("__", "."): value for key, value in overrides.items()}
    return config.resolve("pocket", values)[0]


def svamp_row(i, **changes):
    row = {
        "ID": f"chal-{i}",
        "Body": f"Dan had {i + 1} pens.",
        "Question": "How many?",
        "Equation": "",
        "Answer": 145.0,
    }
    return row | {"Type": "Addition"} | changes


def math_row(i, **changes):
    return {"problem": f"Find ${i}$.", "answer": str(i), "type": "Algebra", "difficulty": 1.0} | changes


def mbpp_row(i, **changes):
    row = {
        "text": f"Write a function to add {i}.\n",
        "code": f"def add_{i}(x):\r\n  return x + {i}",
        "task_id": i,
        "test_setup_code": "",
        "test_list": [f"assert add_{i}({x}) == {x + i}" for x in (1, 2, 3)],
        "challenge_test_list": [f"assert add_{i}(-1) == {i - 1}"] if i % 2 else [],
    }
    return row | changes
