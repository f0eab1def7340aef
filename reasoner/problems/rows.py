"""Rows that others wrote become problems, or an error that names the row: those of files, folders and hub data sets.

`columns` says which columns of a person's own rows are taken, `tables` reads their files. Readers of published sets
stand in `named`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from reasoner.config import Data
from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.files import sha256_file
from reasoner.problems import columns, tables
from reasoner.problems.columns import DroppedError, Row, UnreadableError, short
from reasoner.problems.problem import Problem
from reasoner.problems.splits import ALIASES, Pile, Place

Reader = Callable[[Row, int], Problem | None]
"""`(row, index from 0) -> problem`; None is a row of another split. Raises `UnreadableError` or `DroppedError`."""

OWN_FIX = (
    "give every row a `question` and an `answer`, or name its columns: data.question, data.answer (reasoner data FILE)"
)
_SHOWN = 5  # bad rows named in one error


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
            found.lines.setdefault(str(error), []).append(label)
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


def own(found: Pile, given: Sequence[tuple[str, object]], data: Data, stem: str, name: str) -> Pile:
    """Fills a pile with a person's own rows; a problem without an id is named after its file and place in it."""
    taken = columns.choose((row for _, row in given), data.question, data.answer, name)
    found.columns = {"question": [*taken.question, *([taken.also] if taken.also else [])], "answer": [*taken.answer]}
    if taken.unused:
        found.columns["unused"] = [*taken.unused]

    def problem(row: Row, index: int) -> Problem:
        question, reference = columns.question_of(row, taken, data.system), columns.answer_of(row, taken)
        given = next((value for key in ("id", "unique_id") if isinstance(value := row.get(key), str | int)), "")
        kind = next((value for key in ("kind", "subject") if isinstance(value := row.get(key), str)), "")
        return Problem(str(given) if given != "" else f"{stem}-{index + 1:06d}", question, reference, kind)

    return fill(found, given, problem, name)


# -- files and folders -------------------------------------------------------------------------


def file_piles(path: Path, single: str, data: Data) -> list[Pile]:
    """Reads a file as one split, or those files of a folder that are splits by name."""
    found = {single: path} if path.is_file() else split_files(path)
    return [
        own(_file_pile(file, split), tables.rows(file, OWN_FIX), data, file.name.partition(".")[0], str(file))
        for split, file in found.items()
    ]


def split_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder that are splits by name."""
    found: dict[str, Path] = {}
    for split, names in ALIASES.items():
        here = [path for name in names for one in tables.names(name) if (path := folder / one).is_file()]
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
    if tables.is_table(source) or source.startswith(("./", "../", "/", "~")):
        path = Path(source).expanduser()
        beside = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        fix = f"did you mean {path.parent / close[0]}?" if close else "name one that exists"
        raise ReasonerError(f"there is no file or folder {source}", fix=fix, code=USAGE)


def file_pile(path: Path, split: str, reader: Reader, fix: str) -> Pile:
    """Reads a file of a published set. Errors name its rows by line."""
    return fill(_file_pile(path, split), tables.rows(path, fix), reader, str(path), fix)


def _file_pile(path: Path, split: str) -> Pile:
    return Pile(split, {"path": str(path), "sha256": sha256_file(path)})


# -- the hub, and folders in its layouts, by way of `datasets` ---------------------------------


def hub_piles(where: str, data: Data, revision: str | None) -> list[Pile]:
    """Reads every split that we know by name; a set with one split of any name has it as train."""
    subset = data.subset
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
        own(Pile(split, place), list(tables.numbered(loaded[name])), data, split, f"{where} ({name})")
        for split, name in found.items()
    ]


def load_hub(where: str, subset: str | None, revision: str | None) -> tuple[Any, str | None]:
    """Loads all splits of a hub data set or of a folder in a hub's layout, and the commit (None for a folder).

    The hub is asked for the commit first: that pins what is loaded, and says within seconds that it does not answer,
    where the library would try again for half a minute. With `HF_HUB_OFFLINE` set only the hub's cache is asked.
    """
    import datasets

    datasets.disable_progress_bars()
    commit = None if Path(where).is_dir() else hub_commit(where, revision)
    try:
        if any((Path(where) / name).is_file() for name in ("state.json", "dataset_dict.json")):  # of `save_to_disk`
            saved = datasets.load_from_disk(where)
            return ({"train": saved} if isinstance(saved, datasets.Dataset) else saved), None
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
    except _unanswered() as error:
        raise _out_of_reach(where, error) from None


def hub_commit(where: str, revision: str | None) -> str | None:
    """Asks the hub which commit a data set is at; offline it is what was asked for. Raises `ReasonerError`."""
    import huggingface_hub

    if huggingface_hub.is_offline_mode():
        return revision
    try:
        return huggingface_hub.HfApi().dataset_info(where, revision=revision, timeout=20).sha
    except _unanswered() as error:
        raise _out_of_reach(where, error) from None


def _unanswered() -> tuple[type[Exception], ...]:
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    return ConnectionError, OSError, httpx.HTTPError, HfHubHTTPError


def _out_of_reach(where: str, error: Exception) -> ReasonerError:
    return ReasonerError(
        f"the dataset {where} cannot be loaded",
        why=f"the hub says {type(error).__name__}: {_first_lines(error)}",
        fix="connect to the hub (HF_HUB_OFFLINE=1 where its cache has the set), or set data.source to a folder or"
        " JSONL file you have (or use PROFILE=pocket, which needs none)",
        code=MISSING,
    )


def _first_lines(error: Exception) -> str:
    return "\n".join((str(error).strip() or type(error).__name__).splitlines()[:3])[:400]
