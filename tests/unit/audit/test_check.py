"""`reasoner check`: a verdict for every row that can be read, in order; the others are named and stop nothing."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import reasoner
from reasoner.audit import check
from reasoner.errors import USAGE, ReasonerError
from reasoner.verifiers import registry, score

REASONER = [sys.executable, "-m", "reasoner"]


@pytest.fixture
def call(tmp_path):
    """The command as a person calls it, in a process without any of our environment."""

    def run(*argv, stdin=b""):
        env = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(Path(reasoner.__file__).parents[1])}
        return subprocess.run([*REASONER, "check", *argv], input=stdin, capture_output=True, env=env, cwd=tmp_path)

    return run


def lines(*rows):
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)


def verdicts(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


ROWS = lines(
    {"id": "a", "answer": "5", "completion": "2 + 3 = 5\n#### 5", "extra": [1]},
    b"\n  \r\n",
    {"answer": "5", "completion": "#### 6"},
    b"{nonsense\n",
    b'{"answer": "5", "completion": "\xff"}\n',
    b'{"id": 1.5, "answer": "x", "completion": "#### 5"}\r\n',
    {"id": 7, "answer": "5", "completion": "#### 5", "finish_reason": "length"},
    b'{"id": "last", "answer": "5", "completion": "\\ud800 #### \\u0000\\n#### 5", "finish_reason": "stop"}',
)


@pytest.mark.parametrize("source", ["rows.jsonl", "-"])
def test_rows_in_verdicts_out(call, tmp_path, source):
    (tmp_path / "rows.jsonl").write_bytes(ROWS)
    done = call(source, stdin=ROWS)
    assert done.returncode == 0, done.stderr
    found = verdicts(done)
    assert [(row["id"], row["verdict"]) for row in found] == [
        ("a", "right"),
        (4, "wrong"),
        (1.5, "unscored"),
        (7, "wrong"),
        ("last", "right"),
    ]
    assert all(list(row) == ["id", "verdict", "extracted", "type", "rule", "why", "ms"] for row in found)
    assert found[0]["extracted"] == "5"
    assert found[3]["why"] == "cut off before its end"
    assert done.stderr.decode().splitlines() == [
        "line 5: not JSON: Expecting property name enclosed in double quotes (column 2)",
        "line 6: not UTF-8 (byte 32)",
        "5 rows: 2 right, 2 wrong, 1 unscored; 2 malformed",
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"5", "a number, not an object"),
        (b"null", "null, not an object"),
        (b'["a"]', "a list, not an object"),
        (b'"a"', "text, not an object"),
        (b"{}", "no 'answer'"),
        (b'{"answer": "5"}', "no 'completion'"),
        (b'{"answer": 5, "completion": "5"}', "'answer' is a number, not text"),
        (b'{"answer": "5", "completion": null}', "'completion' is null, not text"),
        (b'{"answer": "5", "completion": [["a", 2]]}', "'completion' is a list, not text"),
        (b'{"answer": true, "completion": "5"}', "'answer' is a boolean, not text"),
        (b'{"id": {}, "answer": "5", "completion": "5"}', "'id' is an object, neither text nor a number"),
        (b'{"answer": "5", "completion": "5"} {}', "not JSON: Extra data (column 36)"),
        (b"[" * 100_000, "not JSON that can be read: nested too deeply"),
        (b'{"answer": ' + b"9" * 10_000 + b"}", "not JSON that can be read: Exceeds the limit"),
        ('{"answer": "5"}'.encode("utf-16"), "not UTF-8 (byte 1)"),
        (b"\0\0\n", "not JSON"),
    ],
)
def test_malformed(line, says):
    with pytest.raises(check.Malformed) as caught:
        check.read(line, 9)
    assert str(caught.value).startswith(says)


def test_a_byte_order_mark_is_no_fault():
    assert check.read(b'\xef\xbb\xbf{"answer": "5", "completion": "6"}', 1) == check.Row(1, "5", "6")
    assert check.read(b'{"id": null, "answer": "5", "completion": "6"}', 8) == check.Row(8, "5", "6")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no row that can be read"),
        (b"\n\n", "it is empty"),
        (b"x\n[]\n", "2 malformed"),
    ],
)
def test_nothing_that_can_be_read_is_an_error(tmp_path, content, says):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(ReasonerError) as caught:
        check.run(str(tmp_path / "rows.jsonl"), registry.load("number"), print)
    assert caught.value.code == USAGE
    assert says in str(caught.value)


@pytest.mark.parametrize(("source", "says"), [("none.jsonl", "there is no file none.jsonl"), (".", "Is a directory")])
def test_what_is_no_file_of_rows(source, says):
    with pytest.raises(ReasonerError) as caught:
        check.run(source, registry.load("number"), print)
    assert caught.value.code == USAGE
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "says"),
    [(["-"], "it is empty"), ([], "Missing argument"), (["--verifier", "numbr", "-"], "did you mean `number`?")],
)
def test_mistakes(call, argv, says):
    done = call(*argv)
    assert (done.returncode, done.stdout) == (2, b"")
    assert says in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_an_own_verifier(call, tmp_path):
    (tmp_path / "judge.py").write_text(
        "def same(completion, answer):\n    print('noise')\n    return completion == answer\n"
    )
    done = call("--verifier", "judge.py:same", "-", stdin=lines(*({"answer": "5", "completion": c} for c in "565")))
    assert [row["verdict"] for row in verdicts(done)] == ["right", "wrong", "right"]


def test_a_row_is_answered_before_the_next_is_written(tmp_path):
    with subprocess.Popen(
        [*REASONER, "check", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        for i in range(3):
            process.stdin.write(lines({"id": i, "answer": "5", "completion": "#### 5"}))
            assert json.loads(process.stdout.readline())["id"] == i
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_a_reader_that_leaves_is_no_error(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(lines({"answer": "5", "completion": "#### 5"}) * 20_000)
    with subprocess.Popen(
        [*REASONER, "check", str(tmp_path / "rows.jsonl")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=20) == 0


def test_a_row_of_a_megabyte(call):
    done = call("-", stdin=lines({"answer": "5", "completion": "ü" * 1_000_000 + "\n#### 5"}))
    assert done.returncode == 0
    assert verdicts(done)[0]["verdict"] in ("right", "wrong")


def test_a_row_costs_little(tmp_path):
    """Beside the verifier: 0.02 ms on an idle core."""
    rows = lines({"id": "a", "answer": "5", "completion": "#### 5"}).splitlines() * 2000
    with (tmp_path / "out").open("wb") as out:
        started = time.perf_counter()
        check.score(rows, registry.Verifier("true", "1", lambda *_: score.Score("right")), out, print)
        assert (time.perf_counter() - started) / len(rows) < 0.001
