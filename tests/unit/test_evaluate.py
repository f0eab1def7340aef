"""Scores, intervals and the smoke check, on completions that a stand-in client hands out."""

import math

import pytest

from reasoner import config, evaluate, runs
from reasoner.errors import ReasonerError


class Client:
    """Answers like `/api/chat`, from a table of (text, done_reason) by tag."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def chat(self, tag, messages, options):
        self.asked.append((tag, messages, options))
        text, reason = self.answers(tag, messages[-1]["content"])
        return {"message": {"content": text}, "done_reason": reason, "eval_count": 3, "prompt_eval_count": 9}


@pytest.fixture
def scored(tmp_path):
    def score(answers, problems=20, **overrides):
        overrides = {"eval.num_problems": str(problems), **overrides}
        found, _ = config.resolve("pocket", overrides)
        client = Client(answers)
        outputs, facts = evaluate.run(
            found,
            runs.Run(tmp_path),
            client,
            {"base": "m:base", "tuned": "m:tuned"},
            ["<|end|>"],
            lambda *progress: None,
        )
        return client, outputs, facts

    return score


def reference(question):
    from reasoner import wordproblems

    row = next(r for r in wordproblems.generate("test", 20) if r["question"] == question)
    return row["answer"].rpartition("#### ")[2]


def test_base_and_tuned_are_asked_the_same_greedily_and_paired(scored):
    def answers(tag, question):
        return (f"1 + 1 = 2\n#### {reference(question)}", "stop") if tag == "m:tuned" else ("#### 0", "stop")

    client, outputs, facts = scored(answers)
    base_asked = [(m, o) for tag, m, o in client.asked if tag == "m:base"]
    tuned_asked = [(m, o) for tag, m, o in client.asked if tag == "m:tuned"]

    def by_question(asked):
        return sorted(asked, key=lambda pair: pair[0][-1]["content"])

    assert by_question(base_asked) == by_question(tuned_asked)
    assert {o["temperature"] for _, o in base_asked} == {0.0}
    assert facts["base"]["pass_at_1"] == 0
    assert facts["tuned"]["pass_at_1"] == 1
    assert (facts["base"]["shows_working"], facts["tuned"]["shows_working"]) == (0, 1)
    assert facts["lift"]["points"] == 100
    assert facts["lift"]["p"] == pytest.approx(2 * 0.5**20)
    assert facts["problems_found"] == []
    rows = runs.read_jsonl(outputs[1])
    assert len(rows) == 20
    contract = "problem_id model stage completion verdict extracted finish_reason tokens seed"
    assert set(contract.split()) <= set(rows[0])


def test_cut_completions_are_wrong_and_counted_apart(scored):
    _, _, facts = scored(lambda tag, question: (f"#### {reference(question)}", "length"))
    assert facts["tuned"]["pass_at_1"] == 0
    assert facts["tuned"]["truncated"] == 1
    assert any("were cut at" in text for text in facts["problems_found"])


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "are empty"), ("#### 1<|end|>", "special tokens"), ("#### 1", "one identical completion")],
)
def test_smoke_fails_loudly(scored, text, says):
    _, _, facts = scored(lambda tag, question: (text, "stop"))
    assert any(says in found for found in facts["problems_found"])


def test_smoke_speaks_of_the_tuned_model_only(scored):
    def answers(tag, question):
        return ("", "stop") if tag == "m:base" else (f"#### {reference(question)}", "stop")

    assert scored(answers)[2]["problems_found"] == []


def test_a_dead_server_ends_the_evaluation_and_leaves_no_completions(scored, tmp_path):
    def answers(tag, question):
        raise ReasonerError("the Ollama server went away")

    with pytest.raises(ReasonerError, match="went away"):
        scored(answers)
    assert not list(tmp_path.rglob("*.jsonl"))


def rows(right, wrong, unscored=0):
    verdicts = ["right"] * right + ["wrong"] * wrong + ["unscored"] * unscored
    return [
        {
            "verdict": v, "completion": str(i), "shows_working": True, "finish_reason": "stop", "leaked": [],
            "extracted": "1", "tokens": 2, "why": "", "kind": "",
        }
        for i, v in enumerate(verdicts)
    ]  # fmt: skip


def test_wilson_interval_is_the_textbook_one():
    low, high = evaluate.measure(rows(10, 0))["ci95"]  # Wilson, 10 of 10: n / (n + z^2) to 1
    assert low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert high == pytest.approx(1)


def test_unscored_is_not_wrong():
    found = evaluate.measure(rows(5, 5, unscored=10))
    assert (found["pass_at_1"], found["unscored"], found["scored"]) == (0.5, 10, 10)


def test_nothing_scored_is_an_error_not_zero():
    with pytest.raises(ReasonerError, match="no completion could be scored"):
        evaluate.measure(rows(0, 0, unscored=3))


def test_lift_by_hand():
    base, tuned = rows(50, 50), rows(80, 20)
    found = evaluate.lift(base, tuned)
    assert (found["points"], found["gained"], found["lost"]) == (30, 30, 0)
    middle, half = 30 / 102, 1.959964 * math.sqrt(31 / 102**2 - (30 / 102) ** 2 / 102)
    assert found["ci95"] == pytest.approx([100 * (middle - half), 100 * (middle + half)], abs=1e-3)
    assert found["p"] == pytest.approx(2 * 0.5**30)


def test_no_flip_gives_an_interval_that_still_has_width():
    found = evaluate.lift(rows(5, 5), rows(5, 5))
    assert (found["points"], found["p"]) == (0, 1)
    assert found["ci95"][0] < 0 < found["ci95"][1]


def test_lift_leaves_out_problems_unscored_on_either_side():
    base, tuned = rows(1, 1), rows(2, 0)
    base[0]["verdict"] = "unscored"
    assert evaluate.lift(base, tuned)["pairs"] == 1


def test_the_paired_interval_covers():
    """Simulated: the nominal 95 % interval of the lift covers the truth in 93-97.5 % of 2,000 samples."""
    import numpy

    rng = numpy.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        base = rng.random(60) < 0.3
        tuned = numpy.where(base, rng.random(60) < 0.9, rng.random(60) < 0.4)
        truth = 100 * (0.3 * 0.9 + 0.7 * 0.4 - 0.3)
        low, high = evaluate.lift(
            [{"verdict": "right" if b else "wrong"} for b in base],
            [{"verdict": "right" if t else "wrong"} for t in tuned],
        )["ci95"]
        covered += low <= truth <= high
    assert 0.93 <= covered / 2000 <= 0.975
