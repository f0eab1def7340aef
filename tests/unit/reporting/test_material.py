"""A run is read as far as it is, and what another version wrote is refused by name."""

import made_up
import pytest

from reasoner import config, files, runs
from reasoner.errors import USAGE, ReasonerError
from reasoner.reporting import markdown, material, sections


def text_of(run):
    return markdown.render(sections.report(material.read(run)))


def test_a_run_in_progress_is_reported_as_far_as_it_is(tmp_path):
    run = made_up.run(tmp_path, finished=False)
    found = material.read(run)
    assert (found.summary, found.records.done, found.completions) == (None, {}, {})
    assert len(found.metrics) == 20 and len(found.trained) == 40 and len(found.dev) == 4
    text = text_of(run)
    assert text.startswith("# made-up: not finished\n\nTraining: step 20 of 40. Stages done: none.")
    assert "## While it trained" in text and "## Behaviour" in text and "## The verifier's audit" in text


def test_a_run_that_has_done_nothing_has_no_report_unless_it_is_at_it(tmp_path):
    run = runs.Run(tmp_path / "new")
    found, origin = config.resolve("pocket")
    files.write_text(run.config_path, config.dump(found, origin))
    with pytest.raises(ReasonerError, match="nothing to report yet") as raised:
        material.read(run)
    assert raised.value.code == USAGE
    with runs.lock(run):
        assert "no step yet" in text_of(run)


def test_a_finished_run_is_read_whole(tmp_path):
    run = made_up.run(tmp_path)
    found = material.read(run)
    assert {role: len(rows) for role, rows in found.completions.items()} == {"base": 60, "tuned": 60}
    text = text_of(run)
    assert "First loss at Q8_0: -9.0 points [-13.0, -5.0]" in text
    assert "| Q6\\_K | 138.0 |" in text
    assert "IT DOES NOT HOLD (near misses)" in text
    assert not {"\x1b", "\u202e", "\x00"} & set(text)
    assert all(line.startswith("    ") for line in text.split("\n") if "<script>" in line)


@pytest.mark.parametrize("name", ["ladder.json", "audit.json", "completions/base.jsonl"])
def test_what_another_version_wrote_is_refused_by_name(tmp_path, name):
    run = made_up.run(tmp_path)
    files.write_text(run.path / name, '{"of": "another version"}')
    with pytest.raises(ReasonerError, match=f"{name} was written by another version"):
        material.read(run)
