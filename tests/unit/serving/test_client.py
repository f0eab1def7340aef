"""What is asked of a server, and how each failure is said."""

import fake_ollama
import pytest

from reasoner.errors import FAILED, USAGE, ReasonerError


def test_tags_and_digests(fake, client):
    fake.put("a", "sha256:ab")
    fake.put("a:step-1", "sha256:cd")
    assert client.tags() == {"a:latest": "sha256:ab", "a:step-1": "sha256:cd"}
    assert client.digest("a") == client.require("a") == "sha256:ab"
    assert client.digest("a:step-1") == "sha256:cd"
    assert client.digest("b") is None


@pytest.mark.parametrize(
    ("there", "fix"), [(["smollm2:135m", "reasoner"], "did you mean `smollm2:135m`?"), ([], "ollama pull smolm2:135m")]
)
def test_a_tag_that_is_not_there_gets_the_nearest_name(there, fix, fake, client):
    for tag in there:
        fake.put(tag, "sha256:a")
    with pytest.raises(ReasonerError, match="has no model 'smolm2:135m'") as caught:
        client.require("smolm2:135m")
    assert (caught.value.code, caught.value.fix) == (USAGE, fix)


def test_what_is_shown_of_a_tag(fake, client):
    info = {"general.architecture": "llama", "llama.context_length": 256}
    fake.put("a", "sha256:a", system="Be brief.", parameters={"temperature": 0, "stop": ["<|end|>", "\n"]}, info=info)
    fake.put("bare", "sha256:b", info={"general.architecture": "llama", "llama.context_length": 0})
    shown = client.show("a")
    assert (shown.system, shown.quantization, shown.context_length) == ("Be brief.", "Q8_0", 256)
    assert shown.parameters == {"temperature": ["0"], "stop": ["<|end|>", "\n"]}
    bare = client.show("bare")
    assert (bare.system, bare.parameters, bare.context_length) == (None, {}, None)


def test_every_field_of_a_chat_reaches_the_server(fake, client):
    fake.put("a", "sha256:a")
    fake.answer = lambda tag, messages, options: ("I think so", "length")
    messages, options = [{"role": "user", "content": "hi"}], {"min_p": 0.1, "num_ctx": 64, "stop": ["x"]}
    for more in ({}, {"truncate": False, "shift": False}):
        found = client.chat("a", messages, options, **more)
        assert (found.message.content, found.done_reason) == ("I think so", "length")
        sent = fake.bodies("POST /api/chat")[-1]
        assert sent["options"] == options and sent["messages"] == messages and sent["stream"] is False
        assert {key: sent[key] for key in more} == more


def test_copy_and_delete(fake, client):
    fake.put("a", "sha256:a")
    client.copy("a", "b:c")
    assert client.delete("a") is True and client.delete("a") is False
    assert fake.tags == {"b:c": "sha256:a"}
    with pytest.raises(ReasonerError, match="refused naming b"):
        client.copy("a", "b")


def test_slow_server_is_named_as_such(fake):
    fake.faults["POST /api/chat"] = fake_ollama.slow(1.0)
    with fake.client(timeout_s=0.1) as client, pytest.raises(ReasonerError, match="no answer within"):
        client.chat("a", [])


def test_a_server_that_goes_away_leaves_its_last_words(fake, tmp_path):
    log = tmp_path / "ollama.log"
    log.write_text("panic: out of luck\n")
    with fake.client(log=log) as client:
        for down in (lambda: setattr(fake, "is_up", False), fake.close):
            down()
            with pytest.raises(ReasonerError, match="went away during its version") as caught:
                client.version()
            assert caught.value.code == FAILED and caught.value.log == log
            assert "panic: out of luck" in caught.value.why


@pytest.mark.parametrize("answer", [b"<html>", [1], {"no": "models"}, {"models": 3}, b""])
def test_an_answer_that_cannot_be_read_is_said_to_be_one(answer, fake, client):
    fake.faults["GET /api/tags"] = (200, answer)
    with pytest.raises(ReasonerError, match="answer to the list of models cannot be read"):
        client.tags()


@pytest.mark.parametrize(
    ("body", "why"), [({"error": "bad tag"}, "bad tag"), (b"plain text", "plain text"), (b"", "no reason given")]
)
def test_refusals_carry_the_servers_reason(body, why, fake, client):
    fake.faults["GET /api/tags"] = (500, body)
    with pytest.raises(ReasonerError, match="refused the list of models \\(HTTP 500\\)") as caught:
        client.tags()
    assert caught.value.why == why


# -- the prompt


@pytest.fixture
def asked(fake):
    fake.put("a", "sha256:a")
    return fake


def test_prompt_ids_are_the_prompts_only_with_bos(asked, client):
    text = "<|user|>hi<|assistant|>"
    messages = [{"role": "user", "content": "hi"}]
    assert client.render("a", messages, {"num_ctx": 64}) == text
    assert client.prompt_ids("a", messages, {"num_ctx": 64}) == [1, *map(ord, text)]
    through = asked.bodies("POST /api/generate")
    assert {body["template"] for body in through} == {"{{ .Prompt }}"} and not any(body.get("raw") for body in through)
    assert all(body["options"]["num_ctx"] == 64 for body in [*through, *asked.bodies("POST /api/chat")])


@pytest.mark.parametrize(
    ("fault", "answer", "why"),
    [
        ("answer", {"prompt_eval_count": 5, "context": [1] * 9}, "its rendered text 5"),
        ("answer", {"context": []}, "its rendered text None"),
        ("debug", {"_debug_info": {"rendered_template": "x"}}, "changes a rendered"),
    ],
)
def test_prompt_ids_that_cannot_be_trusted_are_refused(fault, answer, why, asked, client):
    def generate(request):
        is_fault = ("_debug_render_only" in request.body) == (fault == "debug")
        return 200, answer if is_fault else asked._generate(request.body)

    asked.faults["POST /api/generate"] = generate
    with pytest.raises(ReasonerError, match="cannot be read") as caught:
        client.prompt_ids("a", [])
    assert why in caught.value.why
