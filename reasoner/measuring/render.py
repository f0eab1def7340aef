"""Renders what was measured for a terminal: the lines of `reasoner eval`, the tables of `reasoner ladder`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reasoner import words
from reasoner.errors import printable
from reasoner.measuring.figures import Ladder, Loss, Quant, Result, Rung

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def lines(value: Result) -> list[str]:
    """Returns what `one.run` found, a line for each thing."""
    parts = [*_asked(value), *_scores(value), *_remarks(value), ("kept", value.completions)]
    return [f"{what:<11} {text}" for what, text in parts]


def _asked(value: Result) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in value.facts["versions"].items())
    sampling, ids = value.sampling, value.prompt_ids
    how = f"temperature {sampling.temperature:g}, {value.samples} each" if sampling.temperature else "greedy"
    system = f"system message {value.system!r}" if value.system else "no system message"
    told = f", prompt ids {ids.sha256[:12]}" if ids else ""
    sandbox = f", sandbox {value.sandbox.tier}" if value.sandbox else ""
    source = f"{value.n:,} of {value.data['source']}, split {value.split}, sha256 {value.split_sha256[:12]}"
    return [
        ("model", f"{value.model} ({value.engine}: {versions or 'version unknown'})"),
        ("problems", source),
        ("asked", f"{how}, at most {sampling.max_tokens} tokens, {system}{told}"),
        ("verifier", f"{value.verifier.name} {value.verifier.version}{sandbox}"),
    ]


def _scores(value: Result) -> list[tuple[str, str]]:
    right = f"{value.right:,} of {value.scored:,} completions right"
    found = [("pass@1", f"{words.share(value.pass_at_1, value.ci95)}, {right}")]
    for label, by_k in (("pass", value.pass_at_k), ("maj", value.maj_at_k)):
        for k, at in (by_k or {}).items():
            found.append((f"{label}@{k}", f"{words.share(at.value, at.ci95)}, {at.problems:,} problems"))
    rules = []
    if value.strict is not None and value.strict_ci95 is not None:
        rules.append(f"strict {words.share(value.strict, value.strict_ci95)}")
    if value.lenient:
        rules.append(f"lenient {words.share(value.lenient.pass_at_1, value.lenient.ci95)}")
    return found + ([("extraction", "; ".join(rules))] if rules else [])


def _remarks(value: Result) -> list[tuple[str, str]]:
    apart = f"cut by length {words.share(value.truncated)}, unscored {value.unscored - value.unanswered:,},"
    apart += f" no answer of the engine {value.unanswered:,}, declined {value.refused:,}"
    unjudged = f"; {value.unjudged:,} references that cannot be judged were not asked" if value.unjudged else ""
    found = [("apart", apart + unjudged)]
    if value.detectable is not None:
        least = f"another model must differ by about {value.detectable:.1f} points to be told from this one"
        found.append(("resolution", f"{least} on {value.n:,} problems (80 % power)"))
    if value.look is not None and value.look > 1:
        where = "file" if value.split == "all" else f"{value.split} split"
        found.append(("look", f"look {value.look} at problems of this {where} with this model"))
    if shared := value.overlap:
        exact = f"of {shared.train:,} training problems {shared.exact:,} are asked here too"
        found.append(("overlap", f"{exact}, {shared.near:,} of {shared.held_out:,} asked are near one"))
    return found + [("difference", difference) for difference in value.facts.get("differences", ())]


# -- the ladder --------------------------------------------------------------------------------


def ladder(value: Ladder) -> Group:
    """Returns the rungs, the quants and the first loss."""
    from rich.console import Group
    from rich.text import Text

    rungs = _table("rung", "asked in", "pass@1", "95 %", "against", "points", "95 %", "p", "lost", "gained", "cut",
                   "prompts")  # fmt: skip
    for rung in value.rungs:
        rungs.add_row(*_rung(rung))
    quants = _table("quant", "matrix", "MB", "pass@1", "points", "95 %", "tokens/s", "inside", "")
    for quant in value.quants:
        quants.add_row(*_quant(quant))
    title = f"ladder of {value.run} (n = {value.n}, {value.split} split, greedy)"
    rule = f"quants against F16; inside: its whole interval loses at most {value.margin_points:g} points"
    chosen = f"the smallest type inside the margin is {value.chosen}; {value.served_quant} is served"
    said = _loss(value.first_loss, value) if value.first_loss else None
    said = said or f"no rung loses more than {value.margin_points:g} points"
    return Group(Text(title), rungs, Text(""), Text(rule), quants, Text(""), Text(said), Text(chosen))


def _table(*columns: str) -> Table:
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place < 2 else "right", no_wrap=True)
    return made


def _rung(rung: Rung) -> list[str]:
    changed = [""] * 6
    if change := rung.change:
        effect = [words.points(change.points), words.points_interval(change.ci95), words.p_value(change.p)]
        changed = [change.against, *effect, str(change.lost), str(change.gained)]
    share = [words.share(rung.pass_at_1), words.interval(rung.ci95)]
    prompts = "differ" if rung.prompt_ids_differ else "same"
    return [rung.rung, rung.engine, *share, *changed, words.share(rung.truncated, digits=0), prompts]


def _quant(quant: Quant) -> list[str]:
    return [
        quant.quant,
        "yes" if quant.imatrix else "no",
        f"{quant.bytes / 1e6:.1f}",
        words.share(quant.pass_at_1),
        words.points(quant.points),
        words.points_interval(quant.points_ci95),
        f"{quant.tokens_per_s:.0f}" if quant.tokens_per_s else "-",
        "yes" if quant.inside else "no",
        f"{quant.other_types} tensors in larger types" if quant.other_types else "",
    ]


def _loss(loss: Loss, value: Ladder) -> str:
    said = f"first loss: {loss.rung}, {loss.points:+.1f} points: {printable(loss.cause)}"
    flips = next(rung.flips for rung in value.rungs if rung.rung == loss.rung)
    lost = [ascii(flip.problem_id)[1:-1] for flip in flips if flip.before == "right"]
    more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
    return said + (f"\nno longer right: {', '.join(lost[:10])}{more}" if lost else "")
