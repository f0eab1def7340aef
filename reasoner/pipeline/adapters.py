"""Adapters that a watch may export: whether one is whole, and whether it fits the base. Trusts nothing in a file."""

from __future__ import annotations

import shutil
from pathlib import Path

from reasoner import files
from reasoner.pipeline.job import Job

WEIGHTS, SHAPE = "adapter_model.safetensors", "adapter_config.json"


def is_whole(path: Path) -> bool:
    """Whether a safetensors file opens and its tensors fill it to the last byte."""
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            return False
        with safe_open(path, framework="numpy") as opened:
            return bool(opened.keys())
    except (SafetensorError, OSError):
        return False


def faults(adapter: Path, base: Path) -> str | None:
    """Why an adapter cannot be exported with this base; None where it looks fit."""
    import torch
    from safetensors import SafetensorError, safe_open

    shape = files.read_json(adapter / SHAPE)
    if not isinstance(shape, dict) or "peft_type" not in shape:
        return f"{SHAPE} cannot be read"
    if not is_whole(adapter / WEIGHTS):
        return f"{WEIGHTS} is not whole"
    shapes = _shapes(base)
    moved = False
    try:
        with safe_open(adapter / WEIGHTS, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (not a dictionary)
                tensor = opened.get_tensor(name)
                if not bool(torch.isfinite(tensor).all()):
                    return f"{name!r} holds values that are not numbers"
                module, _, part = name.removeprefix("base_model.model.").partition(".lora_")
                wanted = shapes.get(f"{module}.weight")
                side = {"A": (1, 1), "B": (0, 0)}.get(part[:1]) if part else None
                if side is None:  # a whole module, or an embedding's: `delta` knows what it is
                    moved = True
                    continue
                if wanted is None:
                    return f"another base: this one has no {module!r}"
                if tensor.ndim < 2 or tensor.shape[side[0]] != wanted[side[1]]:
                    return f"another base: {module} is {tuple(wanted)} here, {name!r} has {tuple(tensor.shape)}"
                moved = moved or (part[:1] == "B" and bool(tensor.any()))
    except (SafetensorError, OSError, RuntimeError) as error:
        return f"{WEIGHTS} cannot be read: {error}"
    return None if moved or shape["peft_type"] != "LORA" else "the adapter changes nothing"


def _shapes(base: Path) -> dict[str, list[int]]:
    """Shapes of the base's tensors, from the headers of its files."""
    from safetensors import safe_open

    found: dict[str, list[int]] = {}
    for path in base.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as opened:
            found |= {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
    return found


def by_step(folder: Path) -> dict[int, Path]:
    """The folders `checkpoint-N` in a folder, by their step."""
    names = ((path, path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))
    return {int(number): path for path, number in names if number.isdigit()}


def take(job: Job, source: Path) -> None:
    """Copy the adapter out of a checkpoint into the export folder.

    A copy and not a hard link: a trainer that saves the same step again may write into the same file.
    """
    with files.partial_dir(job.adapter) as partial:
        for name in (SHAPE, WEIGHTS):
            shutil.copyfile(source / name, partial / name)
