"""Keeps everything that the project brings to a machine in one folder, `REASONER_CACHE`.

A folder in it is whole when it holds `installed.json`, which is written last.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from reasoner import files

Progress = Callable[[str], None]

MARKER = "installed.json"


def quiet(message: str) -> None:
    """Is a progress callback that prints nothing."""


def cache_dir() -> Path:
    """Returns `REASONER_CACHE`, else `reasoner` in the user's cache folder."""
    if own := os.environ.get("REASONER_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "reasoner"


def tools_dir() -> Path:
    return cache_dir() / "tools"


@lru_cache(maxsize=1)
def machine_key() -> str:
    """Names the kind of CPU that a native build belongs to: machines that share a home folder have one for each."""
    machine, features = platform.machine(), [platform.processor()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "").split()
        isa = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "amx")
        features = sorted(flag for flag in flags if machine.startswith("aarch") or flag.startswith(isa))
    digest = hashlib.sha256(f"{machine} {' '.join(features)}".encode()).hexdigest()[:8]
    return f"{machine}-{digest}"


def is_installed(folder: Path) -> dict[str, Any] | None:
    """Returns the facts that `installing` left, or None where the folder is not whole."""
    found = files.read_json(folder / MARKER)
    return found if isinstance(found, dict) else None


@contextmanager
def installing(final: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """Gives an empty folder to fill and the facts to fill in; both take the name `final` when the block ends well."""
    facts: dict[str, object] = {}
    with files.partial_dir(final) as partial:
        yield partial, facts
        files.write_json(partial / MARKER, facts)


@contextmanager
def locked(name: str, progress: Progress) -> Iterator[None]:
    """Lets one process at a time do the named work in this cache; others wait, and say so."""

    path = cache_dir() / "locks" / f"{name}.lock"
    with files.locked(path, lambda holder: progress(f"{name}: waiting for another reasoner (process {holder})")):
        yield


def log_path(name: str) -> Path:
    return cache_dir() / "logs" / f"{name}.log"


def remove_tools() -> list[Path]:
    """Removes the tools, their logs and their locks; returns the folders removed."""
    removed = [path for path in (tools_dir(), cache_dir() / "logs", cache_dir() / "locks") if path.exists()]
    for path in removed:
        shutil.rmtree(path)
    return removed
