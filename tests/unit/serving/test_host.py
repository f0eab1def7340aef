"""Which Ollama is meant, and what answers there."""

import os

import pytest

from reasoner.errors import MISSING, ReasonerError
from reasoner.serving import host, server


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
    assert host.current().url == url


def test_host_facts():
    assert host.parse("") == host.Host() and host.parse("").is_local
    assert host.parse("127.0.0.1:1").env == "127.0.0.1:1"
    assert not host.parse("10.0.0.1").is_local
    assert host.parse("[::1]:5").is_local


def test_probe_finds_nothing_then_an_ollama(fake, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{host.free_port(20000)}")
    assert host.probe() is None
    monkeypatch.setenv("OLLAMA_HOST", fake.host)
    assert host.probe() == "0.34.4"
    assert not server.find_server().is_ours


@pytest.mark.parametrize("answer", [(200, b"<html>hello"), (404, {"error": "x"}), (200, [1]), None])
def test_port_taken_by_something_else(answer, fake):
    fake.faults["GET /api/version"] = answer
    with pytest.raises(ReasonerError, match="taken by something that is not Ollama") as caught:
        server.ensure_server()
    assert caught.value.code == MISSING
    assert f"process {os.getpid()}" in caught.value.why
    assert "OLLAMA_HOST=127.0.0.1:" in caught.value.fix


def test_loopback_never_goes_through_a_proxy(fake, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert host.probe() is not None
    with fake.client() as client:
        assert client.version() == "0.34.4"
