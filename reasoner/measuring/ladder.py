"""Finds where on the way from the trainer to Ollama a score is lost, and which quant loses too little to matter.

    base -> adapter -> merged -> F16 -> the served quant -> served          (the other quants branch off F16)

Every rung answers the same problems and is compared with the rung that it was made of, problem by problem. Dev problems
are asked, as often as anybody likes: the test split is scored once.

What it does not do: it repairs nothing, and a rung that gains is not looked into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reasoner import files, runs
from reasoner.config import Config
from reasoner.errors import MISSING, ReasonerError
from reasoner.export import register
from reasoner.export.facts import Pinned
from reasoner.measuring import climb, quants
from reasoner.measuring.climb import Climb, Model, Rows
from reasoner.measuring.collect import Listener
from reasoner.measuring.figures import Choice, Ladder, Loss, Rung
from reasoner.measuring.intervals import SIGNIFICANCE, agresti_min
from reasoner.serving.client import Client


@dataclass(frozen=True)
class Export:
    """Holds the parts of a run that a ladder climbs; `tag` and `pinned` are as they were registered."""

    base: Path
    adapter: Path
    merged: Path
    gguf: Path
    quant: str
    imatrix: bool
    tag: str
    pinned: Pinned


@dataclass(frozen=True)
class Options:
    """Says what is asked."""

    num: int | None = None  # problems; None: as many as in evaluation
    split: str = "dev"
    margin: float | None = None  # points that a rung may lose; None: `gguf.margin`


def run(config: Config, run_: runs.Run, export: Export, client: Client, options: Options, listener: Listener) -> Ladder:
    """Climbs a finished run's ladder and writes its `ladder.json`, last.

    Whatever a rung has been asked before is not asked again while it is the same model. Raises with code 3 where a
    part of the run is gone.
    """
    check_parts(run_, export, client)
    up = climb.begin(config, run_, export.base, listener, options.split, options.num)
    if options.margin is not None:
        up.margin = options.margin
    base, merged = config.model.base, str(export.merged.relative_to(run_.path))
    up.score(Model("base", str(export.base), base), None)
    up.score(Model("adapter", str(export.base), f"{base} + adapter", adapter=export.adapter), "base")
    up.score(Model("merged", str(export.merged), merged), "adapter")
    own = quants.rung_name(export.quant, export.imatrix)
    with quants.Quants(up, export.merged) as made:
        made.score_all({own: export.gguf})
        served = up.score(Model("served", export.tag, export.tag, client=client), own)
        path = ("base", "adapter", "merged", "F16", own, "served")
        found = first_loss(up.rungs, up.rows, path, up.margin)
        if found is not None and not found.cause:
            found = replace(found, cause=_cause(up, found, export, client, made))
    table = made.table()
    value = Ladder(
        run=run_.name,
        profile=config.profile,
        split=options.split,
        split_sha256=up.exam.sha256,
        n=len(up.exam.problems),
        margin_points=up.margin,
        verifier=up.exam.checker.judge,
        rungs=[*(one for one in up.rungs.values() if one is not served), served],
        first_loss=found,
        quants=table,
        served_quant=own,
        chosen=quants.choose(table).quant,
    )
    files.write_json(run_.path / "ladder.json", files.as_json(value))
    return value


def choose(config: Config, run_: runs.Run, base_dir: Path, merged: Path, listener: Listener) -> Choice:
    """Chooses the type for `gguf.quant = "auto"` on the run's dev problems."""
    up = climb.begin(config, run_, base_dir, listener, "dev", None)
    with quants.Quants(up, merged) as made:
        made.score_all({})
    table, n = made.table(), len(up.exam.problems)
    found = quants.choose(table)
    if found.quant == "F16":
        least = f" (if nothing at all flipped they could show {least_loss(n):.1f})" if least_loss(n) > up.margin else ""
        listener.say(
            f"quant F16: of no smaller type do {n} dev problems show that it loses at most {up.margin:g} points{least}"
        )
    else:
        with_matrix = " with an importance matrix" if found.imatrix else ""
        listener.say(f"quant {found.quant}{with_matrix}: the smallest that loses at most {up.margin:g} points")
    return Choice(
        quant=found.quant,
        imatrix=found.imatrix,
        quants=table,
        n=n,
        split="dev",
        split_sha256=up.exam.sha256,
        margin_points=up.margin,
    )


def least_loss(n: int) -> float:
    """Returns the loss in points that `n` problems leave possible where not one of them flips."""
    return -agresti_min([0.0] * n)[0]


def check_parts(run_: runs.Run, export: Export, client: Client) -> None:
    """Refuses a run of which a part is gone, with the command that makes it."""
    lacking = [
        (export.adapter / "adapter_config.json", "adapter", f"reasoner train --run {run_.name}"),
        (export.merged / "config.json", "merged model", f"reasoner merge {run_.name}"),
        (export.gguf, "quantized file", f"reasoner gguf {run_.name}"),
    ]
    for path, what, fix in lacking:
        if not path.exists():
            gone = f"run {run_.name} has no {what} any more"
            raise ReasonerError(gone, why=f"{path} is missing", fix=fix, code=MISSING)
    if client.digest(export.tag) is None:
        why = f"{export.tag} is not in Ollama at {client.host}"
    elif files.sha256_file(export.gguf) not in client.show(export.tag).modelfile:
        file = export.gguf.name
        why = f"{export.tag} serves another file than {file}: another run of this name was registered since"
    else:
        return
    fix = f"reasoner register {run_.name}"
    raise ReasonerError(f"run {run_.name} is not served any more", why=why, fix=fix, code=MISSING)


# -- what was lost ------------------------------------------------------------------------------


def _cause(up: Climb, found: Loss, export: Export, client: Client, made: quants.Quants) -> str:
    seen = symptoms(up, found.rung)
    if found.rung == "served":
        seen += [f"its parameter {text}" for text in register.other_parameters(client, export.tag, export.pinned)]
        if client.show(export.tag).system != up.config.data.system:
            seen.append("it has another system message than the run")
    elif found.rung == quants.rung_name(export.quant, export.imatrix) and bool(made.matrix) >= export.imatrix:
        again = made.make(export.quant, imatrix=export.imatrix)
        differing = differences(export.gguf, again)
        again.unlink()
        if differing:
            seen.append(f"{export.gguf.name} is not what llama.cpp makes of the merged model: {differing}")
    usual = {
        "adapter": "training lost it, not the way to Ollama",
        "merged": "the merged weights are not base + adapter",
        "F16": "the conversion to GGUF changed the model",
        "served": "the same file in process does not lose it: the server samples or stops otherwise",
    }
    rounded = f"same prompts, same end token: {export.quant} rounds the weights too much"
    return "; ".join(seen) or usual.get(found.rung, rounded)


def first_loss(rungs: Mapping[str, Rung], rows: Mapping[str, Rows], path: Sequence[str], margin: float) -> Loss | None:
    """Returns the first rung of a path that is no longer what the one before it was; None where none is.

    Named at once: other prompt ids; an adapter that changes no completion; a merged model that answers as the base
    does. Else a rung is named that lost more than the margin, in points, where McNemar's test calls the loss real.
    `cause` is empty unless finding it was seeing it.
    """
    for name in path:
        rung, change, cause = rungs[name], rungs[name].change, ""
        if rung.prompt_ids_differ:
            cause = f"other prompt token ids than in training: {rung.prompt_ids_differ}"
        elif name == "adapter" and change and change.same == len(rows[name]):
            cause = "the adapter changes nothing: every completion is the base's"
        elif name == "merged" and change and climb.same(rows["base"], rows[name]) == len(rows[name]) != change.same:
            cause = "the adapter is not in the merged model: every completion is the base's"
        if change and (cause or (-change.points > margin and change.p < SIGNIFICANCE)):
            return Loss(rung=name, points=change.points, ci95=change.ci95, p=change.p, cause=cause)
        if cause:
            return Loss(rung=name, points=0.0, ci95=(0.0, 0.0), p=1.0, cause=cause)
    return None


def symptoms(up: Climb, name: str) -> list[str]:
    """Says how the answers of a rung end otherwise than those of the one before it."""
    rung, end, seen = up.rungs[name], up.trained.end, []
    before = up.rungs[rung.change.against] if rung.change else rung
    if rung.end_tokens and end not in rung.end_tokens:
        own, name_of = rung.end_tokens[0], up.trained.name_of
        seen.append(
            f"its end token is {own} ({name_of(own)!r}), the chat template ends a turn with {end} ({name_of(end)!r})"
        )
    if rung.truncated > before.truncated + 0.05:
        seen.append(f"{rung.truncated:.0%} of its completions run to the limit, before {before.truncated:.0%}")
    elif rung.mean_tokens < before.mean_tokens / 1.5:
        seen.append(f"its completions end early: {rung.mean_tokens:.0f} tokens, before {before.mean_tokens:.0f}")
    return seen


def differences(one: Path, other: Path) -> str:
    """Says what differs between two GGUFs: tensors by number, metadata by name; empty where nothing does."""
    import numpy
    from gguf import GGUFReader

    a, b = GGUFReader(one), GGUFReader(other)
    ours, theirs = ({tensor.name: tensor for tensor in reader.tensors} for reader in (a, b))
    tensors = ours.keys() ^ theirs.keys()
    for name in ours.keys() & theirs.keys():
        mine, other_ = ours[name], theirs[name]
        if mine.tensor_type != other_.tensor_type or not numpy.array_equal(mine.data, other_.data):
            tensors.add(name)
    keys = [
        key
        for key in {**a.fields, **b.fields}
        if not key.startswith("GGUF.")
        and (key not in a.fields or key not in b.fields or a.fields[key].contents() != b.fields[key].contents())
    ]
    parts = [f"{len(tensors)} of {len(theirs)} tensors differ"] if tensors else []
    return ", ".join(parts + ([f"metadata differ ({', '.join(sorted(keys))})"] if keys else []))
