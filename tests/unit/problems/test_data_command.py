"""`reasoner data`: the sets known by name, and what a verifier reads of one."""

import json

import click.testing
import pytest
from made_up_sets import own

from reasoner.cli import main
from reasoner.errors import ReasonerError


def reasoner(*argv):
    return click.testing.CliRunner().invoke(main.cli, ["data", *argv])


def test_the_command_lists_the_named_sets(gsm8k_files):
    done = reasoner("--json")
    rows = {row["source"]: row for row in json.loads(done.stdout)}
    assert rows["gsm8k"]["splits"] == {"train": 180, "dev": 20, "test": 50}
    assert (rows["svamp"]["found"], rows["svamp"]["missing"]) == ([], ["svamp/SVAMP.json"])
    (gsm8k_files / "test.jsonl").write_text("oops\n")
    done = reasoner()
    assert done.exit_code == 0
    assert "cannot be read" in done.stdout and "line 1: Expecting value" in done.stdout
    assert "licence: MIT; its problems come from competitions" in done.stdout


def test_the_command_shows_problems_and_what_is_read(tmp_path):
    rows = [{"question": "1 + 1?\x1b[31m", "answer": "#### 2"}, {"question": "Why?", "answer": "#### because"}]
    own(tmp_path, rows, "test.jsonl")
    done = reasoner(str(tmp_path))
    assert "1 + 1?\\x1b[31m\n" in done.stdout
    assert "2 read; dropped: none" in done.stdout
    assert "read as    no: the reference is not a number: 'because'" in done.stdout
    value = json.loads(reasoner(str(tmp_path), "--split", "test", "--show", "1", "--json").stdout)
    assert (value["problems"], [row["read"]["value"] for row in value["shown"]]) == (2, ["2"])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["gms8k"], "did you mean `gsm8k`?"),
        (["svamp", "--split", "train"], "its problems are for testing only"),
        (["wordproblems", "--verifier", "nubmer"], "number"),
        (["wordproblems", "--split", "tset"], "--split"),
    ],
)
def test_mistakes_at_the_command(argv, says):
    done = reasoner(*argv)
    is_ours = isinstance(done.exception, ReasonerError)
    assert (done.exception.code if is_ours else done.exit_code, done.stdout) == (2, "")
    assert says in (str(done.exception) if is_ours else done.stderr)
