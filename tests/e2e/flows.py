"""What the whole flows run in: a home, a cache, an Ollama and runs of their own."""

import os
import shutil
import socket
import subprocess
from functools import cached_property
from pathlib import Path

from warm import Warm

from reasoner.machine import cache

ROOT = Path(__file__).parents[2]
OF_THE_CALLER = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS", "RUN", "PROFILE", "LLAMA_CPP_DIR"}
"""What `make test ARGS=...` would hand on to the tests' own `make`."""
RUN, STEPS, NUM = "e2e", 60, 100
TRAINED = (f"train.steps={STEPS}", "train.save_every=30", f"eval.num_problems={NUM}", "gguf.margin=4")
"""The one run that is trained until it is good: the flow's, of which the ladder has a copy."""
SHORT = ("train.steps=4", "train.save_every=2", "eval.num_problems=60")
"""For runs of which only the path counts."""


def sets(*settings):
    """Returns the command-line arguments of settings."""
    return [part for setting in settings for part in ("--set", setting)]


class World:
    """A home, a cache, runs and an Ollama of the tests' own; tools are the real ones, linked in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.cache, self.runs = folder / "home", folder / "cache", folder / "runs"
        (self.home / ".local" / "bin").mkdir(parents=True)
        self.cache.mkdir()
        tools, ours = str(cache.tools_dir()), str(self.cache / "tools")
        if subprocess.run(["cp", "-al", tools, ours], capture_output=True).returncode:  # on another disk
            shutil.rmtree(ours, ignore_errors=True)
            subprocess.run(["cp", "-a", "--reflink=auto", tools, ours], check=True)
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

    @cached_property
    def _warm(self) -> Warm:
        return Warm(self.folder, self.env)

    def call(
        self, *argv: str, env: dict[str, str] | None = None, timeout: float | None = 800
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program in this world, as a person would."""
        return subprocess.run(
            argv, cwd=ROOT, env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=timeout
        )

    def reasoner(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a `reasoner` command in this world, its imports made beforehand (see `warm`)."""
        return self._warm.run([str(one) for one in argv], env=self.env, cwd=ROOT, timeout=800)

    def start(self, *argv: str, log: Path):
        """Starts a `reasoner` command in this world; its output goes to `log`."""
        with log.open("wb") as out:
            return self._warm.start([str(one) for one in argv], env=self.env, cwd=ROOT, stdout=out, stderr=out)

    @property
    def program(self) -> str:
        return str(ROOT / ".venv" / "bin" / "reasoner")

    @property
    def ollama(self) -> str:
        return str(next((self.cache / "tools").glob("ollama-*/bin/ollama"), None) or shutil.which("ollama"))

    def close(self) -> None:
        self.reasoner("serve", "--stop")
        self._warm.close()
