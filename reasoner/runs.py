"""The run folder: the truth about a run: its records, its locks, its ready checkpoints.

    runs/<name>/  config.json  inputs.json  lock  train.json  metrics.jsonl  rollouts/  checkpoints/checkpoint-N/DONE
                  base/ (the untouched base as GGUF)  exports/step-000150/{merged/, *.gguf, Modelfile, <stage>.json}
                  completions/  logs/  report.html  report.md  summary.json

A record is written after the outputs that it names have their final names, and removed before a stage starts again. So
a record that exists speaks of outputs that were once whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from reasoner.errors import USAGE, ReasonerError, nearest
from reasoner.files import as_json, locked, parse, read_json, sha256_file, sha256_json, write_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def runs_dir() -> Path:
    """Where runs live: `REASONER_RUNS`, else `runs/` in the current folder."""
    return Path(os.environ.get("REASONER_RUNS") or "runs").expanduser().absolute()


Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Kind(Generic[Facts]):
    """Names the record of a stage, the class of its facts, and the folder it lies in: the run's, or an export's."""

    name: str
    facts: type[Facts]
    is_of_run: bool = False


@dataclass(frozen=True)
class Run:
    """A run is its folder."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def data_path(self) -> Path:
        """Is what the training that is under way was started on, by hash."""
        return self.path / "inputs.json"

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def checkpoints_dir(self) -> Path:
        return self.path / "checkpoints"

    @property
    def summary_path(self) -> Path:
        return self.path / "summary.json"

    def log_path(self, stage: str) -> Path:
        return self.path / "logs" / f"{stage}.log"

    def export_dir(self, step: int) -> Path:
        return self.path / "exports" / step_name(step)

    def record_path(self, kind: Kind[Any], step: int) -> Path:
        return (self.path if kind.is_of_run else self.export_dir(step)) / f"{kind.name}.json"

    def record(self, kind: Kind[Facts], step: int) -> Record[Facts] | None:
        """The record of a stage; `step` names the export that it may belong to."""
        return read_record(self.record_path(kind, step), kind)


def step_name(step: int) -> str:
    return f"step-{step:06d}"


def new(name: str) -> Run:
    """The run of this name, whether or not its folder exists yet."""
    if not _NAME.fullmatch(name) or name == "latest":
        raise ReasonerError(
            f"{name!r} cannot name a run",
            why="letters, digits, '.', '_' and '-', up to 64 of them; `latest` is taken",
            fix="choose another name with RUN=… (make) or --run",
            code=USAGE,
        )
    return Run(runs_dir() / name)


def existing(name: str | None = None) -> Run:
    """The named run, or the newest."""
    folder = runs_dir()
    names = [path.parent.name for path in folder.glob("*/config.json") if not path.parent.is_symlink()]
    if not names:
        raise ReasonerError(f"there is no run in {folder}", fix="make reasoner", code=USAGE)
    if name is None or name == "latest":
        latest = folder / "latest"
        if latest.is_symlink() and (latest / "config.json").exists():
            return Run(folder / os.readlink(latest))
        return Run(max((folder / n for n in names), key=lambda p: (p / "config.json").stat().st_mtime))
    given = Path(name)
    if given.parts[:-1] and (given / "config.json").exists():
        return Run(given.absolute())
    if name not in names:
        raise ReasonerError(f"there is no run named {name!r} in {folder}", fix=nearest(name, names), code=USAGE)
    return Run(folder / name)


def mark_latest(run: Run) -> None:
    """Point `runs/latest` at the run, in one step."""
    link = run.path.parent / "latest"
    if link.exists() and not link.is_symlink():
        return
    partial = link.with_name(".latest.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(run.name)
    partial.replace(link)


Lock = Literal["run", "export", "watch"]
"""`run`: training, or the whole path. `export`: base/ and exports/, held for one model at a time, so that checkpoints
are exported while the run goes on. `watch`: one watcher."""


def _lock_path(run: Run, kind: Lock) -> Path:
    return run.path / ("lock" if kind == "run" else f"{kind}.lock")


@contextlib.contextmanager
def lock(run: Run, kind: Lock = "run", wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """One process at a time; the lock file names it. Released by the system if the process dies.

    Raises where another process has it; with `wait`, says who that is and waits for it instead.
    """

    def busy(holder: str) -> None:
        if wait is not None:
            return wait(f"waiting for process {holder}, which exports a model of run {run.name}")
        is_, doing, fix = "in use", "writing", "wait for it, or choose another name with RUN=… (make) or --run"
        if kind == "watch":
            is_, doing, fix = "watched already", "watching", "`reasoner history` says what that one did"
        raise ReasonerError(f"run {run.name} is {is_}", why=f"process {holder} is {doing} it", fix=fix) from None

    with locked(_lock_path(run, kind), busy):
        yield


def is_locked(run: Run, kind: Lock = "run") -> bool:
    """Whether some process has the lock now."""
    with contextlib.suppress(FileNotFoundError), _lock_path(run, kind).open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# -- hashes and records ------------------------------------------------------------------------


def adapter_sha256(folder: Path) -> str:
    """Identity of an adapter: its weights, and its config but for where the base lay and the order of lists."""
    stored = read_json(folder / "adapter_config.json") or {}
    stored.pop("base_model_name_or_path", None)
    shape = {key: sorted(value, key=str) if isinstance(value, list) else value for key, value in stored.items()}
    weights = folder / "adapter_model.safetensors"
    return sha256_json([sha256_file(weights) if weights.exists() else None, shape])


@dataclass(frozen=True)
class Output:
    """One file that a stage made. `mtime_ns` only spares re-hashing a file nobody touched."""

    sha256: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Record(Generic[Facts]):
    """What a stage did: enough to tell whether doing it again would give something else."""

    stage: str
    inputs: dict[str, str]
    config: dict[str, Any]
    tools: dict[str, str]
    outputs: dict[str, Output]
    facts: Facts
    seconds: float
    finished: str
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identity of the outputs: equal keys mean a later stage need not run again."""
        if not self.outputs:
            return sha256_json(getattr(self.facts, "identity", None) or as_json(self.facts))
        return sha256_json({name: item.sha256 for name, item in self.outputs.items()})


def outputs_of(root: Path, paths: Sequence[Path]) -> dict[str, Output]:
    """Files, and files in folders, hashed and named relative to the run folder."""
    found = {}
    for given in paths:
        for path in sorted(p for p in given.rglob("*") if p.is_file()) if given.is_dir() else [given]:
            stat = path.stat()
            found[str(path.relative_to(root))] = Output(sha256_file(path), stat.st_size, stat.st_mtime_ns)
    return found


def broken_outputs(root: Path, outputs: Mapping[str, Output]) -> list[str]:
    """Why the outputs are not whole; empty when they are."""
    reasons = []
    for name, output in outputs.items():
        path = root / name
        if not path.is_file():
            reasons.append(f"{name} is missing")
        elif path.stat().st_size != output.bytes:
            reasons.append(f"{name} has another size")
        elif path.stat().st_mtime_ns != output.mtime_ns and sha256_file(path) != output.sha256:
            reasons.append(f"{name} has other contents")
    return reasons


def write_record(path: Path, record: Record[Any]) -> None:
    write_json(path, {**as_json(record), "schema": 1})


def read_record(path: Path, kind: Kind[Facts]) -> Record[Facts] | None:
    """The record in a file; None where there is none that is whole. Raises where another version wrote its facts."""
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.pop("schema", None) != 1:
        return None
    try:
        stored["outputs"] = {name: Output(**item) for name, item in stored["outputs"].items()}
        found: Record[Any] = Record(**stored)
        return replace(found, facts=parse(kind.facts, stored["facts"]))
    except (TypeError, KeyError, AttributeError):
        return None
    except ValueError as error:
        what = f"{path} was written by another version of reasoner"
        fix = "go on with that version, or choose another name with RUN=… (make) or --run"
        raise ReasonerError(what, why=str(error), fix=fix, code=USAGE) from None


# -- checkpoints -------------------------------------------------------------------------------


def ready_steps(checkpoints: Path) -> list[int]:
    """Steps whose checkpoint is whole, oldest first.

    The trainer writes DONE last, so a folder still filling up is invisible here. Order is the number in the name; file
    times lie after a copy.
    """
    names = (marker.parent.name.removeprefix("checkpoint-") for marker in checkpoints.glob("checkpoint-*/DONE"))
    return sorted(int(name) for name in names if name.isdigit())
