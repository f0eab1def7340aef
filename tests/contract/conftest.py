"""What the contract tests share: the shipped base as llama.cpp's file, and an Ollama of a file's own."""

import fcntl
import os
import socket

import pytest

from reasoner.bases import locate
from reasoner.llamacpp import quantize
from reasoner.serving import install
from reasoner.serving import server as serving


@pytest.fixture(scope="session")
def pocket_file(tmp_path_factory):
    """The pocket base as F16, read only; one for all workers of pytest-xdist: the first makes it, others wait."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "pocket"
    folder.mkdir(exist_ok=True)
    path = folder / "pocket.F16.gguf"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            quantize.run(locate.shipped()["pocket"], path, "F16", folder / "log", lambda text: None)
    return path


@pytest.fixture(scope="module")
def own_server(tmp_path_factory):
    """A server of our own on a free port with an empty model folder."""
    assert install.find_ollama(), "no Ollama: run `make setup` first"
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
        patch.setenv("OLLAMA_MODELS", str(tmp_path_factory.mktemp("ollama") / "models"))
        yield serving.ensure_server()
        serving.stop_server()
        serving.server_log(port).unlink(missing_ok=True)
