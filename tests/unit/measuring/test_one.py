"""`reasoner eval`: any model on any problems, asked through a scripted engine."""

import json
from pathlib import Path

import pytest
from answers import Scripted

from reasoner import config, files, runs
from reasoner.bases import locate
from reasoner.errors import USAGE, ReasonerError
from reasoner.export.facts import BASE, GGUF, REGISTER, BaseFacts, GgufFacts, RegisterFacts
from reasoner.measuring import one as any_model
from reasoner.measuring import render
from reasoner.measuring.collect import Listener
from reasoner.measuring.engines import opening
from reasoner.measuring.figures import PromptIds
from reasoner.problems import load
from reasoner.serving.tags import Registered


class Tokenizer:
    def convert_ids_to_tokens(self, token):
        return str(token)


@pytest.fixture
def one(monkeypatch):
    """`one.run` of a scripted engine; the keywords that it was opened with are in `one.opened`."""

    def opened(model, engine, limits, **more):
        one.opened = {"model": model, "num_ctx": limits.num_ctx}
        return one.engine

    monkeypatch.setattr(opening, "open_engine", opened)

    def one(name, source, **more):
        return any_model.run(name, any_model.Options(source, **more), Listener())

    one.engine = Scripted()
    return one


def own_file(folder, n=8):
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(n)))
    return path


def test_every_row_of_an_own_file_is_asked_and_the_result_is_kept(one, tmp_path):
    value = one("m:tag", str(own_file(tmp_path)))
    assert (value.n, value.split, value.right, value.look) == (8, "all", 1, 1)
    folder = Path(value.completions).parent
    assert folder.parent == tmp_path / "runs" / "evals"
    assert files.read_json(folder / "result.json") == files.as_json(value)
    assert value.verifier.name == "number" and value.detectable > 0
    text = "\n".join(render.lines(value))
    assert "12.5 % [" in text and "1 of 8 completions right" in text and "points to be told" in text
    one("m:tag", str(tmp_path / "mine.jsonl"))
    assert len(one.engine.asked) == 8, "nothing is asked twice"


def test_strict_and_lenient_stand_side_by_side(one, tmp_path):
    one.engine = Scripted(text="Amir has 0 + 1 = 1 marker.")
    value = one("m:tag", str(own_file(tmp_path)))
    assert value.right == 0 and value.lenient.right == 1
    assert "lenient 12.5 %" in "\n".join(render.lines(value))


def test_several_samples_give_pass_and_maj_at_k(one, tmp_path):
    value = one("m:tag", str(own_file(tmp_path)), samples=4, temperature=0.7)
    assert value.pass_at_k["4"].value == value.maj_at_k["4"].value == 1 / 8
    assert "maj@4" in "\n".join(render.lines(value))
    with pytest.raises(ReasonerError, match="all the same") as caught:
        one("m:tag", str(own_file(tmp_path)), samples=4)
    assert caught.value.code == USAGE


def test_a_second_look_is_labelled(one, tmp_path):
    first = one("m:tag", "wordproblems", num=5)
    second = one("m:tag", "wordproblems", num=5, out=tmp_path / "elsewhere")
    assert (first.look, second.look) == (1, 2)
    assert "look 2 at problems of this test split" in "\n".join(render.lines(second))
    assert "look" not in "\n".join(render.lines(first)).split("kept")[0]
    assert one("m:tag", "wordproblems", num=5, split="dev").look is None


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
    steps, tag = found.train.steps, Registered("m:step", "sha256:a", "a", "linked", 12)
    gguf = {"architecture": "llama", "quant": "Q8_0", "bytes": 1, "tensor_types": {}}
    gguf |= dict.fromkeys(("tokenizer", "pre_tokenizer", "eos_token_id", "bos_token_id", "context_length"))
    gguf = GgufFacts(**gguf, chat_template_sha256=None)
    base = BaseFacts("pocket", "p", "llama", 1, {}, "b", ["<|end|>"], "mit", None, gguf, {}, tag)
    outputs = {"exports/model.Q8_0.gguf": runs.Output("a", 1, 1)}
    for kind, facts in ((BASE, base), (REGISTER, RegisterFacts(tag, tag, [])), (GGUF, gguf)):
        record = runs.Record(kind.name, {}, {}, {}, outputs, facts, 0.0, "")
        runs.write_record(run.record_path(kind, steps), record)
    value = one("mine", None)
    assert (value.n, value.split, value.system) == (4, "test", "Be brief.")
    assert one.opened["model"] == "m:step" and one.opened["num_ctx"] == found.serve.num_ctx
    one("mine", None, engine="llama.cpp")
    assert one.opened["model"].endswith("model.Q8_0.gguf")
    assert one("mine", None, split="dev", num=3).n == 3
    shared = value.overlap
    assert (shared.train, shared.exact, shared.held_out) == (found.data.num_train, 0, 4)
    copied = tmp_path / "copied.jsonl"
    trained = load.training(found)[0]
    copied.write_text(json.dumps({"question": trained.question.upper(), "answer": trained.answer}) + "\n")
    assert one("mine", str(copied)).overlap.exact == 1
    assert "1 are asked here too" in "\n".join(render.lines(one("mine", str(copied))))
    monkeypatch.setattr(locate, "prompt_ids", lambda tokenizer, chat: [7, *range(8)])
    with pytest.raises(ReasonerError, match="asked something else than was trained") as caught:
        one("mine", None)
    assert "at token 0" in caught.value.why


def test_prompt_ids_are_kept_and_what_is_not_known_is_a_difference(one, tmp_path):
    known = one("m:tag", str(own_file(tmp_path)))
    assert known.prompt_ids == PromptIds(problems=3, sha256=files.sha256_json(3 * [list(range(9))]))
    assert "differences" not in known.facts
    one.engine = Scripted(digest="sha256:b")
    one.engine.prompt_ids = lambda messages: None
    hidden = one("m:other", str(tmp_path / "mine.jsonl"))
    assert hidden.prompt_ids is None and "not known" in hidden.facts["differences"][0]
    one.engine = Scripted(digest="sha256:c")
    one.engine.prompt_ids = lambda messages: list(range(10))
    doubled = one("m:third", str(tmp_path / "mine.jsonl"))
    assert "9 prompt tokens were read, 10 expected" in doubled.facts["differences"][0]
    assert "difference" in "\n".join(render.lines(doubled))


def test_a_person_s_own_references_choose_their_verifier(one, tmp_path):
    path = tmp_path / "boxed.jsonl"
    answers = ["\\frac{1}{2}", "x^2 + 1", "7"]
    path.write_text("".join(json.dumps({"question": f"q{a}", "answer": a}) + "\n" for a in answers))
    assert one("m:tag", str(path)).verifier.name == "math"
    assert one("m:tag", str(own_file(tmp_path))).verifier.name == "number"


def test_no_problems_named_is_an_error_but_for_a_run(one):
    with pytest.raises(ReasonerError, match="which problems") as caught:
        one("m:tag", None)
    assert caught.value.code == USAGE


def test_a_verifier_of_another_family_is_refused(one):
    with pytest.raises(ReasonerError, match="not for the references") as caught:
        one("m:tag", "wordproblems", verifier="code", num=2)
    assert caught.value.code == USAGE
