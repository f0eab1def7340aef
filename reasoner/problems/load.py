"""The way to problems: any source, its splits, and which of them a run trains and is scored on.

Where a run is scored on another source than it trains on (`eval.source`, `eval.beside`), `training` drops the problems
that an evaluated set asks too, and `contamination` is the record of that and of near copies.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from reasoner.config import Config, Data
from reasoner.errors import USAGE, ReasonerError, nearest
from reasoner.files import sha256_file, sha256_json
from reasoner.problems import generated, named, overlap, rows, tables
from reasoner.problems.generated import GENERATORS
from reasoner.problems.problem import Problem
from reasoner.problems.splits import Provenance, Split, settle
from reasoner.verifiers import registry


def problems(data: Data, split: str, num: int | None) -> list[Problem]:
    """Returns the first `num` problems of a split, in a fixed order; None takes all of them."""
    return read(data, split, num).problems


def read(data: Data, split: str, num: int | None = None) -> Split:
    """Returns the first `num` problems of a split (None: all) and where they came from.

    `all` is every row of a person's own file: to be scored on, nothing is held out of it. Raises `ReasonerError` where
    the source or the split is not there, or has no problems.
    """
    found = generated.read(data, split, num) if data.source in GENERATORS else _existing(data, split)
    if not found.problems:
        where, why, fix = f" in split {split!r}", None, "name another split"
        if split == "all":
            where, fix = "", rows.OWN_FIX
        elif carved := found.provenance.carved:
            counts = {**found.provenance.dropped, "held out": sum(carved.values())}
            why = f"of {found.provenance.rows} rows: " + ", ".join(f"{num} {what}" for what, num in counts.items())
            fix = "give it more problems, or train.jsonl and test.jsonl in a folder"
        raise ReasonerError(f"{data.source} has no problems{where}", why=why, fix=fix, code=USAGE)
    return found.first(num)


def _existing(data: Data, split: str) -> Split:
    """Reads a split of any source that is not generated. Named sets have an order of their own, others keep theirs."""
    if known := named.SETS.get(data.source):
        if data.question or data.answer:
            raise ReasonerError(
                f"the columns of {known.name} are known: data.question and data.answer are not for it",
                fix="set both to none",
                code=USAGE,
            )
        if data.subset is not None or data.revision is not None:
            raise ReasonerError(
                f"the data set {known.name} is pinned: data.subset and data.revision are not for it",
                fix=f"set both to none, or name a hub id in data.source, such as {known.parts[0].hub}",
                code=USAGE,
            )
        return named.read(known, split)
    path = Path(data.source).expanduser()
    if path.exists():
        piles = rows.file_piles(path, split if split == "all" else "train", data)
        piles = piles or rows.hub_piles(str(path), data, None)
    else:
        rows.check_is_no_path(data.source)
        if not _HUB_ID.fullmatch(data.source):
            raise ReasonerError(
                f"no data source {data.source!r}",
                why="it is no known set, no file or folder here, and no hub id (owner/name)",
                fix=nearest(data.source, [*GENERATORS, *named.SETS]),
                code=USAGE,
            )
        piles = rows.hub_piles(data.source, data, data.revision)
    known = named.by_hub(data.source)
    licence, verifier = (known.licence, known.verifier) if known else (None, None)
    return settle(piles, Provenance(data.source, licence, verifier, split))


_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def pinned(data: Data) -> Data:
    """Returns the data with the commit that a hub data set is at now, where none is asked for: a run stays at it."""
    is_known = data.source in GENERATORS or data.source in named.SETS or Path(data.source).expanduser().exists()
    if is_known or data.revision is not None or not _HUB_ID.fullmatch(data.source):
        return data
    return data.model_copy(update={"revision": rows.hub_commit(data.source, None)})


def identity(**sources: str | None) -> dict[str, str]:
    """Returns the hash of each source that is a file or folder of one's own, by the name it is given here."""
    found = {}
    for key, source in sources.items():
        if source is None or source in GENERATORS or source in named.SETS:
            continue
        path = Path(source).expanduser()
        if path.is_file():
            found[key] = sha256_file(path)
        elif path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file() and tables.is_table(one.name))
            found[key] = sha256_json([[str(one.relative_to(path)), sha256_file(one)] for one in inside])
    return found


def default_split(source: str) -> str:
    """Returns the split that is looked at where none is named: train, or what there is."""
    if known := named.SETS.get(source):
        return known.splits[0]
    path = Path(source).expanduser()
    return next(iter(rows.split_files(path)), "train") if path.is_dir() else "train"


def verifier_for(source: str) -> str | None:
    """Returns the family of checkers that reads the source's references; None for a person's own, and other hub ids.

    >>> verifier_for("math"), verifier_for("openai/gsm8k"), verifier_for("mine.jsonl")
    ('math', 'number', None)
    """
    if source in GENERATORS:
        return GENERATORS[source]
    known = named.SETS.get(source) or named.by_hub(source)
    return known.verifier if known else None


def check_verifier(source: str, verifier: str) -> None:
    """Refuses a checker that cannot read the source's references; a person's own (`file.py:name`) is their word."""
    paired = verifier_for(source)
    checker = registry.built_in(verifier)
    if paired is None or ".py:" in verifier or (checker is not None and checker.family == paired):
        return
    raise ReasonerError(
        f"the verifier {verifier!r} is not for the references of {source}",
        why=f"{source} is paired with `{paired}`",
        fix=f"--set verifier.name={paired} (or a checker of yours, path/to/file.py:name)",
        code=USAGE,
    )


# -- the problems of a run ---------------------------------------------------------------------


def check_verifiers(config: Config) -> None:
    """Refuses a verifier of another family than the source is paired with, in training or in evaluation."""
    for source in (config.data.source, config.eval.source):
        if source is not None:
            check_verifier(source, config.verifier.name)


def held_out(config: Config) -> list[Problem]:
    """Returns the main evaluation set: as in training, but for `eval.source` and `eval.max_steps`."""
    data = _shorter(config)
    if config.eval.source not in (None, data.source):
        data = data.model_copy(update={"source": config.eval.source, "subset": None, "revision": None})
    return problems(data, config.eval.split, config.eval.num_problems)


def beside(config: Config, name: str) -> list[Problem] | None:
    """Returns a set scored beside the main one: one of `eval.beside`. None where its file is not found.

    `two-step` is generated like the training set, with two steps each; `ood` likewise, in sentence patterns that no
    other split uses. The others are the test splits of these sources, read from their files alone: the order is a hash
    of name and id, so the first `eval.num_beside` are a fair sample, and a larger number only adds to it.
    """
    num = config.eval.num_beside
    if name not in ("two-step", "ood"):
        found = named.read_local(name, "test")
        return found if found is None else found[:num]
    if config.data.source not in GENERATORS:
        raise ReasonerError(
            f"the set {name!r} beside the main one is generated, but data.source is {config.data.source!r}",
            fix=f"leave {name!r} out of eval.beside, or set data.source={generated.WORDPROBLEMS}",
            code=USAGE,
        )
    if name == "ood":
        return problems(_shorter(config), "ood", num)
    return problems(config.data.model_copy(update={"min_steps": 2, "max_steps": 2}), "test", num)


def training(config: Config) -> list[Problem]:
    """Returns the training problems of a run: `data.num_train` of those that no evaluated set asks too."""
    return _parted(config, _evaluated(config))[0]


def contamination(config: Config) -> overlap.Contamination:
    """Returns what the training problems of a run, and those left out for it, share with each evaluated set."""
    started = time.monotonic()
    evaluated = _evaluated(config)
    used, dropped = _parted(config, evaluated)
    looked_at = [*used, *dropped]
    return overlap.Contamination(
        overlap.RULE,
        len(used),
        len(dropped),
        {name: None if held is None else overlap.find_overlap(looked_at, held) for name, held in evaluated.items()},
        round(time.monotonic() - started, 3),
    )


def _evaluated(config: Config) -> dict[str, list[Problem] | None]:
    return {"held-out": held_out(config), **{name: beside(config, name) for name in config.eval.beside}}


def _parted(config: Config, evaluated: dict[str, list[Problem] | None]) -> tuple[list[Problem], list[Problem]]:
    """Returns the problems to train on, and those left out as an evaluated set asks them too."""
    num = config.data.num_train
    whole = problems(config.data, "train", num if config.data.source in GENERATORS else None)
    gone = {place for held in evaluated.values() for place in overlap.exact(whole, held or ())}
    used = [problem for place, problem in enumerate(whole) if place not in gone]
    return used[:num], [whole[place] for place in sorted(gone)]


def _shorter(config: Config) -> Data:
    """Returns the training data with the steps of the held-out problems."""
    most, least = config.eval.max_steps, config.data.min_steps
    if most is None:
        return config.data
    return config.data.model_copy(update={"max_steps": most, "min_steps": min(least, most) if least else None})
