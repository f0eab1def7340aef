r"""Rows that others wrote become problems, or an error that names the row: those of files, folders and hub data sets.

A person's own rows have `question` and `answer`, as `openai/gsm8k` does, or `problem` and `solution`, as MATH does:
there the last `\boxed{}` is the answer. Files are JSONL or a JSON list, one file or one for each split. Readers of
published sets stand in `named`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.files import sha256_file
from reasoner.problems.problem import Problem
from reasoner.problems.splits import ALIASES, Pile, Place

Row = Mapping[str, object]
"""What somebody else wrote: nothing in it is known to be there, or to be of its type."""
Reader = Callable[[Row, int], Problem | None]
"""`(row, index from 0) -> problem`; None is a row of another split. Raises `UnreadableError` or `DroppedError`."""

OWN_FIX = "give every row a text `question` and an `answer`, or `problem` and `solution` as MATH has"
_SHOWN = 5  # bad rows named in one error


class UnreadableError(ValueError):
    """Says why a row is no problem: its file is refused."""


class DroppedError(ValueError):
    """Says why a row is left out: rows of one reason are counted together."""


def fill(found: Pile, given: Iterable[tuple[str, object]], reader: Reader, name: str, fix: str = OWN_FIX) -> Pile:
    """Fills a pile with the problems of rows, each with the label that an error calls it by, and returns it.

    Raises `ReasonerError` with the first bad rows of the place, which it calls `name`, and how many there are.
    """
    bad = []
    for index, (label, row) in enumerate(given):
        try:
            if isinstance(row, UnreadableError):
                raise row
            if not isinstance(row, dict):
                raise UnreadableError(f"it is no JSON object: {short(row)}")
            problem = reader(row, index)
        except DroppedError as error:
            found.dropped[str(error)] += 1
        except UnreadableError as error:
            bad.append(f"{label}: {error}")
        else:
            if problem is None:
                continue
            found.problems.append(problem)
        found.rows += 1
    if bad:
        more = [f"and {len(bad) - _SHOWN} more of {found.rows}"] if len(bad) > _SHOWN else []
        why = "\n".join(bad[:_SHOWN] + more)
        raise ReasonerError(f"{name} has rows that are no problems", why=why, fix=fix, code=USAGE)
    _make_ids_unique(found.problems)
    return found


def _make_ids_unique(problems: list[Problem]) -> None:
    """Puts its place behind an id that repeats: completions are grouped by problem id."""
    seen: set[str] = set()
    for index, problem in enumerate(problems):
        if problem.id in seen:
            problems[index] = problem = dataclasses.replace(problem, id=f"{problem.id}-{index + 1:06d}")
        seen.add(problem.id)


def own(stem: str) -> Reader:
    """Returns the reader of a person's own rows; a problem without an id is named after its file and line."""

    def problem(row: Row, index: int) -> Problem:
        name = next((name for name in ("question", "problem") if name in row), None)
        if name is None:
            raise UnreadableError("there is no text field `question` (or `problem`)")
        question, found = text(row, name), answer(row.get("answer"))
        if found is None:
            if row.get("answer") is not None:
                raise UnreadableError(f"`answer` is neither text nor a number: {short(row['answer'])}")
            solution = row.get("solution")
            if not isinstance(solution, str):
                raise UnreadableError("there is no `answer`, and no `solution` with one")
            found = last_boxed(solution)
            if found is None:
                raise UnreadableError(r"there is no `answer`, and `solution` has no \boxed{}")
        given = next((value for key in ("id", "unique_id") if isinstance(value := row.get(key), str | int)), "")
        kind = next((value for key in ("kind", "subject") if isinstance(value := row.get(key), str)), "")
        return Problem(str(given) if given != "" else f"{stem}-{index + 1:06d}", question, found, kind)

    return problem


# -- fields ------------------------------------------------------------------------------------


def text(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UnreadableError(f"there is no text field `{name}`")
    return value


def answer(value: object) -> str | None:
    """Returns a reference as text: text as it is, a number as it was written; None for anything else, or no text."""
    if isinstance(value, str):
        return value if value.strip() else None
    found = number(value)
    return None if found is None else f"{found:f}"


def number(value: object) -> Decimal | None:
    """Returns the exact value of a number, or of text that is one; None for anything else, or beyond 100 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    is_short = found.is_finite() and abs(found.adjusted()) < 100 and len(found.as_tuple().digits) < 100
    return found if is_short else None


def short(value: object) -> str:
    told = str(value) if isinstance(value, Decimal) else repr(value)
    return told if len(told) <= 60 else told[:57] + "..."


def last_boxed(solution: str) -> str | None:
    r"""Returns what stands in the last `\boxed{}` (or `\fbox{}`) whose braces balance; also `\boxed 5`, a bare number.

    >>> last_boxed(r"so $x = \boxed{\frac{1}{2}}$, as $\boxed{\{1\}$ is unfinished")
    '\\frac{1}{2}'
    """
    closed: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACE.finditer(solution):
        if brace.group() == "{":
            opened.append(brace.end())
        elif brace.group() == "}" and opened:
            closed[opened.pop()] = brace.start()
    for mark in reversed(list(_BOXED.finditer(solution))):
        if mark["number"]:
            return mark["number"]
        if mark.end() in closed:
            return solution[mark.end() : closed[mark.end()]].strip() or None
    return None


_BOXED = re.compile(r"\\(?:boxed|fbox)(?:\s*\{|\s*(?P<number>-?\d+(?:\.\d+)?)(?![\d.]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text


# -- files and folders -------------------------------------------------------------------------


def file_piles(path: Path, single: str) -> list[Pile]:
    """Reads a file as one split, or those files of a folder that are splits by name."""
    found = {single: path} if path.is_file() else split_files(path)
    return [file_pile(file, split, own(file.stem), OWN_FIX) for split, file in found.items()]


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


def file_pile(path: Path, split: str, reader: Reader, fix: str) -> Pile:
    """Reads a file: a JSON list where its suffix is `.json`, else JSONL. Errors name its rows by line."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReasonerError(f"{path} cannot be read", why=str(error), fix=fix, code=USAGE) from None
    if path.suffix == ".json":
        listed = _parsed(content)
        if isinstance(listed, UnreadableError):
            raise ReasonerError(f"{path} is no JSON", why=str(listed), fix=fix, code=USAGE)
        if not isinstance(listed, list):
            raise ReasonerError(f"{path} is no JSON list", fix=fix, code=USAGE)
        items = numbered(listed)
    else:
        # Not `splitlines`: it also splits at characters that JSON leaves inside a text.
        lines = enumerate(content.split("\n"), start=1)
        items = ((f"line {index}", _parsed(line)) for index, line in lines if line.strip())
    return fill(Pile(split, {"path": str(path), "sha256": sha256_file(path)}), items, reader, str(path), fix)


def _parsed(text: str) -> object:
    """Reads JSON, its decimal numbers exactly as they are written; gives the error where it is none."""
    try:
        return json.loads(text, parse_float=lambda digits: number(digits) or float(digits))
    except ValueError as error:
        return UnreadableError(str(error))


def numbered(found: Iterable[object]) -> Iterable[tuple[str, object]]:
    """Gives each row the name that an error calls it by."""
    return ((f"row {index}", row) for index, row in enumerate(found, start=1))


# -- the hub, and folders in its layouts, by way of `datasets` ---------------------------------


def hub_piles(where: str, subset: str | None, revision: str | None) -> list[Pile]:
    """Reads every split that we know by name; a set with one split of any name has it as train."""
    loaded, commit = load_hub(where, subset, revision)
    found = {split: name for split, names in ALIASES.items() for name in reversed(names) if name in loaded}
    if not found and len(loaded) == 1:
        found = {"train": next(iter(loaded))}
    if not found:
        raise ReasonerError(
            f"{where} has no split that we know",
            why=f"it has {', '.join(map(str, loaded))}; we know {', '.join(ALIASES)}",
            fix="save the rows as train.jsonl and test.jsonl in a folder, and name that",
            code=USAGE,
        )
    place: Place = {"hub": where, "subset": subset, "revision": commit}
    if Path(where).is_dir():
        place = {"path": where, "subset": subset}
    return [
        fill(Pile(split, place), numbered(loaded[name]), own(split), f"{where} ({name})")
        for split, name in found.items()
    ]


def load_hub(where: str, subset: str | None, revision: str | None) -> tuple[Any, str | None]:
    """Loads all splits of a hub data set or of a folder in a hub's layout, and the commit (None for a folder).

    The hub is asked for the commit first: that pins what is loaded, and says within seconds that it does not answer,
    where the library would try again for half a minute. With `HF_HUB_OFFLINE` set only the hub's cache is asked.
    """
    import datasets
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    datasets.disable_progress_bars()
    commit = revision
    try:
        if not Path(where).is_dir() and not huggingface_hub.is_offline_mode():
            commit = huggingface_hub.HfApi().dataset_info(where, revision=revision, timeout=20).sha
        return datasets.load_dataset(where, subset, revision=commit), commit
    except ValueError as error:
        raise ReasonerError(
            f"{where} cannot be loaded as it is asked for",
            why=_first_lines(error),
            fix="set data.subset (--subset) to one of its configurations, or data.source to another set",
            code=USAGE,
        ) from None
    except datasets.exceptions.DatasetBuildError as error:
        raise ReasonerError(f"{where} cannot be read", why=_first_lines(error), fix=OWN_FIX, code=USAGE) from None
    except (ConnectionError, OSError, httpx.HTTPError, HfHubHTTPError) as error:
        raise ReasonerError(
            f"the dataset {where} cannot be loaded",
            why=f"the hub says {type(error).__name__}: {_first_lines(error)}",
            fix="connect to the hub (HF_HUB_OFFLINE=1 where its cache has the set), or set data.source to a folder or"
            " JSONL file you have (or use PROFILE=pocket, which needs none)",
            code=MISSING,
        ) from None


def _first_lines(error: Exception) -> str:
    return "\n".join((str(error).strip() or type(error).__name__).splitlines()[:3])[:400]
