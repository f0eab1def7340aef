"""The command writes both reports, of two runs one page, and follows a run that goes on."""

import json

import click.testing
import made_up
import pytest
from page_reader import Reader

from reasoner import files, runs
from reasoner.cli import main
from reasoner.errors import USAGE, ReasonerError, printable
from reasoner.reporting import html, material, pages, sections


def call(*argv):
    return click.testing.CliRunner().invoke(main.cli, ["report", *argv])


def test_the_command_writes_both_and_prints_the_markdown(folder):
    run = made_up.run(folder)
    done = call("made-up")
    assert done.exit_code == 0
    assert done.stdout == printable((run.path / "report.md").read_text())
    assert (run.path / "report.html").read_text() == html.render(sections.report(material.read(run)))
    assert f"{run.path / 'report.html'}" in done.stderr and f"{run.path / 'report.md'}" in done.stderr
    assert not list(run.path.glob("*.partial"))


def test_both_reports_say_the_same_sections_in_the_same_order(folder):
    markdown, page = (path.read_text() for path in pages.write(made_up.run(folder)))
    titles = [line.removeprefix("## ") for line in markdown.split("\n") if line.startswith("## ")]
    found = Reader(page)
    assert len(titles) == 12 and "".join(titles) == found.text("h2") == found.text("a")


def test_the_command_compares(folder):
    a = made_up.run(folder, "a")
    made_up.run(folder, "b", seed=1)
    done = call("--compare", "a", "b")
    assert (done.exit_code, done.stdout) == (0, "")
    assert (a.path / "compare-b.html").read_text().startswith("<!doctype html>")


def test_runs_that_were_scored_differently_are_refused(folder):
    made_up.run(folder, "a")
    other = made_up.run(folder, "b")
    files.write_json(other.summary_path, files.read_json(other.summary_path) | {"split_sha256": "f" * 64})
    done = call("--compare", "a", "b")
    assert isinstance(done.exception, ReasonerError) and done.exception.code == USAGE
    assert "not scored alike" in str(done.exception)
    assert not list(folder.glob("*/compare-*"))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--compare", "a"], "requires 2 arguments"),
        (["a", "--compare", "a", "b"], "stands alone"),
        (["--compare", "a", "b", "--json"], "reasoner compare A B --json"),
        (["--compare", "a", "b", "--live"], "stands alone"),
        (["a", "--live", "--json"], "one of them"),
    ],
)
def test_wrong_flags_are_told(folder, argv, says):
    done = call(*argv)
    assert done.exit_code == 2
    assert says in done.stderr and done.stdout == ""


def test_the_summary_is_one_json_value(folder):
    run = made_up.run(folder)
    assert json.loads(call("made-up", "--json").stdout) == files.read_json(run.summary_path)
    run.summary_path.unlink()
    failed = call("made-up", "--json")
    assert failed.stdout == "" and failed.exception.code == USAGE


def test_live_writes_until_the_run_ends(folder, monkeypatch):
    run = made_up.run(folder, finished=False)
    path, seen, said = run.path / "report.html", [], []
    held = runs.lock(run)
    held.__enter__()

    def sleep(seconds):
        seen.append('http-equiv="refresh"' in path.read_text())
        files.append_jsonl(
            run.path / "metrics.jsonl", [dict(files.read_jsonl(run.path / "metrics.jsonl")[-1], step=21)]
        )
        if len(seen) == 2:
            held.__exit__(None, None, None)

    monkeypatch.setattr(pages.time, "sleep", sleep)
    pages.follow(run, said.append)
    assert seen == [True, True]
    assert 'http-equiv="refresh"' not in path.read_text() and "21 of 40" in path.read_text()
    assert said[0].startswith(f"open {path}") and "is not in progress" in said[-1]


def test_ctrl_c_leaves_a_page_that_no_longer_reads_itself_again(folder, monkeypatch):
    run = made_up.run(folder, finished=False)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(pages.time, "sleep", interrupt)
    with runs.lock(run):
        done = call("made-up", "--live")
    assert done.exit_code == 0 and "goes on" in done.stderr
    assert 'http-equiv="refresh"' not in (run.path / "report.html").read_text()
