"""What the contract tests share: the shipped base as llama.cpp's file, converted once for all of them."""

import fcntl
import os

import pytest

from reasoner.bases import locate
from reasoner.llamacpp import quantize


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
