"""Files that people keep problems in, as rows with the name that an error calls each by.

What a file is, is read from it rather than from its name where that is possible: JSON Lines in a `.json`, a list in a
`.jsonl`, semicolons in a `.csv`. Numbers stay as they were written, which is why CSV and JSON do not go through a
library that guesses types: 0.10 is not 0.1, and 007 not 7. Parquet and Arrow files are read by pyarrow.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reasoner.errors import USAGE, ReasonerError
from reasoner.problems.columns import UnreadableError, number

SUFFIXES = ("jsonl", "json", "ndjson", "csv", "tsv", "parquet", "arrow")
Labelled = tuple[str, object]
"""A row, or the `UnreadableError` in its place, after the name that an error calls it by."""


def names(stem: str) -> list[str]:
    """Returns what a file may be called, such as `train.csv` or `train.jsonl.gz`."""
    return [f"{stem}.{end}{packed}" for end in SUFFIXES for packed in ("", ".gz")]


def is_table(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(tuple(f".{end}" for end in SUFFIXES))


def rows(path: Path, fix: str) -> list[Labelled]:
    """Returns the rows of a file. Raises `ReasonerError` where it cannot be read as what it is."""
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    try:
        content = gzip.decompress(path.read_bytes()) if path.name.lower().endswith(".gz") else path.read_bytes()
        if kind in (".parquet", ".arrow"):
            return list(numbered(_columnar(content, kind)))
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError):
            fix = "save it as UTF-8"
        raise ReasonerError(f"{path} cannot be read", why=str(error), fix=fix, code=USAGE) from None
    if kind in (".csv", ".tsv"):
        return list(_delimited(text, "\t" if kind == ".tsv" else None))
    return list(_json(text))


def _json(text: str) -> Iterator[Labelled]:
    """Reads a JSON list, an object that holds one, or JSON Lines."""
    whole = _parsed(text) if text.lstrip().startswith(("[", "{")) else None
    if isinstance(whole, dict):
        inner = [one for one in whole.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
        whole = inner[0] if len(inner) == 1 and len(whole) == 1 else None
    if isinstance(whole, list):
        yield from numbered(whole)
        return
    # Not `splitlines`: it also splits at characters that JSON leaves inside a text.
    for index, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {index}", _parsed(line)


def _parsed(text: str) -> object:
    """Reads JSON, its decimal numbers exactly as they are written; gives the error where it is none."""
    try:
        return json.loads(text, parse_float=lambda digits: number(digits) or float(digits))
    except (ValueError, RecursionError) as error:
        return UnreadableError(str(error))


def _delimited(text: str, delimiter: str | None) -> Iterator[Labelled]:
    head = text.partition("\n")[0]
    if delimiter is None:
        delimiter = max(",;\t", key=head.count)  # the comma where none is there
    found = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        at = found.line_num + 1
        try:
            cells = next(found, None)
        except csv.Error as error:
            yield f"line {at}", UnreadableError(str(error))
            return
        if cells is None:
            return
        if header is None:
            header = [name.strip() for name in cells]
        elif len(cells) > len(header):
            why = f"it has {len(cells)} cells, the first line {len(header)}: quote a text with the delimiter in it"
            yield f"line {at}", UnreadableError(why)
        elif any(cell.strip() for cell in cells):
            yield f"line {at}", dict(zip(header, cells, strict=False))


def _columnar(content: bytes, kind: str) -> list[Any]:
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    source = pyarrow.BufferReader(content)
    try:
        if kind == ".parquet":
            table = pyarrow.parquet.read_table(source)
        elif content[:6] == b"ARROW1":
            table = pyarrow.ipc.open_file(source).read_all()
        else:
            table = pyarrow.ipc.open_stream(source).read_all()
    except pyarrow.ArrowException as error:
        raise OSError(str(error).splitlines()[0]) from None
    found: list[Any] = table.to_pylist()
    return found


def numbered(found: Iterable[object]) -> Iterator[Labelled]:
    """Gives each row the name that an error calls it by."""
    return ((f"row {index}", row) for index, row in enumerate(found, start=1))
