"""Scores, intervals, everyday answers and what is found wrong, on completions that a stand-in client hands out."""

import dataclasses
import json
import re
import threading
import time
from importlib import resources
from pathlib import Path

import pytest

from reasoner import config, files, runs
from reasoner.bases import locate
from reasoner.errors import USAGE, ReasonerError
from reasoner.machine import cache
from reasoner.measuring import engines, evaluate
from reasoner.problems import load
from reasoner.problems.everyday import everyday_prompts
from reasoner.problems.problem import Problem, split_sha256
from reasoner.serving import register
from reasoner.verifiers import registry
from reasoner.verifiers.score import Score


class Client:
    """Answers like `/api/chat`, from a table of (text, done_reason) by tag."""

    host = "127.0.0.1:1"

    def __init__(self, answers):
        self.answers, self.asked, self.made = answers, [], []

    def version(self):
        return "0"

    def digest(self, tag):
        passing = [made[0] for made in self.made if made[1] == tag]
        return f"sha256:{tag}" if "no-system" not in tag or passing[-1:] == ["create"] else None

    def show(self, tag):
        return {"parameters": 'stop  "<|end|>"'}

    def model_file(self, tag):
        return Path("/blobs/sha256-" + 64 * "a"), ""

    def create(self, tag, file, sha256, parameters=None):
        self.made.append(("create", tag, sha256, parameters))

    def delete(self, tag):
        self.made.append(("delete", tag))
        return True

    def chat(self, tag, messages, options, **more):
        self.asked.append((tag, messages, options))
        text, reason = self.answers(tag, messages[-1]["content"])
        return {"message": {"content": text}, "done_reason": reason, "eval_count": 3, "prompt_eval_count": 9}


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))


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
    from reasoner.problems import stories

    row = next(r for r in stories.generate("test", 20) if r["question"] == question)
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
    rows = files.read_jsonl(outputs[1])
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


def test_equations_are_checked_and_laid_beside_the_known_steps(scored):
    from reasoner.problems import stories

    known = {row["question"]: row for row in stories.generate("test", 20)}

    def answers(tag, question):
        return (known[question]["answer"] if tag == "m:tuned" else "2 + 2 = 5\n#### 0", "stop")

    _, _, facts = scored(answers)
    total = sum(len(row["steps"]) for row in known.values())
    assert facts["tuned"]["steps"] == {"equations": total, "correct": total, "known": total, "in_order": total}
    assert facts["base"]["steps"] == {"equations": 20, "correct": 0, "known": total, "in_order": 0}


def test_every_completion_has_its_type_and_its_verdict_under_both_rules(scored):
    def answers(tag, question):
        return (f"So that is {reference(question)}." if tag == "m:base" else f"#### {reference(question)}", "stop")

    _, outputs, facts = scored(answers, problems=10, **{"verifier.name": "number-lenient"})
    assert {(row["verdict"], row["strict"], row["type"]) for row in files.read_jsonl(outputs[0])} == {
        ("right", "wrong", "integer"),
    }  # fmt: skip
    assert (facts["base"]["pass_at_1"], facts["base"]["strict"]) == (1, 0)
    assert (facts["tuned"]["pass_at_1"], facts["tuned"]["strict"]) == (1, 1)


def test_problems_that_cannot_be_judged_are_left_out_and_counted(scored, tmp_path):
    def write(*answers):
        rows = [{"question": f"q{n}", "answer": answer} for n, answer in enumerate(answers)]
        path = tmp_path / "mine" / "test.jsonl"
        files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
        files.write_text(path.with_name("train.jsonl"), json.dumps({"question": "q", "answer": "1"}) + "\n")

    write("5", "blue", "7", "8", "9", "10")
    override = {"data.source": str(tmp_path / "mine"), "data.num_train": "none"}
    client, _, facts = scored(lambda tag, question: ("#### 5", "stop"), problems=6, **override)
    assert (facts["n"], facts["unjudged"], facts["base"]["unscored"], facts["base"]["scored"]) == (5, 1, 0, 5)
    assert "q1" not in {messages[-1]["content"] for _, messages, _ in client.asked}
    write("blue")
    with pytest.raises(ReasonerError, match="can judge no reference of the held-out problems"):
        scored(lambda tag, question: ("#### 5", "stop"), problems=1, **override)


def test_sets_beside_are_scored_by_the_same_machine(scored, tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_DATA", str(tmp_path / "nowhere"))
    overrides = {"eval.beside": '["ood", "svamp"]', "eval.num_beside": "6"}
    found, _ = config.resolve("pocket", {"eval.num_problems": "8", **overrides})
    problems = load.beside(found, "ood")
    known = {p.question: p.answer.rpartition("#### ")[2] for p in [*load.held_out(found), *problems]}
    labels = {}

    def answers(tag, question):
        return (f"#### {known[question]}" if tag == "m:tuned" else "#### no", "stop")

    def progress(label, done, total):
        labels[label] = (done, total)

    _, outputs, facts = scored(answers, problems=8, progress=progress, **overrides)
    assert labels == {"base": (8, 8), "tuned": (8, 8), "ood base": (6, 6), "ood tuned": (6, 6)}
    assert [path.name for path in outputs] == ["base.jsonl", "ood-base.jsonl", "tuned.jsonl", "ood-tuned.jsonl"]
    assert [row["problem_id"] for row in files.read_jsonl(outputs[3])] == [p.id for p in problems]
    ood = facts["beside"]["ood"]
    assert (ood["n"], ood["base"]["pass_at_1"], ood["tuned"]["pass_at_1"], ood["lift"]["points"]) == (6, 0, 1, 100)
    assert ood["split_sha256"] == split_sha256(problems) != facts["split_sha256"]
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
    assert evaluate.inputs(config.resolve("pocket")[0]) == {"verifier": f"number {registry.load('number').version}"}


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
    asked = [(m, o) for tag, m, o in client.asked if m[-1]["content"] == "Hello!" and tag == "m:base"]
    assert asked == [(m, o) for tag, m, o in client.asked if m[-1]["content"] == "Hello!" and tag == "m:tuned"]
    assert asked[0][0] == [{"role": "user", "content": "Hello!"}]
    assert [(o["num_predict"], o["temperature"]) for _, o in asked] == [(200, 0.0)] + [(200, 0.6)] * 4
    assert len({o["seed"] for _, o in asked[1:]}) == 4
    assert sum("Japan" in m[-1]["content"] for _, m, _ in client.asked) == 2 * (1 + 8)
    found = facts["everyday"]
    assert (found["n"], found["facts"], found["changed"]) == (40, 14, 2 / 40)
    assert found["base"] == {"degenerate": 0, "facts_right": 3}  # the Red Planet, the planet and Japan
    assert found["tuned"] == {"degenerate": 1, "facts_right": 2}
    assert (found["facts_lost"], found["facts_gained"]) == (["japan"], [])
    sampled = found["sampled"]
    assert (sampled["answers"], sampled["facts"]) == (26 * 4 + 14 * 8, 14)
    assert [sampled[role]["degenerate"]["value"] for role in ("base", "tuned")] == [0, 1 / 40]
    assert [sampled[role]["facts_right"] for role in ("base", "tuned")] == [3, 2]
    assert sampled["facts_by_id"] == {"japan": [8, 0, 8]}
    assert sampled["degenerate_by_id"] == {"hello": [0, 4, 4]}
    assert sampled["p_facts"] == pytest.approx(1 / 12870)  # one of C(16, 8)
    assert facts["problems_found"][-1] == (
        "2.0 of 14 everyday facts are right in the mean, 3.0 were (may lose 0 beyond noise, p 7.8e-05):"
        " japan 8 -> 0 of 8"
    )
    names = ["base", "everyday-base", "everyday-sampled-base", "tuned", "everyday-tuned", "everyday-sampled-tuned"]
    assert [path.stem for path in outputs] == names
    row = {row["id"]: row for row in files.read_jsonl(outputs[4])}["hello"]
    assert {key: row[key] for key in ("kind", "degenerate", "fact_right", "finish_reason", "tokens")} == {
        "kind": "greeting", "degenerate": "bare number", "fact_right": None, "finish_reason": "stop", "tokens": 3,
    }  # fmt: skip


def everyday_rows(right=(), fallen=(), samples=4):
    """Rows of forty prompts, the first fourteen facts; `right` and `fallen` say of how many answers, by place."""
    return [
        {"id": f"p{at}", "completion": "", "degenerate": "repeats" if sample < dict(fallen).get(at, 0) else None,
         "fact_right": sample < dict(right).get(at, samples) if at < 14 else None}
        for at in range(40) for sample in range(samples)
    ]  # fmt: skip


def found_in(tuned, base=None, greedy=0, **overrides):
    sides = {"base": base or everyday_rows(), "tuned": tuned}
    one = {"base": everyday_rows(samples=1), "tuned": everyday_rows(fallen={at: 1 for at in range(greedy)}, samples=1)}
    settings, _ = config.resolve("pocket", overrides)
    figures = {**evaluate.compare_everyday(**one), "sampled": evaluate.compare_sampled(**sides)}
    return evaluate.forgotten(settings, figures)


def test_eight_degenerate_answers_of_160_are_borne_a_ninth_is_not():
    assert found_in(everyday_rows(fallen={0: 4, 20: 4})) == []
    (found,) = found_in(everyday_rows(fallen={0: 4, 20: 4, 21: 1}))
    assert found == (
        "5.6% of 160 sampled everyday answers are empty, repeat themselves or are a bare number (base 0.0%, limit 5.0%)"
    )


def test_each_prompt_counts_once_however_often_it_was_asked():
    rows = [row for row in everyday_rows(fallen={0: 8, 20: 8}, samples=8) if row["id"] in ("p0", "p20")]
    rows += [row for row in everyday_rows() if row["id"] not in ("p0", "p20")]
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
def test_the_detector_takes_no_long_time(text, quick):
    quick(1, evaluate.degenerate, text)


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
    text = (resources.files("reasoner.problems") / "everyday.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_forty_prompts_to_ask_sixteen_to_track_and_the_rest_to_keep(everyday):
    assert [row["use"] for row in everyday] == ["eval"] * 40 + ["probe"] * 16 + ["keep"] * 96
    for key in ("id", "prompt"):
        assert len({row[key] for row in everyday}) == len(everyday)
    assert {row["kind"] for row in everyday if row["use"] == "eval"} == {
        "fact", "greeting", "short text", "list", "rewrite", "advice", "refusal", "code", "definition", "translation",
    }  # fmt: skip
    assert {key for row in everyday for key in row} == {"id", "use", "kind", "prompt", "expect", "number_ok"}
    assert [prompt.row() for prompt in everyday_prompts("eval")] == everyday[:40]
    assert [prompt.row() for prompt in everyday_prompts("probe")] == everyday[40:56]
    assert [prompt.row() for prompt in everyday_prompts("keep")] == everyday[56:]


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


# -- completions on disk -------------------------------------------------------------------------


class Scripted:
    """An engine that says what it is told, counts what it is asked, and breaks off where it is told to."""

    name, model = "scripted", "m"

    def __init__(self, digest="sha256:a", text="#### 1", break_after=None):
        self.facts = {"digest": digest, "versions": {}, "num_ctx": 512}
        self.text, self.break_after, self.asked = text, break_after, []

    def prompt_ids(self, messages):
        return list(range(9))

    def complete(self, prompts, sampling, arrived):
        for index in reversed(range(len(prompts))):
            if self.break_after is not None and len(self.asked) == self.break_after:
                raise KeyboardInterrupt
            self.asked.append(prompts[index])
            arrived(index, engines.Answer(self.text, "stop", 3, 9))

    def close(self):
        pass


PROBLEMS = [Problem(f"p{i}", f"What is {i} + 0?", f"#### {i}") for i in range(6)]
GREEDY = engines.Sampling(32)


@pytest.fixture
def ask(tmp_path):
    said = []

    def ask(engine, problems=PROBLEMS, checker="number", sampling=GREEDY, **more):
        checker = registry.load(checker) if isinstance(checker, str) else checker
        return evaluate.score(engine, problems, checker, sampling, tmp_path / "c.jsonl", say=said.append, **more)

    ask.path, ask.said = tmp_path / "c.jsonl", said
    return ask


def test_an_interrupted_evaluation_asks_only_for_what_is_missing(ask):
    with pytest.raises(KeyboardInterrupt):
        ask(Scripted(break_after=4))
    assert len(files.read_jsonl(ask.path)) == 4
    seen = []
    again = Scripted()
    rows = ask(again, progress=lambda done, total: seen.append((done, total)))
    assert [prompt.messages[-1]["content"] for prompt in again.asked] == ["What is 1 + 0?", "What is 0 + 0?"]
    assert seen == [(5, 6), (6, 6)]
    assert [row["problem_id"] for row in rows] == [problem.id for problem in PROBLEMS]
    assert rows == files.read_jsonl(ask.path)
    assert [row["verdict"] for row in rows] == ["wrong", "right", *4 * ["wrong"]]
    third = Scripted()
    assert ask(third) == rows and third.asked == []


def test_a_file_cut_anywhere_loses_only_the_line_that_was_cut(ask):
    rows = ask(Scripted())
    whole = ask.path.read_bytes()
    for end in range(0, len(whole), 61):
        ask.path.write_bytes(whole[:end])
        again = Scripted()
        assert ask(again) == rows
        assert len(again.asked) == len(rows) - whole[:end].count(b"\n")
        assert ask.path.read_bytes() == whole


def test_a_line_that_stands_twice_counts_once(ask):
    rows = ask(Scripted())
    first = ask.path.read_bytes().split(b"\n")[0]
    ask.path.write_bytes(ask.path.read_bytes() + first + b"\n\nno json\n")
    assert ask(Scripted()) == rows
    assert files.read_jsonl(ask.path) == rows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"engine": Scripted(digest="sha256:b")}, "model"),
        ({"sampling": engines.Sampling(32, stops=("x",))}, "sampling"),
        ({"system": "Be brief."}, "system"),
        ({"problems": PROBLEMS[:3]}, "problems"),
        ({"seed": 1}, "seed"),
    ],
)
def test_completions_of_another_question_are_not_taken(ask, change, says):
    ask(Scripted())
    engine = change.pop("engine", Scripted())
    rows = ask(engine, **change)
    assert len(engine.asked) == len(rows)
    assert ask.said == [f"c.jsonl answers another question ({says}): begun anew"]


def test_another_verifier_judges_again_what_is_there(ask):
    checker = registry.load("number")
    ask(Scripted())

    def all_right(completion, answer):
        return Score("right", extracted=completion)

    other = registry.Verifier("number", "next", all_right)
    engine = Scripted()
    rows = ask(engine, checker=other)
    assert engine.asked == []
    assert {(row["verdict"], row["verifier"]["version"]) for row in rows} == {("right", "next")}
    assert rows == files.read_jsonl(ask.path)
    assert ask.said == ["c.jsonl: 6 completions are judged again by number next"]
    assert {row["verifier"]["version"] for row in ask(Scripted(), checker=checker)} == {checker.version}


def test_a_verifier_that_waits_for_others_judges_after_the_asking(ask):
    asked = []

    def slow(completion, answer):
        asked.append(len(files.read_jsonl(ask.path)))
        return Score("right")

    rows = ask(Scripted(), checker=registry.Verifier("slow", "1", slow, is_parallel=True))
    assert asked == 6 * [6]
    assert {row["verdict"] for row in rows} == {"right"} and files.read_jsonl(ask.path) == rows


def test_more_samples_ask_for_the_new_ones_and_each_has_a_seed_of_its_own(ask):
    hot = engines.Sampling(32, temperature=1.0)
    ask(Scripted(), sampling=hot, samples=2)
    engine = Scripted()
    rows = ask(engine, sampling=hot, samples=3)
    assert len(engine.asked) == 6
    assert [(row["problem_id"], row["sample"]) for row in rows[:4]] == [("p0", 0), ("p0", 1), ("p0", 2), ("p1", 0)]
    seeds = [row["seed"] for row in rows]
    assert len(set(seeds)) == len(seeds) == 18 and all(0 <= seed < 2**31 for seed in seeds)


def test_a_completion_that_the_engine_would_not_make_is_unscored(ask):
    class Short(Scripted):
        def complete(self, prompts, sampling, arrived):
            for index in range(len(prompts)):
                arrived(index, engines.Answer("", "unanswered", 0, 900, why="too long"))

    rows = ask(Short())
    assert {(row["verdict"], row["why"]) for row in rows} == {("unscored", "the engine gave no answer: too long")}


def test_ids_must_tell_problems_apart(ask):
    with pytest.raises(ReasonerError, match="two problems have the id 'p0'") as caught:
        ask(Scripted(), problems=[*PROBLEMS, PROBLEMS[0]])
    assert caught.value.code == USAGE


def test_half_a_character_from_a_server_is_no_end(ask):
    rows = ask(Scripted(text="\ud83d\n#### 1"))
    assert files.read_jsonl(ask.path) == rows and rows[1]["verdict"] == "right"


# -- answers of another run ----------------------------------------------------------------------


@pytest.fixture
def of_run():
    """Scores in a run's own file, as the stage does, and keeps what is said."""

    def of_run(name, engine, problems=PROBLEMS, checker="number", **more):
        of_run.said.clear()
        checker = registry.load(checker) if isinstance(checker, str) else checker
        path = runs.runs_dir() / name / "completions" / "base.jsonl"
        rows = evaluate.score(engine, problems, checker, GREEDY, path, say=of_run.said.append, **more)
        assert rows == files.read_jsonl(path)
        return rows, evaluate.look(engine, problems, path)

    of_run.said = []
    return of_run


def test_a_base_that_another_run_asked_is_not_asked_again_and_it_stays_one_look(of_run):
    first, look = of_run("a", Scripted(), note={"model": "reasoner:base"})
    (runs.runs_dir() / "latest").symlink_to("a")
    engine, seen = Scripted(), []
    second, again = of_run("b", engine, note={"model": "s1:base"}, progress=lambda *done: seen.append(done))
    assert engine.asked == [] and seen[-1] == (6, 6)
    assert second == [{**row, "model": "s1:base"} for row in first]
    assert (look, again) == (1, 1)
    assert of_run.said == ["base.jsonl: 6 completions of run a: the same model file, problems and sampling"]
    assert files.read_json(runs.runs_dir() / "b" / "completions" / "base.key.json")["from"] == "a"


def test_what_another_run_was_answered_is_judged_by_the_verifier_of_today(of_run):
    of_run("a", Scripted())
    today = registry.Verifier("number", "next", lambda completion, answer: Score("right"))
    rows, _ = of_run("b", Scripted(), checker=today)
    assert {(row["verdict"], row["verifier"]["version"]) for row in rows} == {("right", "next")}
    assert len(of_run.said) == 1, "judged once, not judged and judged again"


@pytest.mark.parametrize("how", ["model", "problems", "cut", "unanswered", "no key", "no field", "CPU"])
def test_answers_of_another_run_that_are_not_all_of_this_are_not_taken(of_run, how, monkeypatch):
    of_run("a", Scripted())
    path = runs.runs_dir() / "a" / "completions" / "base.jsonl"
    rows = files.read_jsonl(path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "no key":
        path.with_name("base.key.json").unlink()
    elif how == "CPU":
        monkeypatch.setattr(cache, "machine_key", lambda: "another")
    elif how in ("unanswered", "no field"):
        rows[2].update({"finish_reason": "unanswered"}) if how == "unanswered" else rows[2].pop("finish_reason")
        path.unlink()
        files.append_jsonl(path, rows)
    engine = Scripted(digest="sha256:b") if how == "model" else Scripted()
    made, _ = of_run("b", engine, problems=PROBLEMS[:4] if how == "problems" else PROBLEMS)
    assert len(engine.asked) == len(made) and of_run.said == []


def test_a_run_with_answers_of_its_own_keeps_them(of_run):
    of_run("a", Scripted(text="#### 2"))
    with pytest.raises(KeyboardInterrupt):
        of_run("b", Scripted(digest="sha256:b", break_after=4))
    engine = Scripted(digest="sha256:b")
    of_run("b", engine)
    assert len(engine.asked) == 2


def test_the_stage_does_not_ask_the_base_again_for_another_seed():
    def scored(name, seed, tuned):
        found, _ = config.resolve("pocket", {"eval.num_problems": "5", "train.seed": seed, "eval.everyday": "true"})
        client = Client(lambda tag, question: ("#### 1", "stop"))
        models = {"base": "m:base", "tuned": tuned}
        _, facts = evaluate.run(found, runs.new(name), client, models, [], lambda *_: None)
        return [sum(asked == tag for asked, *_ in client.asked) for tag in ("m:base", tuned)], facts["taken"]

    assert scored("a", "0", "m:tuned") == ([261, 261], {})
    taken = dict.fromkeys(("base", "everyday-base", "everyday-sampled-base"), "a")
    assert scored("b", "1", "m:other") == ([0, 261], taken)


# -- looks ---------------------------------------------------------------------------------------


def test_a_second_look_at_a_test_split_is_known_and_a_resumed_one_is_none(ask):
    def look(engine, problems=PROBLEMS):
        ask(engine, problems=problems)
        return evaluate.look(engine, problems, ask.path)

    assert look(Scripted(), PROBLEMS[:4]) == 1
    assert look(Scripted(), PROBLEMS[:4]) == 1
    ask.path.unlink()
    assert look(Scripted(), PROBLEMS[:4]) == 2
    assert look(Scripted(digest="sha256:b"), PROBLEMS[:4]) == 1
    assert look(Scripted(), PROBLEMS[4:]) == 1, "no problem of these was asked before"
    assert look(Scripted()) == 4, "all three looks so far were at some of these"
    assert len(files.read_json(runs.runs_dir() / "looks.json")) == 2


def test_the_stage_counts_looks_but_not_at_dev(scored):
    def answers(tag, question):
        return f"#### {reference(question)}", "stop"

    assert scored(answers)[2]["looks"] == {"held-out": {"base": 1, "tuned": 1}}
    found, _ = config.resolve("pocket", {"eval.num_problems": "5", "eval.split": "dev"})
    models = {"base": "m:base", "tuned": "m:tuned"}
    client = Client(lambda *_: ("#### 1", "stop"))
    _, facts = evaluate.run(found, runs.new("dev"), client, models, [], lambda *_: None)
    assert facts["looks"] == {}


def test_without_the_system_message_the_main_set_is_asked_again(scored):
    def answers(tag, question):
        right = "no-system" not in tag or tag.startswith("m:tuned")
        return (f"#### {reference(question)}" if right else "#### 0"), "stop"

    client, outputs, facts = scored(answers, **{"data.system": "End with #### and the number."})
    bare = [messages for tag, messages, _ in client.asked if "no-system" in tag]
    assert len(bare) == 40 and {len(messages) for messages in bare} == {1}
    assert {messages[0]["role"] for tag, messages, _ in client.asked if "no-system" not in tag} == {"system"}
    tags = ("m:base-no-system", "m:tuned-no-system")
    stops = {"stop": ["<|end|>"]}
    assert client.made == [made for tag in tags for made in (("create", tag, 64 * "a", stops), ("delete", tag))]
    assert not register.has_registered()
    assert facts["no_system"]["lift"]["points"] == 100 and facts["lift"]["points"] == 0
    assert [path.name for path in outputs] == ["base.jsonl", "no-system-base.jsonl", "tuned.jsonl",
                                               "no-system-tuned.jsonl"]  # fmt: skip
    assert "no_system" not in scored(answers)[2]


@pytest.mark.parametrize("when", ["create", "chat"])
def test_a_passing_tag_that_a_kill_left_is_known_to_uninstall(scored, when):
    class Killed(BaseException):
        pass

    there = {"m:base", "m:tuned"}

    class Server(Client):
        def digest(self, tag):
            return f"sha256:{tag}" if tag in there else None

        def show(self, tag):
            return {"modelfile": f"FROM /blobs/sha256-{64 * 'a'}"}

        def create(self, tag, file, sha256, parameters=None):
            there.add(tag)
            if when == "create":
                raise Killed

        def chat(self, tag, messages, options, **more):
            if "no-system" in tag:
                self.delete = killed_again
                raise Killed
            return super().chat(tag, messages, options, **more)

        def delete(self, tag):
            there.remove(tag)
            return True

    def killed_again(tag):
        raise Killed

    found, _ = config.resolve("pocket", {"eval.num_problems": "2", "data.system": "Be brief."})
    client = Server(lambda *_: ("#### 1", "stop"))
    with pytest.raises(Killed):
        evaluate.run(found, runs.new("cut"), client, {"base": "m:base", "tuned": "m:tuned"}, [], lambda *_: None)
    assert "m:base-no-system" in there
    assert register.remove_all(Server(None)) == ["m:base-no-system"]
    assert there == {"m:base", "m:tuned"} and not register.has_registered()


def test_a_gate_does_not_ask_without_the_system_message():
    client = Client(lambda *_: ("#### 1", "stop"))
    found, _ = config.resolve("pocket", {"eval.num_problems": "2", "data.system": "Be brief."})
    models = {"base": "m:base", "tuned": "m:tuned"}
    _, facts = evaluate.run(found, runs.new("gate"), client, models, [], lambda *_: None, is_final=False)
    assert "no_system" not in facts and client.made == []


def test_the_lift_stands_by_the_lenient_rule_too(scored):
    """A base that knows the answers and not the format: its whole lift is the format's."""

    def answers(tag, question):
        right = reference(question)
        return (f"So there are {right}." if tag == "m:base" else f"#### {right}"), "stop"

    _, _, facts = scored(answers)
    assert (facts["lift"]["points"], facts["lenient"]["lift"]["points"]) == (100, 0)
    assert (
        facts["lenient"]["base"]["pass_at_1"] == 1 and facts["lenient"]["base"]["verifier"]["name"] == "number-lenient"
    )
    assert facts["strict_lift"]["points"] == 100


class Tokenizer:
    def convert_ids_to_tokens(self, token):
        return str(token)


# -- any model -----------------------------------------------------------------------------------


@pytest.fixture
def one(monkeypatch):
    """`evaluate.one` of a scripted engine; the keywords that it was opened with are in `one.opened`."""

    def opened(model, engine, **more):
        one.opened = {"model": model, "engine": engine, **more}
        return one.engine

    monkeypatch.setattr(engines, "open_engine", opened)

    def one(*given, **more):
        return evaluate.one(*given, **more)

    one.engine = Scripted()
    return one


def own_file(folder, n=8):
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(n)))
    return path


def test_every_row_of_an_own_file_is_asked_and_the_result_is_kept(one, tmp_path):
    value = one("m:tag", str(own_file(tmp_path)))
    assert (value["n"], value["split"], value["right"], value["look"]) == (8, "all", 1, 1)
    folder = Path(value["completions"]).parent
    assert folder.parent == tmp_path / "runs" / "evals"
    assert files.read_json(folder / "result.json") == value
    assert value["verifier"]["name"] == "number" and value["detectable"] > 0
    text = "\n".join(evaluate.lines(value))
    assert "12.5 % [" in text and "1 of 8 completions right" in text and "points to be told" in text
    one("m:tag", str(tmp_path / "mine.jsonl"))
    assert len(one.engine.asked) == 8, "nothing is asked twice"


def test_strict_and_lenient_stand_side_by_side(one, tmp_path):
    one.engine = Scripted(text="Amir has 0 + 1 = 1 marker.")
    value = one("m:tag", str(own_file(tmp_path)))
    assert value["right"] == 0 and value["lenient"]["right"] == 1
    assert "lenient 12.5 %" in "\n".join(evaluate.lines(value))


def test_several_samples_give_pass_and_maj_at_k(one, tmp_path):
    value = one("m:tag", str(own_file(tmp_path)), samples=4, temperature=0.7)
    assert value["pass_at_k"]["4"]["value"] == value["maj_at_k"]["4"]["value"] == 1 / 8
    assert "maj@4" in "\n".join(evaluate.lines(value))
    with pytest.raises(ReasonerError, match="all the same") as caught:
        one("m:tag", str(own_file(tmp_path)), samples=4)
    assert caught.value.code == USAGE


def test_a_second_look_is_labelled(one, tmp_path):
    first = one("m:tag", "wordproblems", num=5)
    second = one("m:tag", "wordproblems", num=5, out=tmp_path / "elsewhere")
    assert (first["look"], second["look"]) == (1, 2)
    assert "look 2 at problems of this test split" in "\n".join(evaluate.lines(second))
    assert "look" not in "\n".join(evaluate.lines(first)).split("kept")[0]
    assert one("m:tag", "wordproblems", num=5, split="dev")["look"] is None


def test_a_run_brings_its_problems_verifier_and_tag(one, tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "load_tokenizer", lambda folder: Tokenizer())
    monkeypatch.setattr(locate, "prompt_ids", lambda tokenizer, chat: list(range(9)))
    found, origin = config.resolve(
        "pocket", {"eval.num_problems": "4", "data.num_train": "50", "data.system": "Be brief."}
    )
    run = runs.new("mine")
    files.write_text(run.config_path, config.dump(found, origin))
    (run.path / "base" / "model").mkdir(parents=True)
    with pytest.raises(ReasonerError, match="no model in Ollama yet"):
        one("mine", None)
    record = runs.Record("x", {}, {}, {}, {}, {"tuned": {"tag": "m:step"}, "special_tokens": ["<|end|>"]}, 0.0, "")
    runs.write_record(run.export_dir(found.train.steps) / "register.json", record)
    runs.write_record(run.path / "base.json", record)
    record = dataclasses.replace(record, outputs={"exports/model.Q8_0.gguf": runs.Output("a", 1, 1)})
    runs.write_record(run.export_dir(found.train.steps) / "gguf.json", record)
    value = one("mine", None)
    assert (value["n"], value["split"], value["system"]) == (4, "test", "Be brief.")
    assert one.opened["model"] == "m:step" and one.opened["num_ctx"] == found.serve.num_ctx
    one("mine", None, engine="llama.cpp")
    assert one.opened["model"].endswith("model.Q8_0.gguf")
    assert one("mine", None, split="dev", num=3)["n"] == 3
    shared = value["overlap"]
    assert (shared["train"], shared["exact"], shared["held_out"]) == (found.data.num_train, 0, 4)
    copied = tmp_path / "copied.jsonl"
    trained = load.training(found)[0]
    copied.write_text(json.dumps({"question": trained.question.upper(), "answer": trained.answer}) + "\n")
    assert one("mine", str(copied))["overlap"]["exact"] == 1
    assert "1 are asked here too" in "\n".join(evaluate.lines(one("mine", str(copied))))
    monkeypatch.setattr(locate, "prompt_ids", lambda tokenizer, chat: [7, *range(8)])
    with pytest.raises(ReasonerError, match="asked something else than was trained") as caught:
        one("mine", None)
    assert "at token 0" in caught.value.why


def test_prompt_ids_are_kept_and_what_is_not_known_is_a_difference(one, tmp_path):
    known = one("m:tag", str(own_file(tmp_path)))
    assert known["prompt_ids"] == {"problems": 3, "sha256": files.sha256_json(3 * [list(range(9))])}
    assert "differences" not in known["facts"]
    one.engine = Scripted(digest="sha256:b")
    one.engine.prompt_ids = lambda messages: None
    hidden = one("m:other", str(tmp_path / "mine.jsonl"))
    assert hidden["prompt_ids"] is None and "not known" in hidden["facts"]["differences"][0]
    one.engine = Scripted(digest="sha256:c")
    one.engine.prompt_ids = lambda messages: list(range(10))
    doubled = one("m:third", str(tmp_path / "mine.jsonl"))
    assert "9 prompt tokens were read, 10 expected" in doubled["facts"]["differences"][0]
    assert "difference" in "\n".join(evaluate.lines(doubled))


def test_a_person_s_own_references_choose_their_verifier(one, tmp_path):
    path = tmp_path / "boxed.jsonl"
    answers = ["\\frac{1}{2}", "x^2 + 1", "7"]
    path.write_text("".join(json.dumps({"question": f"q{a}", "answer": a}) + "\n" for a in answers))
    assert one("m:tag", str(path))["verifier"]["name"] == "math"
    assert one("m:tag", str(own_file(tmp_path)))["verifier"]["name"] == "number"


def test_no_problems_named_is_an_error_but_for_a_run(one):
    with pytest.raises(ReasonerError, match="which problems") as caught:
        one("m:tag", None)
    assert caught.value.code == USAGE


def test_a_verifier_of_another_family_is_refused(one):
    with pytest.raises(ReasonerError, match="not for the references") as caught:
        one("m:tag", "wordproblems", verifier="code", num=2)
    assert caught.value.code == USAGE
