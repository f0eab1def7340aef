"""What is proven of a tag before it counts as registered."""

import hashlib

import fake_ollama
import pytest

from reasoner import config
from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.export import register
from reasoner.problems import data
from reasoner.serving.tags import Registered

SETTINGS = config.resolve("pocket")[0]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    problems = [data.Problem(str(n), f"What is {n} + 1?", str(n + 1), "sum") for n in range(3)]
    monkeypatch.setattr(register.data, "held_out", lambda config: problems)
    with fake_ollama.running() as made:
        yield made


@pytest.fixture
def servable(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    pinned = {"temperature": 0.0, "num_ctx": 512, "stop": ["<end>"]}
    return register.Servable(path, hashlib.sha256(b"GGUF").hexdigest(), pinned, locate.shipped()["pocket"])


def as_trained(fake):
    """The server asks what the trainer asks."""
    tokenizer = locate.load_tokenizer(locate.shipped()["pocket"])

    def ids(messages):
        return locate.prompt_ids(tokenizer, messages)

    def chat(request):
        body = request.body
        if "_debug_render_only" in body:
            fake.asked = body["messages"]
            return 200, {"_debug_info": {"rendered_template": "the prompt"}}
        return 200, fake_ollama.said("y", prompt_eval_count=len(ids(body["messages"])))

    def generate(request):
        if "_debug_render_only" in request.body:
            return 200, {"_debug_info": {"rendered_template": "the prompt"}}
        found = ids(fake.asked)
        return 200, {"response": "y", "prompt_eval_count": len(found), "context": [*found, 7]}

    fake.faults |= {"POST /api/chat": chat, "POST /api/generate": generate}


def test_a_tag_is_made_read_back_and_compared(fake, servable):
    as_trained(fake)
    said = []
    with fake.client() as client:
        made = register.put(SETTINGS, client, "reasoner:base", servable, said.append)
    assert made == Registered("reasoner:base", fake.tags["reasoner:base"], servable.sha256, "uploaded", 3)
    assert said == ["reasoner:base registered (uploaded); 3 prompts have the same token ids in trainer and server"]
    assert fake.models["reasoner:base"].system == SETTINGS.data.system


def test_other_ids_are_refused_with_the_first_that_differs(fake, servable):
    with fake.client() as client, pytest.raises(ReasonerError, match="is asked something else than was") as caught:
        register.put(SETTINGS, client, "reasoner:base", servable, lambda text: None)
    assert "at token 0 the trainer has" in caught.value.why


def test_other_parameters_are_refused(fake, servable):
    def create(request):
        return fake._create({**request.body, "parameters": {"temperature": 0.5, "num_ctx": 512}})

    fake.faults["POST /api/create"] = lambda request: (200, create(request))
    with fake.client() as client, pytest.raises(ReasonerError, match="with other parameters") as caught:
        register.put(SETTINGS, client, "reasoner:base", servable, lambda text: None)
    assert caught.value.why == "temperature: ['0'] became ['0.5']\nstop: ['<end>'] became None"


@pytest.mark.parametrize(
    ("trained", "served", "says"),
    [
        ([1, 5, 6], [5, 6], "at token 0 the trainer has 1 ('<1>'), the server 5 ('<5>') (3 and 2 tokens)"),
        ([1, 5], [1, 5, 7], "at token 2 the trainer has the end, the server 7 ('<7>') (2 and 3 tokens)"),
    ],
)
def test_difference_names_the_first_token(trained, served, says):
    assert register.difference(trained, served, lambda i: f"<{i}>") == says
