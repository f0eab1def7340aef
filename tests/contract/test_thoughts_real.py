"""Thoughts through a real Ollama: the prompt is the trainer's whatever is sent, and the completion is whole again."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from reasoner import files
from reasoner.bases import locate, templates
from reasoner.export import merge
from reasoner.llamacpp import quantize
from reasoner.measuring.engines import opening
from reasoner.measuring.engines.base import Limits, Prompt, Sampling
from reasoner.verifiers.committed import committed

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp, pytest.mark.needs_ollama]

CHAT = [{"role": "user", "content": "1 + 2?"}]
TURNS = (
    "{{- bos_token }}{%- for message in messages %}{%- if message.role == 'assistant' %}THEIRS"
    "{%- else %}{{- '<|' + message.role + '|>' + message.content + '<|end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}BEGIN{%- endif %}"
)
KNOWN = (
    "{%- set thought = message.reasoning_content if message.reasoning_content is string else '' %}"
    "{{- '<|assistant|><think>\n' + thought + '\n</think>\n\n' + message.content + '<|end|>' }}"
)
"""From how a template writes the model's thoughts the server learns to take them out of an answer."""
PLAIN = "{{- '<|assistant|>' + message.content + '<|end|>' }}"
TAGGED = "{{- '<|assistant|>' }}{% generation %}{{- message.content + '<|end|>' }}{% endgeneration %}"
SWITCH = "{%- if enable_thinking %}{{- '<think>\n' }}{%- else %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
ON_BY_ITSELF = "{%- if enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
ALWAYS = "{{- '<think>\n' }}"
OPEN, CLOSED = "<think>\n", "<think>\n\n</think>\n\n"

ASKED = {  # template of the model's turns, what begins one, data.think, the prompt's end, what is sent
    "switch, off by itself": (KNOWN, SWITCH, None, CLOSED, False),
    "switch, set on": (KNOWN, SWITCH, True, OPEN, True),
    "switch, on, not understood": (PLAIN, SWITCH, True, OPEN, True),
    "on by itself": (KNOWN, "{%- if enable_thinking is defined %}" + ON_BY_ITSELF + "{%- endif %}", None, "", True),
    "always": (KNOWN, ALWAYS, None, OPEN, True),
    "always, not understood": (PLAIN, ALWAYS, None, OPEN, None),
    "generation tags": (TAGGED, "", None, "", None),
}
THOUGHT = ["<think>", "1", "+", "2", "=", "3", "</think>", "#", "7", "<|end|>"]
EMPTY, NEVER_CLOSED = ["<think>", "</think>", "#", "7", "<|end|>"], ["<think>", "1", "+", "2", "7", "<|end|>"]


def says(folder, tokens):
    """Makes the model of a folder say these tokens in turn, whatever it is asked: no layer adds anything."""
    tokenizer = locate.load_tokenizer(folder)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in tokens]
    assert len(set(ids)) == len(ids) and tokenizer.unk_token_id not in ids
    path = folder / "model.safetensors"
    weights = {name: value.float() for name, value in load_file(path).items()}
    torch.manual_seed(0)
    size = len(tokenizer)
    embedded = torch.nn.functional.normalize(torch.randn(size, weights["model.embed_tokens.weight"].shape[1]), dim=1)
    head = torch.zeros_like(embedded)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
    starts = [tokenizer.convert_tokens_to_ids("<|assistant|>"), *ids]
    for before, after in zip(starts, ids, strict=False):
        head[after] += 30 * embedded[before]
    head[ids[1]] += 30 * embedded[newline]  # inside a thought that the prompt has begun
    for name in weights:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weights[name].zero_()
    weights |= {"model.embed_tokens.weight": embedded, "lm_head.weight": head}
    save_file({name: value.to(torch.float16) for name, value in weights.items()}, path, metadata={"format": "pt"})


def make(folder, turns, begin, tokens):
    shutil.copytree(locate.shipped()["pocket"], folder)
    settings = files.read_json(folder / "tokenizer_config.json")
    settings["chat_template"] = TURNS.replace("THEIRS", turns).replace("BEGIN", begin)
    for number, tag in ((768, "<think>"), (769, "</think>")):
        settings["added_tokens_decoder"][str(number)] = {
            **settings["added_tokens_decoder"]["0"], "content": tag, "special": False,
        }  # fmt: skip
    files.write_json(folder / "tokenizer_config.json", settings)
    config = json.loads((folder / "config.json").read_text())
    changed = {"vocab_size": 770, "tie_word_embeddings": False, "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    says(folder, tokens)
    return folder


@pytest.fixture(scope="module")
def client(own_server):
    with own_server.client() as made:
        yield made


@pytest.fixture
def export(tmp_path, client):
    """`export(turns, begin, think, tokens)`: the base, our copy of it, its file and its tag."""

    def export(turns, begin, think, tokens):
        base = make(tmp_path / "base", turns, begin, tokens)
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("model.safetensors", "config.json", "generation_config.json"):
            (copy / name).symlink_to(base / name)
        tokenizer = locate.load_tokenizer(base, think)
        merge.save_tokenizer(base, copy, tokenizer)
        gguf = tmp_path / "model.gguf"
        quantize.run(copy, gguf, "F16", tmp_path / "log", lambda text: None)
        client.create("thinks", gguf, files.sha256_file(gguf), parameters={"num_ctx": 256, "num_thread": 1})
        return tokenizer, copy, gguf

    return export


def texts(model, client, max_tokens=64):
    engine = opening.open_engine(str(model), None, Limits(1, 256, 1), client=client)
    found = {}
    engine.complete([Prompt(CHAT, 0)], Sampling(max_tokens), found.__setitem__)
    engine.close()
    return found[0], engine.facts


LONG = ("switch, set on", "switch, on, not understood", "always, not understood", "generation tags")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n in LONG)) for n in ASKED])
def test_the_prompt_is_the_trainers_and_the_completion_that_of_every_engine(export, client, name):
    turns, begin, think, end, sent = ASKED[name]
    tokenizer, copy, gguf = export(turns, begin, think, THOUGHT)
    trained = locate.prompt_ids(tokenizer, CHAT)
    assert templates.rendered(tokenizer).endswith(f"<|assistant|>{end}")
    assert client.prompt_ids("thinks", CHAT) == trained
    for value in (True, False) if templates.fixed(tokenizer.chat_template) is not None else ():
        text = client.render("thinks", CHAT, think=value)
        assert "<s>" + text == tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    answers = {}
    for model in (copy, gguf, "thinks"):
        answer, facts = texts(model, client)
        answers[str(model)] = ("".join(answer.text.split()), answer.finish_reason, answer.tokens)
    assert facts.get("think") is sent
    assert len(set(answers.values())) == 1, answers


@pytest.mark.parametrize(
    ("turns", "tokens"),
    [
        (KNOWN, EMPTY),
        (PLAIN, NEVER_CLOSED),
        pytest.param(KNOWN, NEVER_CLOSED, marks=pytest.mark.long),
        pytest.param(PLAIN, EMPTY, marks=pytest.mark.long),
    ],
)
def test_an_empty_thought_and_one_that_is_never_closed_are_told_apart(export, client, turns, tokens):
    _, copy, gguf = export(turns, ALWAYS, None, tokens)
    found = [texts(model, client)[0] for model in (copy, gguf, "thinks")]
    assert {one.finish_reason for one in found} == {"stop"}
    assert len({"".join(one.text.split()) for one in found}) == 1, found
    if tokens is NEVER_CLOSED:
        assert [committed(f"{one.text}\n#### 7") for one in found] == 3 * [None]
