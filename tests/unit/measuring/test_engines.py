"""Which engine a model gets, and what goes to a server: read off a small server and a stand-in client."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fake_ollama
import pytest
from fake_ollama import FakeOllama

from reasoner.bases import locate, templates
from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError
from reasoner.measuring.engines import base, openai, opening
from reasoner.measuring.engines.base import Limits

CHAT = [{"role": "user", "content": "1 + 1?"}]
ASKED = base.Sampling(32)
ALL = {"temperature", "top_p", "max_tokens", "presence_penalty", "frequency_penalty", "n", "stream", "seed"}
MORE = {"top_k", "min_p", "repetition_penalty", "repeat_penalty"}


# -- which engine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind"), [("http://127.0.0.1:1/v1#m", "url"), ("qwen3:0.6b", "tag"), ("hf.co/a/b", "tag")]
)
def test_a_name_says_what_it_names(model, kind):
    assert opening.kind_of(model) == kind


def test_a_path_is_a_folder_or_a_gguf(tmp_path):
    (tmp_path / "m.gguf").touch()
    (tmp_path / "m.bin").touch()
    assert opening.kind_of(str(tmp_path)) == "folder"
    assert opening.kind_of(str(tmp_path / "m.gguf")) == "gguf"
    for wrong in ("m.bin", "gone.gguf", "gone"):
        with pytest.raises(ReasonerError) as caught:
            opening.kind_of(str(tmp_path / wrong))
        assert caught.value.code == USAGE


@pytest.mark.parametrize(
    ("model", "engine", "says"),
    [
        ("m:tag", "transformers", "takes a model folder, and m:tag is a tag in Ollama"),
        ("http://127.0.0.1:1", "ollama", "takes a tag in Ollama"),
        ("m:tag", "llamacpp", "no engine named"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(model, engine, says):
    with pytest.raises(ReasonerError, match=says) as caught:
        opening.open_engine(model, engine)
    assert caught.value.code == USAGE


def test_an_adapter_needs_a_folder_to_go_on():
    from pathlib import Path

    with pytest.raises(ReasonerError, match="an adapter goes with a model folder"):
        opening.open_engine("m:tag", adapter=Path("/a"))


def test_vllm_that_is_not_there_is_an_error_with_the_way_to_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(ReasonerError, match="vLLM is not installed") as caught:
        opening.open_engine(str(locate.shipped()["pocket"]), "vllm")
    assert caught.value.code == MISSING
    assert "[gpu]" in caught.value.fix


# -- a server ----------------------------------------------------------------------------------


@pytest.fixture
def serve():
    """An OpenAI-compatible server that answers by a function of the request's body; gives its URL and the bodies."""
    running = []

    def serve(reply, models=("m",)):
        bodies = []

        class Handler(BaseHTTPRequestHandler):
            def send(self, status, value, **headers):
                body = json.dumps(value).encode()
                self.send_response(status)
                for name, text in headers.items():
                    self.send_header(name.replace("_", "-"), text)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/v1/models":
                    self.send(200, {"data": [{"id": name} for name in models]})
                else:
                    self.send(404, {})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                bodies.append((body, self.headers.get("authorization")))
                self.send(*reply(body, len(bodies)))

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1", bodies

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


def said(text="2", reason="stop"):
    return 200, {
        "choices": [{"message": {"content": text}, "finish_reason": reason}],
        "usage": {"completion_tokens": 3, "prompt_tokens": 9},
    }


def complete(engine, sampling=ASKED, prompts=2):
    found = {}
    engine.complete([base.Prompt(CHAT, seed) for seed in range(prompts)], sampling, found.__setitem__)
    return [found[index] for index in range(prompts)]


def test_every_sampling_option_goes_with_every_request(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    url, bodies = serve(lambda body, count: said())
    engine = opening.open_engine(url)
    assert (engine.name, engine.model) == ("openai", f"{url}#m")
    answers = complete(engine, base.Sampling(7, temperature=0.5, top_p=0.9, top_k=5, stops=("\n\n",)))
    assert answers == 2 * [base.Answer("2", "stop", 3, 9)]
    assert [key for _, key in bodies] == 2 * ["Bearer a-key"]
    assert sorted(body["seed"] for body, _ in bodies) == [0, 1]
    for body, _ in bodies:
        assert set(body) >= ALL | MORE
        assert (body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) == (0.5, 0.9, 5, 7)
        assert (body["stop"], body["messages"]) == (["\n\n"], CHAT)


def test_what_a_server_refuses_is_left_out_and_recorded(serve):
    def reply(body, count):
        return (400, {"error": {"message": "unknown field top_k"}}) if "top_k" in body else said()

    url, bodies = serve(reply)
    engine = opening.open_engine(url, limits=Limits(concurrency=1))
    assert [answer.text for answer in complete(engine)] == ["2", "2"]
    assert [set(body) >= MORE for body, _ in bodies] == [True, False, False]
    assert len(engine.facts["differences"]) == 1
    with pytest.raises(ReasonerError, match="refused a request") as caught:
        complete(opening.open_engine(url), base.Sampling(7, temperature=1, top_k=5))
    assert "unknown field top_k" in caught.value.why


def test_a_prompt_too_long_and_a_filtered_answer_are_no_answers(serve):
    long = {"error": {"code": "context_length_exceeded", "message": "maximum context length is 10"}}
    url, _ = serve(lambda body, count: (400, long))
    assert [answer.finish_reason for answer in complete(opening.open_engine(url))] == 2 * ["unanswered"]
    url, _ = serve(lambda body, count: said("", "content_filter"))
    assert complete(opening.open_engine(url))[0].why == "the server's content filter"
    for reason in (None, "tool_calls"):  # no completion to judge, whatever text came with it
        url, _ = serve(lambda body, count, reason=reason: said("#### 4", reason))
        (answer, _) = complete(opening.open_engine(url))
        assert (answer.text, answer.finish_reason) == ("", "unanswered")
        assert repr(reason) in answer.why


def test_a_server_that_says_wait_is_asked_again(serve, monkeypatch):
    waited = []
    monkeypatch.setattr(openai.time, "sleep", waited.append)
    url, bodies = serve(
        lambda body, count: (
            (
                429,
                {},
            )
            if count < 3
            else said()
        )
    )
    assert complete(opening.open_engine(url, limits=Limits(concurrency=1)), prompts=1)[0].text == "2"
    assert waited == [1.0, 4.0] and len(bodies) == 3


@pytest.mark.parametrize("reply", [lambda *_: (500, {"error": "no"}), lambda *_: (200, {"choices": []})])
def test_a_server_that_fails_is_a_failure(serve, reply):
    url, _ = serve(reply)
    with pytest.raises(ReasonerError, match="refused a request") as caught:
        complete(opening.open_engine(url))
    assert caught.value.code == FAILED


def test_which_model_of_several_must_be_said(serve):
    url, _ = serve(lambda *_: said(), models=("small", "large"))
    with pytest.raises(ReasonerError, match="which model of") as caught:
        opening.open_engine(url)
    assert "large, small" in caught.value.fix
    with pytest.raises(ReasonerError, match="has no model 'smal'") as caught:
        opening.open_engine(f"{url}#smal")
    assert "did you mean `small`" in caught.value.fix
    assert opening.open_engine(f"{url}#small").model == f"{url}#small"


def test_no_server_is_an_error_with_a_way_out():
    with pytest.raises(ReasonerError, match="does not answer") as caught:
        opening.open_engine("http://127.0.0.1:9/v1#m")
    assert caught.value.code == MISSING


# -- Ollama ------------------------------------------------------------------------------------


@pytest.fixture
def tagged():
    """A server with one tag, whose own parameters are a stop and a temperature."""
    with fake_ollama.running() as fake:
        fake.put("m:tag", "sha256:d", parameters={"stop": ["<end>"], "temperature": 0.8})
        fake.answer = lambda tag, messages, options: "2"
        yield fake


def test_ollama_is_sent_every_option_and_keeps_the_stops_of_the_tag(tagged):
    engine = opening.open_engine("m:tag", limits=Limits(num_ctx=256), client=tagged.quick_client())
    assert engine.facts["digest"] == "sha256:d"
    assert engine.facts["tag_parameters"] == {"stop": ["<end>"], "temperature": ["0.8"]}
    assert engine.facts["dtype"] == "Q8_0" and engine.facts["versions"] == {"ollama": "0.34.4"}
    complete(engine)
    complete(engine, base.Sampling(7, temperature=0.5, stops=("\n",)))
    sent = tagged.bodies("POST /api/chat")
    plain, hot = sent[0]["options"], sent[-1]["options"]
    assert plain["temperature"] == 0 and "stop" not in plain
    assert {"top_p", "top_k", "min_p", "repeat_penalty", "repeat_last_n", "num_ctx", "num_predict"} <= set(plain)
    assert hot["stop"] == ["<end>", "\n"] and hot["num_predict"] == 7
    assert (sent[0]["truncate"], sent[0]["shift"]) == (False, False)


def test_a_prompt_too_long_for_ollama_is_no_answer_and_other_failures_are(tagged):
    engine = opening.open_engine("m:tag", client=tagged.quick_client())
    tagged.faults["POST /api/chat"] = fake_ollama.refused('{"type":"exceed_context_size_error"}')
    assert complete(engine)[0].finish_reason == "unanswered"
    tagged.faults["POST /api/chat"] = None
    with pytest.raises(ReasonerError, match="went away"):
        complete(engine)


def test_a_tag_that_is_not_there_names_the_nearest(tagged):
    with pytest.raises(ReasonerError, match="has no model 'm:tap'") as caught:
        opening.open_engine("m:tap", client=tagged.quick_client())
    assert "m:tag" in caught.value.fix


def thinks(tagged, answer, template="<think>", capabilities=("thinking",)):
    """What the engine makes of a message, and the requests it sent for it, those for a rendered prompt left out."""
    tagged.put("m:tag", "sha256:d", template=template, capabilities=capabilities)
    tagged.render = lambda messages: FakeOllama.render(messages) + ("<think>\n" if "begun" in template else "")

    def reply(tag, messages, options):
        message, reason = answer(options)
        return 200, {**fake_ollama.said("", reason), "message": {"role": "assistant", **message}}

    tagged.answer = reply
    engine = opening.open_engine("m:tag", client=tagged.quick_client())
    found = complete(engine, prompts=1)[0]
    sent = [body for body in tagged.bodies("POST /api/chat") if "_debug_render_only" not in body]
    return found, sent, engine.facts


@pytest.mark.parametrize(
    ("template", "capabilities", "sent"),
    [
        ("{%- if enable_thinking %}<think>", ("completion", "thinking"), True),
        (f"{{%- set enable_thinking = false %}}{templates._NOTE}<think>", ("completion", "thinking"), False),
        (f"{{%- set enable_thinking = true %}}{templates._NOTE}<think>", ("completion", "thinking"), True),
        ("<think>", ("completion",), None),  # the server would refuse it
    ],
)
def test_think_is_sent_as_the_tag_was_trained_and_is_in_the_facts(tagged, template, capabilities, sent):
    _, bodies, facts = thinks(tagged, lambda options: ({"content": "2"}, "stop"), template, capabilities)
    assert [body.get("think") for body in bodies] == [sent]
    assert facts.get("think") is sent


@pytest.mark.parametrize(
    ("message", "reason", "text"),
    [
        ({"thinking": "1 + 1 = 2\n", "content": "#### 2"}, "stop", "<think>\n1 + 1 = 2\n</think>\n\n#### 2"),
        ({"thinking": "1 + 1 =", "content": ""}, "length", "<think>\n1 + 1 ="),
        ({"content": "#### 2"}, "stop", "#### 2"),
    ],
)
def test_a_thought_that_ollama_takes_out_is_put_back(tagged, message, reason, text):
    found, sent, _ = thinks(tagged, lambda options: (message, reason))
    assert (found.text, found.finish_reason, len(sent)) == (text, reason, 1)


@pytest.mark.parametrize(
    ("message", "first", "text"),
    [
        ({"content": "1\n</think>\n\n2"}, None, "<think>\n1\n</think>\n\n2"),
        ({"content": "#### 2"}, {"content": "####"}, "<think>\n#### 2"),  # never closed
        ({"content": "#### 2"}, {"content": ""}, "<think>\n</think>\n\n#### 2"),  # closed at once, and taken out
        ({"thinking": "1", "content": "2"}, None, "<think>\n1\n</think>\n\n2"),
    ],
)
def test_a_completion_goes_on_in_the_thought_that_its_prompt_begins(tagged, message, first, text):
    def answer(options):
        return (first if options["num_predict"] == 1 else message), "stop"

    found, sent, _ = thinks(tagged, answer, template="begun: <think>")
    assert (found.text, len(sent)) == (text, 1 if first is None else 2)


def test_a_thought_apart_behind_a_url_is_put_back_too(serve):
    for key in ("reasoning", "reasoning_content"):
        message = {"content": "2", key: "1 + 1"}
        url, _ = serve(lambda *_, message=message: (200, {"choices": [{"message": message, "finish_reason": "stop"}]}))
        assert complete(opening.open_engine(url))[0].text == "<think>\n1 + 1\n</think>\n\n2"


# -- texts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "stops", "found"),
    [("a\n\nb", ("\n\n",), ("a", True)), ("ab", ("c",), ("ab", False)), ("abc", ("c", "b"), ("a", True))],
)
def test_a_text_ends_at_its_first_stop(text, stops, found):
    assert base.cut(text, stops) == found
