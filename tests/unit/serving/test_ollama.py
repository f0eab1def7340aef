"""What is done about servers: found, started, stopped, refused, lost; the real one is in contract/."""

import errno
import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError
from reasoner.machine import cache
from reasoner.serving import install as ollama_install
from reasoner.serving import ollama


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", "/bin"]))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


class Fake(http.server.BaseHTTPRequestHandler):
    """An Ollama as far as a test needs one; `answers` maps "METHOD path" to a value or a callable."""

    protocol_version = "HTTP/1.1"
    answers: dict
    seen: list

    def _answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else b""
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.seen.append((f"{self.command} {self.path}", body))
        found = self.answers.get(f"{self.command} {self.path}", (404, {"error": "not found"}))
        found = found(self, body) if callable(found) else found
        if found is None:  # the server dies here
            self.close_connection = True
            return
        status, value = found
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_HEAD = do_DELETE = _answer

    def log_message(self, *_):
        pass


@pytest.fixture
def fake(monkeypatch):
    """Starts a fake server at OLLAMA_HOST; gives its table of answers and the requests it saw."""
    started = []

    def start(**more):
        answers = {"GET /api/version": (200, {"version": "0.34.4"}), **more.pop("answers", {})}
        handler = type("Handler", (Fake,), {"answers": answers, "seen": []})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.server_port}")
        started.append(server)
        return handler

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("  'localhost' ", "http://localhost:11434"),
        (":1234", "http://127.0.0.1:1234"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        ("example.com:80", "http://example.com:80"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:9", "http://127.0.0.1:9"),
        ("[::]:9", "http://[::1]:9"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://example.com:1/api/x", "https://example.com:1/api/x"),
        ("1.2.3.4:99999", "http://1.2.3.4:11434"),
        ("1.2.3.4:none", "http://1.2.3.4:11434"),
    ],
)
def test_host_is_read_as_ollama_reads_it(text, url, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", text)
    assert ollama.host().url == url


def test_host_facts():
    assert ollama.host("").is_default and ollama.host("").is_local
    assert ollama.host("127.0.0.1:1").env == "127.0.0.1:1"
    assert not ollama.host("10.0.0.1").is_local
    assert ollama.host("[::1]:5").is_local


def test_probe_finds_nothing_then_an_ollama(fake, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    assert ollama.probe() is None
    fake()
    assert ollama.probe().version == "0.34.4"
    assert not ollama.find_server().is_ours


@pytest.mark.parametrize("answer", [(200, b"<html>hello"), (404, {"error": "x"}), (200, [1]), None])
def test_port_taken_by_something_else(answer, fake):
    fake(answers={"GET /api/version": lambda *_: answer})
    with pytest.raises(ReasonerError, match="taken by something that is not Ollama") as caught:
        ollama.ensure_server()
    assert caught.value.code == MISSING
    assert f"process {os.getpid()}" in caught.value.why
    assert "OLLAMA_HOST=127.0.0.1:" in caught.value.fix


def test_loopback_never_goes_through_a_proxy(fake, monkeypatch):
    fake()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert ollama.probe() is not None


def test_old_server_is_refused(fake):
    fake(answers={"GET /api/version": (200, {"version": "0.12.3"})})
    with pytest.raises(ReasonerError, match="too old") as caught:
        ollama.ensure_server()
    assert caught.value.code == MISSING


def test_no_server_is_started_for_another_machine(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "http://localhost.invalid:1")
    with pytest.raises(ReasonerError, match="no Ollama answers") as caught:
        ollama.ensure_server()
    assert caught.value.code == MISSING


# -- a server of ours; the program is a stand-in


SERVER = """
import http.server, json, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = json.dumps({"version": "0.34.4"}).encode()
        self.send_response(200); self.send_header("content-length", str(len(data))); self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass
print("models in", os.environ["OLLAMA_MODELS"], flush=True)
host, port = os.environ["OLLAMA_HOST"].split(":")
http.server.ThreadingHTTPServer((host, int(port)), H).serve_forever()
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """An installed Ollama whose program does what the test says."""
    path = tmp_path / "cache" / "tools" / "ollama" / "bin" / "ollama"

    def make(code: str = SERVER):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{code}")
        path.chmod(0o755)
        found = ollama_install.OllamaInstall(path, "module", "0.34.4")
        monkeypatch.setattr(ollama_install, "find_ollama", lambda why=None: found)
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        return found

    yield make
    for record in (tmp_path / "cache" / "servers").glob("*.json"):
        ollama._end(ollama._Record.load(int(record.stem)))


def test_server_of_ours_starts_once_is_recognized_and_stops(install, tmp_path):
    install()
    said = []
    report = ollama.serve(progress=said.append)
    server = report.server
    assert report.action == "started" and server.is_ours and server.route == "module"
    assert server.models_dir == tmp_path / "models"
    assert "starting a server" in said[0]
    assert f"models in {tmp_path / 'models'}" in server.log.read_text()
    assert os.getsid(server.pid) != os.getsid(0)
    assert psutil.Process(server.pid).ppid() != os.getpid()
    again = ollama.serve()
    assert again.action == "running" and again.server.pid == server.pid and again.as_json()["ours"]
    assert ollama.serve(stop=True).action == "stopped"
    assert ollama.probe() is None and not psutil.pid_exists(server.pid)
    assert ollama.serve(stop=True).action == "nothing"


def test_server_of_another_is_not_stopped(fake):
    handler = fake()
    with pytest.raises(ReasonerError, match="not started by reasoner") as caught:
        ollama.serve(stop=True)
    assert caught.value.code == USAGE
    assert ollama.probe() is not None
    assert {request for request, _ in handler.seen} == {"GET /api/version"}


def test_process_that_took_over_the_number_is_not_touched(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()", "serve"], stdin=subprocess.PIPE)
    try:
        started = psutil.Process(child.pid).create_time()
        facts = dict(machine=socket.gethostname(), port=9, binary="x", route="module", models_dir="x")
        assert ollama._Record(pid=child.pid, started=started, **facts).process() is not None
        for wrong in ({"started": started - 60}, {"machine": "another"}):
            record = ollama._Record(**{"pid": child.pid, "started": started, **facts, **wrong})
            assert record.process() is None and not ollama._end(record)
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()


def test_server_that_dies_at_once_shows_its_last_words(install):
    install("raise SystemExit('no such luck')")
    with pytest.raises(ReasonerError, match="did not start") as caught:
        ollama.ensure_server()
    assert caught.value.code == MISSING
    assert "it ended at once" in caught.value.why and "no such luck" in caught.value.why
    assert caught.value.log == ollama.server_log(ollama.host().port)
    assert not list((cache.cache_dir() / "servers").glob("*.json"))


# -- `ollama` as typed


def test_command_for_an_ollama_on_the_path(monkeypatch):
    found = ollama_install.OllamaInstall(Path("/usr/bin/ollama"), "PATH", "0.34.4")
    monkeypatch.setattr(ollama_install, "find_ollama", lambda why=None: found)
    assert ollama.install_link() == "ollama run reasoner"
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:11435")
    assert ollama.install_link("mine") == "OLLAMA_HOST=127.0.0.1:11435 ollama run mine"


def test_link_where_the_persons_path_has_its_folder(install, monkeypatch):
    found = install()
    monkeypatch.delenv("OLLAMA_HOST")
    assert ollama.install_link() == f"{found.path} run reasoner"  # ~/.local/bin is not on the PATH
    assert not ollama.link_path().parent.exists()
    monkeypatch.setenv("PATH", f"{ollama.link_path().parent}:/usr/bin:/bin")
    assert ollama.install_link() == "ollama run reasoner"
    assert ollama.link_path().readlink() == found.path
    assert ollama.install_link() == "ollama run reasoner"
    done = ollama.uninstall_tools()
    assert f"removed {ollama.link_path()}" in done and not ollama.link_path().is_symlink()
    assert not found.path.exists()


def test_foreign_ollama_in_the_links_place_stays(install, monkeypatch):
    found = install()
    monkeypatch.delenv("OLLAMA_HOST")
    link = ollama.link_path()
    link.parent.mkdir(parents=True)
    link.write_text("theirs")
    monkeypatch.setenv("PATH", f"{link.parent}:/usr/bin:/bin")
    assert ollama.install_link() == f"{found.path} run reasoner"
    ollama.uninstall_tools()
    assert link.read_text() == "theirs"


def test_command_without_any_ollama_program(monkeypatch):
    monkeypatch.setattr(ollama_install, "find_ollama", lambda why=None: None)
    assert ollama.install_link().startswith('curl http://127.0.0.1:11434/api/chat -d \'{"model"')


def test_uninstall_stops_our_server_and_leaves_models(install, tmp_path):
    install()
    server = ollama.ensure_server()
    (tmp_path / "models" / "blobs").mkdir(parents=True)
    done = ollama.uninstall_tools()
    assert f"stopped the server on port {server.host.port}" in done
    assert not psutil.pid_exists(server.pid)
    assert not (tmp_path / "cache").exists() and (tmp_path / "models" / "blobs").exists()


# -- registering


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "run" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF" + b"x" * 3_000_000)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def store_answers(store: Path, digest: str, uploaded: list):
    """HEAD and POST of a blob, over a folder that is the server's own."""

    def head(*_):
        return (200 if (store / f"sha256-{digest}").exists() or uploaded else 404), b""

    def post(_, body):
        uploaded.append(body)
        return 201, b""

    path = f"/api/blobs/sha256:{digest}"
    created = (200, {"status": "success"})
    return {f"HEAD {path}": head, f"POST {path}": post, "POST /api/create": created}


def test_file_is_linked_where_the_server_sees_the_link(fake, gguf, tmp_path):
    path, digest = gguf
    store = tmp_path / "models" / "blobs"
    store.mkdir(parents=True)
    uploaded = []
    handler = fake(answers=store_answers(store, digest, uploaded))
    with ollama.Client() as client:
        assert not client.would_copy(path.parent)
        assert client.create("a:b", path, digest, parameters={"stop": ["x"]}) == "linked"
        assert client.create("a:b", path, f"sha256:{digest}") == "present"
    assert path.stat().st_nlink == 2 and not uploaded
    bodies = [json.loads(body) for request, body in handler.seen if request == "POST /api/create"]
    wanted = {"model": "a:b", "files": {"model.gguf": f"sha256:{digest}"}, "stream": False}
    assert bodies == [{**wanted, "parameters": {"stop": ["x"]}}, wanted]


def test_link_that_the_server_does_not_see_is_undone_and_the_file_uploaded(fake, gguf, tmp_path):
    path, digest = gguf
    store = tmp_path / "models" / "blobs"
    store.mkdir(parents=True)
    uploaded = []
    fake(answers=store_answers(tmp_path / "elsewhere", digest, uploaded))
    with ollama.Client() as client:
        assert client.create("a:b", path, digest) == "uploaded"
    assert uploaded == [path.read_bytes()]
    assert not list(store.iterdir()) and path.stat().st_nlink == 1


def test_linked_file_is_read_only_and_hashed_first(fake, gguf, tmp_path):
    path, digest = gguf
    store = tmp_path / "models" / "blobs"
    store.mkdir(parents=True)
    fake(answers=store_answers(store, digest, []))
    with ollama.Client() as client:
        path.write_bytes(path.read_bytes()[:-1] + b"y")
        with pytest.raises(ReasonerError, match="changed after it was made") as caught:
            client.create("a:b", path, digest)
        assert digest in caught.value.why
        assert not list(store.iterdir()) and path.stat().st_nlink == 1
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert client.create("a:b", path, digest) == "linked"
    assert [item.name for item in store.iterdir()] == [f"sha256-{digest}"]
    assert path.stat().st_mode & 0o777 == 0o444


def test_what_stands_under_the_digest_already_is_never_replaced(fake, gguf, tmp_path):
    path, digest = gguf
    store = tmp_path / "models" / "blobs"
    store.mkdir(parents=True)
    uploaded = []
    fake(answers=store_answers(tmp_path / "elsewhere", digest, uploaded))
    (store / f"sha256-{digest}").write_text("of another server")
    with ollama.Client() as client:
        assert client.create("a:b", path, digest) == "uploaded"
    assert {item.name: item.read_text() for item in store.iterdir()} == {f"sha256-{digest}": "of another server"}
    assert uploaded and path.stat().st_nlink == 1


def test_file_of_another_file_system_is_uploaded_and_left_as_it_is(fake, gguf, tmp_path, monkeypatch):
    path, digest = gguf
    store = tmp_path / "models" / "blobs"
    store.mkdir(parents=True)
    uploaded, before = [], path.stat().st_mode
    fake(answers=store_answers(store, digest, uploaded))

    def link(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(ollama.os, "link", link)
    with ollama.Client() as client:
        assert client.create("a:b", path, digest) == "uploaded"
    assert uploaded == [path.read_bytes()]
    assert not list(store.iterdir()) and path.stat().st_mode == before


def test_file_of_another_owner_is_uploaded(fake, gguf, tmp_path, monkeypatch):
    path, digest = gguf
    store = tmp_path / "models" / "blobs"
    store.mkdir(parents=True)
    uploaded = []
    fake(answers=store_answers(store, digest, uploaded))
    monkeypatch.setattr(ollama.os, "geteuid", lambda: path.stat().st_uid + 1)
    with ollama.Client() as client:
        assert client.would_copy(path.parent)
        assert client.create("a:b", path, digest) == "uploaded"
    assert uploaded and not list(store.iterdir())


@pytest.mark.parametrize("when", ["POST /api/create", "HEAD"])
def test_server_that_dies_while_registering(when, fake, gguf, tmp_path):
    path, digest = gguf
    answers = store_answers(tmp_path, digest, [])
    answers.update({key: lambda *_: None for key in answers if key.startswith(when)})
    fake(answers=answers)
    log = tmp_path / "ollama.log"
    log.write_text("panic: out of luck\n")
    with ollama.Client(log=log) as client, pytest.raises(ReasonerError, match="went away during") as caught:
        client.create("a:b", path, digest)
    assert caught.value.code == FAILED
    assert "panic: out of luck" in caught.value.why
    assert "nothing is half registered" in caught.value.fix


def test_refusals_carry_the_servers_reason(fake, gguf, tmp_path):
    path, digest = gguf
    answers = store_answers(tmp_path, digest, [])
    answers["POST /api/create"] = (400, {"error": "bad template"})
    fake(answers=answers)
    with ollama.Client() as client:
        with pytest.raises(ReasonerError, match="HTTP 400") as caught:
            client.create("a:b", path, digest)
        assert caught.value.why == "bad template"
        assert client.delete("no:such") is False
        with pytest.raises(ReasonerError, match="refused naming b"):
            client.copy("a", "b")


def test_slow_server_is_named_as_such(fake):
    enough = threading.Event()
    fake(answers={"POST /api/chat": lambda *_: (enough.wait(5), (200, {}))[1]})
    with ollama.Client(timeout_s=0.2) as client, pytest.raises(ReasonerError, match="no answer within"):
        client.chat("a", [])
    enough.set()


def test_tags_and_digests(fake):
    models = [{"name": "a:latest", "digest": "ab"}, {"name": "a:step-1", "digest": "sha256:cd"}]
    fake(answers={"GET /api/tags": (200, {"models": models})})
    with ollama.Client() as client:
        assert client.digest("a") == "sha256:ab"
        assert client.digest("a:step-1") == "sha256:cd"
        assert client.digest("b") is None


# -- the prompt


def prompt_answers(chat_count: int, shown: str | None = None):
    def chat(_, body):
        if json.loads(body).get("_debug_render_only"):
            return 200, {"_debug_info": {"rendered_template": "<|user|>hi"}}
        return 200, {"prompt_eval_count": chat_count}

    def generate(_, body):
        request = json.loads(body)
        assert request["template"] == "{{ .Prompt }}" and "raw" not in request
        if request.get("_debug_render_only"):
            return 200, {"_debug_info": {"rendered_template": shown or request["prompt"]}}
        return 200, {"prompt_eval_count": 4, "context": [11, 12, 13, 99]}

    facts = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 1}
    return {
        "POST /api/chat": chat,
        "POST /api/generate": generate,
        "POST /api/show": (200, {"model_info": facts}),
    }


def test_prompt_ids_are_the_prompts_only_with_bos(fake):
    fake(answers=prompt_answers(4))
    with ollama.Client() as client:
        assert client.prompt_ids("a", [{"role": "user", "content": "hi"}]) == [1, 11, 12, 13]


@pytest.mark.parametrize(
    ("count", "shown", "why"), [(5, None, "evaluates 5 prompt tokens"), (4, "x", "changes a rendered")]
)
def test_prompt_ids_that_cannot_be_trusted_are_refused(count, shown, why, fake):
    fake(answers=prompt_answers(count, shown))
    with ollama.Client() as client, pytest.raises(ReasonerError, match="cannot be read") as caught:
        client.prompt_ids("a", [])
    assert why in caught.value.why
