"""Servers found, started, recognized, stopped and refused; the program is a stand-in, the real one is in contract/."""

import os
import socket
import subprocess
import sys

import psutil
import pytest

from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.machine import cache
from reasoner.serving import host, install, server

PROGRAM = """
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
def installed(tmp_path, monkeypatch):
    """An installed Ollama whose program does what the test says."""
    path = tmp_path / "cache" / "tools" / "ollama" / "bin" / "ollama"

    def make(code: str = PROGRAM):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{code}")
        path.chmod(0o755)
        found = install.OllamaInstall(path, "module", "0.34.4")
        monkeypatch.setattr(install, "find_ollama", lambda why=None: found)
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{trial.getsockname()[1]}")
        return found

    yield make
    server.stop_all()


def test_old_server_is_refused(fake):
    fake.version = "0.12.3"
    with pytest.raises(ReasonerError, match="too old") as caught:
        server.ensure_server()
    assert caught.value.code == MISSING


def test_no_server_is_started_for_another_machine(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "http://localhost.invalid:1")
    with pytest.raises(ReasonerError, match="no Ollama answers") as caught:
        server.ensure_server()
    assert caught.value.code == MISSING


def test_server_of_ours_starts_once_is_recognized_and_stops(installed, tmp_path):
    installed()
    said = []
    report = server.serve(progress=said.append)
    found = report.server
    assert report.action == "started" and found.is_ours and found.route == "module"
    assert found.models_dir == tmp_path / "models"
    assert "starting a server" in said[0]
    assert f"models in {tmp_path / 'models'}" in found.log.read_text()
    assert os.getsid(found.pid) != os.getsid(0)
    assert psutil.Process(found.pid).ppid() != os.getpid()
    again = server.serve()
    assert again.action == "running" and again.server.pid == found.pid and again.as_json()["ours"]
    assert server.serve(stop=True).action == "stopped"
    assert host.probe() is None and not psutil.pid_exists(found.pid)
    assert server.serve(stop=True).action == "nothing"


def test_server_of_another_is_not_stopped(fake):
    with pytest.raises(ReasonerError, match="not started by reasoner") as caught:
        server.serve(stop=True)
    assert caught.value.code == USAGE
    assert host.probe() is not None
    assert {request.what for request in fake.seen} == {"GET /api/version"}


def test_process_that_took_over_the_number_is_not_touched():
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()", "serve"], stdin=subprocess.PIPE)
    try:
        started = psutil.Process(child.pid).create_time()
        facts = dict(machine=socket.gethostname(), port=9, route="module", models_dir="x")
        assert server.Started(pid=child.pid, started=started, **facts).process() is not None
        for wrong in ({"started": started - 60}, {"machine": "another"}):
            note = server.Started(**{"pid": child.pid, "started": started, **facts, **wrong})
            assert note.process() is None and not note.end()
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()


def test_server_that_dies_at_once_shows_its_last_words(installed):
    installed("raise SystemExit('no such luck')")
    with pytest.raises(ReasonerError, match="did not start") as caught:
        server.ensure_server()
    assert caught.value.code == MISSING
    assert "it ended at once" in caught.value.why and "no such luck" in caught.value.why
    assert caught.value.log == server.server_log(host.current().port)
    assert not list((cache.cache_dir() / "servers").glob("*.json"))


def test_uninstall_stops_our_server_and_leaves_models(installed, tmp_path):
    installed()
    found = server.ensure_server()
    (tmp_path / "models" / "blobs").mkdir(parents=True)
    done = server.uninstall_tools()
    assert f"stopped the server on port {found.host.port}" in done
    assert not psutil.pid_exists(found.pid)
    assert not (tmp_path / "cache").exists() and (tmp_path / "models" / "blobs").exists()
