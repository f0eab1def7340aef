"""What is proven of a tag before it counts as registered."""

import hashlib

import fake_ollama
import pytest
from fake_ollama import FakeOllama

from reasoner import config
from reasoner.errors import ReasonerError
from reasoner.export import register
from reasoner.problems.problem import Problem
from reasoner.serving.tags import Registered

SETTINGS = config.resolve("pocket")[0]


class Tokenizer:
    """The trainer's: it renders as the fake server does, an id for each sign."""

    bos_token, chat_template = "<s>", "a template"

    def apply_chat_template(self, messages, *, tokenize, **how):
        if not tokenize:
            return "<s>" + FakeOllama.render(messages)
        return {"input_ids": [1, *map(ord, FakeOllama.render(messages))]}

    def convert_ids_to_tokens(self, i):
        return chr(i)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    problems = [Problem(str(n), f"What is {n} + 1?", str(n + 1), "sum") for n in range(3)]
    monkeypatch.setattr(register.load, "held_out", lambda config: problems)
    monkeypatch.setattr(register.locate, "load_tokenizer", lambda folder: Tokenizer())
    with fake_ollama.running() as made:
        yield made


@pytest.fixture
def servable(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    pinned = {"temperature": 0.0, "num_ctx": 512, "stop": ["<end>"]}
    return register.Servable(path, hashlib.sha256(b"GGUF").hexdigest(), pinned, tmp_path)


def test_a_tag_is_made_read_back_and_compared(fake, servable):
    said = []
    with fake.client() as client:
        made = register.put(SETTINGS, client, "reasoner:base", servable, said.append)
    assert made == Registered("reasoner:base", fake.tags["reasoner:base"], servable.sha256, "uploaded", 3)
    assert said == ["reasoner:base registered (uploaded); 3 prompts have the same token ids in trainer and server"]
    assert fake.models["reasoner:base"].system == SETTINGS.data.system


def test_other_ids_are_refused_with_the_first_that_differs(fake, servable):
    fake.render = lambda messages: "<|im_start|>" + FakeOllama.render(messages)
    with fake.client() as client, pytest.raises(ReasonerError, match="is asked something else than was") as caught:
        register.put(SETTINGS, client, "reasoner:base", servable, lambda text: None)
    assert "problem 0: at token 3 the trainer has 117 ('u'), the server 105 ('i')" in caught.value.why


def test_other_parameters_are_refused(fake, servable):
    def create(request):
        return fake._create({**request.body, "parameters": {"temperature": 0.5, "num_ctx": 512}})

    fake.faults["POST /api/create"] = lambda request: (200, create(request))
    with fake.client() as client, pytest.raises(ReasonerError, match="with other parameters") as caught:
        register.put(SETTINGS, client, "reasoner:base", servable, lambda text: None)
    assert caught.value.why == "temperature: ['0'] became ['0.5']\nstop: ['<end>'] became None"


def test_the_licence_of_the_base_is_registered_with_the_tag(fake, servable):
    (servable.model_dir / "LICENSE.txt").write_text("Share alike.\n")
    (servable.model_dir / "NOTICE").write_text("By us.\n")
    with fake.client() as client:
        register.put(SETTINGS, client, "reasoner:base", servable, lambda text: None)
    assert fake.bodies("POST /api/create")[0]["license"] == "Share alike.\n\nBy us."


@pytest.mark.parametrize(
    ("modelfile", "left"),
    [
        ({}, []),
        ({"system": "Be\nkind."}, ["SYSTEM 'Be kind.' (train with it: --set data.system=TEXT)"]),
        ({"parameters": {"temperature": 0, "stop": ["<end>"]}}, []),
        (
            {"parameters": {"temperature": 0.7, "top_k": 20, "stop": ["<end>", "User:"]}},
            ["PARAMETER temperature 0.7", "PARAMETER top_k 20", "PARAMETER stop User:"],
        ),
    ],
)
def test_what_the_tag_of_the_base_sets_besides_is_named(fake, servable, modelfile, left):
    fake.put("mine", "sha256:a", **modelfile)
    with fake.client() as client:
        assert register.left_behind(SETTINGS, client, "mine", servable) == left
        assert register.left_behind(SETTINGS, client, "gone", servable) == []


def test_a_template_of_the_tags_own_is_named(fake, servable):
    fake.put("mine", "sha256:a")
    fake.render = lambda messages: "### " + FakeOllama.render(messages)
    with fake.client() as client:
        assert register.left_behind(SETTINGS, client, "mine", servable)[0].startswith("TEMPLATE (it renders otherwise")


@pytest.mark.parametrize(
    ("trained", "served", "says"),
    [
        ([1, 5, 6], [5, 6], "at token 0 the trainer has 1 ('<1>'), the server 5 ('<5>') (3 and 2 tokens)"),
        ([1, 5], [1, 5, 7], "at token 2 the trainer has the end, the server 7 ('<7>') (2 and 3 tokens)"),
    ],
)
def test_difference_names_the_first_token(trained, served, says):
    assert register.difference(trained, served, lambda i: f"<{i}>") == says
