"""Holds a folder's tensors against the model that transformers builds of its config, before any of them is read.

The library is lenient: a tensor that the files lack starts at random, one that it has no place for is passed over, and
what it knows to be no part of the text model (heads that predict several tokens ahead) is gone when the model is saved.
The first two are refused here. The third is named, and carried over into what is merged: the converter counts on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reasoner import files
from reasoner.bases.specs import unfit

CARRIED = "model_carried.safetensors"
"""Sorts behind `model.safetensors`: by its first tensor the converter chooses the 16-bit type of all."""


def check(path: Path) -> list[str]:
    """Returns the tensors of a folder that the library leaves out when it saves; raises where a model is not its files.

    That is where files lack tensors of the model, have others or other shapes, or cannot be loaded at all.
    """
    model, told, stored = _on_paper(path)
    kind, total = type(model).__name__, len(stored)
    if missing := sorted(told["missing_keys"]):
        why = f"its files lack {len(missing)} of the {len(model.state_dict())} tensors of a {kind}"
        why += f", first {missing[0]!r}: the library would make them up"
        raise unfit(path, why, "fetch the whole model, with its own config.json")
    if odd := sorted(told["mismatched_keys"]):
        name, here, wanted = odd[0]
        why = f"{len(odd)} of {total} tensors have another shape than its config.json says, first {name!r}:"
        raise unfit(path, f"{why} {list(here)}, not {list(wanted)}", "fetch the config.json that it was saved with")
    if unknown := sorted(told["unexpected_keys"]):
        why = f"{len(unknown)} of {total} tensors have no place in a {kind}, first {unknown[0]!r}"
        fix = "fetch the config.json that it was saved with, or save the model without them"
        raise unfit(path, f"{why}: it would be trained without them", fix)
    ends = [f"{name}.weight" for name, module in model.named_modules() if module in _ends(model)]
    if getattr(model.config, "tie_word_embeddings", False) and len(ends) == 2 and _differ(path, stored, ends):
        why = f"its config.json ties {ends[0]} and {ends[1]}, and its files hold two that differ"
        raise unfit(path, why, 'set "tie_word_embeddings": false in its config.json, or take the output weights out')
    ignored = [re.compile(one) for one in model._keys_to_ignore_on_load_unexpected or ()]
    left_out = [name for name in stored if any(one.search(name) for one in ignored)]
    return sorted(name for name in left_out if name not in model.state_dict() and not name.endswith("inv_freq"))


def carry_over(base: Path, names: Sequence[str], folder: Path) -> None:
    """Writes tensors of a base into the folder of a model that was saved without them, in 16 bits as the others."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    if not names:
        return
    kept: dict[str, torch.Tensor] = {}
    for file, found in _stored(base).items():
        with safe_open(base / file, framework="pt") as opened:
            kept |= {name: opened.get_tensor(name).to(torch.float16) for name in found if name in names}
    save_file(kept, folder / CARRIED, {"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if (told := files.read_json(index)) is not None:
        files.write_json(index, {**told, "weight_map": {**told["weight_map"], **dict.fromkeys(kept, CARRIED)}})


def _on_paper(path: Path) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """The model without weights, what the library says of loading it, and the file of each tensor."""
    import transformers
    from safetensors import SafetensorError

    log = transformers.utils.logging
    before = log.get_verbosity()
    how = {"use_safetensors": True, "trust_remote_code": False, "ignore_mismatched_sizes": True, "device_map": "meta"}
    try:
        log.set_verbosity_error()
        log.disable_progress_bar()
        stored = {name: file for file, names in _stored(path).items() for name in names}
        model, told = transformers.AutoModelForCausalLM.from_pretrained(path, output_loading_info=True, **how)
    except SafetensorError as error:
        raise unfit(path, f"a file of its weights is not whole: {error}", "fetch it again") from None
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, ImportError) as error:
        why = f"transformers {transformers.__version__} cannot load it: {' '.join(str(error).split())[:200]}"
        raise unfit(path, why, "repair its config.json, or name another base") from None
    finally:
        log.set_verbosity(before)
    return model, told, stored


def _stored(path: Path) -> dict[str, list[str]]:
    """The names of the tensors in each file of weights."""
    from safetensors import safe_open

    found = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as opened:
            found[file.name] = list(opened.keys())
    return found


def _ends(model: Any) -> list[Any]:
    return [model.get_input_embeddings(), model.get_output_embeddings()]


def _differ(path: Path, stored: dict[str, str], names: Sequence[str]) -> bool:
    import torch
    from safetensors import safe_open

    if not all(name in stored for name in names):
        return False
    both = []
    for name in names:
        with safe_open(path / stored[name], framework="pt") as opened:
            both.append(opened.get_tensor(name))
    return not torch.equal(*both)
