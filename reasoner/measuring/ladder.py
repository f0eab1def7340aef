"""Where on the way from the trainer to Ollama a score is lost, and which quant loses too little to matter.

    base -> adapter -> merged -> F16 -> the served quant -> served          (the other quants branch off F16)

Every rung answers the same problems, greedily, from the same prompt token ids, and is compared with the rung that it
was made of, problem by problem. Folders are asked in transformers, files in llama.cpp in process, the tag in Ollama.
Dev problems are asked, as often as anybody likes: the test split is scored once.

What it does not do: it repairs nothing, and a rung that gains is not looked into.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner import files, runs
from reasoner.bases import locate
from reasoner.config import Config
from reasoner.errors import MISSING, ReasonerError, printable
from reasoner.export import calibration
from reasoner.llamacpp import header, quantize
from reasoner.machine import cpu
from reasoner.measuring import engines, evaluate, statistics
from reasoner.problems import load
from reasoner.problems.problem import Problem, messages, split_sha256
from reasoner.serving import ollama, register
from reasoner.verifiers import registry

if TYPE_CHECKING:
    from rich.console import Group

Entry = dict[str, Any]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Export:
    """The parts of a run that a ladder climbs; `tag` is as it was registered."""

    base: Path
    adapter: Path
    merged: Path
    gguf: Path
    quant: str
    imatrix: bool
    tag: dict[str, Any]
    pinned: dict[str, Any]


@dataclass
class _Climb:
    """The problems of one ladder, and the rungs that have been scored."""

    config: Config
    run: runs.Run
    split: str
    margin: float
    problems: list[Problem]
    checker: registry.Verifier
    trained: list[list[int]]
    """Prompt token ids as the trainer fed them."""
    end: int
    """The token with which the chat template ends a turn."""
    special: list[str]
    name_of: Callable[[int], Any]
    say: Callable[[str], None]
    progress: Callable[[str, int, int], None]
    rungs: dict[str, Entry] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Files made on the fly: gone when the ladder is done, but for the speeds."""
        return self.run.path / "ladder"

    def log(self) -> Path:
        return self.run.log_path("ladder")

    def score(
        self,
        name: str,
        model: str,
        shown: str,
        against: str | None,
        *,
        adapter: Path | None = None,
        client: ollama.Client | None = None,
    ) -> Entry:
        """Ask one rung everything that its completions file lacks."""
        serve = self.config.serve
        with contextlib.closing(
            engines.open_engine(
                model,
                concurrency=self.config.eval.concurrency,
                num_ctx=serve.num_ctx,
                num_thread=serve.num_thread or (None if client else cpu.free_cores()),
                adapter=adapter,
                client=client,
            )
        ) as engine:
            ids = [engine.prompt_ids(self._messages(problem)) or [] for problem in self.problems]
            new: list[int] = []

            def told(done: int, total: int) -> None:
                new.append(done)
                self.progress(name, done, total)

            started = time.monotonic()
            rows = evaluate.score(
                engine, self.problems, self.checker, engines.Sampling(serve.num_predict),
                self.run.path / "completions" / f"ladder-{name}.jsonl", seed=self.config.train.seed,
                system=self.config.data.system, special=self.special,
                note={"model": shown, "stage": "ladder", "role": name}, progress=told, say=self.say,
            )  # fmt: skip
            seconds = time.monotonic() - started
            facts = engine.facts
        speed = self._speed(name, str(facts["digest"]), rows, len(new), seconds)
        file = Path(model) if engine.name == "llama.cpp" else None
        described = header.read_header(file).describe() if file else None
        found = statistics.measure(rows)
        entry: Entry = {
            "rung": name,
            "engine": engine.name,
            "model": shown,
            "digest": facts["digest"],
            "bytes": file.stat().st_size if file else None,
            **{key: found[key] for key in ("pass_at_1", "ci95", "right", "scored", "unscored", "truncated")},
            "mean_tokens": found["mean_tokens"],
            **speed,
            "end_tokens": [described.eos_token_id] if described else facts.get("end_tokens"),
            "tensor_types": described.tensor_types if described else None,
            "prompt_ids_sha256": files.sha256_json(ids),
            "prompt_ids_differ": self._differing(ids, rows),
            "change": None,
            "flips": [],
        }
        self.rungs[name], self.rows[name] = entry, rows
        change = ""
        if against is not None:
            before = self.rows[against]
            entry["change"] = {"against": against, **statistics.lift(before, rows), "same": _same(before, rows)}
            entry["flips"] = _flips(before, rows)
            change = f", {entry['change']['points']:+.1f} points against {against}"
        warning = "; PROMPT IDS DIFFER" if entry["prompt_ids_differ"] else ""
        self.say(f"{name}: {found['right']} of {found['scored']} right{change}{warning}")
        return entry

    def _messages(self, problem: Problem) -> list[dict[str, str]]:
        return messages(problem.question, self.config.data.system)

    def _differing(self, ids: Sequence[Sequence[int]], rows: Rows) -> str | None:
        """Where the prompt is first another than the trainer's; None where it never is."""
        for problem, ours, theirs, row in zip(self.problems, self.trained, ids, rows, strict=True):
            if list(theirs) != ours:
                return f"problem {problem.id}: {register.difference(ours, list(theirs), self.name_of, 'this rung')}"
            if row["finish_reason"] != "unanswered" and row["prompt_tokens"] != len(ours):
                return f"problem {problem.id}: {row['prompt_tokens']} prompt tokens were read, {len(ours)} were sent"
        return None

    def _speed(self, name: str, digest: str, rows: Rows, num_new: int, seconds: float) -> dict[str, float | None]:
        """Tokens a second of this rung, judging included, from the last time that it was asked everything at once."""
        path = self.folder / f"{name}.json"
        if num_new == len(rows):
            tokens = sum(row["tokens"] for row in rows)
            files.write_json(path, {"digest": digest, "tokens_per_s": tokens / seconds, "seconds": seconds})
        known = files.read_json(path) or {}
        is_same = known.get("digest") == digest
        return {key: known[key] if is_same else None for key in ("tokens_per_s", "seconds")}


def _climb(
    config: Config,
    run_: runs.Run,
    base_dir: Path,
    split: str,
    num: int | None,
    margin: float | None,
    say: Callable[[str], None],
    progress: Callable[[str, int, int], None],
) -> _Climb:
    wanted: dict[str, Any] = {"split": split, "num_problems": num or config.eval.num_problems}
    if split == "dev":  # always there, carved from the training source where it has none; another source may lack it
        wanted["source"] = None
    problems = load.held_out(config.model_copy(update={"eval": config.eval.model_copy(update=wanted)}))
    checker = registry.load(config.verifier.name)
    if checker.ready is not None:
        checker.ready()
    problems = evaluate.judged(checker, f"the {split} problems", problems)
    tokenizer = locate.load_tokenizer(base_dir)
    trained = [locate.prompt_ids(tokenizer, messages(p.question, config.data.system)) for p in problems]
    special = locate.special_tokens(tokenizer)
    return _Climb(
        config, run_, split, config.gguf.margin if margin is None else margin, problems, checker, trained,
        int(tokenizer.eos_token_id), special, tokenizer.convert_ids_to_tokens, say, progress,
    )  # fmt: skip


# -- the whole ladder --------------------------------------------------------------------------


def run(
    config: Config,
    run_: runs.Run,
    export: Export,
    client: ollama.Client,
    *,
    num: int | None = None,
    split: str = "dev",
    margin: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> dict[str, Any]:
    """Climb a finished run's ladder and write its `ladder.json`, last.

    `margin` is in points (None: `gguf.margin`), `num` problems are asked (None: as many as in evaluation). Whatever a
    rung has been asked before is not asked again while it is the same model.
    """
    _check_parts(run_, export, client)
    climb = _climb(config, run_, export.base, split, num, margin, say, progress)
    merged = str(export.merged.relative_to(run_.path))
    climb.score("base", str(export.base), config.model.base, None)
    climb.score("adapter", str(export.base), f"{config.model.base} + adapter", "base", adapter=export.adapter)
    climb.score("merged", str(export.merged), merged, "adapter")
    own = _quant_name(export.quant, export.imatrix)
    with _Quants(climb, export.merged) as quants:
        quants.score_all({own: export.gguf})
        served = climb.score("served", export.tag["tag"], export.tag["tag"], own, client=client)
        loss = first_loss(climb.rungs, climb.rows, ("base", "adapter", "merged", "F16", own, "served"), climb.margin)
        if loss is not None:
            known = loss.pop("known")
            loss["cause"] = known or _cause(climb, loss["rung"], export, client, quants)
    table = quants.table()
    value = {
        "schema": 1,
        "run": run_.name,
        "profile": config.profile,
        "split": split,
        "split_sha256": split_sha256(climb.problems),
        "n": len(climb.problems),
        "margin_points": climb.margin,
        "verifier": {"name": climb.checker.name, "version": climb.checker.version},
        "rungs": [*(one for one in climb.rungs.values() if one is not served), served],
        "first_loss": loss,
        "quants": table,
        "served_quant": own,
        "chosen": choose_row(table)["quant"],
    }
    files.write_json(run_.path / "ladder.json", value)
    return value


def choose(
    config: Config,
    run_: runs.Run,
    base_dir: Path,
    merged: Path,
    say: Callable[[str], None],
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """What `gguf.quant = "auto"` comes to: `quant`, `imatrix`, and the table that says why."""
    climb = _climb(config, run_, base_dir, "dev", None, None, say, progress)
    with _Quants(climb, merged) as quants:
        quants.score_all({})
    table = quants.table()
    found = choose_row(table)
    n = len(climb.problems)
    if found["quant"] == "F16":
        say(
            f"quant F16: of no smaller type do {n} dev problems show that it loses at most {climb.margin:g} points"
            + (f" (if nothing at all flipped they could show {_least(n):.1f})" if _least(n) > climb.margin else "")
        )
    else:
        with_matrix = " with an importance matrix" if found["imatrix"] else ""
        say(f"quant {found['quant']}{with_matrix}: the smallest that loses at most {climb.margin:g} points")
    return {
        "quant": found["quant"],
        "imatrix": found["imatrix"],
        "quants": table,
        "n": n,
        "split": "dev",
        "split_sha256": split_sha256(climb.problems),
        "margin_points": climb.margin,
    }


def _least(n: int) -> float:
    """The loss in points that `n` problems leave possible where not one of them flips."""
    same = [{"problem_id": str(place), "verdict": "right"} for place in range(n)]
    return -float(statistics.lift(same, same)["ci95"][0])


def _check_parts(run_: runs.Run, export: Export, client: ollama.Client) -> None:
    lacking = [
        (export.adapter / "adapter_config.json", "adapter", f"reasoner train --run {run_.name}"),
        (export.merged / "config.json", "merged model", f"reasoner merge {run_.name}"),
        (export.gguf, "quantized file", f"reasoner gguf {run_.name}"),
    ]
    for path, what, fix in lacking:
        if not path.exists():
            raise ReasonerError(
                f"run {run_.name} has no {what} any more", why=f"{path} is missing", fix=fix, code=MISSING
            )
    tag = export.tag["tag"]
    why = None
    if client.digest(tag) is None:
        why = f"{tag} is not in Ollama at {client.host}"
    elif files.sha256_file(export.gguf) not in str(client.show(tag).get("modelfile")):
        why = f"{tag} serves another file than {export.gguf.name}: another run of this name was registered since"
    if why:
        raise ReasonerError(
            f"run {run_.name} is not served any more", why=why, fix=f"reasoner register {run_.name}", code=MISSING
        )


# -- quants ------------------------------------------------------------------------------------


class _Quants:
    """The candidate types of one merged model, made one at a time in the run's `ladder` folder."""

    def __init__(self, climb: _Climb, merged: Path) -> None:
        self.climb, self.merged = climb, merged
        self.first = climb.folder / "16bit.gguf"
        self.matrix: Path | None = None

    def __enter__(self) -> _Quants:
        weights = sum(path.stat().st_size for path in self.merged.glob("*.safetensors"))
        self.climb.folder.mkdir(parents=True, exist_ok=True)
        needed, free = int(2.6 * weights) + 50 * 2**20, shutil.disk_usage(self.climb.folder).free
        if free < needed:
            raise ReasonerError(
                f"not enough disk space at {self.climb.folder}",
                why=f"a ladder makes 16-bit GGUFs on the fly: {needed / 2**30:.2f} GiB, {free / 2**30:.2f} are free",
                fix="free some, or move runs with REASONER_RUNS",
                code=MISSING,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing that was made on the fly stays, done or not: it is made again in less time than it is worth."""
        for pattern in ("*.gguf", "*.imatrix", "calibration.txt"):
            for path in self.climb.folder.glob(pattern):
                path.unlink()

    def make(self, quant: str, *, imatrix: bool) -> Path:
        out = self.climb.folder / f"made.{_quant_name(quant, imatrix)}.gguf"
        quantize.quantize(self.first, out, quant, self.climb.log(), self.climb.say, self.matrix if imatrix else None)
        return out

    def score_all(self, own: Mapping[str, Path]) -> None:
        """F16, then every type, each against F16; `own` are files to take as they are, by rung."""
        climb = self.climb
        quantize.convert(self.merged, self.first, climb.log(), climb.say)
        wanted = [(quant, False) for quant in reversed(quantize.TYPES)]
        if self._importance():
            wanted += [(quant, True) for quant in reversed(quantize.K_QUANTS)]
        elsewhere = [name for name in own if name not in {_quant_name(*one) for one in wanted}]
        wanted += [(name.removesuffix(_MATRIX), name.endswith(_MATRIX)) for name in elsewhere]
        for quant, imatrix in wanted:
            name = _quant_name(quant, imatrix)
            path = own.get(name)
            shown = path.relative_to(climb.run.path) if path else f"{quant} of {self.merged.name}"
            against = "F16" if quant != "F16" else "merged" if "merged" in climb.rungs else None
            if path:
                climb.score(name, str(path), str(shown), against)
                continue
            made = self.make(quant, imatrix=imatrix)
            climb.score(name, str(made), str(shown), against)
            made.unlink()

    def _importance(self) -> bool:
        climb = self.climb
        text = climb.folder / "calibration.txt"
        tokens = calibration.write(climb.run, self.merged, climb.config.data.system, text)
        if not tokens:
            climb.say("no importance matrix: the run's rollouts hold too few right completions")
            return False
        climb.say(f"importance matrix of {tokens:,} tokens of the run's own prompts and completions")
        self.matrix = quantize.importance_path(self.first)
        quantize.importance(self.first, text, self.matrix, climb.log(), climb.say)
        return True

    def table(self) -> list[dict[str, Any]]:
        """One row a type, smallest file first. `inside`: even the upper end of the loss's interval is in the margin."""
        found = []
        for name, entry in self.climb.rungs.items():
            quant = name.removesuffix(_MATRIX)
            if entry["engine"] != "llama.cpp" or quant not in quantize.TYPES:
                continue
            is_reference = quant == "F16"
            low, high = (0.0, 0.0) if is_reference else entry["change"]["ci95"]
            found.append(
                {
                    "quant": quant,
                    "bytes": entry["bytes"],
                    "pass_at_1": entry["pass_at_1"],
                    "ci95": entry["ci95"],
                    "right": entry["right"],
                    "points": 0.0 if is_reference else entry["change"]["points"],
                    "points_ci95": [low, high],
                    "tokens_per_s": entry["tokens_per_s"],
                    "imatrix": name != quant,
                    "inside": -low <= self.climb.margin,
                    "other_types": _other_types(quant, entry["tensor_types"]),
                }
            )
        return sorted(found, key=lambda row: (quantize.TYPES.index(row["quant"]), row["imatrix"]))


_MATRIX = "-imatrix"


def _quant_name(quant: str, imatrix: bool) -> str:
    return quant + (_MATRIX if imatrix else "")


def _other_types(quant: str, types: Mapping[str, int]) -> int:
    """Tensors that a K-quant could not be made of (their rows are no multiple of 256): kept in a larger plain type."""
    return sum(
        count for name, count in types.items() if quant in quantize.K_QUANTS and name in ("Q5_0", "Q5_1", "Q8_0")
    )


def choose_row(table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The smallest type that is inside the margin; of a type made with and without a matrix, the one with more right.

    Inside is a matter of the interval and not of the estimate: few problems must not make a lossy type look safe, and
    where nothing is shown, F16 stays. A matrix that gains nothing is left out.
    """
    fit = [row for row in table if row["inside"]]
    return min(fit, key=lambda row: (quantize.TYPES.index(row["quant"]), -row["right"], row["imatrix"]))


# -- the first loss ----------------------------------------------------------------------------


def first_loss(
    rungs: Mapping[str, Entry], rows: Mapping[str, Rows], path: Sequence[str], margin: float
) -> dict[str, Any] | None:
    """The first rung of a path that is no longer what the one before it was; None where none is.

    Named at once: other prompt ids; an adapter that changes no completion; a merged model that answers as the base
    does. Else a rung is named that lost more than the margin, where McNemar's test calls the loss real. `known` is the
    cause where finding it was seeing it.
    """
    for name in path:
        entry = rungs[name]
        change = entry["change"]
        known = None
        if entry["prompt_ids_differ"]:
            known = f"other prompt token ids than in training: {entry['prompt_ids_differ']}"
        elif name == "adapter" and change["same"] == len(rows[name]):
            known = "the adapter changes nothing: every completion is the base's"
        elif name == "merged" and _same(rows["base"], rows[name]) == len(rows[name]) != change["same"]:
            known = "the adapter is not in the merged model: every completion is the base's"
        is_lost = change is not None and -change["points"] > margin and change["p"] < statistics.SIGNIFICANCE
        if known or is_lost:
            return {
                "rung": name,
                "points": change["points"] if change else 0.0,
                "ci95": change["ci95"] if change else [0.0, 0.0],
                "p": change["p"] if change else 1.0,
                "known": known,
            }
    return None


def _cause(climb: _Climb, name: str, export: Export, client: ollama.Client, quants: _Quants) -> str:
    """What can be seen of why a rung loses."""
    entry = climb.rungs[name]
    before = climb.rungs[entry["change"]["against"]]
    seen = []
    if entry["end_tokens"] and climb.end not in entry["end_tokens"]:
        seen.append(
            f"its end token is {entry['end_tokens'][0]} ({climb.name_of(entry['end_tokens'][0])!r}), the chat template"
            f" ends a turn with {climb.end} ({climb.name_of(climb.end)!r})"
        )
    if entry["truncated"] > before["truncated"] + 0.05:
        seen.append(f"{entry['truncated']:.0%} of its completions run to the limit, before {before['truncated']:.0%}")
    elif entry["mean_tokens"] < before["mean_tokens"] / 1.5:
        seen.append(f"its completions end early: {entry['mean_tokens']:.0f} tokens, before {before['mean_tokens']:.0f}")
    if name == "served":
        seen += _served_otherwise(climb, export, client)
    elif name == _quant_name(export.quant, export.imatrix) and bool(quants.matrix) >= export.imatrix:
        made = quants.make(export.quant, imatrix=export.imatrix)
        differ = differences(export.gguf, made)
        made.unlink()
        if differ:
            seen.append(f"{export.gguf.name} is not what llama.cpp makes of the merged model: {differ}")
    usual = {
        "adapter": "training lost it, not the way to Ollama",
        "merged": "the merged weights are not base + adapter",
        "F16": "the conversion to GGUF changed the model",
        "served": "the same file in process does not lose it: the server samples or stops otherwise",
    }
    rounded = f"same prompts, same end token: {export.quant} rounds the weights too much"
    return "; ".join(seen) or usual.get(name, rounded)


def _served_otherwise(climb: _Climb, export: Export, client: ollama.Client) -> list[str]:
    """How the tag is not what the run registered."""
    tag = export.tag["tag"]
    seen = [f"its parameter {text}" for text in register.other_parameters(client, tag, export.pinned)]
    if (client.show(tag).get("system") or None) != climb.config.data.system:
        seen.append("it has another system message than the run")
    return seen


def differences(one: Path, other: Path) -> str:
    """What differs between two GGUFs: tensors by number, metadata by name; empty where nothing does."""
    import numpy
    from gguf import GGUFReader

    a, b = GGUFReader(one), GGUFReader(other)
    ours, theirs = ({tensor.name: tensor for tensor in reader.tensors} for reader in (a, b))
    tensors = [
        name
        for name in {**ours, **theirs}
        if name not in ours
        or name not in theirs
        or ours[name].tensor_type != theirs[name].tensor_type
        or not numpy.array_equal(ours[name].data, theirs[name].data)
    ]
    keys = [
        key
        for key in {**a.fields, **b.fields}
        if not key.startswith("GGUF.")
        and (key not in a.fields or key not in b.fields or a.fields[key].contents() != b.fields[key].contents())
    ]
    parts = [f"{len(tensors)} of {len(theirs)} tensors differ"] if tensors else []
    return ", ".join(parts + ([f"metadata differ ({', '.join(sorted(keys))})"] if keys else []))


def _same(before: Rows, after: Rows) -> int:
    return sum(a["completion"] == b["completion"] for a, b in zip(before, after, strict=True))


def _flips(before: Rows, after: Rows) -> list[dict[str, str]]:
    return [
        {"problem_id": a["problem_id"], "before": a["verdict"], "after": b["verdict"]}
        for a, b in zip(before, after, strict=True)
        if a["verdict"] != b["verdict"]
    ]


# -- for people --------------------------------------------------------------------------------


def rendered(value: Mapping[str, Any]) -> Group:
    """The ladder, its quants and the first loss, for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(*columns: str) -> Table:
        made = Table(box=None, pad_edge=False, header_style="bold")
        for place, column in enumerate(columns):
            made.add_column(column, justify="left" if place < 2 else "right", no_wrap=True)
        return made

    rungs = table(
        "rung", "asked in", "pass@1", "95 %", "against", "points", "95 %", "p", "lost", "gained", "cut", "prompts"
    )  # fmt: skip
    for row in value["rungs"]:
        change = row["change"]
        changed = (
            [
                change["against"], f"{change['points']:+.1f}", _interval(change["ci95"], "+.1f"), f"{change['p']:.2g}",
                str(change["lost"]), str(change["gained"]),
            ]
            if change
            else [""] * 6
        )  # fmt: skip
        mark = "differ" if row["prompt_ids_differ"] else "same"
        share = [f"{100 * row['pass_at_1']:.1f} %", _interval([100 * end for end in row["ci95"]], ".1f")]
        rungs.add_row(row["rung"], row["engine"], *share, *changed, f"{100 * row['truncated']:.0f} %", mark)
    quants = table("quant", "matrix", "MB", "pass@1", "points", "95 %", "tokens/s", "inside", "")
    for row in value["quants"]:
        speed = f"{row['tokens_per_s']:.0f}" if row["tokens_per_s"] else "-"
        note = f"{row['other_types']} tensors in larger types" if row["other_types"] else ""
        quants.add_row(
            row["quant"], "yes" if row["imatrix"] else "no", f"{row['bytes'] / 1e6:.1f}",
            f"{100 * row['pass_at_1']:.1f} %", f"{row['points']:+.1f}", _interval(row["points_ci95"], "+.1f"), speed,
            "yes" if row["inside"] else "no", note,
        )  # fmt: skip
    loss = value["first_loss"]
    if loss is None:
        said = f"no rung loses more than {value['margin_points']:g} points"
    else:
        said = f"first loss: {loss['rung']}, {loss['points']:+.1f} points: {printable(loss['cause'])}"
        flips = next(row["flips"] for row in value["rungs"] if row["rung"] == loss["rung"])
        lost = [ascii(flip["problem_id"])[1:-1] for flip in flips if flip["before"] == "right"]
        if lost:
            more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
            said += f"\nno longer right: {', '.join(lost[:10])}{more}"
    chosen = f"the smallest type inside the margin is {value['chosen']}; {value['served_quant']} is served"
    title = f"ladder of {value['run']} (n = {value['n']}, {value['split']} split, greedy)"
    rule = f"quants against F16; inside: its whole interval loses at most {value['margin_points']:g} points"
    return Group(Text(title), rungs, Text(""), Text(rule), quants, Text(""), Text(said), Text(chosen))


def _interval(ends: Sequence[float], form: str) -> str:
    return f"[{ends[0]:{form}}, {ends[1]:{form}}]"
