"""Problems asked of a model and judged: by the `evaluate` stage (base and tuned), `reasoner eval` and the ladder.

Same prompts, same sampler, same verifier as in training, whatever the engine. Completions go to their file as they
arrive, so an interrupted evaluation asks only for what is missing; a file that answers another question is begun anew.
A completion cut by length is wrong and counted apart; one that the verifier cannot judge is left out of every share
and counted apart. Everyday prompts have no verifier: what is counted there is whether an answer has fallen apart and
whether a well-known fact is still in it, not whether it is good.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from reasoner import config as configs
from reasoner import files, runs
from reasoner.bases import locate
from reasoner.config import Config
from reasoner.errors import USAGE, ReasonerError
from reasoner.machine import cache
from reasoner.measuring import engines, statistics
from reasoner.measuring.engines import Answer, Engine, Prompt, Sampling
from reasoner.problems import generated, load
from reasoner.problems.everyday import EverydayPrompt, everyday_prompts
from reasoner.problems.named import sets_dir
from reasoner.problems.overlap import Overlap, find_overlap
from reasoner.problems.problem import Problem, messages, normalised, split_sha256
from reasoner.serving import ollama, register
from reasoner.verifiers import registry, working
from reasoner.verifiers.score import Score
from reasoner.verifiers.working import shows_working

EVERYDAY_TOKENS = 200
"""Most tokens of an everyday answer: enough for a loop to show."""
EVERYDAY_TEMPERATURE = 0.6
"""Of the everyday answers that are sampled: what `smol` trains with."""
EVERYDAY_SAMPLES = 4
"""Sampled answers to an everyday prompt."""
FACT_SAMPLES = 8
"""The same where it asks for a fact: two of fourteen wholly lost are then found 85 times in 100
(scripts/bench/everyday.py --power)."""
DEFAULT_TOKENS = 512
"""Most tokens of a completion of a model that brings no limit of its own."""
DEFAULT_PROBLEMS = 500
"""Problems of a generator that has no end."""
NUM_PROMPTS = 3
"""Problems whose prompt token ids are read back before any is asked."""
FEWEST_FLIPS = 0.05
"""Share of problems on which two models differ at least, where the smallest detectable difference is told of one."""

Row = dict[str, Any]
Rows = list[Row]
Say = Callable[[str], None]
MAIN = ""
"""Name of the main set: its files and its progress carry the role alone."""


def run(
    config: Config,
    run_: runs.Run,
    client: ollama.Client,
    models: dict[str, str],
    special: Sequence[str],
    progress: Callable[[str, int, int], None],
    say: Say = lambda text: None,
    *,
    is_final: bool = True,
) -> tuple[list[Path], dict[str, Any]]:
    """Ask every model in `models` (role -> tag) everything; write `completions/[<set>-]<role>.jsonl`.

    `special` are the strings of the tokenizer's special tokens, none of which belongs in an answer. `progress` gets
    a label (`tuned`, `svamp base`, `everyday tuned`), how many are done, and of how many. One model is asked
    everything before the next one, so that a server with room for one loads each once. Where the profile has a system
    message, the main set of a final evaluation (not of a gate) is asked without it too.
    """
    found: dict[str, list[Problem] | None] = {MAIN: load.held_out(config)}
    found |= {name: load.beside(config, name) for name in config.eval.beside}
    checker = registry.load(config.verifier.name)
    sets = {name: judged(checker, name, problems) for name, problems in found.items() if problems is not None}
    unjudged = {name: len(found[name] or ()) - len(problems) for name, problems in sets.items()}
    everyday = everyday_prompts("eval") if config.eval.everyday else []
    scored: dict[str, dict[str, Rows]] = {name: {} for name in sets}
    chatted: dict[str, Rows] = {}
    drawn: dict[str, Rows] = {}
    without: dict[str, Rows] = {}
    looks: dict[str, dict[str, int]] = {}
    outputs = []
    sampling = Sampling(config.serve.num_predict)

    def opened(tag: str) -> contextlib.AbstractContextManager[Engine]:
        return contextlib.closing(
            engines.open_engine(
                tag,
                "ollama",
                concurrency=config.eval.concurrency,
                num_ctx=config.serve.num_ctx,
                num_thread=config.serve.num_thread,
                client=client,
            )
        )

    def path(label: str) -> Path:
        return run_.path / "completions" / f"{label.replace(' ', '-')}.jsonl"

    def told(label: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(label, done, total)

    for role, tag in models.items():
        note = {"model": tag, "stage": "served", "role": role}
        with opened(tag) as engine:
            for name, problems in sets.items():
                label = f"{name} {role}".strip()
                scored[name][role] = score(
                    engine, problems, checker, sampling, path(label),
                    system=config.data.system, special=special, note=note, progress=told(label), say=say,
                )  # fmt: skip
                outputs.append(path(label))
                if name != MAIN or config.eval.split != "dev":
                    looks.setdefault(name or "held-out", {})[role] = look(engine, problems, path(label))
            if everyday:
                for label, answers in ((f"everyday {role}", chatted), (f"everyday sampled {role}", drawn)):
                    answers[role] = ask_everyday(
                        engine, everyday, path(label), config.data.system, note, told(label), say,
                        is_sampled=answers is drawn,
                    )  # fmt: skip
                    outputs.append(path(label))
        if config.data.system and is_final:
            label = f"no-system {role}"
            with register.without_system(client, tag) as bare, opened(bare) as engine:
                without[role] = score(
                    engine, sets[MAIN], checker, sampling, path(label), system=None,
                    special=special, note=note, progress=told(label), say=say,
                )  # fmt: skip
            outputs.append(path(label))

    facts: dict[str, Any] = {
        **_compared(checker, sets[MAIN], scored[MAIN]),
        "unjudged": unjudged[MAIN],
        "split": config.eval.split,
        "verifier": {"name": checker.name, "version": checker.version},
        "looks": looks,
        "taken": {
            made.stem: key["from"] for made in outputs if "from" in (key := files.read_json(_key_path(made)) or {})
        },
        "by_kind": statistics.by_kind(**scored[MAIN]),
        "beside": {
            name: {**_compared(checker, sets[name], scored[name]), "unjudged": unjudged[name]}
            if name in sets
            else {"missing": str(sets_dir() / name)}
            for name in config.eval.beside
        },
    }
    facts["below_base"] = statistics.below_base(facts["by_kind"], facts["beside"])
    facts["problems_found"] = smoke(config, facts["tuned"])
    if without:
        facts["no_system"] = _compared(checker, sets[MAIN], without)
    if everyday:
        facts["everyday"] = {**compare_everyday(**chatted), "sampled": compare_sampled(**drawn)}
        facts["problems_found"] += forgotten(config, facts["everyday"])
    return outputs, facts


def inputs(config: Config) -> dict[str, str]:
    """What is asked besides the main set, by hash, and who judges: a set found since, another prompt or another version
    of the verifier makes the scores stale."""
    checker = registry.load(config.verifier.name)
    found = {f"set {name}": load.beside(config, name) for name in config.eval.beside}
    hashes = {name: "missing" if problems is None else split_sha256(problems) for name, problems in found.items()}
    hashes["verifier"] = f"{checker.name} {checker.version}"
    if config.eval.everyday:
        how = [EVERYDAY_TOKENS, EVERYDAY_TEMPERATURE, EVERYDAY_SAMPLES, FACT_SAMPLES]
        hashes["everyday"] = files.sha256_json([[one.row() for one in everyday_prompts("eval")], how])
    return hashes


def judged(checker: registry.Verifier, name: str, problems: Sequence[Problem]) -> list[Problem]:
    """The problems whose reference the verifier can judge; to ask the others would only add to `unscored`."""
    kept = _readable(checker, problems)
    if not kept:
        raise ReasonerError(
            f"the verifier {checker.name} can judge no reference of {name or 'the held-out problems'}",
            fix="reasoner audit --data … says why; set verifier.name, or leave the set out of eval.beside",
        )
    return kept


def _readable(checker: registry.Verifier, problems: Sequence[Problem]) -> list[Problem]:
    scores = registry.verify_many(checker, [(checker.commit(p.answer), p.answer, True) for p in problems])
    return [problem for problem, score in zip(problems, scores, strict=True) if score.verdict != "unscored"]


# -- asking and judging ------------------------------------------------------------------------


def score(
    engine: Engine,
    problems: Sequence[Problem],
    checker: registry.Verifier,
    sampling: Sampling,
    path: Path,
    *,
    samples: int = 1,
    seed: int = 0,
    system: str | None = None,
    special: Sequence[str] = (),
    note: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Say = lambda text: None,
) -> Rows:
    """The rows of `path`, one for each sample of each problem in their order, asking for those that are missing.

    Each completion that is not greedy has a seed of its own, by problem and sample: with one seed for all of them, the
    problems would share their random numbers, and no interval would hold. `note` are further fields of each row.
    Completions that another version of the verifier judged are judged again, not asked again.
    """
    by_id = {problem.id: problem for problem in problems}
    if len(by_id) < len(problems):
        twice = Counter(problem.id for problem in problems).most_common(1)[0][0]
        raise ReasonerError(f"two problems have the id {twice!r}", fix="give each one of its own", code=USAGE)
    asked = [(problem, sample) for problem in problems for sample in range(samples)]
    prompts = [
        Prompt(
            messages(problem.question, system),
            _seed(seed, problem.id, sample) if sampling.temperature else seed,
        )
        for problem, sample in asked
    ]
    judge = {"name": checker.name, "version": checker.version}
    sandbox = _sandbox() if checker.is_sandboxed else None
    fixed = {"stage": "", **(note or {}), "engine": engine.name, "sandbox": sandbox}

    def row(index: int, answer: Answer) -> Row:
        problem, _ = asked[index]
        found = {
            "kind": problem.kind,
            "question": problem.question,
            "answer": problem.answer.rpartition("####")[2].strip(),
            **_answered(answer),
            "shows_working": shows_working(answer.text),
            "steps": dataclasses.asdict(working.steps(answer.text, problem.steps)) if problem.steps else None,
            "leaked": [token for token in special if token in answer.text],
            **fixed,
        }
        # A verifier that waits for other processes would hold up the asking: `verify_many` below asks it at once.
        return found if checker.is_parallel else _with_verdicts(checker, judge, [found], [problem.answer])[0]

    about = {"problems": split_sha256(problems), "system": system, "seed": seed}
    names = [(problem.id, sample) for problem, sample in asked]
    rows = _collect(engine, prompts, names, sampling, path, about, row, progress, say)
    again = [place for place, one in enumerate(rows) if one.get("verifier") != judge]
    if any("verifier" in rows[place] for place in again):
        say(f"{path.name}: {len(again)} completions are judged again by {checker.name} {checker.version}")
    if again:
        answers = [by_id[rows[place]["problem_id"]].answer for place in again]
        for place, one in zip(
            again, _with_verdicts(checker, judge, [rows[place] for place in again], answers), strict=True
        ):
            rows[place] = {**one, "sandbox": sandbox}
        _rewrite(path, rows)
    return rows


def _seed(seed: int, problem_id: str, sample: int) -> int:
    return int(files.sha256_json([seed, problem_id, sample])[:8], 16) >> 1


def _answered(answer: Answer) -> Row:
    return {
        "completion": answer.text.encode("utf-8", "replace").decode(),  # a server's JSON may hold half a character
        "finish_reason": answer.finish_reason,
        "tokens": answer.tokens,
        "prompt_tokens": answer.prompt_tokens,
        **({"unanswered": answer.why} if answer.why else {}),
    }


def _with_verdicts(
    checker: registry.Verifier, judge: dict[str, str], rows: Sequence[Row], answers: Sequence[str]
) -> Rows:
    said = [
        (row["completion"], answer, row["finish_reason"] == "stop") for row, answer in zip(rows, answers, strict=True)
    ]
    scores = registry.verify_many(checker, said)
    strict: Sequence[Score | None] = [None] * len(said)
    if checker.strict is not None:
        strict = registry.verify_many(dataclasses.replace(checker, function=checker.strict), said)
    found = []
    for row, one, stricter in zip(rows, scores, strict, strict=True):
        if row["finish_reason"] == "unanswered":
            one = Score("unscored", why=f"the engine gave no answer: {row['unanswered']}"[:300])
            stricter = one if stricter else None
        found.append(
            {
                **row,
                "verdict": one.verdict,
                "strict": stricter.verdict if stricter else None,
                "extracted": one.extracted,
                "type": one.type,
                "rule": one.rule,
                "why": one.why,
                "verifier": judge,
            }
        )
    return found


def _sandbox() -> dict[str, Any]:
    """Where submitted code is run."""
    from reasoner import __version__
    from reasoner.sandbox.selftest import choose

    return {"tier": choose(), "version": __version__}


def _collect(
    engine: Engine,
    prompts: Sequence[Prompt],
    names: Sequence[tuple[str, int]],
    sampling: Sampling,
    path: Path,
    about: Mapping[str, Any],
    row: Callable[[int, Answer], Row],
    progress: Callable[[int, int], None],
    say: Say,
) -> Rows:
    """A row for each prompt, named by (problem id, sample), in their order; those that the file has are not asked for.

    A line is written as a whole once its completion is there. What the completions answer is in `<name>.key.json`
    beside the file, written before the first of them: where it differs, the file is begun anew. A file that begins
    takes the answers of another run's file of that name which has them all; the key then says whose (`from`).
    The kind of CPU stands beside the key: answers that are there go on on another one, but none are taken from it.
    """
    key = {
        **about,
        "engine": engine.name,
        "model": engine.facts.get("digest") or engine.model,
        **{name: engine.facts.get(name) for name in ("num_ctx", "dtype", "device", "versions")},
        "sampling": _plain(sampling),
    }
    key_path = _key_path(path)
    known = files.read_json(key_path)
    taken = None
    if known is None or known["key"] != key or not path.exists():
        if path.exists():
            changed = [name for name in key if known is not None and known["key"].get(name) != key[name]]
            say(f"{path.name} answers another question ({', '.join(changed) or 'it has no key'}): begun anew")
            path.unlink()
        taken = _asked_before(path, key, names)
        told = {"look": taken.look, "from": taken.run} if taken else {"look": secrets.token_hex(8)}
        files.write_json(key_path, {"key": key, "machine": cache.machine_key(), **told})
        if taken:
            say(f"{path.name}: {len(names)} completions of run {taken.run}: the same model file, problems and sampling")
    found = _whole_rows(path, names)
    missing = [index for index, name in enumerate(names) if name not in found]
    if found and missing:
        say(f"{path.name}: {len(found)} of {len(names)} completions are there, {len(missing)} are asked for")

    def arrived(place: int, answer: Answer) -> None:
        index = missing[place]
        problem_id, sample = names[index]
        made = {"problem_id": problem_id, "sample": sample, **row(index, answer), "seed": prompts[index].seed}
        with path.open("ab", buffering=0) as file:
            file.write(json.dumps(made, ensure_ascii=False).encode() + b"\n")
        found[names[index]] = made
        progress(len(found), len(names))

    if taken:
        for place, answer in enumerate(taken.answers):
            arrived(place, answer)
    elif missing:
        engine.complete([prompts[index] for index in missing], sampling, arrived)
    rows = [found[name] for name in names]
    if missing:
        _rewrite(path, rows)  # in the order of the problems, whatever the order of arrival
    return rows


@dataclasses.dataclass(frozen=True)
class _Taken:
    run: str
    look: str
    answers: Sequence[Answer]


def _asked_before(path: Path, key: Mapping[str, Any], names: Sequence[tuple[str, int]]) -> _Taken | None:
    """The answers to all of this in another run, so that a base is not asked anew for each seed; it stays one look.

    Only the answers: what is read from them (verdict, working, leaks) is made anew. And only those of the same kind of
    CPU: on another one the same greedy base came out a point or two apart, and the tuned model stands beside it.
    """
    machine = cache.machine_key()
    for other in sorted(runs.runs_dir().glob(f"*/completions/{path.name}")):
        run, known = other.parent.parent, files.read_json(_key_path(other))
        if run.is_symlink() or known is None or (known.get("key"), known.get("machine")) != (key, machine):
            continue
        rows = {(row.get("problem_id"), row.get("sample")): row for row in files.read_jsonl(other)}
        made = [rows.get(name) for name in names]
        whole = [row for row in made if row is not None and row.get("finish_reason") in ("stop", "length")]
        if len(whole) == len(names):
            fields = ("completion", "finish_reason", "tokens", "prompt_tokens")
            answers = [Answer(*(row[field] for field in fields)) for row in whole]
            return _Taken(run.name, known["look"], answers)
    return None


def _plain(sampling: Sampling) -> dict[str, Any]:
    return {**dataclasses.asdict(sampling), "stops": list(sampling.stops)}


def _key_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.key.json")


def _whole_rows(path: Path, names: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Row]:
    """The rows of a file by name, each once; a line that a kill cut short is taken off: the next begins a line."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return {}
    wanted = set(names)
    found: dict[tuple[str, int], Row] = {}
    raw = path.read_bytes()
    lines = raw.split(b"\n")
    for line in lines[:-1]:
        try:
            made = json.loads(line)
            name = (made["problem_id"], made["sample"])
        except (ValueError, KeyError, TypeError):
            continue
        if name in wanted:
            found.setdefault(name, made)
    if lines[-1] or len(found) < len(lines) - 1:
        _rewrite(path, list(found.values()))
    return found


def _rewrite(path: Path, rows: Rows) -> None:
    with files.partial_file(path) as partial:
        partial.touch()
        files.append_jsonl(partial, rows)


def ask_everyday(
    engine: Engine,
    everyday: Sequence[EverydayPrompt],
    path: Path,
    system: str | None = None,
    note: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Say = lambda text: None,
    *,
    is_sampled: bool,
) -> Rows:
    """The rows of `path`: one greedy answer to each prompt, or several sampled ones.

    Which prompts a model this small answers with a loop is chance under greedy decoding: the same untrained model,
    rounded otherwise, had twice as many (scripts/LOG.md). So the greedy answers are shown, and the sampled ones judge.
    """
    asked = [
        (one, sample)
        for one in everyday
        for sample in range((FACT_SAMPLES if one.expect is not None else EVERYDAY_SAMPLES) if is_sampled else 1)
    ]

    def row(index: int, answer: Answer) -> Row:
        return {**judge_everyday(asked[index][0], answer), **(note or {}), "engine": engine.name}

    prompts = [
        Prompt(messages(one.prompt, system), _seed(0, one.id, sample) if is_sampled else 0) for one, sample in asked
    ]
    names = [(one.id, sample) for one, sample in asked]
    about = {"problems": files.sha256_json([one.row() for one in everyday]), "system": system, "seed": 0}
    sampling = Sampling(EVERYDAY_TOKENS, temperature=EVERYDAY_TEMPERATURE if is_sampled else 0.0)
    return _collect(engine, prompts, names, sampling, path, about, row, progress, say)


def judge_everyday(asked: EverydayPrompt, answer: Answer) -> Row:
    """The record of an answer to an everyday prompt; `fact_right` is None where the prompt asks for no fact."""
    expect = asked.expect
    return {
        "id": asked.id,
        "kind": asked.kind,
        "prompt": asked.prompt,
        **_answered(answer),
        "degenerate": degenerate(answer.text, number_ok=asked.number_ok),
        "fact_right": None if expect is None else re.search(expect, answer.text, re.IGNORECASE) is not None,
    }


# -- looks at a test split ---------------------------------------------------------------------


def look(engine: Engine, problems: Sequence[Problem], path: Path) -> int:
    """How many times any of these test problems have been scored with this model, this one included.

    Remembered in `looks.json` beside the runs, by model. Completions that are taken up again, or judged again, are the
    same look.
    """
    this = str(files.read_json(_key_path(path))["look"])
    asked = {files.sha256_json(normalised(problem.question))[:8] for problem in problems}
    ledger = runs.runs_dir() / "looks.json"
    with cache.locked("looks", cache.quiet):
        known = files.read_json(ledger) or {}
        seen = known.setdefault(str(engine.facts.get("digest") or engine.model), [])
        if this not in [one["look"] for one in seen]:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            problem_hashes = " ".join(sorted(asked))
            seen.append(
                {"look": this, "model": engine.model, "file": str(path), "time": when, "problems": problem_hashes}
            )
            files.write_json(ledger, known)
        before = seen[: [one["look"] for one in seen].index(this)]
    return 1 + sum(not asked.isdisjoint(one["problems"].split()) for one in before)


# -- any model ---------------------------------------------------------------------------------


def one(
    name: str,
    source: str | None,
    *,
    split: str | None = None,
    num: int | None = None,
    samples: int = 1,
    temperature: float = 0.0,
    engine: str | None = None,
    verifier: str | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    concurrency: int = 8,
    adapter: Path | None = None,
    out: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Score any model on any problems: what `reasoner eval` does. Completions and `result.json` stay in a folder.

    `name` is a run, a tag in Ollama, a GGUF, a model folder or `URL#MODEL`; `source` a data set by name, a hub id, a
    folder or a file, whose rows are all asked; None takes a run's own held-out problems. What is not given comes from
    the run, else from what the source is paired with.
    """
    if samples > 1 and not temperature:
        raise ReasonerError(
            f"{samples} greedy completions of a problem are all the same", fix="--temperature 0.7, say", code=USAGE
        )
    started = time.monotonic()
    model, settings, special = _target(name, engine)
    adapter = adapter.expanduser().absolute() if adapter else None
    problems, record, own_verifier = _problems(source, split, num, settings)
    if source is not None and verifier is not None:
        load.check_verifier(source, verifier)
    checker = registry.load(verifier or own_verifier)
    if checker.ready is not None:
        checker.ready()
    kept = judged(checker, record["source"], problems)
    serve = settings.serve if settings else None
    if system is None and settings is not None:
        system = settings.data.system
    most = max_tokens or (serve.num_predict if serve else DEFAULT_TOKENS)
    sampling = Sampling(most, temperature)
    asked = {
        "model": model, "adapter": str(adapter or ""), "engine": engine, "data": record["source"],
        "split": record["split"], "num": num,
        "samples": samples, "sampling": _plain(sampling), "verifier": checker.name, "system": system,
    }  # fmt: skip
    folder = out or runs.runs_dir() / "evals" / "-".join(
        [*(_short(part) for part in (name, record["source"], record["split"])), files.sha256_json(asked)[:8]]
    )
    path = folder / "completions.jsonl"
    opened = engines.open_engine(
        model, engine, concurrency=concurrency, num_ctx=serve.num_ctx if serve else DEFAULT_TOKENS * 4 + most,
        num_thread=serve.num_thread if serve else None, adapter=adapter, say=say,
    )  # fmt: skip
    with runs.lock(runs.Run(folder)), contextlib.closing(opened):
        (folder / "result.json").unlink(missing_ok=True)
        prompt_ids = _prompt_ids(opened, kept[:NUM_PROMPTS], system or None, _trained_on(name) if settings else None)
        overlap = _overlap(settings, kept, say)
        rows = score(
            opened, kept, checker, sampling, path, samples=samples, system=system or None, special=special,
            note={"model": name, "stage": "eval"}, progress=lambda done, total: progress("eval", done, total), say=say,
        )  # fmt: skip
        _note_prompts(opened, prompt_ids, rows[::samples])
        measured = statistics.measure(rows)
        share = measured["pass_at_1"]
        lenient = _lenient(checker, kept, rows)
        value = {
            "schema": 1,
            "model": name,
            "engine": opened.name,
            "facts": opened.facts,
            "data": record,
            "split": record["split"],
            "split_sha256": split_sha256(kept),
            "n": len(kept),
            "samples": samples,
            "unjudged": len(problems) - len(kept),
            "sampling": _plain(sampling),
            "system": system or None,
            "prompt_ids": {"problems": len(prompt_ids), "sha256": files.sha256_json(prompt_ids)}
            if prompt_ids
            else None,
            "overlap": dataclasses.asdict(overlap) if overlap else None,
            "verifier": {"name": checker.name, "version": checker.version},
            "sandbox": rows[0]["sandbox"],
            **measured,
            "lenient": _short_measure(lenient) if lenient else None,
            "unanswered": sum(row["finish_reason"] == "unanswered" for row in rows),
            "detectable": statistics.detectable(measured["scored"], max(FEWEST_FLIPS, 2 * share * (1 - share)))
            if samples == 1
            else None,
            "look": None if record["split"] in ("train", "dev") else look(opened, kept, path),
            "completions": str(path),
            "seconds": round(time.monotonic() - started, 2),
        }
        files.write_json(folder / "result.json", value)
    return value


def _target(name: str, engine: str | None) -> tuple[str, Config | None, list[str]]:
    """The model that a name means to an engine; of a run also its config and its special tokens."""
    folder = runs.runs_dir() / name if re.fullmatch(r"[\w.-]+", name) else Path(name).expanduser()
    stored = files.read_json(folder / "config.json")
    if not isinstance(stored, dict) or "origin" not in stored:
        return name, None, []
    run_ = runs.existing(name)
    settings, _ = configs.read(run_.config_path)
    export = run_.export_dir(settings.train.steps)
    record, source = runs.read_record(export / "register.json"), runs.read_record(run_.path / "base.json")
    file = runs.read_record(export / "gguf.json")
    if record is None or source is None or file is None:
        raise ReasonerError(f"run {run_.name} has no model in Ollama yet", fix=f"make reasoner RUN={run_.name}")
    tag = record.facts["tuned"]["tag"]
    model = {
        "transformers": str(export / "merged"),
        "vllm": str(export / "merged"),
        "llama.cpp": str(run_.path / next(iter(file.outputs))),
        "openai": f"{ollama.host().url}/v1#{tag}",
    }.get(engine or "", tag)
    return model, settings, list(source.facts["special_tokens"])


def _problems(
    source: str | None, split: str | None, num: int | None, settings: Config | None
) -> tuple[list[Problem], dict[str, Any], str]:
    """The problems, the record of where they came from, and the verifier that reads their references."""
    if source is None:
        if settings is None:
            raise ReasonerError("which problems?", fix="--data gsm8k, say, or a file; a run brings its own", code=USAGE)
        given = {key: value for key, value in (("split", split), ("num_problems", num)) if value is not None}
        chosen = configs.Eval.model_validate({**settings.eval.model_dump(), **given})
        settings = settings.model_copy(update={"eval": chosen})
        problems = load.held_out(settings)
        label = settings.eval.source or settings.data.source
        return problems, {"source": label, "split": settings.eval.split}, settings.verifier.name
    if source == generated.WORDPROBLEMS:
        num = num or DEFAULT_PROBLEMS
    chosen_split = split or ("all" if Path(source).expanduser().is_file() else "test")
    found = load.read(configs.Data(source=source), chosen_split, num)
    record = dataclasses.asdict(found.provenance)
    return found.problems, record, found.provenance.verifier or _pairing(found.problems)


def _pairing(problems: Sequence[Problem]) -> str:
    """The checker for a person's own references: the first that can judge them all, else what judges the most."""
    counts: dict[str, int] = {}
    for name in ("number", "math"):
        counts[name] = len(_readable(registry.load(name), problems))
        if counts[name] == len(problems):
            break
    return max(counts, key=counts.__getitem__)


def _trained_on(name: str) -> Path | None:
    """The folder with a run's tokenizer."""
    folder = runs.existing(name).path / "base" / "model"
    return folder if folder.is_dir() else None


def _prompt_ids(
    engine: Engine, problems: Sequence[Problem], system: str | None, trained_on: Path | None
) -> list[list[int]]:
    """Prompt token ids as the engine reads them; empty, and a difference in its facts, where it does not tell.

    Raises where the model is a run's (`trained_on` has its tokenizer) and they are not those of its training.
    """
    chats = [messages(problem.question, system) for problem in problems]
    try:
        found = [engine.prompt_ids(chat) for chat in chats]
    except ReasonerError as error:
        if trained_on is not None:
            raise
        found, why = [None], f": {error.why or error.what}"
    else:
        why = ""
    ids = [one for one in found if one is not None]
    if len(ids) < len(found):
        engines.differ(engine, f"prompt token ids are not known, nor so whether another engine is asked the same{why}")
        return []
    if trained_on is not None:
        tokenizer = locate.load_tokenizer(trained_on)
        for problem, chat, read in zip(problems, chats, ids, strict=True):
            trained = locate.prompt_ids(tokenizer, chat)
            if read != trained:
                raise ReasonerError(
                    f"{engine.model} is asked something else than was trained",
                    why=f"problem {problem.id}: "
                    + register.difference(trained, read, tokenizer.convert_ids_to_tokens, engine.name),
                    fix="a system message of the tag's own, or --system, may be the difference",
                )
    return ids


def _note_prompts(engine: Engine, ids: Sequence[Sequence[int]], rows: Rows) -> None:
    for read, row in zip(ids, rows, strict=False):
        if row["finish_reason"] != "unanswered" and row["prompt_tokens"] != len(read):
            was = f"{row['prompt_tokens']} prompt tokens were read, {len(read)} expected"
            engines.differ(engine, f"problem {row['problem_id']}: {was}")


def _overlap(settings: Config | None, problems: Sequence[Problem], say: Say) -> Overlap | None:
    """What a run was trained on of these problems; None where the model is no run's, or its data is gone."""
    if settings is None:
        return None
    try:
        return find_overlap(load.training(settings), problems)
    except ReasonerError as error:
        say(f"not compared with what the run was trained on: {error.what}")
        return None


def _short(text: str) -> str:
    """A part of a folder's name: of a path or a URL only the end."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text.rstrip("/").rpartition("/")[2]).strip("-.")[:40] or "model"


def _lenient(checker: registry.Verifier, problems: Sequence[Problem], rows: Rows) -> Rows | None:
    """The rows as the verifier's lenient namesake judges them, where it has one: an answer wherever it is sensible."""
    if checker.lenient is None:
        return None
    lenient = registry.load(checker.lenient)
    answers = {problem.id: problem.answer for problem in problems}
    said = [(row["completion"], answers[row["problem_id"]], row["finish_reason"] == "stop") for row in rows]
    scores = registry.verify_many(lenient, said)
    judge = {"name": lenient.name, "version": lenient.version}
    return [
        {**row, "verdict": found.verdict if row["finish_reason"] != "unanswered" else "unscored", "verifier": judge}
        for row, found in zip(rows, scores, strict=True)
    ]


def _short_measure(rows: Rows) -> dict[str, Any]:
    measured = statistics.measure(rows)
    return {
        "verifier": rows[0]["verifier"],
        **{key: measured[key] for key in ("pass_at_1", "ci95", "right", "scored")},
    }


def lines(value: Mapping[str, Any]) -> list[str]:
    """What `one` found, for people."""

    def share(found: Mapping[str, Any], key: str) -> str:
        low, high = found["ci95"]
        return f"{100 * found[key]:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"

    versions = ", ".join(f"{name} {version}" for name, version in value["facts"]["versions"].items())
    judge, asked = value["verifier"], value["sampling"]
    system = f"system message {value['system']!r}" if value["system"] else "no system message"
    how = "greedy" if not asked["temperature"] else f"temperature {asked['temperature']:g}, {value['samples']} each"
    found = [
        ("model", f"{value['model']} ({value['engine']}: {versions or 'version unknown'})"),
        ("problems", f"{value['n']:,} of {value['data']['source']}, split {value['split']},"
                     f" sha256 {value['split_sha256'][:12]}"),
        ("asked", f"{how}, at most {asked['max_tokens']} tokens, {system}"
                  + (f", prompt ids {value['prompt_ids']['sha256'][:12]}" if value["prompt_ids"] else "")),
        ("verifier", f"{judge['name']} {judge['version']}"
                     + (f", sandbox {value['sandbox']['tier']}" if value["sandbox"] else "")),
        ("pass@1", f"{share(value, 'pass_at_1')}, {value['right']:,} of {value['scored']:,} completions right"),
    ]  # fmt: skip
    for name, label in (("pass_at_k", "pass"), ("maj_at_k", "maj")):
        for k, at in (value.get(name) or {}).items():
            found.append((f"{label}@{k}", f"{share(at, 'value')}, {at['problems']:,} problems"))
    rules = []
    if value["strict"] is not None:
        low, high = value["strict_ci95"]
        rules.append(f"strict {100 * value['strict']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
    if value["lenient"]:
        rules.append(f"lenient {share(value['lenient'], 'pass_at_1')}")
    if rules:
        found.append(("extraction", "; ".join(rules)))
    apart = f"cut by length {100 * value['truncated']:.1f} %, unscored {value['unscored'] - value['unanswered']:,},"
    apart += f" no answer of the engine {value['unanswered']:,}, declined {value['refused']:,}"
    unjudged = f"; {value['unjudged']:,} references that cannot be judged were not asked" if value["unjudged"] else ""
    found.append(("apart", apart + unjudged))
    if value["detectable"] is not None:
        found.append(("resolution", f"another model must differ by about {value['detectable']:.1f} points to be told"
                                    f" from this one on {value['n']:,} problems (80 % power)"))  # fmt: skip
    if value["look"] is not None and value["look"] > 1:
        where = "file" if value["split"] == "all" else f"{value['split']} split"
        found.append(("look", f"look {value['look']} at problems of this {where} with this model"))
    if shared := value["overlap"]:
        found.append(("overlap", f"of {shared['train']:,} training problems {shared['exact']:,} are asked here too,"
                                 f" {shared['near']:,} of {shared['held_out']:,} asked are near one"))  # fmt: skip
    for difference in value["facts"].get("differences", ()):
        found.append(("difference", difference))
    return [f"{what:<11} {text}" for what, text in [*found, ("kept", value["completions"])]]


# -- figures -----------------------------------------------------------------------------------


def _compared(checker: registry.Verifier, problems: Sequence[Problem], scored: dict[str, Rows]) -> dict[str, Any]:
    """Both models and their lift; the lift again by the verifier's stricter rule, and by its lenient namesake."""
    base_, tuned = scored["base"], scored["tuned"]
    measured = {role: statistics.measure(rows) for role, rows in scored.items()}
    found: dict[str, Any] = {
        "n": len(problems),
        "split_sha256": split_sha256(problems),
        **measured,
        "lift": statistics.lift(base_, tuned),
    }
    if all(one["strict"] is not None for one in measured.values()):
        found["strict_lift"] = statistics.lift(base_, tuned, "strict")
    lenient = {role: _lenient(checker, problems, rows) for role, rows in scored.items()}
    judged_again = {role: rows for role, rows in lenient.items() if rows is not None}
    if judged_again:
        found["lenient"] = {role: _short_measure(rows) for role, rows in judged_again.items()}
        found["lenient"]["lift"] = statistics.lift(judged_again["base"], judged_again["tuned"])
    return found


# -- everyday answers --------------------------------------------------------------------------


_LIST_MARK = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+", re.MULTILINE)
_UNIT_END = re.compile(r"\n|(?<=[.!?])\s")
_ANSWER_WORDS = re.compile(r"\b(?:the|final|answer|is|equals|boxed|times)\b|\bx\b|(?<=\d)x(?=\d)", re.IGNORECASE)
_SENTENCE = 12
"""Characters below which a repeated unit says nothing: closing tags of code, a "Ha!"."""


def degenerate(text: str, *, number_ok: bool = False) -> str | None:
    """How an answer has fallen apart: `empty`, `bare number` (or bare equation), `repeats`; None if it has not.

    An answer that is long, wrong, or cut by length is none of these.

    >>> degenerate("4 * 6 = 24"), degenerate("Seven, of course."), degenerate("I am here. " * 5)
    ('bare number', None, 'repeats')
    """
    if not any(c.isalnum() for c in text):
        return "empty"
    if not number_ok and not any(c.isalpha() for c in _ANSWER_WORDS.sub("", text)) and any(c.isdigit() for c in text):
        return "bare number"
    return "repeats" if _repeats(text) else None


def _repeats(text: str) -> bool:
    """Whether a line or sentence stands four times in a row, two thirds of them are old, or the end is a loop.

    Signs, case and list marks do not count, so a numbered loop is one too. A loop at the end is three rounds over
    60 % of the text, or four rounds of anything as long as a short sentence. Rounds are found in linear time by a
    Z-array over the reversed text: where it matches itself p further on for m characters, a suffix of m + p has
    period p.
    """
    units = [" ".join(re.findall(r"\w+", unit.casefold())) for unit in _UNIT_END.split(_LIST_MARK.sub("", text))]
    units = [unit for unit in units if unit and not unit.isdigit()]
    sentences = [unit for unit in units if len(unit) >= _SENTENCE]
    if len(sentences) >= 12 and 3 * len(set(sentences)) <= len(sentences):
        return True
    in_a_row = 1
    for before, unit in pairwise(units):
        in_a_row = in_a_row + 1 if unit == before else 1
        if in_a_row >= 4 and len(unit) >= _SENTENCE:
            return True
    line = " ".join(units)[::-1]
    match, left, right = [0] * len(line), 0, 0
    for period in range(1, len(line)):
        length = min(right - period, match[period - left]) if period < right else 0
        while period + length < len(line) and line[length] == line[period + length]:
            length += 1
        match[period] = length
        if period + length > right:
            left, right = period, period + length
        loop = period + length
        rounds = (loop + 1) / period  # the last round has no space after it
        if (rounds >= 3 and loop >= max(24, 0.6 * len(line))) or (rounds >= 4 and period >= _SENTENCE):
            return True
    return False


def compare_everyday(base: Rows, tuned: Rows) -> dict[str, Any]:
    """The figures of one answer a prompt: what changed, what fell apart, which facts were lost and gained.

    `p_degenerate` is that of `statistics.fewer`, of answers that have not fallen apart: with one answer a prompt,
    McNemar's exact test, one-sided.
    """
    pairs = list(zip(base, tuned, strict=True))
    whole = [[[row["degenerate"] is None] for row in rows] for rows in (base, tuned)]
    return {
        "n": len(pairs),
        "p_degenerate": statistics.fewer(*whole),
        "changed": sum(b["completion"].strip() != t["completion"].strip() for b, t in pairs) / len(pairs),
        **{
            role: {
                "degenerate": sum(row["degenerate"] is not None for row in rows),
                "facts_right": sum(row["fact_right"] is True for row in rows),
            }
            for role, rows in (("base", base), ("tuned", tuned))
        },
        "facts": sum(row["fact_right"] is not None for row in base),
        "facts_lost": [b["id"] for b, t in pairs if b["fact_right"] and not t["fact_right"]],
        "facts_gained": [b["id"] for b, t in pairs if t["fact_right"] and not b["fact_right"]],
    }


def compare_sampled(base: Rows, tuned: Rows) -> dict[str, Any]:
    """The same of several sampled answers a prompt; each prompt counts once, and each fact.

    `degenerate` is a share with its interval, `facts_right` a number of `facts` (the mean over the answers to each),
    `p_facts` that of `statistics.fewer`. The two `_by_id` hold how many answers of base, of tuned, and of how many
    each, where the two differ.
    """
    sides = {"base": base, "tuned": tuned}
    fallen = {
        role: _by_prompt((row["id"], row["degenerate"] is not None) for row in rows) for role, rows in sides.items()
    }
    right = {
        role: _by_prompt((row["id"], row["fact_right"]) for row in rows if row["fact_right"] is not None)
        for role, rows in sides.items()
    }
    found: dict[str, Any] = {"answers": len(base), "temperature": EVERYDAY_TEMPERATURE, "facts": len(right["base"])}
    for role in sides:
        value, interval = statistics.share((sum(one) / len(one) for one in fallen[role].values()), len(base))
        found[role] = {
            "degenerate": {"value": value, "ci95": interval},
            "facts_right": math.fsum(sum(one) / len(one) for one in right[role].values()),
        }
    return {
        **found,
        "p_facts": statistics.fewer(list(right["base"].values()), [right["tuned"][one] for one in right["base"]]),
        "degenerate_by_id": _moved(**fallen),
        "facts_by_id": _moved(**right),
    }


def _by_prompt(answers: Iterable[tuple[str, bool]]) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for name, is_so in answers:
        found.setdefault(name, []).append(is_so)
    return found


def _moved(base: Mapping[str, list[bool]], tuned: Mapping[str, list[bool]]) -> dict[str, list[int]]:
    counts = {name: [sum(answers), sum(tuned[name]), len(answers)] for name, answers in base.items()}
    return {name: count for name, count in counts.items() if count[0] != count[1]}


# -- what forbids a promotion ------------------------------------------------------------------


def forgotten(config: Config, everyday: dict[str, Any]) -> list[str]:
    """What the training took from the model as a chat model; empty when nothing beyond the `[alarms]`."""
    limits, found = config.alarms, []
    sampled = everyday["sampled"]
    before, after = (sampled[role] for role in ("base", "tuned"))
    fallen, lost = after["degenerate"]["value"], before["facts_right"] - after["facts_right"]
    if fallen > limits.max_degenerate:
        found.append(
            f"{fallen:.1%} of {sampled['answers']} sampled everyday answers are empty, repeat themselves or are a bare"
            f" number (base {before['degenerate']['value']:.1%}, limit {limits.max_degenerate:.1%})"
        )
    if everyday["p_degenerate"] < statistics.SIGNIFICANCE:
        found.append(
            f"{everyday['tuned']['degenerate']} of {everyday['n']} greedy everyday answers are empty, repeat themselves"
            f" or are a bare number, beyond noise more than the base's {everyday['base']['degenerate']}"
            f" (p {everyday['p_degenerate']:.2g})"
        )
    if lost > limits.max_facts_lost and sampled["p_facts"] < statistics.SIGNIFICANCE:
        gone = [f"{one} {b} -> {t} of {n}" for one, (b, t, n) in sampled["facts_by_id"].items() if t < b]
        found.append(
            f"{after['facts_right']:.1f} of {sampled['facts']} everyday facts are right in the mean,"
            f" {before['facts_right']:.1f} were (may lose {limits.max_facts_lost} beyond noise,"
            f" p {sampled['p_facts']:.2g}): {', '.join(gone)}"
        )
    return found


def smoke(config: Config, tuned: dict[str, Any]) -> list[str]:
    """What is wrong with the tuned model as served, whatever its score; empty when nothing is."""
    limits = config.eval
    found = []
    if tuned["truncated"] > limits.max_truncated:
        found.append(
            f"{tuned['truncated']:.1%} of completions were cut at {config.serve.num_predict} tokens"
            f" (limit {limits.max_truncated:.1%}): it does not end its answers, or serve.num_predict is too small"
        )
    if tuned["leaked"] > 0:
        found.append(f"{tuned['leaked']:.1%} of completions show special tokens: stops or template are wrong")
    if tuned["empty"] > limits.max_empty:
        found.append(f"{tuned['empty']:.1%} of completions are empty (limit {limits.max_empty:.1%})")
    if tuned["repeated"] > limits.max_repeated and tuned["scored"] > 4:
        found.append(f"one identical completion answers {tuned['repeated']:.1%} of the problems")
    unscored = tuned["unscored"] / (tuned["unscored"] + tuned["scored"])
    if unscored > config.verifier.max_unscored:
        found.append(f"the verifier gave no verdict on {unscored:.1%} of completions")
    return found
