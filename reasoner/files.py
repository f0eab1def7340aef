"""Files are written whole or not at all, read back the same way, and known by their SHA-256."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none of it, whoever else writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The value, or None where the file is missing or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


@contextlib.contextmanager
def locked(path: Path, busy: Callable[[str], None]) -> Iterator[None]:
    """Holds a lock file, which names the process that has it; the system releases it however that process ends.

    Where another process has it, `busy` is called with its id: it may raise; where it returns, this one waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            busy(handle.read().strip() or "unknown")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield


@contextlib.contextmanager
def partial_dir(final: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `final` when the block ends well; nothing is left of it otherwise."""
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def partial_file(final: Path) -> Iterator[Path]:
    """A path to write, which takes the name `final` when the block ends well.

    The suffix is kept (some programs look at it); nothing is left of it otherwise, and what a killed run left is
    overwritten.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f"partial-{final.name}")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)


def append_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with path.open("ab+") as handle:
        if handle.tell() and (handle.seek(-1, os.SEEK_END), handle.read())[1] != b"\n":
            text = "\n" + text  # a full disk cut the last line off
        handle.write(text.encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the file; a line cut off by a kill is left out."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").split("\n"):  # not splitlines: U+2028 may stand inside a row
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
    return rows


_written: dict[tuple[int, ...], str] = {}


def sha256_file(path: Path) -> str:
    with path.open("rb") as handle:
        stat = os.fstat(handle.fileno())
        known = _written.get((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return known or hashlib.file_digest(handle, "sha256").hexdigest()


def hashed_while_written(path: Path, sha256: str) -> None:
    """Spares this process reading a large file again that it has just written; any change to the file ends that."""
    stat = path.stat()
    _written[stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns] = sha256


def sha256_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


Kind = TypeVar("Kind")


def parse(kind: type[Kind], value: object) -> Kind:
    """A dataclass, and those nested in it, from what JSON gave back; `dataclasses.asdict` is the way there.

    Keys that the class does not know are passed over. Raises `ValueError` where one is missing or of another type.

    >>> from dataclasses import make_dataclass
    >>> parse(make_dataclass("Digest", [("sha256", str), ("bytes", int)]), {"sha256": "ab", "bytes": 3, "later": 1})
    Digest(sha256='ab', bytes=3)
    """
    return _adapter(kind).validate_python(value)  # type: ignore[no-any-return, arg-type]


@cache
def _adapter(kind: type[object]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


LEFT_OUT = {"left_out": True}
"""Marks a field that is None where it does not apply, and then has no key in the JSON."""


def as_json(value: object) -> Any:
    """Returns a figure as plain JSON values: `dataclasses.asdict` without the keys that are `LEFT_OUT`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            one.name: as_json(found)
            for one in dataclasses.fields(value)
            if (found := getattr(value, one.name)) is not None or "left_out" not in one.metadata
        }
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list | tuple) else value
