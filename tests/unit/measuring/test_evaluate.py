"""The `evaluate` stage on completions that a stand-in server hands out: what is asked, scored and written."""

import json
import re
import threading
import time

import pytest
from fake_ollama import FakeOllama

from reasoner import config, files, runs
from reasoner.errors import ReasonerError
from reasoner.machine import cache
from reasoner.measuring import evaluate
from reasoner.measuring.collect import Listener
from reasoner.problems import load
from reasoner.problems.problem import split_sha256
from reasoner.serving import tags
from reasoner.verifiers import registry


class Server(FakeOllama):
    """Answers chats from a table of (text, done_reason) by tag, and keeps what it was asked and what was made."""

    def __init__(self, answers):
        super().__init__()
        blob = cache.cache_dir() / "blobs" / f"sha256-{64 * 'a'}"
        files.write_text(blob, "GGUF")
        self.blobs[64 * "a"] = b"GGUF"
        for tag in ("m:base", "m:tuned", "m:other"):
            self.put(tag, f"sha256:{tag}", modelfile=f"FROM {blob}", parameters={"stop": ["<|end|>"]})
        self.asked = []

        def answer(tag, messages, options):
            self.asked.append((tag, messages, options))
            return answers(tag, messages[-1]["content"])

        self.answer = answer

    @property
    def made(self):
        found = []
        for request in self.seen:
            body = request.body
            if request.what == "POST /api/create":
                (digest,) = body["files"].values()
                found.append(("create", body["model"], digest.removeprefix("sha256:"), body.get("parameters")))
            elif request.what == "DELETE /api/delete":
                found.append(("delete", body["model"]))
        return found


def run(found, folder, server, tuned="m:tuned", special=(), progress=lambda *_: None, **more):
    """The stage's outputs, and its facts as they are written."""
    models = evaluate.Tags("m:base", tuned, special)
    outputs, facts = evaluate.run(found, folder, server.quick_client(), models, Listener(progress=progress), **more)
    return outputs, files.as_json(facts)


@pytest.fixture
def scored(tmp_path):
    def score(answers, problems=20, progress=lambda *_: None, **overrides):
        found, _ = config.resolve("pocket", {"eval.num_problems": str(problems), **overrides})
        client = Server(answers)
        outputs, facts = run(found, tmp_path, client, special=["<|end|>"], progress=progress)
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
    hello = {tag: [(m, o) for one, m, o in client.asked if one == tag and m[-1]["content"] == "Hello!"]
             for tag in ("m:base", "m:tuned")}  # fmt: skip
    for found in hello.values():  # several are out at once, so their order is chance
        found.sort(key=lambda one: (one[1]["temperature"], one[1]["seed"]))
    asked = hello["m:base"]
    assert asked == hello["m:tuned"]
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


def test_the_stage_does_not_ask_the_base_again_for_another_seed():
    def scored(name, seed, tuned):
        found, _ = config.resolve("pocket", {"eval.num_problems": "5", "train.seed": seed, "eval.everyday": "true"})
        client = Server(lambda tag, question: ("#### 1", "stop"))
        _, facts = run(found, runs.new(name).path, client, tuned)
        return [sum(asked == tag for asked, *_ in client.asked) for tag in ("m:base", tuned)], facts["taken"]

    assert scored("a", "0", "m:tuned") == ([261, 261], {})
    taken = dict.fromkeys(("base", "everyday-base", "everyday-sampled-base"), "a")
    assert scored("b", "1", "m:other") == ([0, 261], taken)


def test_the_stage_counts_looks_but_not_at_dev(scored):
    def answers(tag, question):
        return f"#### {reference(question)}", "stop"

    assert scored(answers)[2]["looks"] == {"held-out": {"base": 1, "tuned": 1}}
    found, _ = config.resolve("pocket", {"eval.num_problems": "5", "eval.split": "dev"})
    client = Server(lambda *_: ("#### 1", "stop"))
    _, facts = run(found, runs.new("dev").path, client)
    assert facts["looks"] == {}


def test_without_the_system_message_the_main_set_is_asked_again(scored):
    def answers(tag, question):
        right = "no-system" not in tag or tag.startswith("m:tuned")
        return (f"#### {reference(question)}" if right else "#### 0"), "stop"

    client, outputs, facts = scored(answers, **{"data.system": "End with #### and the number."})
    bare = [messages for tag, messages, _ in client.asked if "no-system" in tag]
    assert len(bare) == 40 and {len(messages) for messages in bare} == {1}
    assert {messages[0]["role"] for tag, messages, _ in client.asked if "no-system" not in tag} == {"system"}
    bare_tags = ("m:base-no-system", "m:tuned-no-system")
    stops = {"stop": ["<|end|>"]}
    assert client.made == [made for tag in bare_tags for made in (("create", tag, 64 * "a", stops), ("delete", tag))]
    assert not tags.has_registered()
    assert facts["no_system"]["lift"]["points"] == 100 and facts["lift"]["points"] == 0
    assert [path.name for path in outputs] == ["base.jsonl", "no-system-base.jsonl", "tuned.jsonl",
                                               "no-system-tuned.jsonl"]  # fmt: skip
    assert "no_system" not in scored(answers)[2]


@pytest.mark.parametrize("when", ["create", "chat"])
def test_a_passing_tag_that_a_kill_left_is_known_to_uninstall(scored, when):
    class Killed(BaseException):
        pass

    def killed(request=None):
        raise Killed

    def create(request):
        client._create(request.body)
        killed()

    def answers(tag, question):
        if "no-system" in tag:
            client.faults["DELETE /api/delete"] = killed
            killed()
        return "#### 1", "stop"

    found, _ = config.resolve("pocket", {"eval.num_problems": "2", "data.system": "Be brief."})
    client = Server(answers)
    if when == "create":
        client.faults["POST /api/create"] = create
    with pytest.raises(Killed):
        run(found, runs.new("cut").path, client)
    assert "m:base-no-system" in client.tags
    client.faults.clear()
    assert tags.remove_all(client.quick_client()) == ["m:base-no-system"]
    assert set(client.tags) == {"m:base", "m:tuned", "m:other"} and not tags.has_registered()


def test_a_gate_does_not_ask_without_the_system_message():
    client = Server(lambda *_: ("#### 1", "stop"))
    found, _ = config.resolve("pocket", {"eval.num_problems": "2", "data.system": "Be brief."})
    _, facts = run(found, runs.new("gate").path, client, is_final=False)
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
