"""Scores, intervals, everyday answers and what is found wrong, on completions that a stand-in client hands out."""

import json
import math
import re
import threading
import time
from importlib import resources

import pytest

from reasoner import config, data, evaluate, runs, verifiers
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
    def score(answers, problems=20, progress=lambda *_: None, **overrides):
        found, _ = config.resolve("pocket", {"eval.num_problems": str(problems), **overrides})
        client = Client(answers)
        models = {"base": "m:base", "tuned": "m:tuned"}
        outputs, facts = evaluate.run(found, runs.Run(tmp_path), client, models, ["<|end|>"], progress)
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


def test_an_interrupt_does_not_wait_for_the_server(scored):
    over, asked = threading.Event(), []

    def answers(tag, question):
        asked.append(question)
        if len(asked) > 1:
            over.wait(30)
        return "#### 0", "stop"

    def control_c(role, done, total):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        scored(answers, progress=control_c)
    out = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    assert out and all(thread.daemon for thread in out), "requests are still out, and nothing waits for them"
    assert time.monotonic() - started < 10
    over.set()


def rows(right, wrong, unscored=0):
    verdicts = ["right"] * right + ["wrong"] * wrong + ["unscored"] * unscored
    return [
        {
            "verdict": v, "strict": None, "completion": str(i), "shows_working": True, "finish_reason": "stop",
            "leaked": [], "extracted": "1", "tokens": 2, "why": "", "kind": "",
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


def test_the_stricter_rule_is_reported_beside_and_its_silence_is_not_wrong():
    found = rows(2, 2)
    assert evaluate.measure(found)["strict"] is None
    for row, verdict in zip(found, ["right", "wrong", "wrong", "unscored"], strict=True):
        row["strict"] = verdict
    assert evaluate.measure(found)["strict"] == pytest.approx(1 / 3)


def test_equations_are_checked_and_laid_beside_the_known_steps(scored):
    from reasoner import wordproblems

    known = {row["question"]: row for row in wordproblems.generate("test", 20)}

    def answers(tag, question):
        return (known[question]["answer"] if tag == "m:tuned" else "2 + 2 = 5\n#### 0", "stop")

    _, _, facts = scored(answers)
    total = sum(len(row["steps"]) for row in known.values())
    assert facts["tuned"]["steps"] == {"equations": total, "correct": total, "known": total, "in_order": total}
    assert facts["base"]["steps"] == {"equations": 20, "correct": 0, "known": total, "in_order": 0}
    assert evaluate.measure(rows(5, 5))["steps"] is None


def test_every_completion_has_its_type_and_its_verdict_under_both_rules(scored):
    def answers(tag, question):
        return (f"So that is {reference(question)}." if tag == "m:base" else f"#### {reference(question)}", "stop")

    _, outputs, facts = scored(answers, problems=10, **{"verifier.name": "number-lenient"})
    assert {(row["verdict"], row["strict"], row["type"]) for row in runs.read_jsonl(outputs[0])} == {
        ("right", "wrong", "integer"),
    }  # fmt: skip
    assert (facts["base"]["pass_at_1"], facts["base"]["strict"]) == (1, 0)
    assert (facts["tuned"]["pass_at_1"], facts["tuned"]["strict"]) == (1, 1)


def test_problems_that_cannot_be_judged_are_left_out_and_counted(scored, tmp_path):
    def write(*answers):
        rows = [{"question": f"q{n}", "answer": answer} for n, answer in enumerate(answers)]
        path = tmp_path / "mine" / "test.jsonl"
        runs.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
        runs.write_text(path.with_name("train.jsonl"), json.dumps({"question": "q", "answer": "1"}) + "\n")

    write("5", "blue", "7", "8", "9", "10")
    override = {"data.source": str(tmp_path / "mine"), "data.num_train": "none"}
    client, _, facts = scored(lambda tag, question: ("#### 5", "stop"), problems=6, **override)
    assert (facts["n"], facts["unjudged"], facts["base"]["unscored"], facts["base"]["scored"]) == (5, 1, 0, 5)
    assert "q1" not in {messages[-1]["content"] for _, messages, _ in client.asked}
    write("blue")
    with pytest.raises(ReasonerError, match="can judge no reference of the held-out problems"):
        scored(lambda tag, question: ("#### 5", "stop"), problems=1, **override)


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


# -- by kind, beside, and the loss that forbids a promotion ------------------------------------


def of_kind(kind, verdicts):
    return [{"kind": kind, "verdict": {"r": "right", "w": "wrong", "u": "unscored"}[v]} for v in verdicts]


def test_one_step_problems_go_by_operation_in_the_usual_order():
    base = of_kind("*", "wwww") + of_kind("+", "rrww")
    tuned = of_kind("*", "rrrw") + of_kind("+", "wrwu")
    table = evaluate.by_kind(base, tuned)
    assert list(table) == ["addition", "product"]
    assert table["product"]["base"] == {"right": 0, "scored": 4}
    assert table["product"]["tuned"] == {"right": 3, "scored": 4}
    assert table["product"]["lift"]["points"] == 75
    assert table["addition"]["tuned"] == {"right": 1, "scored": 3}
    assert (table["addition"]["lift"]["pairs"], table["addition"]["lift"]["lost"]) == (3, 1)


def test_chains_go_by_steps_and_other_sources_by_their_own_names():
    chains = of_kind("+-", "r") + of_kind("*", "r") + of_kind("-+", "w")
    assert {name: cell["base"]["scored"] for name, cell in evaluate.by_kind(chains, chains).items()} == {
        "1 step": 1,
        "2 steps": 2,
    }
    own = of_kind("geometry", "r") + of_kind("+", "r") + of_kind("", "r")
    assert list(evaluate.by_kind(own, own)) == ["+", "geometry"]
    hostile = of_kind("a|b<script>\n## x`" + "y" * 99, "r")
    assert list(evaluate.by_kind(hostile, hostile)) == ["a?b?script???? x?" + "y" * 23]
    assert evaluate.by_kind(of_kind("", "r"), of_kind("", "r")) == {}


def test_a_kind_without_a_verdict_has_no_lift():
    table = evaluate.by_kind(of_kind("+", "rr"), of_kind("+", "uu"))
    assert table["addition"]["lift"] is None
    assert evaluate.below_base(table, {}) == []


def test_holm_is_the_textbook_one():
    """R: p.adjust(c(0.01, 0.02, 0.03, 0.005), "holm")."""
    assert evaluate.holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert evaluate.holm([0.5, 0.9]) == [1.0, 1.0]
    assert evaluate.holm([]) == []


def lifted(lost, gained=0, n=100):
    base = of_kind("", "r" * lost + "w" * (n - lost))
    tuned = of_kind("", "w" * lost + "r" * gained + "w" * (n - lost - gained))
    return {"lift": evaluate.lift(base, tuned)}


def test_a_loss_beyond_noise_is_named_and_noise_is_not():
    kinds = {"addition": lifted(0, 50), "subtraction": lifted(12), "product": lifted(4, 2)}
    beside = {"svamp": lifted(3, 1), "gsm8k": {"missing": "/nowhere"}}
    found = evaluate.below_base(kinds, beside)
    assert [(row["name"], row["points"]) for row in found] == [("subtraction", -12)]
    assert found[0]["p_holm"] == pytest.approx(3 * 2 * 0.5**12)
    assert beside["svamp"]["lift"]["p_holm"] == 1  # 2 x 5/16 = 0.625, the smaller of the last two, times 2
    assert beside["gsm8k"] == {"missing": "/nowhere"}


def test_a_loss_that_is_noise_among_so_many_looks_is_not_a_loss():
    """6 lost of 6 flipped: p = 0.031, a loss alone, but not as one of three looks."""
    assert evaluate.below_base({"subtraction": lifted(6)}, {})[0]["name"] == "subtraction"
    others = {"addition": lifted(0), "product": lifted(0)}
    assert evaluate.below_base({"subtraction": lifted(6), **others}, {}) == []
    assert evaluate.below_base({}, {"svamp": lifted(20)})[0]["name"] == "svamp"


def test_sets_beside_are_scored_by_the_same_machine(scored, tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_DATA", str(tmp_path / "nowhere"))
    overrides = {"eval.beside": '["ood", "svamp"]', "eval.num_beside": "6"}
    found, _ = config.resolve("pocket", {"eval.num_problems": "8", **overrides})
    problems = data.beside(found, "ood")
    known = {p.question: p.answer.rpartition("#### ")[2] for p in [*data.held_out(found), *problems]}
    labels = {}

    def answers(tag, question):
        return (f"#### {known[question]}" if tag == "m:tuned" else "#### no", "stop")

    def progress(label, done, total):
        labels[label] = (done, total)

    _, outputs, facts = scored(answers, problems=8, progress=progress, **overrides)
    assert labels == {"base": (8, 8), "tuned": (8, 8), "ood base": (6, 6), "ood tuned": (6, 6)}
    assert [path.name for path in outputs] == ["base.jsonl", "ood-base.jsonl", "tuned.jsonl", "ood-tuned.jsonl"]
    assert [row["problem_id"] for row in runs.read_jsonl(outputs[3])] == [p.id for p in problems]
    ood = facts["beside"]["ood"]
    assert (ood["n"], ood["base"]["pass_at_1"], ood["tuned"]["pass_at_1"], ood["lift"]["points"]) == (6, 0, 1, 100)
    assert ood["split_sha256"] == data.split_sha256(problems) != facts["split_sha256"]
    assert facts["beside"]["svamp"]["missing"].startswith(str(tmp_path / "nowhere"))
    assert "everyday" not in facts
    assert facts["below_base"] == []
    assert {cell["lift"]["p_holm"] for cell in facts["by_kind"].values()} <= {1.0}


def test_a_set_that_was_found_since_makes_the_scores_stale(tmp_path, monkeypatch):
    found, _ = config.resolve("pocket", {"eval.beside": '["svamp"]', "eval.everyday": "true"})
    monkeypatch.setenv("REASONER_DATA", str(tmp_path))
    before = evaluate.inputs(found)
    assert before["set svamp"] == "missing"
    assert re.fullmatch("[0-9a-f]{64}", before["everyday"])
    assert evaluate.inputs(config.resolve("pocket")[0]) == {"verifier": f"number {verifiers.load('number').version}"}


# -- everyday ----------------------------------------------------------------------------------


def test_everyday_prompts_are_asked_as_they_stand_and_compared(scored):
    def answers(tag, question):
        if not question.startswith(("Which planet", "What is the capital of Japan", "Hello")):
            return ("1 + 1 = 2\n#### 2", "stop") if "days" in question else ("A good answer.", "stop")
        if question == "Hello!":
            return ("#### 3" if tag == "m:tuned" else "Hello there.", "stop")
        if "Japan" in question:
            return ("The capital is TOKYO." if tag == "m:base" else "The capital is Kyoto.", "length")
        return ("Mars, or the Earth.", "stop")

    client, outputs, facts = scored(answers, problems=4, **{"eval.everyday": "true"})
    asked = [(m, o) for tag, m, o in client.asked if m[-1]["content"] == "Hello!"]
    assert asked[0] == asked[1]
    assert asked[0][0] == [{"role": "user", "content": "Hello!"}]
    assert (asked[0][1]["num_predict"], asked[0][1]["temperature"]) == (200, 0.0)
    found = facts["everyday"]
    assert (found["n"], found["facts"], found["changed"]) == (40, 14, 2 / 40)
    assert found["base"] == {"degenerate": 0, "facts_right": 3}  # the Red Planet, the planet and Japan
    assert found["tuned"] == {"degenerate": 1, "facts_right": 2}
    assert (found["facts_lost"], found["facts_gained"]) == (["japan"], [])
    assert any("2 of 14 everyday facts are right, 3 were" in text for text in facts["problems_found"])
    assert [path.name for path in outputs] == [
        "base.jsonl", "everyday-base.jsonl", "tuned.jsonl", "everyday-tuned.jsonl",
    ]  # fmt: skip
    row = {row["id"]: row for row in runs.read_jsonl(outputs[3])}["hello"]
    assert {key: row[key] for key in ("kind", "degenerate", "fact_right", "finish_reason", "tokens")} == {
        "kind": "greeting", "degenerate": "bare number", "fact_right": None, "finish_reason": "stop", "tokens": 3,
    }  # fmt: skip


def figures(degenerate=0, before=10, after=10, lost=()):
    return {
        "n": 40, "facts": 14, "facts_lost": list(lost),
        "base": {"degenerate": 1, "facts_right": before}, "tuned": {"degenerate": degenerate, "facts_right": after},
    }  # fmt: skip


def test_two_degenerate_answers_of_forty_are_borne_a_third_is_not():
    found, _ = config.resolve("pocket")
    assert evaluate.forgotten(found, figures(degenerate=2)) == []
    assert "3 of 40 everyday answers" in evaluate.forgotten(found, figures(degenerate=3))[0]


def test_facts_lost_are_named_and_bounded():
    strict, _ = config.resolve("pocket")
    lenient, _ = config.resolve("pocket", {"alarms.max_facts_lost": "1"})
    lost = figures(after=9, lost=["france"])
    assert evaluate.forgotten(strict, lost) == [
        "9 of 14 everyday facts are right, 10 were (may lose 0): lost france",
    ]
    assert evaluate.forgotten(lenient, lost) == []
    assert evaluate.forgotten(strict, figures(after=12)) == []


POEM = """The wind comes down, the wind comes down,
And leaves go dancing through the town.
    O stay, my summer, stay.
The brook runs cold, the brook runs cold,
And all the hills are red and gold.
    O stay, my summer, stay.
The birds have flown, the birds have flown,
And I sit by the fire alone.
    O stay, my summer, stay."""
CODE = """```html
<div>
  <div>
    <div>
      <a href="https://example.com">A link</a>
    </div>
  </div>
</div>
```
The `href` attribute holds the address. The text between the tags is what people see."""


@pytest.mark.parametrize(
    "text",
    [
        "Paris.",
        "The capital of France is Paris.",
        "1. Apples\n2. Pears\n3. Plums",
        "1. Read a book.\n2. Read a letter.\n3. Read a map.\n4. Read a poem.\n5. Read a play.\n6. Read the news.",
        "7 plus 1 gives 8\n7 plus 2 gives 9\n7 plus 3 gives 10\n7 plus 4 gives 11\n7 plus 5 gives 12",
        "You are not alone. You are not alone. You are not alone. Ask a friend to practise with you tonight.",
        "Ha! Ha! Ha! Ha! That was a good one.",
        "Happy birthday to you, happy birthday to you, happy birthday dear Ann, happy birthday to you!",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |",
        "There are 7 days in a week.",
        "Count: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20.",
        "The sea is wide and the sea is deep, and nobody who has heard it at night forgets what it",
        "¡Hola! Buenos días, amigo mío.",
        "早上好，我的朋友。",
        POEM,
        CODE,
    ],
)
def test_good_answers_are_not_degenerate(text):
    assert evaluate.degenerate(text) is None


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("...", "empty"),
        ("7", "bare number"),
        ("#### 12", "bare number"),
        ("4 * 6 = 24\n24 - 9 = 15\n#### 15", "bare number"),
        ("The answer is: $\\boxed{12}$.", "bare number"),
        ("3x4 = 12", "bare number"),
        # as SmolLM2-135M-Instruct answered
        ("L'Étoile, la Cité, " + "la France, " * 30 + "la Franc", "repeats"),
        ("The play is a classic story from the balcony scene of " + "the balcony of " * 25, "repeats"),
        ("They are good at it. " + "They can produce up to 100 pounds of honey per day. " * 6 + "They can", "repeats"),
        ("Bonjour, je m'aime. " * 4 + "\n\nThis is a French phrase that means thank you; people like it.", "repeats"),
        ("1. The sea is blue.\n2. The sea is blue.\n3. The sea is blue.\n4. The sea is blue.", "repeats"),
        ("1. The sea is blue. 2. The sea is blue. 3. The sea is blue. 4. The sea is blue.", "repeats"),
        ("Dear neighbour,\nthank you for feeding my cat while I was away, it was so kind of you and I will not forget"
         " it.\nYours, Ann\n\n" + "P.S. I wish you a wonderful day too.\n\n" * 5 + "P.S. I wi", "repeats"),
        ("A summer's sigh, a winter's sigh,\nA harvest moon's light.\n" * 5 + "A summer's", "repeats"),
        ("A fruit salad:\n" + "".join(f"* 1 cup of {'red' if i * i % 7 < 3 else 'green'} apples\n" for i in range(14)),
         "repeats"),
        ("ha" * 40, "repeats"),
        ("A paragraph that is quite long, with a comma and some words in it, and one more thing. It ends here. " * 3,
         "repeats"),
    ],
)  # fmt: skip
def test_answers_that_fell_apart(text, how):
    assert evaluate.degenerate(text) == how


def test_a_number_is_an_answer_where_one_was_asked():
    assert evaluate.degenerate("7", number_ok=True) is None
    assert evaluate.degenerate("", number_ok=True) == "empty"
    assert evaluate.degenerate("7 " * 30, number_ok=True) == "repeats"
    assert evaluate.degenerate(" ".join(map(str, range(60))), number_ok=True) is None
    assert evaluate.degenerate("The answer is seven") is None


@pytest.mark.parametrize("text", ["a" * 20_000, "ab " * 20_000, " " * 40_000 + "x", "1." * 20_000, "- \n" * 20_000,
                                  "".join(map(str, range(9000))) + " a"])  # fmt: skip
def test_the_detector_takes_no_long_time(text):
    started = time.monotonic()
    evaluate.degenerate(text)
    assert time.monotonic() - started < 1


# -- the file of everyday prompts --------------------------------------------------------------

GOOD = {
    "france": "The capital of France is Paris.",
    "japan": "It is Tokyo.",
    "italy": "**Rome** is.",
    "sky": "The sky is blue on such a day.",
    "week": "A week has 7 days.",
    "hot": "Cold.",
    "pyramids": "The pyramids of Giza are in Egypt.",
    "planet": "Humans live on Earth.",
    "water": "The formula is H2O.",
    "ocean": "The Pacific Ocean.",
    "moon": "Neil Armstrong, in 1969.",
    "hamlet": "William Shakespeare wrote Hamlet.",
    "red-planet": "Mars is called so.",
    "continents": "There are seven continents.",
}


@pytest.fixture(scope="module")
def everyday():
    text = (resources.files("reasoner") / "everyday.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_forty_prompts_to_ask_sixteen_to_track_and_the_rest_to_keep(everyday):
    assert [row["use"] for row in everyday] == ["eval"] * 40 + ["probe"] * 16 + ["keep"] * 96
    for key in ("id", "prompt"):
        assert len({row[key] for row in everyday}) == len(everyday)
    assert {row["kind"] for row in everyday if row["use"] == "eval"} == {
        "fact", "greeting", "short text", "list", "rewrite", "advice", "refusal", "code", "definition", "translation",
    }  # fmt: skip
    assert {key for row in everyday for key in row} == {"id", "use", "kind", "prompt", "expect", "number_ok"}
    assert [row for row in data.everyday("eval")] == everyday[:40]
    assert [row for row in data.everyday("probe")] == everyday[40:56]
    assert [row for row in data.everyday("keep")] == everyday[56:]


def test_what_training_keeps_is_not_what_evaluation_asks(everyday):
    def words(row):
        return frozenset(re.findall(r"\w+", row["prompt"].casefold()))

    asked = {row["id"]: words(row) for row in everyday if row["use"] == "eval"}
    for row in everyday[40:]:
        near = [name for name, other in asked.items() if len(words(row) & other) > 0.8 * len(words(row) | other)]
        assert near == [], row["prompt"]


def test_no_prompt_is_arithmetic(everyday):
    assert [row["id"] for row in everyday if re.search(r"\d", row["prompt"])] == []


def test_each_fact_knows_its_good_answer_and_no_other_one(everyday):
    facts = {row["id"]: row["expect"] for row in everyday if "expect" in row}
    assert facts.keys() == GOOD.keys()
    same = {("week", "continents"), ("continents", "week")}  # both are seven
    for asked, pattern in facts.items():
        for other, answer in GOOD.items():
            right = re.search(pattern, answer, re.IGNORECASE) is not None
            assert right == (asked == other or (asked, other) in same), (asked, answer)
        assert not re.search(pattern, "I do not know, sorry.", re.IGNORECASE)


@pytest.mark.parametrize("formula", ["H2O", "H₂O", "H_2O", "$H_{2}O$", "h2o"])
def test_the_formula_of_water_in_its_spellings(everyday, formula):
    pattern = next(row["expect"] for row in everyday if row["id"] == "water")
    assert re.search(pattern, f"It is {formula}.", re.IGNORECASE)
    assert not re.search(pattern, "It is H2O2.", re.IGNORECASE)
