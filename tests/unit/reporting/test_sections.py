"""Each section says what the material says, in a dozen steps, pairs and figures."""

from stored_run import chat, kind, row, rows

from reasoner.reporting import flips, sections


def test_so_many_flips_are_shown_and_all_are_counted(told):
    completions = {"base": rows(["wrong"] * 31), "tuned": rows(["right"] * 31)}
    (group,) = flips.flips(completions)
    assert (group.title, len(group.pairs), group.n) == (flips.GAINED, 10, 31)
    text = told(completions=completions)
    assert "10 of 31, the first in the order of the problems, as served." in text
    assert text.count("Problem `") == 10


def test_a_refused_model_and_a_control_are_said_first(summary, told):
    summary.update(promoted=False, gate=["7 % were cut"], control="shuffled")
    head = told().splitlines()[:6]
    assert any("Control run" in line for line in head)
    assert any("Not promoted: 7 % were cut" in line for line in head)


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


def test_sections_that_were_not_measured_are_not_there(stored, told):
    stored["evaluate"]["facts"].update(by_kind={}, beside={})
    del stored["evaluate"]["facts"]["everyday"]
    text = told()
    titles = ("By kind", "Beside", "Everyday", "While it trained", "Where a score", "Behaviour", "The verifier's audit")
    assert not any(f"## {title}" in text for title in titles)


def test_everyday_prompts_stand_side_by_side(told):
    rows = {"base": [chat("Hi!", fact_right=True)], "tuned": [chat("#### 3", "bare number", False, "length")]}
    text = told(answers=rows)
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


def test_a_kind_without_a_verdict_has_no_lift(stored, told):
    stored["evaluate"]["facts"]["by_kind"] = {"addition": kind(1, 2, None)}
    assert "| addition | 1 of 100 | 2 of 100 | no pair was scored |  |" in told()


def test_a_share_as_the_reward_is_told(summary, told, lines):
    plain = told(metrics=[row(1)])
    assert summary["train"]["reward"] == "verdict"
    assert "The reward was the verifier's verdict, and nothing else." in plain
    assert "| reward | the" not in plain
    summary["train"]["reward"] = "share"
    text = told(metrics=[row(1)])
    assert "The reward was the share of the hidden tests that hold, which pays for half a solution too, and" in text
    assert "| reward | the share of the hidden tests that hold" in text
    assert lines()["reward"].endswith("scored is the verdict, all tests")
    del summary["train"]  # of an older version
    assert "reward" not in lines()


def test_training_table_has_columns_for_shares_of_tests(told):
    metrics = [row(1, visible_share=1.0, hidden_share=0.625, hidden_gap=0.375), row(2, hidden_gap=None)]
    text = told(metrics=metrics)
    assert "| cut | visible tests that hold | hidden tests that hold | gap, points |" in text
    assert "| 1 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % | 100.0 % | 62.5 % | +37.5 |" in text
    assert "| 2 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % |  |  |  |" in text
    assert sections.HIDDEN in text
    assert sections.HIDDEN not in told(metrics=[row(1)])


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
    assert sections.STRICT in text
    assert sections.STRICT not in plain
    assert "| 3 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % | 0.0123 |  |  |  |" in text
    assert (
        "| cut | KL to the base on chat text, nats/token | accepted, but not by the stricter rule"
        " | sampler against trainer, log-probability | drawn |" in text
    )
    assert "| 1 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % |  |  |  |  |" in text
    assert "| 2 | 0.25 | 50.0 % | 10.0 % | 32 | 2.0 % | 0.0123 | 25.0 % | 0.0056 | `+` 75 %, `2 steps` 25 % |" in text


def test_figures_made_before_answers_were_sampled_are_still_told(summary, told, stored, lines):
    del stored["evaluate"]["facts"]["everyday"]["sampled"], summary["everyday"]["sampled"]
    assert "| greedy: degenerate | 0 of 40 | 1 of 40 |" in told()
    assert "sampled" not in told()
    assert "sampled" not in lines()
