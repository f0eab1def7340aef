"""What tests of more than one room stand on."""

import os

import pytest


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """An empty cache, and a PATH with nothing of ours on it."""
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), "/usr/bin", "/bin"]))
    return tmp_path
