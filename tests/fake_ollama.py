"""An Ollama for tests: a real HTTP server on a free port that speaks the endpoints we use, over a store in memory.

The real client talks to it, so its errors, its connection and its JSON are the real ones. Knobs: `answer` decides what
models say, `faults` takes the place of single endpoints, `is_up` lets the server be away. tests/contract holds what
the real server does.
"""

import hashlib
import http.server
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import ollama

from reasoner.serving.client import Client, full_tag
from reasoner.serving.host import parse

INFO = {"general.architecture": "llama", "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 1}
"""Metadata of a model; a prompt's ids are the BOS and one for each sign, its code point."""


@dataclass
class Model:
    """What a tag means. A model made by hand needs no more than a digest."""

    digest: str
    modelfile: str = ""
    system: str | None = None
    parameters: dict = field(default_factory=dict)
    license: str = ""
    template: str = "{{ .Prompt }}"
    quantization: str = "Q8_0"
    capabilities: tuple = ("completion",)
    info: dict = field(default_factory=lambda: dict(INFO))

    @property
    def shown(self):
        """The answer of `/api/show`."""
        lines = []
        for name, value in self.parameters.items():
            shown = map(json.dumps, value) if isinstance(value, list) else [value]
            lines += [f"{name:<30} {one}" for one in shown]
        return {
            "modelfile": self.modelfile, "parameters": "\n".join(lines), "template": self.template,
            "license": self.license, "details": {"quantization_level": self.quantization}, "model_info": self.info,
            "capabilities": list(self.capabilities),
            **({"system": self.system} if self.system else {}),
        }  # fmt: skip


def said(text, reason="stop", **more):
    """A whole answer of `/api/chat`."""
    message = {"role": "assistant", "content": text}
    return {"message": message, "done": True, "done_reason": reason, "eval_count": 3, "prompt_eval_count": 9, **more}


def refused(why, status=400):
    return status, {"error": why}


@dataclass(frozen=True)
class Request:
    """One request as the server got it; `body` is the JSON, or the bytes of an upload."""

    what: str
    body: object


class FakeOllama:
    """The server: `models` by full tag, `blobs` by SHA-256, `seen` requests; close it when done.

    `answer(tag, messages, options)` gives the text of a chat, a (text, done_reason), or a whole (status, value).
    `faults["POST /api/chat"]` is an answer (status, value), None where the server drops the connection, or a function
    of the `Request` that returns one of these. `store` is a folder of blobs that the server sees besides its own.
    """

    def __init__(self, models=(), *, store=None, version="0.34.4"):
        self.models = {full_tag(tag): Model(digest) for tag, digest in dict(models).items()}
        self.blobs, self.store, self.version = {}, store, version
        self.answer = lambda tag, messages, options: "yes"
        self.faults, self.seen, self.is_up = {}, [], True
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def client(self, **how):
        return Client(parse(self.host), **how)

    def quick_client(self):
        """The client without the wire, for tests that ask hundreds of questions: 0.3 ms each."""
        made = Client(parse(self.host))
        made.close()
        made.api = ollama.Client(made.host.url, transport=httpx.MockTransport(self._in_process))
        return made

    def _in_process(self, request):
        found = self.take(request.method, request.url.path, request.content)
        if found is None:
            raise httpx.ReadError("the connection was dropped")
        status, data = found
        return httpx.Response(status, content=data)

    def take(self, method, path, data):
        """One request: status and bytes of its answer, None where the connection is to be dropped."""
        is_json = data and not path.startswith("/api/blobs/")
        request = Request(f"{method} {path}", json.loads(data) if is_json else data)
        self.seen.append(request)
        found = self.respond(request) if self.is_up else None
        if found is None:
            return None
        return found[0], found[1] if isinstance(found[1], bytes) else json.dumps(found[1]).encode()

    @property
    def tags(self):
        """Digests by tag."""
        return {tag: model.digest for tag, model in self.models.items()}

    def put(self, tag, digest, **facts):
        """A model under a tag, as if it had always been there."""
        self.models[full_tag(tag)] = Model(digest, **facts)

    def remove(self, tag):
        del self.models[full_tag(tag)]

    def bodies(self, what):
        """What was sent to an endpoint, oldest first."""
        return [request.body for request in self.seen if request.what == what]

    def has_blob(self, sha256):
        return sha256 in self.blobs or bool(self.store and (Path(self.store) / f"sha256-{sha256}").exists())

    # -- the endpoints

    def respond(self, request):
        if request.what in self.faults:
            fault = self.faults[request.what]
            return fault(request) if callable(fault) else fault
        method, _, path = request.what.partition(" ")
        if path.startswith("/api/blobs/sha256:"):
            return self._blob(method, path.rpartition(":")[2], request.body)
        known = {
            "GET /api/version": lambda body: {"version": self.version},
            "GET /api/tags": self._list,
            "POST /api/show": lambda body: self._model(body["model"]).shown,
            "POST /api/create": self._create,
            "POST /api/copy": self._copy,
            "DELETE /api/delete": self._delete,
            "POST /api/chat": self._chat,
            "POST /api/generate": self._generate,
        }
        if request.what not in known:
            return refused("not found", 404)
        try:
            found = known[request.what](request.body)
        except LookupError as error:
            return refused(f"model {error} not found", 404)
        return found if isinstance(found, tuple) else (200, found)

    def _model(self, tag):
        return self.models[full_tag(tag)]

    def _list(self, body):
        return {
            "models": [{"name": tag, "model": tag, "digest": m.digest.removeprefix("sha256:"), "size": 1}
                       for tag, m in self.models.items()]
        }  # fmt: skip

    def _blob(self, method, sha256, data):
        if method == "HEAD":
            return (200 if self.has_blob(sha256) else 404), b""
        if hashlib.sha256(data).hexdigest() != sha256:
            return refused("digest mismatch")
        self.blobs[sha256] = data
        return 201, b""

    def _create(self, body):
        (digest,) = body["files"].values()
        sha256 = digest.removeprefix("sha256:")
        if not self.has_blob(sha256):
            return refused(f"blob {digest} does not exist")
        text = json.dumps([sha256, body.get("system"), body.get("parameters")])
        self.put(
            body["model"], f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
            modelfile=f"# Modelfile\nFROM {self.store or '/models/blobs'}/sha256-{sha256}\n",
            system=body.get("system"), parameters=body.get("parameters") or {},
        )  # fmt: skip
        return {"status": "success"}

    def _copy(self, body):
        self.models[full_tag(body["destination"])] = replace(self._model(body["source"]))
        return b""

    def _delete(self, body):
        del self.models[full_tag(body["model"])]
        return b""

    @staticmethod
    def render(messages):
        return "".join(f"<|{one['role']}|>{one.get('content', '')}" for one in messages) + "<|assistant|>"

    def _chat(self, body):
        self._model(body["model"])
        text = self.render(body["messages"])
        if body.get("_debug_render_only"):
            return {"_debug_info": {"rendered_template": text}}
        found = self.answer(body["model"], body["messages"], body.get("options") or {})
        if isinstance(found, tuple) and isinstance(found[0], int):
            return found
        told = found if isinstance(found, tuple) else (found, "stop")
        return said(*told, prompt_eval_count=1 + len(text))

    def _generate(self, body):
        self._model(body["model"])
        if body.get("_debug_render_only"):
            return {"_debug_info": {"rendered_template": body["prompt"]}}
        ids = [ord(sign) for sign in body.get("prompt") or ""]  # one per sign, and the BOS is counted but not given
        return {"response": "y", "done": True, "prompt_eval_count": 1 + len(ids), "context": [*ids, ord("y")]}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeOllama

    def _answer(self):
        found = self.fake.take(self.command, self.path, self._read())
        if found is None:
            self.close_connection = True
            return
        status, data = found
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _read(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    do_GET = do_POST = do_HEAD = do_DELETE = _answer

    def log_message(self, *_):
        pass


@contextmanager
def running(models=(), **how):
    """A fake server, closed at the end."""
    fake = FakeOllama(models, **how)
    try:
        yield fake
    finally:
        fake.close()


def slow(seconds, answer=(200, {})):
    """A fault: the answer comes late."""

    def late(request):
        time.sleep(seconds)
        return answer

    return late
