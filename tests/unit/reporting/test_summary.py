"""summary.json says what the records say, and the closing lines what the summary says."""

import pytest
from stored_run import kind, lift

from reasoner.errors import USAGE, ReasonerError
from reasoner.reporting import summary as summaries


def test_summary_adds_up_and_names_the_served_model(summary, tmp_path):
    assert summary["seconds"]["total"] == 14.0
    assert summary["served"] == {
        "host": "127.0.0.1:11434", "tag": "reasoner:latest", "digest": "sha256:dd", "ollama": "0.34.4",
    }  # fmt: skip
    assert summary["gguf"]["path"] == str(tmp_path / "demo" / "exports" / "model.Q8_0.gguf")
    assert summary["tuned"]["unscored"] == 2


def test_closing_lines(summary, lines):
    found = lines()
    assert found["base"] == "20.0 % right [16.0, 24.0], shows working 0.0 %"
    assert found["lift"] == "+70.0 points [+66.0, +74.0], p = 1e-30 (mcnemar-exact)"
    summary["lift"].update(points=1.0, ci95=[-2.0, 4.0], p=0.6)
    assert lines()["lift"].endswith(": no measurable lift")


def test_what_so_many_problems_could_have_shown_and_who_refused_is_told(summary, stored, summarised, lines):
    assert {"detectable", "refused"}.isdisjoint(lines())
    scored = stored["evaluate"]["facts"]
    scored["lift"] |= {"se": 2.1, "detectable": 6.24}
    scored["base"]["refused"], scored["tuned"]["refused"] = 3, 0
    summary.update(summarised(stored))
    told = lines()
    assert told["detectable"] == "6.2 points are the least that 500 problems show (80 % power)"
    assert told["refused"].startswith("base 3, tuned 0:")


def test_the_closing_lines_tell_kinds_sets_and_everyday(lines):
    found = lines()
    assert found["by kind"] == "addition 22 → 78 %, division 8 → 0 %"
    assert found["svamp"] == "4.5 % → 6.5 %, +2.0 [-1.1, +5.1], n 200"
    assert found["gsm8k"] == "not found in data/gsm8k (REASONER_DATA)"
    assert found["everyday"] == (
        "40 prompts, greedy: degenerate 1 (base 0), facts right 10 of 14 (base 11), 71 % of answers changed"
    )
    assert found["sampled"] == (
        "216 answers: degenerate 2.0 % [1.0, 4.0] (base 1.0 % [0.3, 3.0]), facts right 10.2 of 14 (base 10.5)"
    )


def test_answers_of_another_run_are_said_with_its_name(summary, lines):
    assert "taken over" not in lines()
    summary["taken"] = {"base": "a", "svamp-base": "b", "everyday-base": "a"}
    assert [text for what, text in summaries.lines(summaries.parse(summary)) if what == "taken over"] == [
        "base, everyday-base: completions of run a (same model file, problems, sampling)",
        "svamp-base: completions of run b (same model file, problems, sampling)",
    ]


def test_many_kinds_are_cut_to_one_line(summary, lines):
    summary["by_kind"] = {f"kind {i}": kind(1, 2, lift(1.0, 0.0, 2.0)) for i in range(11)}
    line = lines()["by kind"]
    assert line.endswith("kind 7 1 → 2 %, and 3 more in the report")


def test_a_summary_without_the_newer_parts_still_prints(summary, lines):
    for key in ("by_kind", "beside", "everyday", "overlap"):
        del summary[key]
    assert list(lines()) == ["problems", "base", "tuned", "lift", "cut, unscored"]


def test_summary_has_the_figures_and_no_texts(summary):
    assert summary["by_kind"]["addition"]["tuned"] == {"right": 78, "scored": 100}
    assert summary["beside"]["svamp"]["lift"] == {
        "points": 2.0, "ci95": [-1.1, 5.1], "p": 0.01, "test": "mcnemar-exact", "p_holm": 0.034, "se": 2.5,
        "detectable": 9.5,
    }  # fmt: skip
    assert summary["beside"]["svamp"]["base"]["pass_at_1"] == 0.045
    assert summary["beside"]["gsm8k"] == {"missing": "data/gsm8k"}
    assert summary["everyday"]["facts_lost"] == ["japan"]
    contract = {"points", "ci95", "p", "test", "se", "detectable"}
    assert summary["lift"].keys() == contract


def test_the_stricter_rule_the_audit_and_what_was_left_out_have_their_rows(stored, summarised, summary, lines):
    stored["evaluate"]["facts"]["base"]["strict"], stored["evaluate"]["facts"]["tuned"]["strict"] = 0.0, 0.875
    stored["evaluate"]["facts"]["unjudged"] = 2
    stored["train"]["facts"]["audit"] = {
        "holds": True, "references": 1998, "unjudged": 1002, "seconds": 2.0,
        "checks": {"references against themselves": [0, 1998], "near misses that must fail": [3, 9000]},
    }  # fmt: skip
    value = summarised(stored)
    summary.update(value)
    assert value["strict"] == {"base": 0.0, "tuned": 0.875}
    assert set(value["base"]) == {"pass_at_1", "ci95", "shows_working", "truncated", "unscored"}
    told = lines()
    assert told["stricter rule"] == "0.0 % → 87.5 % right"
    assert told["audit"] == (
        "as they must be: references against themselves 1,998 of 1,998, near misses that must fail 8,997 of 9,000"
    )
    value["audit"]["holds"] = False
    assert lines()["audit"].startswith("DOES NOT HOLD, trained on all the same: ")
    assert told["left out"] == "references that cannot be judged: 1,002 of training and 2 of evaluation"


def test_without_a_stricter_rule_or_an_audit_there_are_no_rows_for_them(lines):
    assert not {"stricter rule", "audit", "left out"} & set(lines())


def test_the_lenient_verifier_says_what_it_counts(summary, lines):
    assert "(" not in lines()["problems"]
    summary["verifier"] = {"name": "number-lenient", "version": "1"}
    assert (
        "`number-lenient` 1 (a committed answer, else the value that the last sentence states), greedy"
        in lines()["problems"]
    )


def test_a_summary_that_is_none_is_refused_by_its_run(summary):
    del summary["lift"]
    with pytest.raises(ReasonerError, match="summary of run demo was written by another version") as raised:
        summaries.parse(summary)
    assert raised.value.code == USAGE


def test_what_was_written_is_read_back(run, summary):
    value = summaries.parse(summary)
    assert summaries.read(run) is None
    summaries.save(run, value)
    assert summaries.read(run) == value
