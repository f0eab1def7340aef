"""Places of a test's own, and a server that stands in for Ollama."""

import os

import fake_ollama
import pytest


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", "/bin"]))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


@pytest.fixture
def fake(monkeypatch):
    """A server at OLLAMA_HOST."""
    with fake_ollama.running() as made:
        monkeypatch.setenv("OLLAMA_HOST", made.host)
        yield made


@pytest.fixture
def client(fake):
    with fake.client() as made:
        yield made
