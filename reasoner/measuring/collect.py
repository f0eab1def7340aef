"""Asks an engine for completions and keeps each in a file as it arrives, so that nothing is asked twice.

What the completions of a file answer is in `<name>.key.json` beside it, written before the first of them: where it
differs, the file is begun anew. A file that begins takes the answers of another one that has them all. The kind of CPU
stands beside the key: answers that are there go on on another one, but none are taken from it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reasoner import files, runs
from reasoner.machine import cache
from reasoner.measuring.engines.base import Answer, Engine, Prompt, Sampling
from reasoner.measuring.figures import Completion, EverydayAnswer

Row = TypeVar("Row", Completion, EverydayAnswer)
Say = Callable[[str], None]
Common = dict[str, Any]
"""What every row says, by the name of its field."""
Name = tuple[str, int]
"""Id of a problem, and which sample of it."""


@dataclass(frozen=True)
class Listener:
    """Hears what is done: sentences, and a label (`tuned`, `svamp base`), how many are done, and of how many."""

    say: Say = lambda text: None
    progress: Callable[[str, int, int], None] = lambda label, done, total: None


@dataclass(frozen=True)
class Sheet:
    """Says where the completions of one model go, and what each line says of the model."""

    path: Path
    model: str = ""
    stage: str = ""
    role: str | None = None
    label: str = ""  # what the progress is called


@dataclass(frozen=True)
class Questions:
    """Holds the prompts to be answered; the rest, with the engine, is what their file is known by."""

    names: Sequence[Name]
    prompts: Sequence[Prompt]
    sampling: Sampling
    problems_sha256: str
    system: str | None
    seed: int = 0


def collect(
    engine: Engine,
    questions: Questions,
    sheet: Sheet,
    kind: type[Row],
    make: Callable[[int, Answer, Common], Row],
    listener: Listener,
) -> list[Row]:
    """Returns a row for each prompt, in their order, asking for those that the sheet's file lacks.

    `make` makes the row of the prompt with this index, from what every row says. A line is written as a whole once its
    completion is there.
    """
    path, names = sheet.path, questions.names
    taken = _begin(engine, questions, path, listener.say)
    found = _whole_rows(path, names, kind)
    missing = [index for index, name in enumerate(names) if name not in found]
    if found and missing:
        listener.say(f"{path.name}: {len(found)} of {len(names)} completions are there, {len(missing)} are asked for")

    def arrived(place: int, answer: Answer) -> None:
        index = missing[place]
        made = make(index, answer, _common(engine, questions, sheet, index, answer))
        with path.open("ab", buffering=0) as file:
            file.write(json.dumps(files.as_json(made), ensure_ascii=False).encode() + b"\n")
        found[names[index]] = made
        listener.progress(sheet.label, len(found), len(names))

    if taken:
        for place, answer in enumerate(taken):
            arrived(place, answer)
    elif missing:
        engine.complete([questions.prompts[index] for index in missing], questions.sampling, arrived)
    rows = [found[name] for name in names]
    if missing:
        rewrite(path, rows)  # in the order of the problems, whatever the order of arrival
    return rows


def _common(engine: Engine, questions: Questions, sheet: Sheet, index: int, answer: Answer) -> Common:
    problem_id, sample = questions.names[index]
    return {
        "problem_id": problem_id,
        "sample": sample,
        "completion": answer.text.encode("utf-8", "replace").decode(),  # a server's JSON may hold half a character
        "finish_reason": answer.finish_reason,
        "tokens": answer.tokens,
        "prompt_tokens": answer.prompt_tokens,
        "unanswered": answer.why or None,
        "stage": sheet.stage,
        "model": sheet.model,
        "role": sheet.role,
        "engine": engine.name,
        "seed": questions.prompts[index].seed,
    }


def rewrite(path: Path, rows: Sequence[Row]) -> None:
    """Writes a file of completions anew, as a whole."""
    with files.partial_file(path) as partial:
        partial.touch()
        files.append_jsonl(partial, files.as_json(rows))


def look_id(path: Path) -> str:
    """Returns what a file of completions is counted by as a look at its problems."""
    return str(files.read_json(_key_path(path))["look"])


def taken_from(path: Path) -> str | None:
    """Returns the run whose answers a file of completions took over; None where it was asked itself."""
    found = (files.read_json(_key_path(path)) or {}).get("from")
    return None if found is None else str(found)


def _key_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.key.json")


def _begin(engine: Engine, questions: Questions, path: Path, say: Say) -> list[Answer] | None:
    """Begins the file anew where it answers another question; gives the answers that it then takes over."""
    key = {
        "problems": questions.problems_sha256,
        "system": questions.system,
        "seed": questions.seed,
        "engine": engine.name,
        "model": engine.facts.get("digest") or engine.model,
        **{name: engine.facts.get(name) for name in ("num_ctx", "dtype", "device", "versions")},
        "sampling": files.as_json(questions.sampling),
        **({"think": engine.facts["think"]} if "think" in engine.facts else {}),
    }
    known = files.read_json(_key_path(path))
    if known is not None and known["key"] == key and path.exists():
        return None
    if path.exists():
        changed = [name for name in key if known is not None and known["key"].get(name) != key[name]]
        say(f"{path.name} answers another question ({', '.join(changed) or 'it has no key'}): begun anew")
        path.unlink()
    answers, told = _answered_before(path, key, questions.names)
    files.write_json(_key_path(path), {"key": key, "machine": cache.machine_key(), **told})
    if answers:
        count = f"{len(answers)} completions of run {told['from']}"
        say(f"{path.name}: {count}: the same model file, problems and sampling")
    return answers


def _answered_before(
    path: Path, key: dict[str, object], names: Sequence[Name]
) -> tuple[list[Answer] | None, dict[str, str]]:
    """The answers to all of this in another run or another checkpoint's gate, and what the key says of them.

    So a base is not asked anew for each seed, nor a public model that was a candidate before; it stays one look. Only
    the answers: what is read from them (verdict, working, leaks) is made anew. And only those of the same kind of CPU:
    on another one the same greedy base came out a point or two apart, and the tuned model stands beside it.
    """
    machine = cache.machine_key()
    own_run = [folder.parent for folder in path.parents if (folder / "config.json").exists()][:1]
    for root in dict.fromkeys([runs.runs_dir(), *own_run]):
        places = [(other, 1) for other in sorted(root.glob(f"*/completions/{path.stem}.key.json"))]
        places += [(other, 4) for other in sorted(root.glob("*/exports/*/gate/completions/*.key.json"))]
        for other, depth in places:
            run, known = other.parents[depth], files.read_json(other)
            if run.is_symlink() or known is None or (known.get("key"), known.get("machine")) != (key, machine):
                continue
            stored = files.read_jsonl(other.with_name(other.name.replace(".key.json", ".jsonl")))
            rows = {(row.get("problem_id"), row.get("sample")): row for row in stored}
            made = [rows.get(name, {}) for name in names]
            if all(row.get("finish_reason") in ("stop", "length") for row in made):
                fields = ("completion", "finish_reason", "tokens", "prompt_tokens")
                answers = [Answer(*(row[field] for field in fields)) for row in made]
                return answers, {"look": known["look"], "from": run.name}
    return None, {"look": secrets.token_hex(8)}


def _whole_rows(path: Path, names: Sequence[Name], kind: type[Row]) -> dict[Name, Row]:
    """The rows of a file by name, each once; a line that a kill cut short is taken off: the next begins a line."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return {}
    wanted = set(names)
    found: dict[Name, Row] = {}
    lines = path.read_bytes().split(b"\n")
    for line in lines[:-1]:
        try:
            made = files.parse(kind, json.loads(line))
        except ValueError:
            continue
        if (made.problem_id, made.sample) in wanted:
            found.setdefault((made.problem_id, made.sample), made)
    if lines[-1] or len(found) < len(lines) - 1:
        rewrite(path, list(found.values()))
    return found
