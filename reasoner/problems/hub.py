"""Data sets of the Hugging Face hub, and folders in its layouts, by way of the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.problems import rows
from reasoner.problems.splits import ALIASES, Pile, Place


def own_piles(where: str, subset: str | None, revision: str | None) -> list[Pile]:
    """Reads every split that we know by name; a set with one split of any name has it as train."""
    loaded, commit = load(where, subset, revision)
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
    is_folder = Path(where).is_dir()
    place: Place = (
        {"path": where, "subset": subset} if is_folder else {"hub": where, "subset": subset, "revision": commit}
    )
    return [
        rows.fill(Pile(split, place), numbered(loaded[name]), rows.own(split), f"{where} ({name})")
        for split, name in found.items()
    ]


def numbered(found: Iterable[object]) -> Iterable[tuple[str, object]]:
    """Gives each row the name that an error calls it by."""
    return ((f"row {index}", row) for index, row in enumerate(found, start=1))


def load(where: str, subset: str | None, revision: str | None) -> tuple[Any, str | None]:
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
        raise ReasonerError(f"{where} cannot be read", why=_first_lines(error), fix=rows.OWN_FIX, code=USAGE) from None
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
