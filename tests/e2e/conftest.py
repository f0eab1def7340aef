"""One whole `make reasoner` on the pocket profile, shortened by configuration only, shared by the tests of a file."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from reasoner.machine import cache

ROOT = Path(__file__).parents[2]
OF_THE_CALLER = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS", "RUN", "PROFILE", "LLAMA_CPP_DIR"}
"""What `make test ARGS=...` would hand on to the tests' own `make`."""
SHORT = "--set train.steps=4 --set train.save_every=2 --set eval.num_problems=60"


class World:
    """A home, a cache, runs and an Ollama of the tests' own; tools are the real ones, copied in."""

    short = SHORT

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.cache, self.runs = folder / "home", folder / "cache", folder / "runs"
        (self.home / ".local" / "bin").mkdir(parents=True)
        self.cache.mkdir()
        tools = cache.tools_dir()
        subprocess.run(["cp", "-a", "--reflink=auto", str(tools), str(self.cache / "tools")], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.env = {
            **{key: value for key, value in os.environ.items() if key not in OF_THE_CALLER},
            "HOME": str(self.home),
            "PATH": f"{self.home / '.local' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "REASONER_CACHE": str(self.cache),
            "REASONER_RUNS": str(self.runs),
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(folder / "models"),
            "HF_HUB_OFFLINE": "1",
        }

    def call(
        self, *argv: str, env: dict[str, str] | None = None, timeout: float | None = 800
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=ROOT, env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=timeout
        )

    def reasoner(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.call(self.program, *argv)

    @property
    def program(self) -> str:
        return str(ROOT / ".venv" / "bin" / "reasoner")

    @property
    def ollama(self) -> str:
        return str(next((self.cache / "tools").glob("ollama-*/bin/ollama"), None) or shutil.which("ollama"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A new one for each file: the last test of `test_flow` uninstalls."""
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.call(made.program, "serve", "--stop")


@pytest.fixture(scope="module")
def flow(world):
    """The finished `make reasoner`."""
    done = world.call("make", "reasoner", "PROFILE=pocket", "RUN=e2e", f"ARGS={SHORT}")
    assert done.returncode == 0, done.stderr
    return done
