"""What README and docs quote is what today's verifiers say of the completions in `results/`."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import figures  # noqa: E402

NAMES = (ROOT / "results" / "order.txt").read_text().split()


@pytest.mark.parametrize("path", figures.DOCUMENTS, ids=lambda path: path.name)
def test_every_table_is_what_the_completions_say(path):
    text = path.read_text(encoding="utf-8")
    for found in figures._MARK.finditer(text):
        assert found["old"] == figures.TABLES[found["name"]](), "python scripts/figures.py write"


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_summary_is_that_of_its_completions(name):
    from reasoner.measuring import lift, scores

    summary, rows = figures.judged(name)
    for role in figures.ROLES:
        measured = scores.measure(rows[role])
        assert measured.pass_at_1 == pytest.approx(summary[role]["pass_at_1"])
        assert measured.ci95 == pytest.approx(summary[role]["ci95"])
        assert measured.unscored == summary[role]["unscored"]
        assert len(rows[role]) == summary["n"]
    assert lift.lift(rows["base"], rows["tuned"]).points == pytest.approx(summary["lift"]["points"])
    assert '"/' not in json.dumps(summary)  # no path of the machine it came from
