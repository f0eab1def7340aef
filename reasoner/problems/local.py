"""Files and folders of a person's own: JSONL or a JSON list, one file or one for each split."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path

from reasoner.errors import USAGE, ReasonerError
from reasoner.files import sha256_file
from reasoner.problems import rows
from reasoner.problems.splits import ALIASES, Pile


def own_piles(path: Path, single: str) -> list[Pile]:
    """Reads a file as one split, or those files of a folder that are splits by name."""
    found = {single: path} if path.is_file() else split_files(path)
    return [pile(file, split, rows.own(file.stem), rows.OWN_FIX) for split, file in found.items()]


def split_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder that are splits by name, as JSONL or a JSON list."""
    found: dict[str, Path] = {}
    for split, names in ALIASES.items():
        here = [path for name in names for end in ("jsonl", "json") if (path := folder / f"{name}.{end}").is_file()]
        if len(here) > 1:
            raise ReasonerError(
                f"{folder} has two files for the split {split!r}",
                why=f"{here[0].name} and {here[1].name}",
                fix="take one of them away",
                code=USAGE,
            )
        if here:
            found[split] = here[0]
    return found


def check_is_no_path(source: str) -> None:
    """Refuses a source that looks like a path, as there is no such file or folder."""
    if source.endswith((".jsonl", ".json")) or source.startswith(("./", "../", "/", "~")):
        path = Path(source).expanduser()
        beside = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        fix = f"did you mean {path.parent / close[0]}?" if close else "name one that exists"
        raise ReasonerError(f"there is no file or folder {source}", fix=fix, code=USAGE)


def pile(path: Path, split: str, reader: rows.Reader, fix: str) -> Pile:
    """Reads a file: a JSON list where its suffix is `.json`, else JSONL. Errors name its rows by line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReasonerError(f"{path} cannot be read", why=str(error), fix=fix, code=USAGE) from None
    items: Iterable[tuple[str, object]]
    if path.suffix == ".json":
        items = [(f"row {index}", row) for index, row in enumerate(_json_list(path, text, fix), start=1)]
    else:
        # Not `splitlines`: it also splits at characters that JSON leaves inside a text.
        lines = enumerate(text.split("\n"), start=1)
        items = ((f"line {index}", _parse_line(line)) for index, line in lines if line.strip())
    found = {"path": str(path), "sha256": sha256_file(path)}
    return rows.fill(Pile(split, found), items, reader, str(path), fix)


def _json_list(path: Path, text: str, fix: str) -> list[object]:
    try:
        found = _parse(text)
    except ValueError as error:
        raise ReasonerError(f"{path} is no JSON", why=str(error), fix=fix, code=USAGE) from None
    if not isinstance(found, list):
        raise ReasonerError(f"{path} is no JSON list", fix=fix, code=USAGE)
    return found


def _parse_line(line: str) -> object:
    try:
        return _parse(line)
    except ValueError as error:
        return rows.UnreadableError(str(error))


def _parse(text: str) -> object:
    """Reads JSON, its decimal numbers exactly as they are written."""
    return json.loads(text, parse_float=lambda number: rows.number(number) or float(number))
