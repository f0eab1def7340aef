"""Files that people keep problems in: whatever they are called, their rows are the same problems."""

import csv
import datetime
import gzip
import io
import json
from decimal import Decimal

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from made_up_sets import settings

from reasoner.errors import ReasonerError
from reasoner.problems import load

ROWS = [{"prompt": f'How much is {n} + 0.10?\nSay, "it".', "target": f"{n}.10"} for n in range(30)]


def delimited(by: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["prompt", "target"], delimiter=by)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def arrow(new) -> bytes:
    table, out = pyarrow.Table.from_pylist(ROWS), pyarrow.BufferOutputStream()
    with new(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue().to_pybytes()


def parquet(rows) -> bytes:
    out = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue().to_pybytes()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FILES = {
    "a.jsonl": LINES, "a.json": LINES, "a.ndjson": LINES, "b.jsonl": json.dumps(ROWS).encode(),
    "a.jsonl.gz": gzip.compress(LINES),
    "b.json": json.dumps(ROWS, indent=1).encode(), "c.json": json.dumps({"data": ROWS}).encode(),
    "a.csv": delimited(","), "b.csv": delimited(";"), "c.csv": b"\xef\xbb\xbf" + delimited(","),
    "a.tsv": delimited("\t"),
    "d.csv": delimited(",").decode().encode("utf-16"), "a.CSV": delimited(","),
    "a.csv.gz": gzip.compress(delimited(",")),
    "a.parquet": parquet(ROWS), "a.arrow": arrow(pyarrow.ipc.new_file), "b.arrow": arrow(pyarrow.ipc.new_stream),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_holds_the_same_problems(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    found = load.read(settings(source=str(tmp_path / name)), "all")
    assert [(one.question, one.answer) for one in found.problems] == [(row["prompt"], row["target"]) for row in ROWS]
    assert found.provenance.columns == {"question": ["prompt"], "answer": ["target"]}


def test_a_folder_of_tables_has_their_splits(tmp_path):
    (tmp_path / "train.csv").write_bytes(FILES["a.csv"])
    (tmp_path / "test.parquet").write_bytes(parquet([{"prompt": "Why?", "target": "7"}]))
    assert [one.answer for one in load.problems(settings(source=str(tmp_path)), "test", None)] == ["7"]
    (tmp_path / "train.jsonl.gz").write_bytes(FILES["a.jsonl.gz"])
    with pytest.raises(ReasonerError, match="two files for the split 'train'"):
        load.problems(settings(source=str(tmp_path)), "train", None)


def test_columns_by_name(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("frage,antwort,answer\nWas ist 1 + 1?,2,zwei\n")
    with pytest.raises(ReasonerError, match="no column for the question") as caught:
        load.problems(settings(source=str(path)), "all", None)
    assert caught.value.why.startswith("it has frage, antwort, answer") and "data.question" in caught.value.fix
    named = settings(source=str(path), question="Frage", answer="antwort")
    assert [(one.question, one.answer) for one in load.problems(named, "all", None)] == [("Was ist 1 + 1?", "2")]
    with pytest.raises(ReasonerError, match="no column 'antwrot'") as caught:
        load.problems(settings(source=str(path), question="frage", answer="antwrot"), "all", None)
    assert "antwort" in caught.value.fix


def test_an_instruction_and_its_input_are_one_question(tmp_path):
    path = tmp_path / "alpaca.json"
    rows = [
        {"instruction": "Add.", "input": "1 and 1", "output": "2"},
        {"instruction": "Say 3.", "input": "", "output": "3"},
    ]
    path.write_text(json.dumps(rows))
    assert [one.question for one in load.problems(settings(source=str(path)), "all", None)] == [
        "Add.\n\n1 and 1",
        "Say 3.",
    ]


def test_values_of_a_typed_file(tmp_path):
    path = tmp_path / "typed.parquet"
    rows = [{"question": "a", "answer": Decimal("0.10")}, {"question": "b", "answer": None}]
    path.write_bytes(parquet(rows))
    found = load.read(settings(source=str(path)), "all")
    assert [one.answer for one in found.problems] == ["0.10"] and found.provenance.dropped == {"without an answer": 1}
    path.write_bytes(parquet([{"question": "a", "answer": datetime.date(2026, 1, 2)}]))
    with pytest.raises(ReasonerError, match="row 1: `answer` is neither text nor a number"):
        load.problems(settings(source=str(path)), "all", None)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"question,answer\n1 + 1, or so?,2\n", "line 2: it has 3 cells, the first line 2"),
        ("a.csv", b'question,answer\n"1 + 1?,2\n', "line 2: unexpected end of data"),
        ("a.csv", b"question,answer\n\xff,2\n", "save it as UTF-8"),
        ("a.parquet", b"PAR1 and nothing", "cannot be read"),
        ("a.arrow", b"nothing", "cannot be read"),
        ("a.csv.gz", b"question,answer\n", "cannot be read"),
        ("a.json", b"[" * 100_000, "line 1: "),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReasonerError) as caught:
        load.problems(settings(source=str(tmp_path / name)), "all", None)
    assert says in str(caught.value) and name in str(caught.value) and caught.value.code == 2


def test_columns_that_nothing_is_read_from_are_named(tmp_path):
    """The choices of a question that does not say them would be missed in silence."""
    file = tmp_path / "choices.jsonl"
    row = {"id": 1, "kind": "x", "choices": ["3", "4"], "answer": "B", "meta": {"by": "me", "at": 3}, "empty": None}
    file.write_text("".join(json.dumps({**row, "question": f"{at} + 1?"}) + "\n" for at in range(20)))
    found = load.read(settings(source=str(file)), "train").provenance
    assert found.columns == {"question": ["question"], "answer": ["answer"], "unused": ["choices", "meta"]}
    nested = settings(source=str(file), question="question", answer="meta.at")
    assert load.read(nested, "train").provenance.columns["unused"] == ["choices", "answer"]
