"""Finds where on the way from the trainer to Ollama a score is lost, and which quant loses too little to matter.

    base -> adapter -> merged -> F16 -> the served quant -> served          (the other quants branch off F16)

Every rung answers the same problems and is compared with the rung that it was made of, problem by problem. Dev problems
are asked, as often as anybody likes: the test split is scored once.

What it does not do: it repairs nothing, and a rung that gains is not looked into.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from reasoner import files, runs
from reasoner.config import Config
from reasoner.errors import MISSING, ReasonerError
from reasoner.export import register
from reasoner.export.facts import Pinned
from reasoner.measuring import climb, loss, quants
from reasoner.measuring.climb import Climb, Model
from reasoner.measuring.collect import Listener
from reasoner.measuring.figures import Choice, Ladder, Loss
from reasoner.measuring.intervals import agresti_min
from reasoner.measuring.quants import Quants
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

    num: int | None = None
    """Problems; None: as many as in evaluation."""
    split: str = "dev"
    margin: float | None = None
    """Points that a rung may lose; None: `gguf.margin`."""


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
    with Quants(up, export.merged) as made:
        made.score_all({own: export.gguf})
        served = up.score(Model("served", export.tag, export.tag, client=client), own)
        path = ("base", "adapter", "merged", "F16", own, "served")
        found = loss.first_loss(up.rungs, up.rows, path, up.margin)
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
        verifier=up.exam.judge,
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
    with Quants(up, merged) as made:
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
            raise ReasonerError(
                f"run {run_.name} has no {what} any more", why=f"{path} is missing", fix=fix, code=MISSING
            )
    why = None
    if client.digest(export.tag) is None:
        why = f"{export.tag} is not in Ollama at {client.host}"
    elif files.sha256_file(export.gguf) not in client.show(export.tag).modelfile:
        file = export.gguf.name
        why = f"{export.tag} serves another file than {file}: another run of this name was registered since"
    if why:
        raise ReasonerError(
            f"run {run_.name} is not served any more", why=why, fix=f"reasoner register {run_.name}", code=MISSING
        )


def _cause(up: Climb, found: Loss, export: Export, client: Client, made: Quants) -> str:
    """What can be seen of why a rung loses."""
    seen = loss.symptoms(up, found.rung)
    if found.rung == "served":
        others = register.other_parameters(client, export.tag, export.pinned)
        seen += [f"its parameter {text}" for text in others]
        if client.show(export.tag).system != up.config.data.system:
            seen.append("it has another system message than the run")
    elif found.rung == quants.rung_name(export.quant, export.imatrix) and bool(made.matrix) >= export.imatrix:
        again = made.make(export.quant, imatrix=export.imatrix)
        differing = loss.differences(export.gguf, again)
        again.unlink()
        if differing:
            seen.append(f"{export.gguf.name} is not what llama.cpp makes of the merged model: {differing}")
    return "; ".join(seen) or loss.usual(found.rung, export.quant)
