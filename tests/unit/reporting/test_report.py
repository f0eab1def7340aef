"""The report says what the records say, and model-written text stays text."""

import shlex

import made_up
import pytest

from reasoner import config, files, runs
from reasoner.errors import USAGE, ReasonerError
from reasoner.reporting import report
from reasoner.verifiers.code import task


def measured(right, working):
    return {
        "pass_at_1": right, "ci95": [right - 0.04, right + 0.04], "shows_working": working, "truncated": 0.01,
        "unscored": 2,
    }  # fmt: skip


def made(facts, outputs=None, **inputs):
    return runs.Record("x", inputs, {}, {}, outputs or {}, facts, 2.0, "2026-01-01", {"trl": "1.14.2"})


def kind(base, tuned, lift):
    return {"base": {"right": base, "scored": 100}, "tuned": {"right": tuned, "scored": 100}, "lift": lift}


def lift(points, low, high):
    return {
        "points": points, "ci95": [low, high], "p": 0.01, "test": "mcnemar-exact", "gained": 1, "lost": 0, "pairs": 9,
        "p_holm": 0.034,
    }  # fmt: skip


@pytest.fixture
def records():
    window = {"reward": 0.2}
    train = {
        "device": "cpu", "base_weights_sha256": {"before": "aa", "after": "aa"}, "steps": 100, "first": window,
        "last": window, "engine": "trl", "threads": 2, "problems_sha256": "11", "problems": 4000,
    }  # fmt: skip
    scored = {
        "n": 500, "split": "test", "split_sha256": "cc", "verifier": {"name": "number", "version": "1"},
        "base": measured(0.2, 0.0), "tuned": measured(0.9, 1.0),
        "lift": {"points": 70.0, "ci95": [66.0, 74.0], "p": 1e-30, "test": "mcnemar-exact", "gained": 1, "lost": 0},
        "by_kind": {"addition": kind(22, 78, lift(56.0, 45.0, 66.0)), "division": kind(8, 0, lift(-8.0, -13.6, -2.0))},
        "beside": {
            "svamp": {"n": 200, "split_sha256": "ff", "base": measured(0.045, 0.0), "tuned": measured(0.065, 0.0),
                      "lift": lift(2.0, -1.1, 5.1)},
            "gsm8k": {"missing": "data/gsm8k"},
        },
        "everyday": {
            "n": 40, "changed": 0.7125, "facts": 14, "facts_lost": ["japan"], "facts_gained": [],
            "base": {"degenerate": 0, "facts_right": 11}, "tuned": {"degenerate": 1, "facts_right": 10},
            "sampled": {
                "answers": 216, "temperature": 0.6, "facts": 14, "p_facts": 0.2, "facts_by_id": {"japan": [7, 5, 8]},
                "degenerate_by_id": {"cat": [0, 2, 4], "hello": [1, 0, 4]},
                "base": {"degenerate": {"value": 0.01, "ci95": [0.003, 0.03]}, "facts_right": 10.5},
                "tuned": {"degenerate": {"value": 0.02, "ci95": [0.01, 0.04]}, "facts_right": 10.25},
            },
        },
    }  # fmt: skip
    tag = {"tag": "reasoner:step-000100", "digest": "dd"}
    trained = made(train, {"adapter/adapter_model.safetensors": runs.Output("ad", 10, 1)}, base="bb")
    merged = made({}, {"exports/merged/model.safetensors": runs.Output("99", 10, 1)}, adapter="a1")
    return {
        "base": made({"sha256": "bb", "spec": "shipped:pocket"}),
        "train": trained,
        "merge": merged,
        "gguf": made({"quant": "Q8_0"}, {"exports/model.Q8_0.gguf": runs.Output("ee", 10, 1)}, merge=merged.key),
        "modelfile": made({}),
        "register": made({"base": tag, "tuned": {**tag, "gguf_sha256": "ee"}}),
        "evaluate": made(scored),
        "promote": made({"promoted": True, "why": [], "is_control": False, "tag": "reasoner:latest", "digest": "dd"}),
    }


@pytest.fixture
def summary(records, tmp_path):
    found, _ = config.resolve("pocket")
    server = {"host": "127.0.0.1:11434", "version": "0.34.4"}
    return report.summary(found, runs.Run(tmp_path / "demo"), records, server, {"trl": "1.14.2"})


@pytest.fixture
def made_of(summary, records, tmp_path):
    """The material of a run with these parts."""

    def material(**parts):
        whole = {
            "run": runs.Run(tmp_path / "demo"), "config": {}, "origin": {}, "summary": summary, "records": records,
            "metrics": [], "completions": {}, "everyday": {}, "audit": None, "ladder": None, "behaviour": {},
            "trained": [], "dev": [], "adapter": "a1",
        }  # fmt: skip
        return report.Material(**whole | parts)

    return material


@pytest.fixture
def told(made_of):
    """`report.md` of a run with these parts."""
    return lambda **parts: report.markdown(made_of(**parts))


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


def test_what_so_many_problems_could_have_shown_and_who_refused_is_told(summary, records):
    assert {"detectable", "refused"}.isdisjoint(dict(report.lines(summary)))
    scored = records["evaluate"].facts
    scored["lift"] |= {"se": 2.1, "detectable": 6.24}
    scored["base"]["refused"], scored["tuned"]["refused"] = 3, 0
    told = dict(report.lines(summary | {key: scored[key] for key in ("base", "tuned", "lift")}))
    assert told["detectable"] == "6.2 points are the least that 500 problems show (80 % power)"
    assert told["refused"].startswith("base 3, tuned 0:")


def rows(verdicts, text="1 + 1 = 2\n#### 2"):
    return [
        {"problem_id": str(i), "question": f"q{i}", "answer": "2", "verdict": v, "completion": text}
        for i, v in enumerate(verdicts)
    ]


def test_flips_are_paired_by_problem_and_the_lost_come_first():
    base = rows(["right", "wrong", "wrong", "wrong", "right", "unscored", "right"])
    tuned = rows(["right", "right", "right", "wrong", "wrong", "right", "right"])
    found = report.flips({"base": base, "tuned": [*reversed(tuned), {**tuned[4], "problem_id": "of no base"}]})
    assert [(title.split(":")[0], [b["problem_id"] for b, _ in pairs], n) for title, pairs, n in found] == [
        ("Lost", ["4"], 1), ("Gained", ["1", "2"], 2), ("Right both times", ["0", "6"], 2),
        ("Wrong both times", ["3"], 1),
    ]  # fmt: skip
    assert all(b["problem_id"] == t["problem_id"] for _, pairs, _ in found for b, t in pairs)


def test_a_completion_that_is_not_judged_yet_is_no_flip():
    waiting = [{key: value for key, value in row.items() if key != "verdict"} for row in rows(["right"])]
    assert report.flips({"base": rows(["wrong"]), "tuned": waiting}) == []


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("$x = \\frac12$", "$x = \\frac12$"),
        ('{"schema": 7}', '{"schema": 7}'),
        (
            task.Task("f", tests=("assert f(1) == 2",), hidden_tests=("assert f(2) == 3",), solution="def f(x): ..."),
            "def f(x): ...\n\nassert f(2) == 3",
        ),
        (task.Task(None, "stdio", hidden_tests=(task.Stdio("1\n", "2\n"),)), r"'1\n' -> '2\n'"),
    ],
)
def test_a_reference_is_shown_as_people_read_it(answer, read):
    assert report.reference(answer if isinstance(answer, str) else answer.to_answer()) == read


def test_so_many_flips_are_shown_and_all_are_counted(told):
    completions = {"base": rows(["wrong"] * 31), "tuned": rows(["right"] * 31)}
    ((title, pairs, n),) = report.flips(completions)
    assert (title, len(pairs), n) == (report.GAINED, 10, 31)
    text = told(completions=completions)
    assert "10 of 31, the first in the order of the problems, as served." in text
    assert text.count("Problem `") == 10


def test_a_problem_asked_more_than_once_is_one_pair():
    twice = {"base": rows(["wrong", "wrong"]) * 2, "tuned": rows(["right", "right"]) + rows(["wrong", "wrong"])}
    ((title, _, n),) = report.flips(twice)
    assert (title, n) == (report.GAINED, 2)


def test_the_example_at_the_end_is_one_that_was_gained():
    base, tuned = rows(["right", "wrong", "wrong"]), rows(["wrong", "wrong", "right"])
    assert [row["problem_id"] for row in report.example({"base": base, "tuned": tuned})] == ["2", "2"]
    assert [row["problem_id"] for row in report.example({"base": base[:2], "tuned": tuned[:2]})] == ["0", "0"]
    assert report.example({"base": base}) is None


def test_model_text_cannot_become_markup(told):
    hostile = "# Heading\n<script>alert(1)</script>\n\x1b[31m| cell |"
    text = told(completions={"base": rows(["wrong"], hostile), "tuned": rows(["right"], hostile)})
    found = [line for line in text.splitlines() if "script" in line or "Heading" in line or "cell" in line]
    assert len(found) == 6
    assert all(line.startswith("    ") for line in found)
    assert "\x1b" not in text


def test_a_refused_model_and_a_control_are_said_first(summary, told):
    summary.update(promoted=False, gate=["7 % were cut"], control="shuffled")
    head = told().splitlines()[:6]
    assert any("Control run" in line for line in head)
    assert any("Not promoted: 7 % were cut" in line for line in head)


# -- kinds, sets beside, everyday --------------------------------------------------------------


def test_the_closing_lines_tell_kinds_sets_and_everyday(summary):
    found = dict(report.lines(summary))
    assert found["by kind"] == "addition 22 → 78 %, division 8 → 0 %"
    assert found["svamp"] == "4.5 % → 6.5 %, +2.0 [-1.1, +5.1], n 200"
    assert found["gsm8k"] == "not found in data/gsm8k (REASONER_DATA)"
    assert found["everyday"] == (
        "40 prompts, greedy: degenerate 1 (base 0), facts right 10 of 14 (base 11), 71 % of answers changed"
    )
    assert found["sampled"] == (
        "216 answers: degenerate 2.0 % [1.0, 4.0] (base 1.0 % [0.3, 3.0]), facts right 10.2 of 14 (base 10.5)"
    )


def test_figures_made_before_answers_were_sampled_are_still_told(summary, told, records):
    del records["evaluate"].facts["everyday"]["sampled"]
    assert "| greedy: degenerate | 0 of 40 | 1 of 40 |" in told()
    assert "sampled" not in told()
    assert "sampled" not in dict(report.lines(summary))


def test_answers_of_another_run_are_said_with_its_name(summary):
    assert "taken over" not in dict(report.lines(summary))
    summary["taken"] = {"base": "a", "svamp-base": "b", "everyday-base": "a"}
    assert [text for what, text in report.lines(summary) if what == "taken over"] == [
        "base, everyday-base: completions of run a (same model file, problems, sampling)",
        "svamp-base: completions of run b (same model file, problems, sampling)",
    ]


def test_many_kinds_are_cut_to_one_line(summary):
    summary["by_kind"] = {f"kind {i}": kind(1, 2, lift(1.0, 0.0, 2.0)) for i in range(11)}
    line = dict(report.lines(summary))["by kind"]
    assert line.endswith("kind 7 1 → 2 %, and 3 more in the report")


def test_a_summary_without_the_newer_parts_still_prints(summary):
    for key in ("by_kind", "beside", "everyday"):
        del summary[key]
    assert [what for what, _ in report.lines(summary)] == ["problems", "base", "tuned", "lift", "cut, unscored"]


def test_summary_has_the_figures_and_no_texts(summary):
    assert summary["by_kind"]["addition"]["tuned"] == {"right": 78, "scored": 100}
    assert summary["beside"]["svamp"]["lift"] == {
        "points": 2.0, "ci95": [-1.1, 5.1], "p": 0.01, "test": "mcnemar-exact", "p_holm": 0.034,
    }  # fmt: skip
    assert summary["beside"]["svamp"]["base"]["pass_at_1"] == 0.045
    assert summary["beside"]["gsm8k"] == {"missing": "data/gsm8k"}
    assert summary["everyday"]["facts_lost"] == ["japan"]
    contract = {"points", "ci95", "p", "test"}
    assert summary["lift"].keys() == contract


def test_the_stricter_rule_the_audit_and_what_was_left_out_have_their_rows(records, tmp_path):
    records["evaluate"].facts["base"]["strict"], records["evaluate"].facts["tuned"]["strict"] = 0.0, 0.875
    records["evaluate"].facts["unjudged"] = 2
    records["train"].facts["audit"] = {
        "holds": True, "references": 1998, "unjudged": 1002, "seconds": 2.0,
        "checks": {"references against themselves": [0, 1998], "near misses that must fail": [3, 9000]},
    }  # fmt: skip
    found, _ = config.resolve("pocket")
    server = {"host": "h", "version": "1"}
    value = report.summary(found, runs.Run(tmp_path / "demo"), records, server, {})
    assert value["strict"] == {"base": 0.0, "tuned": 0.875}
    assert set(value["base"]) == {"pass_at_1", "ci95", "shows_working", "truncated", "unscored"}
    told = dict(report.lines(value))
    assert told["stricter rule"] == "0.0 % → 87.5 % right"
    assert told["audit"] == (
        "as they must be: references against themselves 1,998 of 1,998, near misses that must fail 8,997 of 9,000"
    )
    value["audit"]["holds"] = False
    assert dict(report.lines(value))["audit"].startswith("DOES NOT HOLD, trained on all the same: ")
    assert told["left out"] == "references that cannot be judged: 1,002 of training and 2 of evaluation"


def test_without_a_stricter_rule_or_an_audit_there_are_no_rows_for_them(summary):
    assert not {"stricter rule", "audit", "left out"} & set(dict(report.lines(summary)))


def test_the_lenient_verifier_says_what_it_counts(summary):
    assert "(" not in dict(report.lines(summary))["problems"]
    summary["verifier"] = {"name": "number-lenient", "version": "1"}
    assert (
        "`number-lenient` 1 (a committed answer, else the value that the last sentence states), greedy"
        in dict(report.lines(summary))["problems"]
    )


def test_sections_by_kind_and_beside(told):
    text = told()
    kinds = text[text.index("## By kind of problem") : text.index("## Beside it")]
    assert "| addition | 22 of 100 | 78 of 100 | +56.0 [+45.0, +66.0] | 0.034 |" in kinds
    assert "| division | 8 of 100 | 0 of 100 | -8.0 [-13.6, -2.0] | 0.034 |" in kinds
    assert "Holm" in kinds
    beside = text[text.index("## Beside it") : text.index("## Everyday prompts")]
    assert "Transfer is reported as it is" in beside
    assert (
        "| svamp | 200 | 4.5 % [0.5, 8.5] | 6.5 % [2.5, 10.5] | +2.0 [-1.1, +5.1] | 0.034 | 1.0 % → 1.0 % |" in beside
    )
    assert "| gsm8k | | not found in `data/gsm8k` (`REASONER_DATA`) | | | | |" in beside


def test_sections_that_were_not_measured_are_not_there(records, told):
    records["evaluate"].facts.update(by_kind={}, beside={})
    del records["evaluate"].facts["everyday"]
    text = told()
    titles = ("By kind", "Beside", "Everyday", "While it trained", "Where a score", "Behaviour", "The verifier's audit")
    assert not any(f"## {title}" in text for title in titles)


def chat(completion, degenerate=None, fact_right=None, reason="stop"):
    return {"id": "hello", "kind": "greeting", "prompt": "Hello!", "completion": completion, "degenerate": degenerate,
            "fact_right": fact_right, "finish_reason": reason}  # fmt: skip


def test_everyday_prompts_stand_side_by_side(told):
    rows = {"base": [chat("Hi!", fact_right=True)], "tuned": [chat("#### 3", "bare number", False, "length")]}
    text = told(everyday=rows)
    section = text[text.index("## Everyday prompts") : text.index("## Where it came from")]
    assert "| greedy: degenerate | 0 of 40 | 1 of 40 |" in section
    assert "| greedy: facts right | 11 of 14 | 10 of 14 |" in section
    assert "| sampled: degenerate | 1.0 % [0.3, 3.0] | 2.0 % [1.0, 4.0] |" in section
    assert "| sampled: facts right | 10.5 of 14 | 10.2 of 14 |" in section
    assert "Facts lost in them: `japan`; gained: none." in section
    assert "Sampled, facts right, where base and tuned differ: `japan` 7 → 5 of 8." in section
    assert "Sampled, degenerate, where base and tuned differ: `cat` 0 → 2 of 4, `hello` 1 → 0 of 4." in section
    assert section.endswith(
        "### greeting: `hello`\n\n    Hello!\n\nbase (fact right):\n\n    Hi!\n\n"
        "tuned (bare number, fact not there, cut):\n\n    #### 3\n\n"
    )


def test_everyday_answers_cannot_become_markup(told):
    hostile = "# Heading\n<script>alert(1)</script>\n\x1b[31m| cell |\r\u2028## After"
    text = told(everyday={role: [chat(hostile)] for role in ("base", "tuned")})
    assert not {"\x1b", "\u2028", "\r"} & set(text)
    found = [line for line in text.split("\n") if any(w in line for w in ("Heading", "script", "cell", "After"))]
    assert len(found) == 6
    assert all(line.startswith("    ") for line in found)


def test_a_bar_or_a_tick_in_a_name_does_not_break_a_table(records, told):
    records["evaluate"].facts["beside"] = {"gsm8k": {"missing": "a`|b\n"}}
    text = told(metrics=[row(1, kinds={"`|x": 1.0})])
    assert "| gsm8k | | not found in `a'\\|b` (`REASONER_DATA`) | | | | |" in text
    assert "| 2.0 % | `'\\|x` 100 % |" in text


def test_a_kind_without_a_verdict_has_no_lift(records, told):
    records["evaluate"].facts["by_kind"] = {"addition": kind(1, 2, None)}
    assert "| addition | 1 of 100 | 2 of 100 | no pair was scored |  |" in told()


def row(step, **more):
    return {
        "step": step,
        "reward": 0.25,
        "signal": 0.5,
        "shows_working": 0.1,
        "length": 31.6,
        "truncated": 0.02,
        **more,
    }


def test_a_share_as_the_reward_is_told(summary, told):
    plain = told(metrics=[row(1)])
    assert summary["train"]["reward"] == "verdict"
    assert "The reward was the verifier's verdict, and nothing else." in plain
    assert "| reward | the" not in plain
    summary["train"]["reward"] = "share"
    text = told(metrics=[row(1)])
    assert "The reward was the share of the hidden tests that hold, which pays for half a solution too, and" in text
    assert "| reward | the share of the hidden tests that hold" in text
    assert dict(report.lines(summary))["reward"].endswith("scored is the verdict, all tests")
    del summary["train"]  # of an older version
    assert "reward" not in dict(report.lines(summary))


def test_training_table_has_columns_for_shares_of_tests(told):
    metrics = [row(1, visible_share=1.0, hidden_share=0.625, hidden_gap=0.375), row(2, hidden_gap=None)]
    text = told(metrics=metrics)
    assert "| cut | visible tests that hold | hidden tests that hold | gap, points |" in text
    assert "| 1 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % | 100.0 % | 62.5 % | +37.5 |" in text
    assert "| 2 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % |  |  |  |" in text
    assert report.HIDDEN in text
    assert report.HIDDEN not in told(metrics=[row(1)])


def test_training_table_has_a_column_for_what_was_measured(summary, told):
    plain = told(metrics=[row(1)])
    assert "| step | reward | groups with signal | shows working | tokens | cut |\n|---|---|---|---|---|---|" in plain
    assert "| 1 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % |" in plain
    metrics = [
        row(1, chat_kl=None),
        row(
            2,
            chat_kl=0.01234,
            strict_gap=0.25,
            mismatch=0.0056,
            kinds={"+ to 10": 0.5, "+ beyond": 0.25, "2 steps": 0.25},
        ),
    ]
    metrics.append(row(3))
    summary["train"]["chat_kl_weight"] = 0.5
    text = told(metrics=metrics)
    assert "everyday text, weight 0.5" in text
    assert "everyday text, weight" not in plain
    assert report.STRICT in text
    assert report.STRICT not in plain
    assert "| 3 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % | 0.0123 |  |  |  |" in text
    assert (
        "| cut | KL to the base on chat text, nats/token | accepted, but not by the stricter rule"
        " | sampler against trainer, log-probability | drawn |" in text
    )
    assert "| 1 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % |  |  |  |  |" in text
    assert "| 2 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % | 0.0123 | 25.0 % | 0.0056 | `+` 75 %, `2 steps` 25 % |" in text


# -- where it came from ------------------------------------------------------------------------


def links(material):
    return {link.what: link.holds for link in report.lineage(material)}


def test_the_lineage_goes_from_the_served_digest_to_the_base(made_of):
    found = report.lineage(
        made_of(config={"profile": "pocket"}, origin={"train.seed": "--set", "data.seed": "default"})
    )
    assert [(link.what, link.value) for link in found[:6]] == [
        ("served", "sha256:dd"), ("GGUF, sha256", "ee"), ("merged, sha256", "99"), ("adapter, sha256", "ad"),
        ("training data, sha256", "11"), ("base, sha256", "bb"),
    ]  # fmt: skip
    assert links(made_of()) == {
        "served": "-", "GGUF, sha256": "yes", "merged, sha256": "yes", "adapter, sha256": "yes", "base, sha256": "yes",
        "training data, sha256": "-", "held-out problems, sha256": "-", "verifier": "-", "config, sha256": "-",
        "trl": "-",
    }  # fmt: skip
    assert next(link.more for link in found if link.what.startswith("config")).endswith("set by hand: train.seed")


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("GGUF, sha256", lambda records: records["register"].facts["tuned"].update(gguf_sha256="of another file")),
        ("merged, sha256", lambda records: records["gguf"].inputs.update(merge="of another model")),
        ("adapter, sha256", lambda records: records["merge"].inputs.update(adapter="of another adapter")),
        ("base, sha256", lambda records: records["train"].inputs.update(base="of another base")),
    ],
)
def test_a_broken_link_says_no_and_only_that_one(made_of, told, records, what, spoil):
    whole = links(made_of())
    spoil(records)
    assert links(made_of()) == {**whole, what: "NO"}
    assert [line.split(" |")[0] for line in told().splitlines() if line.endswith(" | NO |")] == [f"| {what}"]


def test_an_adapter_that_lies_there_now_but_was_not_merged_says_no(made_of):
    assert links(made_of(adapter="b2"))["adapter, sha256"] == "NO"


def test_where_no_record_speaks_the_lineage_says_so(made_of, records):
    records["merge"].inputs.clear()
    records["gguf"].inputs.clear()
    assert links(made_of())["merged, sha256"] == links(made_of())["adapter, sha256"] == "-"


def test_what_reproduces_a_run_has_every_setting_made_by_hand(made_of):
    stored = {"profile": "pocket", "train": {"seed": 3, "control": None}, "data": {"source": "my data.jsonl"}}
    origin = {"train.seed": "--set", "train.control": "--set", "data.source": "--set", "eval.gone": "--set",
              "train.steps": "default"}  # fmt: skip
    found = dict(report.reproduce(made_of(config=stored, origin=origin)))
    assert found["The whole path again, under another name"] == (
        "reasoner run --profile pocket --run demo-again --set train.seed=3 --set train.control=none"
        " --set 'data.source=my data.jsonl'"
    )
    assert found["The bytes that were scored"] == "sha256sum runs/demo/exports/model.Q8_0.gguf"
    assert found["Talk to it"] == "ollama run reasoner:latest"


def test_the_command_that_reproduces_a_run_makes_its_config(made_of):
    given = {
        "train.steps": "7",
        "eval.beside": '["svamp"]',
        "train.control": "shuffled",
        "data.system": "Say: it's `x`",
    }
    found, origin = config.resolve("pocket", given)
    command = report.reproduce(made_of(config=found.model_dump(mode="json"), origin=origin))[0][1]
    pairs = [word for word in shlex.split(command) if "=" in word]
    again, _ = config.resolve("pocket", dict(pair.split("=", 1) for pair in pairs))
    assert again == found


# -- a run on its way --------------------------------------------------------------------------


def test_a_run_in_progress_is_reported_as_far_as_it_is(tmp_path):
    run = made_up.run(tmp_path, finished=False)
    material = report.read(run)
    assert (material.summary, material.records, material.completions) == (None, {}, {})
    assert len(material.metrics) == 20 and len(material.trained) == 40 and len(material.dev) == 4
    text = report.markdown(material)
    assert text.startswith("# made-up: not finished\n\nTraining: step 20 of 40. Stages done: none.")
    assert "## While it trained" in text and "## Behaviour" in text and "## The verifier's audit" in text


def test_a_run_that_has_done_nothing_has_no_report_unless_it_is_at_it(tmp_path):
    run = runs.Run(tmp_path / "new")
    found, origin = config.resolve("pocket")
    files.write_text(run.config_path, config.dump(found, origin))
    with pytest.raises(ReasonerError, match="nothing to report yet") as raised:
        report.read(run)
    assert raised.value.code == USAGE
    with runs.lock(run):
        assert "no step yet" in report.markdown(report.read(run))


def test_a_finished_run_is_read_whole(tmp_path):
    material = report.read(made_up.run(tmp_path))
    assert {role: len(rows) for role, rows in material.completions.items()} == {"base": 60, "tuned": 60}
    text = report.markdown(material)
    assert "First loss at Q8_0: -9.0 points [-13.0, -5.0]" in text
    assert "| Q6\\_K | 138.0 |" in text
    assert "IT DOES NOT HOLD (near misses)" in text
    assert not {"\x1b", "\u202e", "\x00"} & set(text)
    assert all(line.startswith("    ") for line in text.split("\n") if "<script>" in line)
