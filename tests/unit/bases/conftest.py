"""A cache of its own for every test, and a stop where llama.cpp would be needed."""

import pytest

from reasoner.errors import ReasonerError
from reasoner.llamacpp import install


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


@pytest.fixture
def stops_at_llama_cpp(monkeypatch):
    """An import that got past the header ends with this error."""

    def stop(*_):
        raise ReasonerError("past the header")

    monkeypatch.setattr(install, "llama_cpp", stop)
