"""The folder of everything that the project brings to a machine: `REASONER_CACHE`."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

Progress = Callable[[str], None]

MARKER = "installed.json"


def quiet(message: str) -> None:
    """A progress callback that prints nothing."""


def cache_dir() -> Path:
    """The folder of everything we bring: `REASONER_CACHE`, else `reasoner` in the user's cache folder."""
    if own := os.environ.get("REASONER_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "reasoner"


def tools_dir() -> Path:
    return cache_dir() / "tools"


@lru_cache(maxsize=1)
def machine_key() -> str:
    """Names the kind of CPU a native build belongs to.

    A home folder shared by two machines holds one build for each, so that no program meets an
    instruction its CPU lacks.
    """
    machine, features = platform.machine(), [platform.processor()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        flags: list[str] = []
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = line.partition(":")[2].split()
                break
        isa = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "amx")
        features = sorted(flag for flag in flags if machine.startswith("aarch") or flag.startswith(isa))
    digest = hashlib.sha256(f"{machine} {' '.join(features)}".encode()).hexdigest()[:8]
    return f"{machine}-{digest}"


def is_installed(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def finish_folder(partial: Path, final: Path, facts: dict[str, Any]) -> None:
    """Gives a finished folder its final name; the marker is written last."""
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    temporary = final / f"{MARKER}.partial"
    temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    temporary.rename(final / MARKER)


@contextmanager
def locked(name: str, progress: Progress) -> Iterator[None]:
    """One process at a time does the named work in this cache; others wait, and say so."""
    folder = cache_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            progress(f"{name}: waiting for another reasoner (process {handle.read().strip() or '?'})")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def log_path(name: str) -> Path:
    return cache_dir() / "logs" / f"{name}.log"


def remove_tools() -> list[Path]:
    """Removes everything this module brought; gives the folders removed."""
    removed = [path for path in (tools_dir(), cache_dir() / "logs", cache_dir() / "locks") if path.exists()]
    for path in removed:
        shutil.rmtree(path)
    return removed
