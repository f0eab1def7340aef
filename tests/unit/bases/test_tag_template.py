"""A template that stands only in a Modelfile is told from what the server renders, or refused."""

from pathlib import Path

import fake_ollama
import pytest

from reasoner.bases import modelfile
from reasoner.errors import USAGE, ReasonerError
from reasoner.llamacpp.header import Header

TURN = "<|im_start|>{role}\n{content}<|im_end|>\n"
TOKENS = {"tokenizer.ggml.tokens": ["<s>", "<|im_end|>"], "tokenizer.ggml.bos_token_id": 0}


def header(**fields):
    named = {f"tokenizer.ggml.{key}": value for key, value in fields.items()}
    return Header(Path("m.gguf"), {**TOKENS, "tokenizer.ggml.eos_token_id": 1, **named}, {})


def chatml(messages):
    return "".join(TURN.format(**one) for one in messages if one["content"]) + "<|im_start|>assistant\n"


def with_its_own_system(messages):
    head = [] if messages[0]["role"] == "system" else [{"role": "system", "content": "You END NEXT."}]
    return chatml([*head, *messages])


def last_question_only(messages):
    return chatml(messages[-1:])


def trimmed(messages):
    return chatml([{**one, "content": one["content"].replace("\n", " ")} for one in messages])


def without_an_end(messages):
    return "".join(f"### {one['role']}: {one['content']}\n" for one in messages) + "### assistant: "


@pytest.fixture
def fake():
    with fake_ollama.running({"m": "sha256:a"}) as made:
        made.put("m", "sha256:a", template="{{ range .Messages }}…{{ end }}")
        yield made


def told(fake, render, **fields):
    fake.render = render
    with fake.client() as client:
        return modelfile.template_of("ollama:m", client, "m", header(**fields))


@pytest.mark.parametrize("render", [chatml, with_its_own_system])
def test_what_the_server_renders_is_what_the_template_renders(fake, render):
    found = told(fake, render)
    for texts in (["Hi"], ["Be {{ kind }}", "Hi\n"], ["1 + 1", "2", "And '3'?"]):
        roles = ["system", "user"] if len(texts) == 2 else ["user", "assistant", "user"]
        chat = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
        assert modelfile._jinja(found, chat) == render(chat)


def test_the_token_that_begins_a_text_is_there_once(fake):
    assert told(fake, lambda chat: "<s>" + chatml(chat), add_bos_token=True).startswith("{{- bos_token }}")
    assert told(fake, chatml, model="llama").startswith("{{- bos_token }}")
    assert "bos_token" not in told(fake, chatml)
    assert '"<s><|im_start|>' in told(fake, lambda chat: "<s>" + chatml(chat))


def test_the_tags_own_system_belongs_to_no_template(fake):
    fake.put("m", "sha256:a", template="{{ .System }}", system="Be brief.")
    added = [{"role": "system", "content": "Be brief."}]
    found = told(fake, lambda chat: chatml(chat if chat[0]["role"] == "system" else [*added, *chat]))
    assert "brief" not in found


@pytest.mark.parametrize("render", [last_question_only, trimmed, without_an_end])
def test_a_template_that_cannot_be_told_is_refused(fake, render):
    with pytest.raises(ReasonerError, match="ollama:m cannot be a base") as caught:
        told(fake, render)
    assert "its file has no chat template" in caught.value.why and caught.value.code == USAGE


def test_a_tag_without_a_template_has_none(fake):
    fake.put("m", "sha256:a")
    with fake.client() as client:
        assert modelfile.template_of("ollama:m", client, "m", header()) == ""
