"""What this machine has of what `make reasoner` needs: found version, where, verdict, exact fix.

It looks and changes nothing: no build, no download, no server start, no import of heavy packages.
Whether a model hub can be reached is not tried.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from reasoner import runs
from reasoner.errors import DONE, MISSING, ReasonerError
from reasoner.llamacpp import install as toolchain
from reasoner.machine import cache, programs
from reasoner.serving import host
from reasoner.serving import install as ollama_install
from reasoner.serving import server as serving

Verdict = Literal["ok", "warn", "missing"]

PYTHON_MIN = (3, 11)
DISK_WARN = 8 << 30
"""Free bytes below which a fresh set-up of tools plus a small run gets tight."""
MEMORY_WARN = 4 << 30
SHOWN = ("torch", "transformers", "trl", "peft", "datasets", "llama-cpp-python")
"""Packages named in the line of a whole set-up."""


@dataclass(frozen=True)
class Check:
    """One requirement. `missing` stops `make reasoner`; `warn` does not."""

    name: str
    found: str
    where: str
    verdict: Verdict
    fix: str = ""


def check() -> list[Check]:
    """Every requirement, in the order in which set-up meets them."""
    looks: list[Callable[[], list[Check]]] = [
        _python, _compiler, _make, _cmake, _ninja, _go, _packages, _llama_cpp, _ollama, _server, _command,
        _cuda, _memory, _disk, _cache, _sandbox, _hub,
    ]  # fmt: skip
    with ThreadPoolExecutor(len(looks)) as pool:  # several only wait for a program to name its version
        return [found for part in pool.map(lambda look: look(), looks) for found in part]


def is_ready(checks: list[Check]) -> bool:
    return all(one.verdict != "missing" for one in checks)


def _python() -> list[Check]:
    fix = "" if sys.version_info >= PYTHON_MIN else "install Python 3.11 or newer, then: make setup PYTHON=python3.11"
    return [Check("Python", platform.python_version(), sys.executable, "missing" if fix else "ok", fix)]


def _package(name: str) -> str:
    """The command that installs a system package here."""
    if sys.platform == "darwin":
        return "xcode-select --install" if name in ("g++", "make") else f"brew install {name}"
    for manager in ("apt-get", "dnf", "zypper", "pacman -S", "apk add"):
        if shutil.which(manager.split()[0]):
            name = "gcc-c++" if name == "g++" and manager in ("dnf", "zypper") else name
            return f"sudo {manager} {name}" if " " in manager else f"sudo {manager} install {name}"
    return f"install {name}"


def _program(path: Path | str | None, absent: Check, *flags: str) -> list[Check]:
    """A program with its version, which one of the flags shows; `absent` where there is no path to it."""
    if not path:
        return [absent]
    version = programs.program_version(path, *flags)
    return [Check(absent.name, ".".join(map(str, version)) if version else "?", str(path), "ok")]


def _compiler() -> list[Check]:
    path, absent = programs.find_compiler(), Check("C++ compiler", "none", "", "missing", _package("g++"))
    if path is None and toolchain.find_llama_cpp():
        absent = Check("C++ compiler", "none", "", "warn", "not needed now: llama.cpp is built")
    return _program(path, absent, "-dumpfullversion", "-dumpversion")


def _make() -> list[Check]:
    return _program(shutil.which("make"), Check("make", "none", "", "warn", _package("make")), "--version")


BROUGHT = "nothing to do: set-up takes it as a Python package"


def _cmake() -> list[Check]:
    return _program(programs.find_cmake(), Check("cmake", "none", "", "ok", BROUGHT), "--version")


def _ninja() -> list[Check]:
    return _program(programs.find_ninja(), Check("ninja", "none", "", "ok", BROUGHT), "--version")


def _go() -> list[Check]:
    fix = "nothing to do: taken as a Python package where Ollama is built"
    return _program(programs.find_go(), Check("Go", "none of 1.26 or newer", "", "ok", fix), "version")


def _packages() -> list[Check]:
    """Installed packages against what our own package asks for; exact pins are part of what works."""
    try:
        wanted = [one for one in metadata.requires("reasoner") or [] if "extra ==" not in one]
    except metadata.PackageNotFoundError:
        return [Check("packages", "not installed", sys.prefix, "missing", "make setup")]
    wrong, absent, shown = [], [], []
    for requirement in wanted:
        parts = re.match(r"([A-Za-z0-9._-]+)(?:==([^\s;,]+))?", requirement)
        assert parts is not None
        name, pin = parts.groups()
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if pin and version.split("+")[0] != pin:
            wrong.append(f"{name} {version} instead of {pin}")
        elif name in SHOWN:
            shown.append(f"{name} {version}")
    if absent:
        return [Check("packages", f"not installed: {', '.join(absent)}", sys.prefix, "missing", "make setup")]
    if wrong:
        return [Check("packages", "; ".join(wrong), sys.prefix, "warn", "make setup")]
    return [Check("packages", f"{', '.join(shown)}, all {len(wanted)} as pinned", sys.prefix, "ok")]


def _llama_cpp() -> list[Check]:
    tools = toolchain.find_llama_cpp()
    if tools is None:
        given = os.environ.get("LLAMA_CPP_DIR")
        fix = "unset LLAMA_CPP_DIR, or build llama-quantize there" if given else "make setup"
        return [Check("llama.cpp", "not built", given or "", "missing", fix)]
    version = f"{tools.version}, {tools.route}"
    path = str(tools.quantize)
    quantize = Check("quantizer", tools.version, path, "ok")
    if not os.access(path, os.X_OK):
        quantize = Check("quantizer", "not executable", path, "missing", f"chmod +x {path}")
    return [Check("llama.cpp", version, str(tools.bin_dir), "ok"), quantize]


def _ollama() -> list[Check]:
    why: list[str] = []
    if install := ollama_install.find_ollama(why):
        return [Check("Ollama", f"{install.version}, route: {install.route}", str(install.path), "ok")]
    return [Check("Ollama", "; ".join(why), "", "missing", "make setup")]


def _server() -> list[Check]:
    where = host.current()
    try:
        server = serving.find_server()
    except ImportError:
        return [Check("Ollama server", "not asked: packages are not installed", str(where), "ok")]
    except ReasonerError as error:
        return [Check("Ollama server", f"{error.what}: {error.why}", str(where), "missing", error.fix or "")]
    if server is None and not where.is_local:
        return [Check("Ollama server", "none answers", str(where), "missing", "start it there, or unset OLLAMA_HOST")]
    if server is None:
        return [Check("Ollama server", "none runs", str(where), "ok", "nothing to do: started when needed")]
    who = f"ours, process {server.pid}" if server.is_ours else "started by someone else"
    return [Check("Ollama server", f"{server.version}, {who}", str(where), "ok")]


def _command() -> list[Check]:
    if path := shutil.which("ollama"):
        return [Check("`ollama` command", "on the PATH", path, "ok")]
    if not (install := ollama_install.find_ollama()):
        return [Check("`ollama` command", "none", "", "warn", "make setup")]
    link, found = ollama_install.link_path(), "linked, but not on the PATH"
    if not link.is_symlink():
        link, found = install.path, "not on the PATH"
    return [Check("`ollama` command", found, str(link), "warn", f'export PATH="{link.parent}:$PATH"')]


def _cuda() -> list[Check]:
    path = shutil.which("nvidia-smi")
    if path is None:
        return [Check("CUDA", "none: profiles for the CPU are used", "", "ok")]
    query = [path, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        done = None
    if done is None or done.returncode or not done.stdout.strip():
        return [Check("CUDA", "nvidia-smi does not answer", path, "warn", "repair the driver, or go on with the CPU")]
    return [Check("CUDA", done.stdout.strip().splitlines()[0], path, "ok")]


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _memory() -> list[Check]:
    try:
        import psutil
    except ImportError:
        return []
    memory = psutil.virtual_memory()
    found = f"{_gib(memory.available)} free of {_gib(memory.total)}"
    fix = "" if memory.available >= MEMORY_WARN else "end other programs, or take a smaller base"
    return [Check("memory", found, "", "warn" if fix else "ok", fix)]


def existing(path: Path) -> Path:
    """The nearest folder above a path, or the path itself, that is there."""
    return next(p for p in (path, *path.parents) if p.exists())


def _disk() -> list[Check]:
    found = []
    places = {"runs": runs.runs_dir(), "cache": cache.cache_dir(), "models": host.models_dir()}
    for (name, place), variable in zip(
        places.items(), ("REASONER_RUNS", "REASONER_CACHE", "OLLAMA_MODELS"), strict=True
    ):
        free = shutil.disk_usage(existing(place)).free
        fix = "" if free >= DISK_WARN else f"free some, or move it with {variable}"
        found.append(Check(f"disk ({name})", f"{_gib(free)} free", str(place), "warn" if fix else "ok", fix))
    return found


def _cache() -> list[Check]:
    place = cache.cache_dir()
    if os.access(existing(place), os.W_OK):
        return [Check("cache folder", "exists" if place.exists() else "not there yet", str(place), "ok")]
    fix = "export REASONER_CACHE=<a folder of yours>"
    return [Check("cache folder", "cannot be written", str(place), "missing", fix)]


def _sandbox() -> list[Check]:
    """Attacked now, for half a second: what a kernel offers does not say what holds."""
    from reasoner.sandbox import selftest

    try:
        tier = selftest.choose()
    except ReasonerError as error:
        why = (error.why or "").replace("\n", "; ")
        return [Check("code sandbox", f"none: {why}", "", "warn", (error.fix or "").replace("\n", "; "))]
    better = [selftest.report(one) for one in selftest.TIERS][: list(selftest.TIERS).index(tier)]
    why = "".join(f"; not `{one.tier}`: {one.why}" for one in better)
    found = f"{tier}: held against {len(selftest.report(tier).outcomes)} attacks{why}"
    return [Check("code sandbox", found, "", "ok", selftest.advice().replace("\n", "; ") if better else "")]


def _hub() -> list[Check]:
    return [Check("model hub", "not checked: `pocket` needs none", os.environ.get("HF_ENDPOINT", ""), "ok")]


def lines(checks: list[Check]) -> list[str]:
    """One line for each check: verdict, name, what was found, where, and the fix where one is needed."""
    width = max(len(one.name) for one in checks)
    found = [f"{one.verdict:<8}{one.name:<{width}}  {one.found}  {one.where}".rstrip() for one in checks]
    return [line + (f"  fix: {one.fix}" if one.fix else "") for line, one in zip(found, checks, strict=True)]


def main() -> int:
    """For a machine where nothing is installed yet: needs the standard library only."""
    checks = check()
    sys.stdout.write("\n".join(lines(checks)) + "\n")
    return DONE if is_ready(checks) else MISSING


if __name__ == "__main__":
    sys.exit(main())
