"""Names the first rung of a ladder that lost something, and what can be seen of why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reasoner.measuring.climb import Climb, Rows, same
from reasoner.measuring.figures import Loss, Rung
from reasoner.measuring.intervals import SIGNIFICANCE


def first_loss(rungs: Mapping[str, Rung], rows: Mapping[str, Rows], path: Sequence[str], margin: float) -> Loss | None:
    """Returns the first rung of a path that is no longer what the one before it was; None where none is.

    Named at once: other prompt ids; an adapter that changes no completion; a merged model that answers as the base
    does. Else a rung is named that lost more than the margin, in points, where McNemar's test calls the loss real.
    `cause` is empty unless finding it was seeing it.
    """
    for name in path:
        rung, change = rungs[name], rungs[name].change
        cause = ""
        if rung.prompt_ids_differ:
            cause = f"other prompt token ids than in training: {rung.prompt_ids_differ}"
        elif name == "adapter" and change and change.same == len(rows[name]):
            cause = "the adapter changes nothing: every completion is the base's"
        elif name == "merged" and change and same(rows["base"], rows[name]) == len(rows[name]) != change.same:
            cause = "the adapter is not in the merged model: every completion is the base's"
        if change and (cause or (-change.points > margin and change.p < SIGNIFICANCE)):
            return Loss(rung=name, points=change.points, ci95=change.ci95, p=change.p, cause=cause)
        if cause:
            return Loss(rung=name, points=0.0, ci95=(0.0, 0.0), p=1.0, cause=cause)
    return None


def symptoms(climb: Climb, name: str) -> list[str]:
    """Says how the answers of a rung end otherwise than those of the one before it."""
    rung, end, seen = climb.rungs[name], climb.trained.end, []
    before = climb.rungs[rung.change.against] if rung.change else rung
    if rung.end_tokens and end not in rung.end_tokens:
        own, name_of = rung.end_tokens[0], climb.trained.name_of
        seen.append(
            f"its end token is {own} ({name_of(own)!r}), the chat template ends a turn with {end} ({name_of(end)!r})"
        )
    if rung.truncated > before.truncated + 0.05:
        seen.append(f"{rung.truncated:.0%} of its completions run to the limit, before {before.truncated:.0%}")
    elif rung.mean_tokens < before.mean_tokens / 1.5:
        seen.append(f"its completions end early: {rung.mean_tokens:.0f} tokens, before {before.mean_tokens:.0f}")
    return seen


def usual(name: str, quant: str) -> str:
    """Says what a loss at a rung mostly is, where nothing else is seen."""
    known = {
        "adapter": "training lost it, not the way to Ollama",
        "merged": "the merged weights are not base + adapter",
        "F16": "the conversion to GGUF changed the model",
        "served": "the same file in process does not lose it: the server samples or stops otherwise",
    }
    return known.get(name, f"same prompts, same end token: {quant} rounds the weights too much")


def differences(one: Path, other: Path) -> str:
    """Says what differs between two GGUFs: tensors by number, metadata by name; empty where nothing does."""
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
