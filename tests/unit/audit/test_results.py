"""An audit is one object: `audit.json` has all of it, and gives it back."""

import json

from reasoner import files
from reasoner.audit import render
from reasoner.audit.results import Audit, Case, Judge, References, Tally, Unjudged, short
from reasoner.verifiers.score import Score


def audit():
    tally = Tally("near misses that must fail")
    for at, verdict in enumerate(("wrong", "right", "unscored")):
        case = Case("a hedge", "5 or 6", "5", False, f"p{at}", "integer")
        tally.add(case, Score(verdict, "5 or 6", "hashes"), is_failure=verdict == "right", failure="accepted")
    counts = References("mine", 4, 3, 3, "x")
    return Audit(1, Judge("number", "2", "number"), False, ["near misses that must fail: 1 of 3"], counts,
                 [Unjudged(3, "p3", "blue", "not a number")], [tally.check()], 100, 0.1, {"python": "3"})  # fmt: skip


def test_json_and_back():
    value = json.loads(json.dumps(files.as_json(audit())))
    assert files.parse(Audit, value) == audit()
    (check,) = value["checks"]
    assert list(check) == ["name", "must_hold", "n", "failed", "rate", "ci95", "unscored", "by_family", "by_type",
                           "examples"]  # fmt: skip
    assert (check["n"], check["failed"], check["unscored"]) == (3, 1, 1)
    assert check["by_family"] == {"a hedge": {"n": 3, "failed": 1, "rate": 1 / 3, "ci95": check["ci95"]}}
    assert "seconds" not in check["examples"][0]
    assert "labelled" not in value


def test_what_a_record_keeps():
    assert files.as_json(short(audit())) == {
        "holds": False, "references": 3, "unjudged": 1, "seconds": 0.1, 
        "checks": {"near misses that must fail": [1, 3]},
    }  # fmt: skip


def test_a_person_reads_what_failed():
    told = "\n".join(render.lines(audit()))
    assert "failed p1 (a hedge): reference '5', completion '5 or 6' is right, taken '5 or 6': accepted" in told
    assert "1 references cannot be judged" in told
    assert "does not hold: it must not be a reward: near misses that must fail: 1 of 3" in told
