r"""Where problems that nobody generates come from: data sets by name, a hub, a person's own files.

A named set is one entry of `SOURCES`. Its files are looked for in `sets_dir()`, in their published layout, then at the
hub, at a pinned commit. A person's own rows have `question` and `answer`, as `openai/gsm8k` does, or `problem` and
`solution`, as MATH does: there the last `\boxed{}` is the answer.

What `read` promises, whatever the source: no question stands twice, in one split or in two (white space, case and
Unicode forms aside); a test or dev split that the source lacks is carved from train by a hash of the question, so the
same problems are held out everywhere; nothing is dropped uncounted; a row that cannot be read is an error that names
its line. What it does not promise: that two problems which differ in one word or number are told apart from copies.

`overlap` looks for copies across two sets, such as a run's training problems and another source that it is scored on:
equal ones, and near ones by the words in a row that they share. The same task told in other words is not found.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from reasoner.config import Data
from reasoner.errors import MISSING, USAGE, ReasonerError, nearest
from reasoner.files import sha256_file
from reasoner.verifiers import registry
from reasoner.verifiers.code import lift
from reasoner.verifiers.code import task as tasks

GENERATED = "wordproblems"
LINETASKS = "linetasks"
GENERATORS = {GENERATED: "number", LINETASKS: "code"}
"""Sources that are made here, and the family of checkers that reads their references."""
PRIORITY = ("test", "ood", "dev", "train")
"""A question that stands in two splits stays in the first of these."""
MOST_CARVED = 500
"""Problems carved for one held-out split: a tenth of train, and never more than this."""


@dataclass(frozen=True)
class Problem:
    """One question and its reference answer.

    `kind` is what reports and curriculum go by: the operations of its steps (such as `+-`) where they are known, else
    the source's own word, such as a subject. `size` is the largest number in those steps (0: unknown).
    """

    id: str
    question: str
    answer: str
    kind: str = ""
    size: int = 0
    steps: tuple[Mapping[str, Any], ...] = ()
    """The known steps of a generated problem: `left`, `op`, `right`, `result` each. For reports only."""
    prose: str = ""
    """What other sets are searched for, where the question says more than that, such as tests; empty: all of it."""


Reader = Callable[[dict[str, Any], int], Problem | str | None]
"""`(row, index from 0) -> problem`, or the reason why the row is dropped; None is a row of another split. Raises
`_UnreadableError`."""


@dataclass(frozen=True)
class Part:
    """Rows of one split: a file under `sets_dir()`, or splits of a hub data set at a pinned commit."""

    split: str
    file: str
    hub: str
    subset: str | None
    hub_splits: tuple[str, ...]
    reader: Reader

    @property
    def revision(self) -> str:
        return COMMITS[self.hub]


@dataclass(frozen=True)
class Source:
    """A data set known by name; `verifier` is the family of checkers that reads its references."""

    name: str
    licence: str
    verifier: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Read:
    """A split, whole and in a fixed order, and the record of where it came from."""

    problems: list[Problem]
    record: dict[str, Any]


def sets_dir() -> Path:
    """Where files of known data sets are looked for: `REASONER_DATA`, else `data` in the current folder."""
    return Path(os.environ.get("REASONER_DATA") or "data").expanduser()


def read(data: Data, split: str) -> Read:
    """A split of any source that is not generated.

    The record has `source`, `split`, `found` (files with their sha256, or hub ids with their commit), `licence`,
    `verifier`, `rows` (as read), `dropped` (reason -> count) and `carved` (split -> problems taken from these rows).
    Named sets come in an order fixed by a hash of name and id, since their files are sorted by subject or difficulty:
    the first n are a fair sample. Other sources keep their own order.
    """
    if data.source in SOURCES:
        return _named(SOURCES[data.source], data, split)
    path = Path(data.source).expanduser()
    if path.is_file():
        piles = [_from_file(path, "train", own_row(path.stem), _OWN_FIX)]
    elif path.is_dir():
        files = _split_files(path)
        piles = [_from_file(file, name, own_row(file.stem), _OWN_FIX) for name, file in files.items()]
        piles = piles or _from_datasets(str(path), data.subset, None)
    else:
        _check_name(data.source)
        piles = _from_datasets(data.source, data.subset, data.revision)
    known = _by_hub(data.source)
    record = {
        "source": data.source,
        "licence": known.licence if known else None,
        "verifier": known.verifier if known else None,
    }
    return _settled(piles, split, record)


def whole(path: Path) -> Read:
    """Every row of a person's own file as one split, `all`: to be scored on, nothing is held out of it."""
    pile = _from_file(path, "test", own_row(path.stem), _OWN_FIX)
    found = _settled([pile], "test", {"source": str(path), "licence": None, "verifier": None})
    if not found.problems:
        raise ReasonerError(f"{path} has no problems", fix=_OWN_FIX, code=USAGE)
    return Read(found.problems, {**found.record, "split": "all"})


def local(name: str, split: str) -> list[Problem] | None:
    """A split of a named set, from its file alone; None where that is not found."""
    source = SOURCES[name]
    if not _is_here(_needed(source, split)):
        return None
    return _named(source, Data(source=name), split).problems


def verifier_for(source: str) -> str | None:
    """The family of checkers that reads the references of this source; None for a person's own, and other hub ids.

    >>> verifier_for("math"), verifier_for("openai/gsm8k"), verifier_for("mine.jsonl")
    ('math', 'number', None)
    """
    if source in GENERATORS:
        return GENERATORS[source]
    known = SOURCES.get(source) or _by_hub(source)
    return known.verifier if known else None


def check_verifier(source: str, verifier: str) -> None:
    """Refuse a checker that cannot read the source's references; a person's own (`file.py:name`) is their word."""
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


def overview() -> list[dict[str, Any]]:
    """Every named set: licence, verifier, hub ids, files found and missing in `sets_dir()`, sizes of its splits here.

    Reads local files only. `error` says why files that are here cannot be read.
    """
    rows = []
    for source in SOURCES.values():
        files = {part.file: (sets_dir() / part.file).is_file() for part in source.parts}
        row: dict[str, Any] = {
            "source": source.name,
            "licence": source.licence,
            "verifier": source.verifier,
            "hub": list(dict.fromkeys(f"{part.hub}@{part.revision}" for part in source.parts)),
            "found": [path for path, is_here in files.items() if is_here],
            "missing": [path for path, is_here in files.items() if not is_here],
            "splits": {},
            "error": None,
        }
        try:
            for split in _splits_of(source):
                problems = local(source.name, split)
                if problems is not None:
                    row["splits"][split] = len(problems)
        except ReasonerError as error:
            row["error"] = f"{error.what}: {error.why}" if error.why else error.what
        rows.append(row)
    return rows


# -- rows to problems --------------------------------------------------------------------------


class _UnreadableError(ValueError):
    """Why a row is no problem."""


_OWN_FIX = "give every row a text `question` and an `answer`, or `problem` and `solution` as MATH has"


def own_row(stem: str) -> Reader:
    """The reader of a person's own rows; a problem without an id is named after its file and line."""

    def problem(row: dict[str, Any], index: int) -> Problem:
        name = next((name for name in ("question", "problem") if name in row), None)
        if name is None:
            raise _UnreadableError("there is no text field `question` (or `problem`)")
        question = _text(row, name)
        answer = _answer(row.get("answer"))
        if answer is None:
            if row.get("answer") is not None:
                raise _UnreadableError(f"`answer` is neither text nor a number: {_short(row['answer'])}")
            if not isinstance(row.get("solution"), str):
                raise _UnreadableError("there is no `answer`, and no `solution` with one")
            answer = last_boxed(row["solution"])
            if answer is None:
                raise _UnreadableError(r"there is no `answer`, and `solution` has no \boxed{}")
        given = next((row[key] for key in ("id", "unique_id") if isinstance(row.get(key), str | int)), None)
        kind = next((row[key] for key in ("kind", "subject") if isinstance(row.get(key), str)), "")
        return Problem(str(given) if given not in (None, "") else f"{stem}-{index + 1:06d}", question, answer, kind)

    return problem


def _gsm8k(split: str) -> Reader:
    def problem(row: dict[str, Any], index: int) -> Problem:
        return Problem(f"gsm8k-{split}-{index:06d}", _text(row, "question"), _text(row, "answer"))

    return problem


_SVAMP_KINDS = {"Addition": "+", "Subtraction": "-", "Multiplication": "*", "Common-Division": "/"}


def _svamp(row: dict[str, Any], index: int) -> Problem:
    id_, body, question = (_text(row, name) for name in ("ID", "Body", "Question"))
    value = _number(row.get("Answer"))
    if value is None:
        raise _UnreadableError(f"`Answer` is no number: {_short(row.get('Answer'))}")
    # A third of the bodies have no full stop ("If he had $ 4 at the start"): the question ends their sentence.
    body, question = body.strip(), question.strip()
    is_whole = body.endswith((".", "!", "?"))
    told = f"{body} {question}" if is_whole else f"{body}, {question[:1].lower()}{question[1:]}"
    kind = str(row.get("Type", "")).replace("Divison", "Division")  # the file spells one of them so
    answer = f"{value:f}" if value % 1 else f"{value:.0f}"
    return Problem(f"svamp-{id_}", told, answer, _SVAMP_KINDS.get(kind, ""))


def _math(row: dict[str, Any], index: int) -> Problem | str:
    question = _text(row, "problem")
    kind = row.get("subject") or row.get("type") or ""
    # The copies of this set number their rows differently: what has no id of its own is named after its text.
    id_ = str(row.get("unique_id") or hashlib.sha256(normalised(question).encode()).hexdigest()[:12])
    answer = _answer(row["answer"]) if "answer" in row else last_boxed(_text(row, "solution"))
    if answer is None or not answer.strip():
        return "without an answer"
    return Problem(f"math-{id_.removesuffix('.json')}", question, answer, str(kind))


_FIRST_TASK, _LAST_TASK = 1, 974
_MBPP_TASKS = {"test": range(11, 511), "dev": range(511, 601), "train": range(601, 975)}
"""Task ids by split, as the authors define them; 1-10 are their few-shot examples."""


def _mbpp(split: str) -> Reader:
    """One split's rows of the one file; shown is the first of the three tests, the others are hidden."""

    def problem(row: dict[str, Any], index: int) -> Problem | str | None:
        id_ = row.get("task_id")
        if isinstance(id_, bool) or not isinstance(id_, int) or not _FIRST_TASK <= id_ <= _LAST_TASK:
            raise _UnreadableError(f"`task_id` is none of {_FIRST_TASK}-{_LAST_TASK}: {_short(id_)}")
        if id_ not in _MBPP_TASKS[split]:
            is_of_none = split == "train" and all(id_ not in ids for ids in _MBPP_TASKS.values())
            return "few-shot example" if is_of_none else None
        text = _text(row, "text").strip()
        _text(row, "code")
        if not isinstance(row.get("test_list"), list):
            raise _UnreadableError("there is no list `test_list`")
        try:
            task = tasks.from_mbpp(row, visible=1)
            answer = _judgeable(task)
        except tasks.Unfit as unfit:
            return _refused(unfit)
        return Problem(f"mbpp-{id_}", asked(text, task), answer, prose=text)

    return problem


def asked(text: str, task: tasks.Task) -> str:
    """What a model is asked where tests are shown: MBPP's own words."""
    shown = "\n".join(str(test) for test in task.tests)
    return f"{text}\nYour code should pass {'these tests' if len(task.tests) > 1 else 'this test'}:\n{shown}"


def _judgeable(task: tasks.Task) -> str:
    """The task as a reference. Raises `tasks.Unfit` where its tests cannot be lifted."""
    answer = task.to_answer()
    lift.read(answer)
    return answer


def _refused(unfit: tasks.Unfit) -> str:
    """Why a task is dropped, without the number of the test: tasks of one reason are counted together."""
    return "tests cannot be lifted: " + re.sub(r"^(hidden )?test \d+: ", "", str(unfit))[:120]


def _humaneval(row: dict[str, Any], index: int) -> Problem | str:
    id_, prompt, entry = (_text(row, name) for name in ("task_id", "prompt", "entry_point"))
    _text(row, "test")
    prose = _docstring(prompt, entry)
    try:
        answer = _judgeable(tasks.from_humaneval(row))
    except tasks.Unfit as unfit:
        return _refused(unfit)
    question = f"Complete this Python function.\n\n{prompt.strip()}"
    return Problem(id_.lower().replace("/", "-"), question, answer, prose=prose)


def _docstring(prompt: str, entry: str) -> str:
    """What a function is to do, without its examples."""
    try:
        tree = ast.parse(prompt)
    except SyntaxError as error:
        raise _UnreadableError(f"`prompt` is no Python: {error}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            # One of them imports a module before its docstring.
            texts = [one.value.value for one in node.body if isinstance(one, ast.Expr)
                     and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)]  # fmt: skip
            if texts:
                return _EXAMPLES.split(texts[0])[0].strip() or texts[0]
    raise _UnreadableError(f"`prompt` has no function {entry} with a docstring")


_EXAMPLES = re.compile(r">>>|\n\s*(?:Examples?|For example)\b", re.IGNORECASE)


def last_boxed(solution: str) -> str | None:
    r"""What stands in the last `\boxed{}` (or `\fbox{}`) whose braces balance; also `\boxed 5`, for a bare number.

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


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _UnreadableError(f"there is no text field `{name}`")
    return value


def _answer(value: object) -> str | None:
    """A reference as text: text as it is, a number as it was written; None for anything else, and for empty text."""
    if isinstance(value, str):
        return value if value.strip() else None
    number = _number(value)
    return None if number is None else f"{number:f}"


_MOST_DIGITS = 100


def _number(value: object) -> Decimal | None:
    """The exact value of a number, or of text that is one; None for anything else, or beyond 100 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    is_short = (
        found.is_finite() and abs(found.adjusted()) < _MOST_DIGITS and len(found.as_tuple().digits) < _MOST_DIGITS
    )
    return found if is_short else None


def _short(value: object) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# -- splits ------------------------------------------------------------------------------------


@dataclass
class _Pile:
    """Rows of one place, read for one split."""

    split: str
    problems: list[Problem]
    found: list[dict[str, Any]]
    rows: int
    dropped: Counter[str] = field(default_factory=Counter)


def normalised(question: str) -> str:
    """What two copies of a question have in common: its characters without white space, case and Unicode variants.

    >>> normalised("What is  $\\log_8 2$?") == normalised("what is $\\log_82$?")
    True
    """
    return "".join(unicodedata.normalize("NFKC", question).casefold().split())


def _settled(piles: Sequence[_Pile], split: str, record: dict[str, Any], *, may_carve_test: bool = True) -> Read:
    """One split of all the rows: no question twice, and held-out splits carved from train where there are none."""
    splits: dict[str, list[Problem]] = {}
    dropped = {name: Counter[str]() for name in PRIORITY}
    first: dict[str, tuple[str, str]] = {}
    for name in PRIORITY:
        for pile in (pile for pile in piles if pile.split == name):
            kept = splits.setdefault(name, [])
            dropped[name].update(pile.dropped)
            for problem in pile.problems:
                key = normalised(problem.question)
                where, answer = first.setdefault(key, ("", ""))
                if not where:
                    first[key] = (name, problem.answer)
                    kept.append(problem)
                elif where != name:
                    dropped[name][f"also in {where}"] += 1
                else:
                    is_same = answer == problem.answer
                    dropped[name]["repeated" if is_same else "repeated with another answer"] += 1
    lacking = [name for name in ("test", "dev") if name not in splits and (name == "dev" or may_carve_test)]
    carved = _carve(splits, lacking) if "train" in splits else {}
    if split not in splits:
        raise ReasonerError(
            f"{record['source']} has no split {split!r}",
            why=f"it has {', '.join(name for name in reversed(PRIORITY) if name in splits)}",
            fix="name another split (eval.split, --split), or another data.source",
            code=USAGE,
        )
    origin = "train" if split in carved else split
    places = [place for pile in piles for place in pile.found]
    record = {
        **record,
        "split": split,
        "found": [place for index, place in enumerate(places) if place not in places[:index]],
        "rows": sum(pile.rows for pile in piles if pile.split == origin),
        "dropped": dict(sorted(dropped[origin].items())),
        "carved": carved if origin == "train" else {},
    }
    return Read(splits[split], record)


def _carve(splits: dict[str, list[Problem]], names: Sequence[str]) -> dict[str, int]:
    """Move a tenth of train, at most `MOST_CARVED`, to each of the named splits; the order within stays."""
    train = splits["train"]
    size = min(MOST_CARVED, max(1, len(train) // 10))
    order = sorted(range(len(train)), key=lambda i: _hash(f"carve:{normalised(train[i].question)}"))
    taken = {index: name for k, name in enumerate(names) for index in order[k * size : (k + 1) * size]}
    for name in names:
        splits[name] = [problem for index, problem in enumerate(train) if taken.get(index) == name]
    splits["train"] = [problem for index, problem in enumerate(train) if index not in taken]
    return {name: len(splits[name]) for name in names}


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


# -- copies across sets ------------------------------------------------------------------------

MOST_WORDS, LEAST_WORDS = 13, 8
RULE = (
    f"exact: equal but for white space, case and Unicode forms; near: {MOST_WORDS} words in a row are the same, or the"
    f" whole text of a problem of {LEAST_WORDS}-{MOST_WORDS - 1} words; shorter ones are compared exactly only"
)
"""After GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C): any shared n-gram counts, with n from 8 to 13 words by
the length of the problems, there of a whole set, here of each. EleutherAI's harness takes 13 alone."""
MOST_NAMED = 10


def exact(train: Sequence[Problem], held_out: Iterable[Problem]) -> set[int]:
    """Which training problems, by their place, ask what a held-out one asks."""
    known = {key for problem in held_out for key in _keys(problem)}
    return {place for place, problem in enumerate(train) if not known.isdisjoint(_keys(problem))}


def overlap(train: Sequence[Problem], held_out: Sequence[Problem]) -> dict[str, Any]:
    """How many problems of two sets are copies of each other, by `RULE`.

    `train` and `held_out` (sizes), `exact` (training problems), `near` and `near_train` (held-out, and other training
    problems), `short` (held-out problems compared exactly only) and `first`: up to 10 near pairs, each with both ids
    and the words they share, the first such training problem for each held-out one.
    """
    gone = exact(train, held_out)
    found: dict[tuple[str, ...], list[tuple[int, tuple[str, ...]]]] = {}
    short = 0
    for place, problem in enumerate(held_out):
        words = _words(problem)
        size = min(MOST_WORDS, len(words))
        if size < LEAST_WORDS:
            short += 1
            continue
        for gram in {tuple(words[k : k + size]) for k in range(len(words) - size + 1)}:
            found.setdefault(gram[:LEAST_WORDS], []).append((place, gram))
    near: dict[int, dict[str, str]] = {}
    near_train: set[int] = set()
    for index, problem in enumerate(train):
        if index in gone:
            continue
        words = _words(problem)
        for k in range(len(words) - LEAST_WORDS + 1):
            for place, gram in found.get(tuple(words[k : k + LEAST_WORDS]), ()):
                if tuple(words[k : k + len(gram)]) == gram:
                    near_train.add(index)
                    pair = {"held_out": held_out[place].id, "train": problem.id, "words": " ".join(gram)}
                    near.setdefault(place, pair)
    return {
        "train": len(train),
        "held_out": len(held_out),
        "exact": len(gone),
        "near": len(near),
        "near_train": len(near_train),
        "short": short,
        "first": [near[place] for place in sorted(near)[:MOST_NAMED]],
    }


def _keys(problem: Problem) -> set[str]:
    return {normalised(text) for text in (problem.question, problem.prose) if text}


def _words(problem: Problem) -> list[str]:
    text = unicodedata.normalize("NFKC", problem.prose or problem.question).casefold()
    return _WORD.findall(text)


_WORD = re.compile(r"[^\W_]+")


# -- files -------------------------------------------------------------------------------------

_SHOWN = 5
"""Bad rows named in one error."""
_ALIASES = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",), "ood": ("ood",)}


def _split_files(folder: Path) -> dict[str, Path]:
    """The files of a folder that are splits by name, as JSONL or a JSON list; none: another layout."""
    found: dict[str, Path] = {}
    for split, names in _ALIASES.items():
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


def _from_file(path: Path, split: str, reader: Reader, fix: str) -> _Pile:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReasonerError(f"{path} cannot be read", why=str(error), fix=fix, code=USAGE) from None
    is_list = path.suffix == ".json"
    # Not `splitlines`: it also splits at characters that JSON leaves inside a text.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    items: Iterable[tuple[int, Any]] = enumerate(_json_list(path, text, fix), start=1) if is_list else lines
    pile = _Pile(split, [], [{"path": str(path), "sha256": sha256_file(path)}], 0)
    bad = []
    for index, (number, item) in enumerate(items):
        pile.rows += 1
        try:
            _take(pile, item if is_list else _parse(item), index, reader)
        except ValueError as error:
            bad.append(f"{'row' if is_list else 'line'} {number}: {error}")
    if bad:
        more = [f"and {len(bad) - _SHOWN} more of {pile.rows}"] if len(bad) > _SHOWN else []
        raise ReasonerError(
            f"{path} has rows that are no problems", why="\n".join(bad[:_SHOWN] + more), fix=fix, code=USAGE
        )
    _make_ids_unique(pile.problems)
    return pile


def _json_list(path: Path, text: str, fix: str) -> list[Any]:
    try:
        rows = _parse(text)
    except ValueError as error:
        raise ReasonerError(f"{path} is no JSON", why=str(error), fix=fix, code=USAGE) from None
    if not isinstance(rows, list):
        raise ReasonerError(f"{path} is no JSON list", fix=fix, code=USAGE)
    return rows


def _parse(text: str) -> object:
    """JSON with decimal numbers kept exactly as they are written."""
    return json.loads(text, parse_float=lambda number: _number(number) or float(number))


def _take(pile: _Pile, row: object, index: int, reader: Reader) -> None:
    if not isinstance(row, dict):
        raise _UnreadableError(f"it is no JSON object: {_short(row)}")
    problem = reader(row, index)
    if problem is None:
        pile.rows -= 1
    elif isinstance(problem, str):
        pile.dropped[problem] += 1
    else:
        pile.problems.append(problem)


def _make_ids_unique(problems: list[Problem]) -> None:
    """Completions are grouped by problem id, so one that repeats gets its place behind it."""
    seen: set[str] = set()
    for index, problem in enumerate(problems):
        if problem.id in seen:
            problems[index] = problem = dataclasses.replace(problem, id=f"{problem.id}-{index + 1:06d}")
        seen.add(problem.id)


# -- named sets --------------------------------------------------------------------------------


def _splits_of(source: Source) -> list[str]:
    names = {part.split for part in source.parts}
    return [name for name in reversed(PRIORITY) if name in names or (name == "dev" and "train" in names)]


def default_split(name: str) -> str:
    """The split that is looked at where none is named: train, or what there is."""
    if name in SOURCES:
        return _splits_of(SOURCES[name])[0]
    path = Path(name).expanduser()
    return next(iter(_split_files(path)), "train") if path.is_dir() else "train"


def _needed(source: Source, split: str) -> list[Part]:
    """The parts that a split is made of: test stands alone, train and dev must know what is held out."""
    return [part for part in source.parts if split != "test" or part.split == "test"]


def _is_here(parts: Iterable[Part]) -> bool:
    return all((sets_dir() / part.file).is_file() for part in parts)


def _named(source: Source, data: Data, split: str) -> Read:
    if data.subset is not None or data.revision is not None:
        raise ReasonerError(
            f"the data set {source.name} is pinned: data.subset and data.revision are not for it",
            fix=f"set both to none, or name a hub id in data.source, such as {source.parts[0].hub}",
            code=USAGE,
        )
    splits = _splits_of(source)
    if split not in splits:
        is_for_testing = split == "train" and splits == ["test"]
        raise ReasonerError(
            f"{source.name} has no split {split!r}",
            why="its problems are for testing only" if is_for_testing else f"it has {', '.join(splits)}",
            fix="train on another data.source, and score this one beside it (eval.beside)"
            if is_for_testing
            else "name another split (eval.split, --split)",
            code=USAGE,
        )
    parts = _needed(source, split)
    if _is_here(parts):
        fix = "put the published file there, or take it away"
        piles = [_from_file(sets_dir() / part.file, part.split, part.reader, fix) for part in parts]
    else:
        piles = [_from_hub(source, part) for part in parts]
    record = {"source": source.name, "licence": source.licence, "verifier": source.verifier}
    found = _settled(piles, split, record, may_carve_test=False)
    if not found.problems:
        raise ReasonerError(
            f"{source.name} has no problems in its split {split!r}",
            why="\n".join(str(place.get("path") or place["hub"]) for place in found.record["found"]),
            fix="put the whole file there, or take it away",
            code=USAGE,
        )
    order = sorted(found.problems, key=lambda p: _hash(f"{source.name}:{p.id}"))
    return Read(order, found.record)


def _from_hub(source: Source, part: Part) -> _Pile:
    try:
        loaded, _ = _load(part.hub, part.subset, part.revision)
    except ReasonerError as error:
        if error.code != MISSING:
            raise
        files = list(dict.fromkeys(sets_dir() / one.file for one in source.parts))
        missing = ", ".join(str(path) for path in files if not path.is_file())
        raise ReasonerError(
            f"the data set {source.name} was found neither here nor at the hub",
            why=f"no file {missing}\n{part.hub} at {part.revision[:12]}: {error.why}",
            fix=f"put the files there (or point REASONER_DATA at the folder that has"
            f" {files[0].parent.name}/), or connect to the hub",
            code=MISSING,
        ) from None
    place = {"hub": part.hub, "subset": part.subset, "revision": part.revision}
    pile = _Pile(part.split, [], [place], 0)
    rows = [row for name in part.hub_splits for row in loaded[name]]
    _take_all(pile, rows, part.reader, f"{part.hub} ({part.split})")
    return pile


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

SOURCES = {
    source.name: source
    for source in (
        Source("gsm8k", "MIT", "number", _GSM8K),
        Source("math", "MIT; its problems come from competitions, so do not ship them in a package", "math", _MATH),
        Source("svamp", "MIT", "number", _SVAMP),
        Source(
            "mbpp",
            "CC BY 4.0: Mostly Basic Python Problems, by Austin et al. (arXiv 2108.07732), Google Research;"
            " its tests are split in shown and hidden ones here",
            "code",
            _MBPP,
        ),
        Source("humaneval", "MIT: HumanEval, by Chen et al. (arXiv 2107.03374), OpenAI", "code", _HUMANEVAL),
    )
}


def _by_hub(id_: str) -> Source | None:
    return next((source for source in SOURCES.values() if any(part.hub == id_ for part in source.parts)), None)


# -- the hub, and folders in its layouts ---------------------------------------------------------

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def _check_name(source: str) -> None:
    """Refuse what is no name, no path that exists, and cannot be a hub id, before a hub is asked."""
    if source.endswith((".jsonl", ".json")) or source.startswith(("./", "../", "/", "~")):
        path = Path(source).expanduser()
        beside = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        fix = f"did you mean {path.parent / close[0]}?" if close else "name one that exists"
        raise ReasonerError(f"there is no file or folder {source}", fix=fix, code=USAGE)
    if not _HUB_ID.fullmatch(source):
        raise ReasonerError(
            f"no data source {source!r}",
            why="it is no known set, no file or folder here, and no hub id (owner/name)",
            fix=nearest(source, [*GENERATORS, *SOURCES]),
            code=USAGE,
        )


def _from_datasets(where: str, subset: str | None, revision: str | None) -> list[_Pile]:
    """Every split that we know by name; a set with one split of any name has it as train."""
    loaded, commit = _load(where, subset, revision)
    found = {split: name for split, names in _ALIASES.items() for name in reversed(names) if name in loaded}
    if not found and len(loaded) == 1:
        found = {"train": next(iter(loaded))}
    if not found:
        raise ReasonerError(
            f"{where} has no split that we know",
            why=f"it has {', '.join(map(str, loaded))}; we know {', '.join(_ALIASES)}",
            fix="save the rows as train.jsonl and test.jsonl in a folder, and name that",
            code=USAGE,
        )
    is_folder = Path(where).is_dir()
    place = {"path": where, "subset": subset} if is_folder else {"hub": where, "subset": subset, "revision": commit}
    piles: list[_Pile] = []
    for split, name in found.items():
        pile = _Pile(split, [], [] if piles else [place], 0)
        _take_all(pile, loaded[name], own_row(split), f"{where} ({name})")
        piles.append(pile)
    return piles


def _take_all(pile: _Pile, rows: Iterable[Any], reader: Reader, where: str) -> None:
    for index, row in enumerate(rows):
        pile.rows += 1
        try:
            _take(pile, dict(row), index, reader)
        except _UnreadableError as error:
            raise ReasonerError(
                f"{where} has rows that are no problems", why=f"row {index + 1}: {error}", fix=_OWN_FIX, code=USAGE
            ) from None
    _make_ids_unique(pile.problems)


def _load(where: str, subset: str | None, revision: str | None) -> tuple[Any, str | None]:
    """All splits of a hub data set or of a folder in a hub's layout, and the commit (None for a folder).

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
        raise ReasonerError(f"{where} cannot be read", why=_first_lines(error), fix=_OWN_FIX, code=USAGE) from None
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
