"""The engines on the shipped base: the same ids, the same greedy texts, seeds that hold, and no completion lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from reasoner import config, files
from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.measuring import one as any_model
from reasoner.measuring.collect import Listener
from reasoner.measuring.engines import opening
from reasoner.measuring.engines.base import Limits, Prompt, Sampling
from reasoner.problems import load
from reasoner.problems.problem import Problem, messages
from reasoner.serving import tags

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp, pytest.mark.needs_ollama]

NUM = 24
GREEDY = Sampling(96)
ENDS = (signal.SIGINT, signal.SIGKILL)
HOT = Sampling(96, temperature=0.8, top_p=0.9, top_k=20, repeat_penalty=1.1)


@pytest.fixture(scope="module")
def folder():
    return locate.shipped()["pocket"]


@pytest.fixture(scope="module")
def file(pocket_file):
    return pocket_file


@pytest.fixture(scope="module")
def client(own_server):
    with own_server.client() as made:
        yield made


@pytest.fixture(scope="module")
def tag(client, file):
    """A tag whose own parameters would give other answers, were they not all overridden."""
    own = {"temperature": 1.5, "top_k": 3, "repeat_penalty": 1.8, "num_predict": 4, "num_thread": 1}
    client.create("engines:f16", file, files.sha256_file(file), parameters=own)
    return "engines:f16"


@pytest.fixture(scope="module")
def plain_tag(client, file):
    client.create("engines:plain", file, files.sha256_file(file), parameters={"num_ctx": 512, "num_thread": 1})
    return "engines:plain"


@pytest.fixture(scope="module")
def problems():
    return load.held_out(config.resolve("pocket", {"eval.num_problems": str(NUM)})[0])


def ask(model, problems, sampling=GREEDY, engine=None, concurrency=8, num_ctx=512, **more):
    """Answers in order, and the ids of the first prompts."""
    made = opening.open_engine(str(model), engine, Limits(concurrency, num_ctx, 1), **more)
    prompts = [Prompt(messages(p.question, None), 7 + i) for i, p in enumerate(problems)]
    found = {}
    made.complete(prompts, sampling, found.__setitem__)
    ids = [made.prompt_ids(prompt.messages) for prompt in prompts[:4]]
    made.close()
    return [found[index] for index in range(len(prompts))], ids


@pytest.fixture(scope="module")
def reference(folder, problems):
    return ask(folder, problems)


def same(found, reference):
    assert found[1] == reference[1]
    what = [(answer.text, answer.finish_reason, answer.tokens, answer.prompt_tokens) for answer in found[0]]
    wanted = [(answer.text, answer.finish_reason, answer.tokens, answer.prompt_tokens) for answer in reference[0]]
    assert what == wanted


def test_llama_cpp_says_what_transformers_says(file, problems, reference):
    same(ask(file, problems), reference)


def test_ollama_says_what_llama_cpp_says_whatever_its_tag_pins(client, tag, problems, reference):
    same(ask(tag, problems, client=client), reference)


def test_the_openai_endpoint_of_ollama_says_it_too(client, plain_tag, problems, reference):
    same(ask(f"{client.host.url}/v1#{plain_tag}", problems), reference)


def test_ollama_takes_no_more_options_there_and_that_is_refused(client, plain_tag, problems):
    with pytest.raises(ReasonerError, match="takes no top_k"):
        ask(f"{client.host.url}/v1#{plain_tag}", problems, HOT)


def test_neither_batch_nor_order_changes_a_text(folder, file, problems, reference):
    for model in (folder, file):
        assert [a.text for a in ask(model, problems, concurrency=1)[0]] == [a.text for a in reference[0]]


def test_a_repeat_penalty_means_the_same_everywhere(client, tag, folder, file, problems):
    sampling = Sampling(96, repeat_penalty=1.3)
    texts = [[a.text for a in ask(model, problems, sampling)[0]] for model in (folder, file)]
    texts.append([a.text for a in ask(tag, problems, sampling, client=client)[0]])
    assert texts[0] == texts[1] == texts[2]
    assert texts[0] != [a.text for a in ask(folder, problems)[0]]


@pytest.mark.parametrize("model", ["folder", "file"])
def test_a_seed_is_of_its_completion_alone(model, request, problems):
    model = request.getfixturevalue(model)
    first = [answer.text for answer in ask(model, problems, HOT)[0]]
    assert [answer.text for answer in ask(model, problems, HOT, concurrency=3)[0]] == first
    assert first != [answer.text for answer in ask(model, problems, GREEDY)[0]]


def test_engines_that_sample_draw_from_the_same_distribution(folder, file, problems):
    """Lengths and texts of 600 draws of one prompt: the share of each of the commonest first words, within 4 s.e."""
    many = [problems[0]] * 600
    counts = []
    for model in (folder, file):
        texts = [answer.text for answer in ask(model, many, Sampling(6, temperature=1.0, top_p=0.95))[0]]
        counts.append({text: texts.count(text) / 600 for text in set(texts)})
    common = [text for text, share in counts[0].items() if share > 0.03]
    assert common
    for text in common:
        p, q = counts[0][text], counts[1].get(text, 0.0)
        assert abs(p - q) < 4 * (2 * p * (1 - p) / 600) ** 0.5, text


def test_a_stop_text_ends_a_completion_everywhere(client, tag, folder, file, problems):
    sampling = Sampling(96, stops=("=", "####"))
    answers = [ask(folder, problems, sampling)[0], ask(file, problems, sampling)[0]]
    answers.append(ask(tag, problems, sampling, client=client)[0])
    for found in answers:
        assert [(a.text, a.finish_reason) for a in found] == [(a.text, a.finish_reason) for a in answers[0]]
        assert not any("#" in answer.text or "=" in answer.text for answer in found)


def test_a_completion_cut_by_length_says_so(client, tag, folder, file, problems):
    sampling = Sampling(2)
    for model, more in ((folder, {}), (file, {}), (tag, {"client": client})):
        assert {(a.finish_reason, a.tokens) for a in ask(model, problems, sampling, **more)[0]} == {("length", 2)}


def test_a_prompt_that_fits_no_context_is_no_answer(client, tag, folder, file, problems):
    long = [Problem("long", "word " * 300, "#### 1"), *problems[:2]]
    for model, more in ((folder, {}), (file, {}), (tag, {"client": client})):
        found = ask(model, long, num_ctx=256, **more)[0]
        assert [answer.finish_reason for answer in found] == ["unanswered", "stop", "stop"]
        assert found[0].why


def test_a_bos_stands_once(client, tag, folder, file, problems):
    for model, more in ((folder, {}), (file, {}), (tag, {"client": client})):
        for ids in ask(model, problems[:1], **more)[1]:
            assert ids.count(1) == 1 and ids[0] == 1


def test_an_adapter_is_applied(folder, problems, reference, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        LoraConfig(r=4, target_modules="all-linear", base_model_name_or_path=str(folder)),
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    model.save_pretrained(tmp_path / "adapter")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    for path in folder.glob("tokenizer*"):
        (tmp_path / "merged" / path.name).write_bytes(path.read_bytes())
    tuned = ask(folder, problems, adapter=tmp_path / "adapter")
    assert [a.text for a in tuned[0]] != [a.text for a in reference[0]]
    same(ask(tmp_path / "merged", problems), tuned)
    same(ask(tmp_path / "adapter", problems), tuned)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    stored = load_file(path)
    save_file({name.removeprefix("base_model.model."): tensor for name, tensor in stored.items()}, path)
    before = path.read_bytes()
    same(ask(folder, problems, adapter=tmp_path / "adapter"), tuned)  # PEFT alone would load nothing of it
    assert path.read_bytes() == before
    save_file({name: tensor for name, tensor in stored.items() if ".layers.0." not in name}, path)
    with pytest.raises(ReasonerError, match="does not fit the base") as caught:
        opening.open_engine(str(folder), adapter=tmp_path / "adapter")
    assert "of the 56 tensors" in caught.value.why and caught.value.code == 2


def test_no_engine_goes_beyond_the_context_that_the_model_was_made_for(client, plain_tag, folder, file):
    for model, more in ((folder, {}), (file, {}), (plain_tag, {"client": client})):
        made = opening.open_engine(str(model), limits=Limits(1, 4096), **more)
        made.close()
        assert made.facts["num_ctx"] == 1024


def test_reasoner_eval_finds_the_same_whatever_the_engine(client, plain_tag, folder, file, tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path))
    url = f"{client.host.url}/v1#{plain_tag}"
    options = any_model.Options("wordproblems", num=NUM, max_tokens=96)
    models = (folder, file, plain_tag, url)
    values = [files.as_json(any_model.run(str(model), options, Listener())) for model in models]
    assert [value["engine"] for value in values] == ["transformers", "llama.cpp", "ollama", "openai"]
    assert values[0]["prompt_ids"]["problems"] == 3
    for key in ("prompt_ids", "right", "scored", "truncated", "mean_tokens", "split_sha256"):
        assert [value[key] for value in values] == 4 * [values[0][key]], key
    assert [value["facts"].get("differences", []) == [] for value in values] == [True, True, True, False]


def test_a_passing_tag_has_no_system_message_and_leaves_with_its_use(client, file, tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path))
    given = {"parameters": {"stop": ["####"], "num_thread": 1}, "system": "Be brief."}
    client.create("engines:brief", file, files.sha256_file(file), **given)
    chat = [{"role": "user", "content": "1 + 1?"}]
    with tags.without_system(client, "engines:brief") as bare:
        assert client.prompt_ids(bare, chat) == locate.prompt_ids(
            locate.load_tokenizer(locate.shipped()["pocket"]), chat
        )
        assert client.prompt_ids("engines:brief", chat) != client.prompt_ids(bare, chat)
        assert client.show(bare).parameters["stop"] == ["####"]
    assert client.digest(bare) is None and not tags.has_registered()
    left = tags.without_system(client, "engines:brief")  # as a kill leaves it: never closed
    assert left.__enter__() == bare and client.digest(bare)
    assert tags.remove_all(client) == [bare]
    assert client.digest(bare) is None and client.digest("engines:brief")


class Evaluation:
    """`reasoner eval` of a file, a process of its own."""

    def __init__(self, file, runs):
        self.env = {**os.environ, "REASONER_RUNS": str(runs)}
        self.argv = [
            *(sys.executable, "-m", "reasoner", "eval", str(file), "--data", "wordproblems", "-n", "60", "-k", "4"),
            *("--temperature", "0.8", "--concurrency", "2", "--json", "--out"),
        ]

    def start(self, out):
        return subprocess.Popen([*self.argv, str(out)], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def finish(self, out):
        """What it says at its end, and its rows."""
        done = subprocess.run(
            [*self.argv, str(out)], env=self.env, capture_output=True, text=True, timeout=300, check=True
        )
        return json.loads(done.stdout), files.read_jsonl(out / "completions.jsonl")


@pytest.fixture(scope="module")
def evaluation(file, tmp_path_factory):
    return Evaluation(file, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def whole(evaluation, tmp_path_factory):
    """An evaluation that nothing ended."""
    return evaluation.finish(tmp_path_factory.mktemp("evaluation") / "whole")


@pytest.mark.parametrize(
    ("how", "times"),
    [*((how, 1) for how in ENDS), *(pytest.param(how, 5, marks=pytest.mark.long) for how in ENDS)],
)
def test_an_evaluation_killed_anywhere_loses_and_doubles_nothing(how, times, evaluation, whole, tmp_path):
    """It is ended at a random moment, again and again: its rows are those of one that nothing ended."""
    draw = random.Random(how)
    path = tmp_path / "out" / "completions.jsonl"
    kept, ended = {}, []
    for _ in range(times):
        wanted = len(kept) + draw.randrange(40)
        running = evaluation.start(tmp_path / "out")
        while running.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < wanted):
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.1))
        running.send_signal(how)
        running.communicate(timeout=60)
        ended.append(running.returncode)
        found = {(row["problem_id"], row["sample"]): row for row in files.read_jsonl(path)}
        assert len(found) >= wanted and kept.items() <= found.items()
        kept = found
    assert ended == times * [130 if how == signal.SIGINT else -signal.SIGKILL] and len(kept) < 240
    value, final = evaluation.finish(tmp_path / "out")
    assert final == whole[1]
    names = [(row["problem_id"], row["sample"]) for row in final]
    assert len(names) == len(set(names)) == value["scored"] == 240
    assert value["right"] == whole[0]["right"]
