"""What forbids that a model becomes public."""

from dataclasses import replace

import pytest
from made_up import answered, evaluation

from reasoner import config, files
from reasoner.measuring import everyday, gate, lift, scores
from reasoner.measuring.figures import Below, Evaluation, EverydayAnswer, GateFacts
from reasoner.serving.tags import Tagged
from reasoner.verifiers.score import Judge


def everyday_rows(right=(), fallen=(), samples=4):
    """Rows of forty prompts, the first fourteen facts; `right` and `fallen` say of how many answers, by place."""
    return [
        EverydayAnswer(
            id=f"p{at}", kind="", prompt="", completion="", finish_reason="stop",
            degenerate="repeats" if sample < dict(fallen).get(at, 0) else None,
            fact_right=sample < dict(right).get(at, samples) if at < 14 else None,
        )
        for at in range(40) for sample in range(samples)
    ]  # fmt: skip


def found_in(tuned, base=None, greedy=0, **overrides):
    sides = {"base": base or everyday_rows(), "tuned": tuned}
    one = {"base": everyday_rows(samples=1), "tuned": everyday_rows(fallen={at: 1 for at in range(greedy)}, samples=1)}
    settings, _ = config.resolve("pocket", overrides)
    figures = replace(everyday.compare(**one), sampled=everyday.compare_sampled(**sides))
    return gate.forgotten(settings, figures)


def test_eight_degenerate_answers_of_160_are_borne_a_ninth_is_not():
    assert found_in(everyday_rows(fallen={0: 4, 20: 4})) == []
    (found,) = found_in(everyday_rows(fallen={0: 4, 20: 4, 21: 1}))
    assert found == (
        "5.6% of 160 sampled everyday answers are empty, repeat themselves or are a bare number (base 0.0%, limit 5.0%)"
    )


def test_each_prompt_counts_once_however_often_it_was_asked():
    rows = [row for row in everyday_rows(fallen={0: 8, 20: 8}, samples=8) if row.id in ("p0", "p20")]
    rows += [row for row in everyday_rows() if row.id not in ("p0", "p20")]
    assert found_in(rows, rows) == []  # 16 of 168 answers, 2 of 40 prompts


def test_greedy_loops_count_where_chance_does_not_explain_them():
    assert found_in(everyday_rows(), greedy=4) == []
    (found,) = found_in(everyday_rows(), greedy=5)
    assert found.startswith("5 of 40 greedy everyday answers")
    assert found.endswith("beyond noise more than the base's 0 (p 0.031)")


def test_facts_lost_are_named_and_bounded():
    wholly = everyday_rows(right={3: 0, 5: 3})
    (found,) = found_in(wholly)
    assert found.endswith("(may lose 0 beyond noise, p 0.0071): p3 4 -> 0 of 4, p5 4 -> 3 of 4")
    assert found.startswith("12.8 of 14 everyday facts are right in the mean, 14.0 were")
    assert found_in(wholly, **{"alarms.max_facts_lost": "1"}) != []
    assert found_in(wholly, **{"alarms.max_facts_lost": "2"}) == []
    assert found_in(everyday_rows(right={3: 3, 5: 3})) == []  # two of eight answers: chance
    assert found_in(everyday_rows(), base=wholly) == []


def test_one_fact_lost_counts_against_what_was_gained():
    base = everyday_rows(right={1: 0, 2: 2})
    assert found_in(everyday_rows(right={3: 0, 2: 2}), base=base) == []


# -- a checkpoint beside the public model


def found(**changes):
    given = {
        "candidate": Tagged("m:step", "b"), "against": Tagged("reasoner:latest", "a"), "metric": "pass_at_1", "n": 200,
        "split_sha256": "", "score": 0.6, "score_ci95": None, "against_score": 0.6, "points": 0.5, "lower": -1.0,
        "passed": False, "why": [],
    }  # fmt: skip
    return GateFacts(**given | changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, []),
        ({"lower": -1.999}, []),
        ({"lower": -2.0}, ["+0.5 points against reasoner:latest, and at 95% it may be 2.0 worse (margin 2)"]),
        ({"n": 99}, ["99 problems have a verdict on both sides, 100 are needed"]),
        ({"score": 0.6, "best": 0.62}, []),
        ({"score": 0.59, "best": 0.62}, ["3.0 points below the best that was promoted (margin 2)"]),
        ({"why": ["7 % were cut"]}, ["7 % were cut"]),
        (
            {"n": 0, "lower": None, "score": None, "best": 0.6},
            ["0 problems have a verdict on both sides, 100 are needed"],
        ),
    ],
)
def test_a_checkpoint_may_become_public_where_it_is_shown_not_to_be_worse(changes, why):
    assert gate.verdict(config.resolve("pocket")[0], found(**changes)) == why


def test_the_gate_refuses_a_control():
    control, _ = config.resolve("pocket", {"train.control": "shuffled"})
    assert gate.verdict(control, found()) == ["a shuffled control is never promoted"]


@pytest.mark.parametrize(("metric", "score"), [("pass_at_1", 1.0), ("strict", 0.5)])
def test_a_checkpoint_is_judged_by_the_metric_of_the_config(tmp_path, metric, score):
    settings, _ = config.resolve("pocket", {"gate.metric": metric, "gate.min_problems": "1"})
    base = [answered(f"p{at}", "right", strict="wrong" if at % 4 else "right") for at in range(40)]
    tuned = [replace(row, strict="right" if at % 2 else "wrong") for at, row in enumerate(base)]
    for role, rows in (("base", base), ("tuned", tuned)):
        files.append_jsonl(tmp_path / "completions" / f"{role}.jsonl", files.as_json(rows))
    scored = Evaluation(
        n=40, split_sha256="c", base=scores.measure(base), tuned=scores.measure(tuned), split="dev",
        lift=lift.lift(base, tuned), verifier=Judge("number", "2"), problems_found=["it leaks"],
    )  # fmt: skip
    facts = gate.decide(settings, scored, tmp_path, Tagged("m:step", "b"), Tagged("m:latest", "a"), None)
    assert (facts.score, facts.n, facts.points) == (score, 40, 25.0 if metric == "strict" else 0.0)
    assert facts.why[0] == "it leaks" and not facts.passed


def test_no_measurable_lift_is_promoted_but_a_measured_loss_is_not():
    assert gate.refusals(evaluation()) == gate.refusals(evaluation(-1, -4, 2)) == []
    assert gate.refusals(evaluation(-9, -12, -6)) == ["it scores 9.0 points below the base"]


def test_a_model_that_fails_the_smoke_check_is_not_promoted():
    assert gate.refusals(evaluation(found=["7 % were cut"])) == ["7 % were cut"]


def test_a_model_that_lost_a_kind_is_not_promoted_whatever_it_gained_elsewhere():
    below = [Below("subtraction", -7.5, 0.0123), Below("svamp", -4.0, 1e-5)]
    assert gate.refusals(evaluation(points=50.0, below=below)) == [
        "subtraction: 7.5 points below the base, beyond noise (p = 0.012, adjusted for all kinds and sets)",
        "svamp: 4.0 points below the base, beyond noise (p = 1e-05, adjusted for all kinds and sets)",
    ]
