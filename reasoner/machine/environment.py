"""Installs the pinned packages of a checkout, each by its hash, into `.venv`. Needs nothing but Python, pip and uv.

On Linux without a card torch comes as PyTorch's CPU build, from PyTorch's own index where that answers: the default
index has only the build with CUDA's libraries, which is twenty times as large. Its hashes are those that the index
gives over TLS; the lock knows only those of the default index.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from reasoner.errors import ReasonerError

TORCH_CPU = "https://download.pytorch.org/whl/cpu"
"""PyTorch's index of CPU builds; `REASONER_TORCH_INDEX` names another, or `none`."""
TIMEOUT_S = 15.0
NO_LIBRARY = ("--config-settings-package", "llama-cpp-python:cmake.define.LLAMA_BUILD=OFF")
"""A binding without a library of its own: the llama.cpp that `reasoner setup` builds is the one. Given as a setting,
not as CMAKE_ARGS, so that uv keeps this wheel apart from one with the library."""
_OF_CUDA = re.compile(r"(nvidia-|cuda-|triton==)")


def install(root: Path) -> None:
    if has_card():
        requirements, index = pinned(root / "requirements-gpu.lock"), None
        size = "about 10 GB, with CUDA"
    else:
        requirements, index, why = for_cpu(pinned(root / "requirements.lock"))
        size = f"about 5 GB: the default index's torch, {why}"
        if index:
            size = f"about 1.3 GB: torch's CPU build from {index}"
    what = f"{len(requirements)} pinned packages into {sys.prefix} ({size}; usually 1-5 minutes)"
    sys.stderr.write(f"reasoner: installing {what}\n")
    _install_pinned(requirements, *(("--index", index, "--index-strategy", "unsafe-best-match") if index else ()))
    _install("--no-deps", "-e", str(root))


def has_card() -> bool:
    """Whether this is a machine for the lock with CUDA: Linux on x86-64, and its driver answers."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False
    try:
        return subprocess.run(["nvidia-smi"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def pinned(lock: Path) -> list[str]:
    """The requirements of a lock file, each with its marker and its hashes."""
    text = lock.read_text(encoding="utf-8")
    return re.findall(r"^[A-Za-z0-9].*?(?=\n[A-Za-z0-9#]|\s*\Z)", text, re.MULTILINE | re.DOTALL)


def for_cpu(requirements: Sequence[str]) -> tuple[list[str], str | None, str]:
    """The requirements with torch's CPU build, and the index that has it; or as they are, None, and why."""
    index = os.environ.get("REASONER_TORCH_INDEX") or TORCH_CPU
    if platform.system() != "Linux":
        return list(requirements), None, "which is the CPU build here"
    torch = next(one for one in requirements if one.startswith("torch=="))
    version = re.split(r"[ ;\\]", torch.removeprefix("torch=="))[0]
    if index == "none":
        return list(requirements), None, "REASONER_TORCH_INDEX is none"
    try:
        with urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=TIMEOUT_S) as answer:
            page = answer.read(16 << 20).decode("utf-8", "replace")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return list(requirements), None, f"{index} does not answer ({getattr(error, 'reason', error)})"
    found = re.findall(rf"torch-{re.escape(version)}(?:\+|%2B)cpu-[^\"'#\s]*\.whl#sha256=([0-9a-f]{{64}})", page)
    if not found:
        return list(requirements), None, f"{index} has no torch {version}+cpu with a hash"
    ours = " \\\n".join([f"torch=={version}+cpu", *(f"    --hash=sha256:{one}" for one in dict.fromkeys(found))])
    others = [one for one in requirements if one != torch and not _OF_CUDA.match(one)]
    return [*others, ours], index, ""


def _install_pinned(requirements: Sequence[str], *options: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(requirements) + "\n")
        file.flush()
        _install("--require-hashes", *NO_LIBRARY, *options, "-r", file.name)


def _install(*options: str) -> None:
    uv = Path(sys.prefix) / "bin" / "uv"
    done = subprocess.run([uv, "pip", "install", "--quiet", "--python", sys.executable, *options], check=False)
    if done.returncode:
        raise ReasonerError(
            "the packages could not be installed",
            why=f"uv ended with {done.returncode}, for what it says above",
            fix="look at the network, the index and the disk, then run the command again;"
            " REASONER_TORCH_INDEX=none takes torch from the default index",
        )


def main() -> None:
    """Entry point of `python -m reasoner.machine.environment [--tests]`, in the root of a checkout.

    With `--tests` only the tests' own tools are installed, into an environment that has the rest.
    """
    root = Path.cwd()
    try:
        _install_pinned(pinned(root / "requirements-dev.lock")) if "--tests" in sys.argv[1:] else install(root)
    except ReasonerError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.code)


if __name__ == "__main__":
    main()
