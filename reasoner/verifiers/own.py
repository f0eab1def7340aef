"""Runs a verifier of the user's own, `path/to/file.py:name`, in the killable worker and nowhere else.

    def same(completion: str, answer: str) -> bool:
        return completion.strip() == answer

`name` is a function of the file, or the name under which it registers one (`@verifier("same", version="1")`). It takes
a completion and an answer and gives a `Score`, or True for right and False for wrong. Anything else that it gives, an
exception, a crash, and more than `LIMIT_S` seconds are `unscored` with the reason. `same.commit = …`, a function from
a reference to a completion in the asked format, is what the audit starts from.

The version is the content of the file: a verdict may change when it does. What the file imports is not part of the
version; modules beside it can be imported. The current folder is an empty one: open data by `Path(__file__)`.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from reasoner.errors import USAGE, ReasonerError, nearest
from reasoner.verifiers import worker
from reasoner.verifiers.checker import Verifier, registered
from reasoner.verifiers.score import Score, Shares, Verdict

LIMIT_S = 5.0  # wall time of one verdict

HOW = "path/to/file.py:name, where name(completion, answer) gives a Score or a bool"


def load(name: str) -> Verifier:
    """Loads the verifier of `path/to/file.py:name`.

    Its name is the absolute path: what a run records under it holds in every other folder too.
    """
    given, _, function = name.rpartition(":")
    if not given or not function:
        raise ReasonerError(f"{name!r} names no function", fix=HOW, code=USAGE)
    path = Path(given).expanduser().absolute()
    digest = _digest(_source(path))
    spec, limit_s = f"{digest}:{path}:{function}", worker.START_S
    try:
        found: Any = worker.call(f"{__name__}:inspected", str(path), digest, function, timeout=limit_s)
    except worker.TimedOut as error:
        why = f"it still ran after {limit_s:g} s"
        raise ReasonerError(f"{path} did not load", why=why, fix=HOW, code=USAGE) from error
    except worker.Broken as error:
        raise ReasonerError(f"{path} did not load", why=str(error), fix="repair the file", code=USAGE) from error
    if found["problem"] == "missing":
        fix = nearest(function, found["functions"]) if found["functions"] else HOW
        raise ReasonerError(f"{path} has no {function!r}", fix=fix, code=USAGE)
    if found["problem"]:
        raise ReasonerError(f"{path}: {function!r} {found['problem']}", fix=HOW, code=USAGE)
    check, strict = Own(f"check:{spec}"), Own(f"strict:{spec}") if found["strict"] else None
    commit: Callable[[str], str] = OwnCommit(f"commit:{spec}") if found["commit"] else str
    return Verifier(f"{path}:{function}", f"sha256:{digest}", check, commit, strict, has_shares=found["shares"])


def _source(path: Path) -> bytes:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise ReasonerError(f"there is no file {path}", fix=HOW, code=USAGE) from None
    except OSError as error:
        raise ReasonerError(f"{path} cannot be read", why=error.strerror, fix=HOW, code=USAGE) from error
    try:
        compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        why = f"line {error.lineno}: {error.msg}"
        raise ReasonerError(f"{path} is not Python", why=why, fix="repair the file", code=USAGE) from error
    except ValueError as error:  # a zero byte
        raise ReasonerError(f"{path} is not Python", why=str(error), fix=HOW, code=USAGE) from error
    return source


def _digest(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:12]


@dataclass(frozen=True)
class Own:
    """Calls the worker for `(completion, answer) -> Score`."""

    spec: str

    def __call__(self, completion: str, answer: str) -> Score:
        try:
            row: Any = worker.call(f"{__name__}:{self.spec}", completion, answer, timeout=LIMIT_S)
        except (worker.TimedOut, worker.Broken) as error:
            return Score("unscored", why=_readable(error, self.spec))
        verdict, extracted, rule, why, type_, shares = row
        return Score(verdict, extracted, rule, why, type_, shares and Shares(*shares))


@dataclass(frozen=True)
class OwnCommit:
    """Calls the worker for `reference -> completion in the asked format`."""

    spec: str

    def __call__(self, reference: str) -> str:
        try:
            text = worker.call(f"{__name__}:{self.spec}", reference, timeout=LIMIT_S)
            if isinstance(text, str):
                return text
            why = f"it gave {type(text).__name__}, not text"
        except (worker.TimedOut, worker.Broken) as error:
            why = _readable(error, self.spec)
        raise ReasonerError(f"commit of {_label(self.spec)} failed", why=why, fix="repair it", code=USAGE)


def _readable(error: Exception, spec: str) -> str:
    return str(error).replace(f"{__name__}:{spec}", _label(spec))


def _label(spec: str) -> str:
    path, _, function = spec.rpartition(":")
    return f"{Path(path).name}:{function}"


# -- in the worker -----------------------------------------------------------------------------

_loaded: dict[tuple[str, str], tuple[ModuleType, dict[str, Verifier]]] = {}


def _target(name: str) -> Callable[..., object]:
    """Returns the attribute `part:digest:path:function` of this module, which a worker looks up before it runs it.

    So the file is loaded before the first verdict's time begins, in every new worker.
    """
    part, _, rest = name.partition(":")
    if part not in ("check", "strict", "commit") or not rest:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    digest, _, rest = rest.partition(":")
    path, _, function = rest.rpartition(":")
    checker = _found(path, digest, function)
    assert checker is not None
    if part == "commit":
        return checker.commit
    check = checker.function if part == "check" else checker.strict
    assert check is not None
    return lambda completion, answer: _row(check(completion, answer))


if not TYPE_CHECKING:  # for a type checker every name would be an attribute then
    __getattr__ = _target


def inspected(path: str, digest: str, function: str) -> dict[str, object]:
    """Returns what is to be known of a file's function before a run trusts it."""
    module, entered = _load(path, digest)
    checker = _found(path, digest, function)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return {
        "problem": "missing" if checker is None else _unfit(checker.function),
        "functions": [*own, *entered],
        "commit": checker is not None and checker.commit is not str,
        "strict": checker is not None and checker.strict is not None,
        "shares": checker is not None and checker.has_shares,
    }


def _unfit(function: object) -> str:
    """Says why this cannot be called with a completion and an answer; empty: it can."""
    if not callable(function):
        return f"is no function but {type(function).__name__}"
    try:
        signature = inspect.signature(function)
    except ValueError:  # a built-in function that does not say what it takes
        return ""
    try:
        signature.bind("completion", "answer")
    except TypeError:
        return f"takes {signature}, not (completion, answer)"
    return ""


def _found(path: str, digest: str, name: str) -> Verifier | None:
    module, entered = _load(path, digest)
    if name not in vars(module):
        return entered.get(name)
    function = vars(module)[name]
    checker = next((one for one in entered.values() if one.function is function), None)
    return checker or Verifier(name, digest, function, getattr(function, "commit", str))


def _load(path: str, digest: str) -> tuple[ModuleType, dict[str, Verifier]]:
    if (path, digest) in _loaded:
        return _loaded[path, digest]
    source = Path(path).read_bytes()
    if _digest(source) != digest:
        raise ValueError(f"{path} has changed since it was loaded")
    module = ModuleType(f"own_{digest}")
    module.__file__ = path
    before = dict(registered)
    folder = str(Path(path).parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last: a module beside the file takes no other's place
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    _loaded[path, digest] = module, {name: one for name, one in registered.items() if before.get(name) is not one}
    return _loaded[path, digest]


def _row(result: object) -> list[Any]:
    """Returns the fields of a score, in their order; those of an unscored one where this is none that can be sent."""
    if isinstance(result, bool):
        return ["right" if result else "wrong", None, "", "", "", None]
    if not isinstance(result, Score):
        return _unscored(f"it gave {_shown(result)}, not a Score or a bool")
    if result.verdict not in get_args(Verdict):
        return _unscored(f"it gave the verdict {_shown(result.verdict)}")
    if not all(isinstance(text, str) for text in (result.rule, result.why, result.type, result.extracted or "")):
        return _unscored(f"a field of its score is no text: {_shown(result)}")
    shares: object = result.shares
    if shares is not None and not (isinstance(shares, Shares) and all(map(_is_share, shares))):
        return _unscored(f"its shares are not Shares from 0 to 1: {_shown(shares)}")
    return [result.verdict, result.extracted, result.rule, result.why, result.type, shares]


def _unscored(why: str) -> list[Any]:
    return ["unscored", None, "", why, "", None]


def _is_share(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r}"[:200]
