"""The report says what the records say, and model-written text stays text."""

import pytest

from reasoner import config, report, runs


def measured(right, working):
    return {
        "pass_at_1": right, "ci95": [right - 0.04, right + 0.04], "shows_working": working, "truncated": 0.01,
        "unscored": 2,
    }  # fmt: skip


def made(facts, outputs=None):
    return runs.Record("x", {}, {}, {}, outputs or {}, facts, 2.0, "2026-01-01")


@pytest.fixture
def records():
    window = {"reward": 0.2}
    train = {
        "device": "cpu", "base_weights_sha256": {"before": "aa", "after": "aa"}, "steps": 100, "first": window,
        "last": window, "engine": "trl", "threads": 2,
    }  # fmt: skip
    scored = {
        "n": 500, "split": "test", "split_sha256": "cc", "verifier": {"name": "number", "version": "1"},
        "base": measured(0.2, 0.0), "tuned": measured(0.9, 1.0),
        "lift": {"points": 70.0, "ci95": [66.0, 74.0], "p": 1e-30, "test": "mcnemar-exact", "gained": 1, "lost": 0},
        "by_kind": {"2 steps": {"base": {"right": 1, "scored": 4}, "tuned": {"right": 3, "scored": 4}}},
    }  # fmt: skip
    tag = {"tag": "reasoner:step-000100", "digest": "dd"}
    return {
        "base": made({}),
        "train": made(train),
        "merge": made({}),
        "gguf": made({}, {"exports/model.Q8_0.gguf": runs.Output("ee", 10, 1)}),
        "modelfile": made({}),
        "register": made({"base": tag, "tuned": tag}),
        "evaluate": made(scored),
        "promote": made({"promoted": True, "why": [], "is_control": False, "tag": "reasoner:latest", "digest": "dd"}),
    }


@pytest.fixture
def summary(records, tmp_path):
    found, _ = config.resolve("pocket")
    server = {"host": "127.0.0.1:11434", "version": "0.34.4"}
    return report.summary(found, runs.Run(tmp_path / "demo"), records, server, {"trl": "1.14.2"})


def test_summary_adds_up_and_names_the_served_model(summary, tmp_path):
    assert summary["seconds"]["total"] == 14.0
    assert summary["served"] == {
        "host": "127.0.0.1:11434", "tag": "reasoner:latest", "digest": "sha256:dd", "ollama": "0.34.4",
    }  # fmt: skip
    assert summary["gguf"]["path"] == str(tmp_path / "demo" / "exports" / "model.Q8_0.gguf")
    assert summary["tuned"]["unscored"] == 2


def test_closing_lines(summary):
    found = dict(report.lines(summary))
    assert found["base"] == "20.0 % right [16.0, 24.0], shows working 0.0 %"
    assert found["lift"] == "+70.0 points [+66.0, +74.0], p = 1e-30 (mcnemar-exact)"
    summary["lift"].update(points=1.0, ci95=[-2.0, 4.0], p=0.6)
    assert dict(report.lines(summary))["lift"].endswith(": no measurable lift")


def rows(verdicts, text="1 + 1 = 2\n#### 2"):
    return [
        {"problem_id": str(i), "question": f"q{i}", "answer": "2", "verdict": v, "completion": text}
        for i, v in enumerate(verdicts)
    ]


def test_examples_are_gained_wrong_and_lost():
    base = rows(["right", "wrong", "wrong", "wrong", "right", "wrong"])
    tuned = rows(["right", "right", "right", "wrong", "wrong", "right"])
    assert [e["problem_id"] for e in report.examples({"base": base, "tuned": tuned})] == ["1", "2", "3", "4"]


def test_model_text_cannot_become_markup(summary, records):
    hostile = "# Heading\n<script>alert(1)</script>\n\x1b[31m| cell |"
    found = report.examples({"base": rows(["wrong"], hostile), "tuned": rows(["right"], hostile)})
    text = report.markdown(summary, records, found, [])
    for line in text.splitlines():
        if "script" in line or "Heading" in line or "cell" in line:
            assert line.startswith("    ")
    assert "\x1b" not in text


def test_a_refused_model_and_a_control_are_said_first(summary, records):
    summary.update(promoted=False, gate=["7 % were cut"], control="shuffled")
    head = report.markdown(summary, records, [], []).splitlines()[:6]
    assert any("Control run" in line for line in head)
    assert any("Not promoted:** 7 % were cut" in line for line in head)
