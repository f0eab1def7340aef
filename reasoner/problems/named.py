"""Data sets known by name: `gsm8k`, `math`, `svamp`, `mbpp`, `humaneval`.

The files of a set are looked for in `sets_dir()`, in their published layout, then at the hub, at a pinned commit. To
add a set is to write a reader of its rows and its entry in `SETS`. Problems come in an order fixed by a hash of name
and id, since the files are sorted by subject or difficulty: the first n are a fair sample.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.problems import columns, rows, tables
from reasoner.problems.columns import DroppedError, Row, UnreadableError
from reasoner.problems.problem import Problem, code_question, normalised
from reasoner.problems.rows import Reader
from reasoner.problems.splits import PRIORITY, Pile, Provenance, Split, hashed, settle
from reasoner.verifiers.code import lift
from reasoner.verifiers.code import task as tasks


@dataclass(frozen=True)
class Part:
    """Holds rows of one split: a file under `sets_dir()`, or splits of a hub data set at a pinned commit."""

    split: str
    file: str
    hub: str
    subset: str | None
    hub_splits: tuple[str, ...]
    reader: Reader

    @property
    def path(self) -> Path:
        return sets_dir() / self.file

    @property
    def revision(self) -> str:
        return COMMITS[self.hub]


@dataclass(frozen=True)
class NamedSet:
    """Describes a data set known by name; `verifier` is the family of checkers that reads its references."""

    name: str
    licence: str
    verifier: str
    parts: tuple[Part, ...]

    @property
    def splits(self) -> list[str]:
        names = {part.split for part in self.parts}
        return [name for name in reversed(PRIORITY) if name in names or (name == "dev" and "train" in names)]

    def needed(self, split: str) -> list[Part]:
        """Returns the parts that a split is made of: test stands alone, train and dev must know what is held out."""
        return [part for part in self.parts if split != "test" or part.split == "test"]


@dataclass(frozen=True)
class Overview:
    """Says what is here of a named set: its files, the sizes of their splits, and the `error` of what is unreadable."""

    source: str
    licence: str
    verifier: str
    hub: list[str]
    found: list[str]
    missing: list[str]
    splits: dict[str, int]
    error: str | None


def sets_dir() -> Path:
    """Returns the folder of the known data sets' files: `REASONER_DATA`, else `data` in the current folder."""
    return Path(os.environ.get("REASONER_DATA") or "data").expanduser()


def read(known: NamedSet, split: str) -> Split:
    """Reads a split from the set's files where they are, else from the hub."""
    if split not in known.splits:
        why, fix = f"it has {', '.join(known.splits)}", "name another split (eval.split, --split)"
        if split == "train" and known.splits == ["test"]:
            why = "its problems are for testing only"
            fix = "train on another data.source, and score this one beside it (eval.beside)"
        raise ReasonerError(f"{known.name} has no split {split!r}", why, fix, code=USAGE)
    parts = known.needed(split)
    if _are_here(parts):
        fix = "put the published file there, or take it away"
        piles = [rows.file_pile(part.path, part.split, part.reader, fix) for part in parts]
    else:
        piles = [_from_hub(known, part) for part in parts]
    found = settle(piles, Provenance(known.name, known.licence, known.verifier, split), may_carve_test=False)
    if not found.problems:
        raise ReasonerError(
            f"{known.name} has no problems in its split {split!r}",
            why="\n".join(str(place.get("path") or place["hub"]) for place in found.provenance.found),
            fix="put the whole file there, or take it away",
            code=USAGE,
        )
    order = sorted(found.problems, key=lambda p: hashed(f"{known.name}:{p.id}"))
    return dataclasses.replace(found, problems=order)


def read_local(name: str, split: str) -> list[Problem] | None:
    """Reads a split of a named set from its files alone; None where they are not found."""
    known = SETS[name]
    return read(known, split).problems if _are_here(known.needed(split)) else None


def overview() -> list[Overview]:
    """Lists every named set and what is here of it. Reads local files only."""
    found_sets = []
    for known in SETS.values():
        sizes, why = {}, None
        try:
            for split in known.splits:
                if (problems := read_local(known.name, split)) is not None:
                    sizes[split] = len(problems)
        except ReasonerError as error:
            why = f"{error.what}: {error.why}" if error.why else error.what
        hubs = list(dict.fromkeys(f"{part.hub}@{part.revision}" for part in known.parts))
        files = {part.file: part.path.is_file() for part in known.parts}
        found, missing = ([file for file, is_here in files.items() if is_here is wanted] for wanted in (True, False))
        found_sets.append(Overview(known.name, known.licence, known.verifier, hubs, found, missing, sizes, why))
    return found_sets


def _are_here(parts: Iterable[Part]) -> bool:
    return all(part.path.is_file() for part in parts)


def _from_hub(known: NamedSet, part: Part) -> Pile:
    try:
        loaded, _ = rows.load_hub(part.hub, part.subset, part.revision)
    except ReasonerError as error:
        if error.code != MISSING:
            raise
        files = list(dict.fromkeys(one.path for one in known.parts))
        missing = ", ".join(str(path) for path in files if not path.is_file())
        raise ReasonerError(
            f"the data set {known.name} was found neither here nor at the hub",
            why=f"no file {missing}\n{part.hub} at {part.revision[:12]}: {error.why}",
            fix=f"put the files there (or point REASONER_DATA at the folder that has"
            f" {files[0].parent.name}/), or connect to the hub",
            code=MISSING,
        ) from None
    place = {"hub": part.hub, "subset": part.subset, "revision": part.revision}
    found = tables.numbered(row for name in part.hub_splits for row in loaded[name])
    return rows.fill(Pile(part.split, place), found, part.reader, f"{part.hub} ({part.split})")


# -- readers: one row of a set to a problem ------------------------------------------------------


def _gsm8k(split: str) -> Reader:
    def problem(row: Row, index: int) -> Problem:
        return Problem(f"gsm8k-{split}-{index:06d}", columns.text(row, "question"), columns.text(row, "answer"))

    return problem


_SVAMP_KINDS = {"Addition": "+", "Subtraction": "-", "Multiplication": "*", "Common-Division": "/"}


def _svamp(row: Row, index: int) -> Problem:
    id_, body, question = (columns.text(row, name) for name in ("ID", "Body", "Question"))
    value = columns.number(row.get("Answer"))
    if value is None:
        raise UnreadableError(f"`Answer` is no number: {columns.short(row.get('Answer'))}")
    # A third of the bodies have no full stop ("If he had $ 4 at the start"): the question ends their sentence.
    body, question = body.strip(), question.strip()
    is_whole = body.endswith((".", "!", "?"))
    told = f"{body} {question}" if is_whole else f"{body}, {question[:1].lower()}{question[1:]}"
    kind = str(row.get("Type", "")).replace("Divison", "Division")  # the file spells one of them so
    answer = f"{value:f}" if value % 1 else f"{value:.0f}"
    return Problem(f"svamp-{id_}", told, answer, _SVAMP_KINDS.get(kind, ""))


def _math(row: Row, index: int) -> Problem:
    question = columns.text(row, "problem")
    kind = row.get("subject") or row.get("type") or ""
    # The copies of this set number their rows differently: what has no id of its own is named after its text.
    id_ = str(row.get("unique_id") or hashlib.sha256(normalised(question).encode()).hexdigest()[:12])
    answer = columns.text_of(row["answer"]) if "answer" in row else columns.last_boxed(columns.text(row, "solution"))
    if answer is None or not answer.strip():
        raise DroppedError("without an answer")
    return Problem(f"math-{id_.removesuffix('.json')}", question, answer, str(kind))


_MBPP_TASKS = {"test": range(11, 511), "dev": range(511, 601), "train": range(601, 975)}
"""Task ids by split, as the authors define them; 1-10 are their few-shot examples."""


def _mbpp(split: str) -> Reader:
    """Reads one split's rows of the one file; the first of the three tests is shown, the others are hidden."""

    def problem(row: Row, index: int) -> Problem | None:
        id_ = row.get("task_id")
        if isinstance(id_, bool) or not isinstance(id_, int) or not 1 <= id_ <= 974:
            raise UnreadableError(f"`task_id` is none of 1-974: {columns.short(id_)}")
        if id_ not in _MBPP_TASKS[split]:
            if split == "train" and all(id_ not in ids for ids in _MBPP_TASKS.values()):
                raise DroppedError("few-shot example")
            return None
        text = columns.text(row, "text").strip()
        columns.text(row, "code")
        if not isinstance(row.get("test_list"), list):
            raise UnreadableError("there is no list `test_list`")
        task = _judgeable(tasks.from_mbpp, row)
        return Problem(f"mbpp-{id_}", code_question(text, task.tests), task.to_answer(), prose=text)

    return problem


def _humaneval(row: Row, index: int) -> Problem:
    id_, prompt, entry = (columns.text(row, name) for name in ("task_id", "prompt", "entry_point"))
    columns.text(row, "test")
    prose = _docstring(prompt, entry)
    answer = _judgeable(tasks.from_humaneval, row).to_answer()
    question = f"Complete this Python function.\n\n{prompt.strip()}"
    return Problem(id_.lower().replace("/", "-"), question, answer, prose=prose)


def _judgeable(task_of: Callable[[Row], tasks.Task], row: Row) -> tasks.Task:
    """Reads the task of a row; drops one whose tests cannot be lifted, all such for one reason, whatever the test."""
    try:
        task = task_of(row)
        lift.read(task.to_answer())
    except tasks.Unfit as unfit:
        why = re.sub(r"^(hidden )?test \d+: ", "", str(unfit))[:120]
        raise DroppedError(f"tests cannot be lifted: {why}") from None
    return task


def _docstring(prompt: str, entry: str) -> str:
    """Returns what a function is to do, without its examples."""
    try:
        tree = ast.parse(prompt)
    except SyntaxError as error:
        raise UnreadableError(f"`prompt` is no Python: {error}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            # One of them imports a module before its docstring.
            texts = [one.value.value for one in node.body if isinstance(one, ast.Expr)
                     and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)]  # fmt: skip
            if texts:
                return _EXAMPLES.split(texts[0])[0].strip() or texts[0]
    raise UnreadableError(f"`prompt` has no function {entry} with a docstring")


_EXAMPLES = re.compile(r">>>|\n\s*(?:Examples?|For example)\b", re.IGNORECASE)


# -- the table ---------------------------------------------------------------------------------

COMMITS = {
    "openai/gsm8k": "740312add88f781978c0658806c59bc2815b9866",
    "HuggingFaceH4/MATH-500": "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    "DigitalLearningGmbH/MATH-lighteval": "0530c78699ea5e8eb5530600900e1f328b48acad",
    "ChilleD/SVAMP": "5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef",
    "google-research-datasets/mbpp": "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    "openai/openai_humaneval": "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
}
"""What is loaded of each hub data set: as public evaluation code pins them."""

_GSM8K = (
    Part("train", "gsm8k/train.jsonl", "openai/gsm8k", "main", ("train",), _gsm8k("train")),
    Part("test", "gsm8k/test.jsonl", "openai/gsm8k", "main", ("test",), _gsm8k("test")),
)
# Test is MATH-500; the set's other test problems are for training, as in openai/prm800k: 12,000 of 12,500, less what
# a copy lacks.
_MATH = (
    Part("test", "math500/test.jsonl", "HuggingFaceH4/MATH-500", None, ("test",), _math),
    Part("train", "math-train/train.json", "DigitalLearningGmbH/MATH-lighteval", None, ("train",), _math),
    Part("train", "math-test/test.jsonl", "DigitalLearningGmbH/MATH-lighteval", None, ("test",), _math),
)
_MBPP_HUB = {"test": ("test",), "dev": ("validation",), "train": ("train", "prompt")}
_MBPP = tuple(
    Part(split, "mbpp/mbpp.jsonl", "google-research-datasets/mbpp", "full", names, _mbpp(split))
    for split, names in _MBPP_HUB.items()
)
_HUMANEVAL = (Part("test", "humaneval/HumanEval.jsonl", "openai/openai_humaneval", None, ("test",), _humaneval),)
_SVAMP = (Part("test", "svamp/SVAMP.json", "ChilleD/SVAMP", None, ("train", "test"), _svamp),)

SETS = {
    known.name: known
    for known in (
        NamedSet("gsm8k", "MIT", "number", _GSM8K),
        NamedSet("math", "MIT; its problems come from competitions, so do not ship them in a package", "math", _MATH),
        NamedSet("svamp", "MIT", "number", _SVAMP),
        NamedSet(
            "mbpp",
            "CC BY 4.0: Mostly Basic Python Problems, by Austin et al. (arXiv 2108.07732), Google Research;"
            " its tests are split in shown and hidden ones here",
            "code",
            _MBPP,
        ),
        NamedSet("humaneval", "MIT: HumanEval, by Chen et al. (arXiv 2107.03374), OpenAI", "code", _HUMANEVAL),
    )
}


def by_hub(id_: str) -> NamedSet | None:
    return next((known for known in SETS.values() if any(part.hub == id_ for part in known.parts)), None)
