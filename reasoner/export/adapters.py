"""Whether an adapter that somebody else wrote is whole and belongs to this base, and its repair where that is certain.

PEFT itself loads what it finds: a tensor that the file lacks starts at random or at nothing, and a name that it does
not know is passed over, both without a word. So the adapter is first built empty, on the base's shape alone, and the
file is held against that: every tensor that `adapter_config.json` implies must be there, in its shape, with numbers in
it, and nothing else. Names of other versions and of wrappers around the trained model are turned into PEFT's; what is
wrong otherwise is one sentence with "N of M". Nothing in the file is trusted, and pickles are not opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner import files
from reasoner.errors import USAGE, ReasonerError

WEIGHTS, SHAPE = "adapter_model.safetensors", "adapter_config.json"
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What compilers and sharding put between the parts of a name."""
_NAMED = re.compile(r"\.(lora_(?:A|B|embedding_A|embedding_B|magnitude_vector))\.(?!(?:weight|bias)$)\w+(?=\.|$)")
_STARTS_AT_RANDOM = re.compile(r"\.lora_(A|embedding_B)(\.|$)")
"""The half of a product whose other half starts at nothing."""
_NOT_OURS = re.compile(r"(pretrained_model\.)?v_head\.")
"""The value head of a PPO trainer, which is no part of the language model."""


@dataclass(frozen=True)
class Fit:
    """Is a whole adapter of this base; `repairs` says why its file must be saved anew, "" where it need not."""

    adapter: Path
    names: dict[str, str]
    """PEFT's name of each tensor by the name that it has in the file."""
    repairs: str

    def save(self, folder: Path) -> None:
        """Writes the adapter under PEFT's own names into a folder, which may be the one that it was read from."""
        from safetensors.torch import load_file, save_file

        stored, shape = load_file(self.adapter / WEIGHTS), (self.adapter / SHAPE).read_text(encoding="utf-8")
        files.write_text(folder / SHAPE, shape)
        with files.partial_file(folder / WEIGHTS) as partial:
            save_file({ours: stored[theirs] for theirs, ours in self.names.items()}, partial, {"format": "pt"})


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


def not_an_adapter(folder: Path) -> str | None:
    """What a folder without `adapter_model.safetensors` holds instead, where it will never become an adapter."""
    if (folder / WEIGHTS).exists():
        return None
    if (folder / "adapter_model.bin").exists():
        return "adapter_model.bin is a pickle, which may run code: save it as safetensors (safe_serialization=True)"
    if any(folder.glob("model*.safetensors")) and not (folder / SHAPE).exists():
        return "it is a whole model, not an adapter"
    return None


def fit(adapter: Path, base: Path) -> Fit:
    """Holds an adapter's files against what its `adapter_config.json` implies for this base; writes nothing.

    Raises a `ReasonerError` whose `why` is one sentence on what does not fit, and how much of it.
    """
    try:
        return _fit(adapter, base)
    except _Misfit as misfit:
        fix = "save it again from the model that it was trained on, or name the base in its adapter_config.json"
        raise ReasonerError(f"the adapter {adapter.name} does not fit the base", str(misfit), fix, code=USAGE) from None


class _Misfit(Exception):
    """Why an adapter cannot be used with this base."""


def _fit(adapter: Path, base: Path) -> Fit:
    if why := not_an_adapter(adapter):
        raise _Misfit(why)
    shape = files.read_json(adapter / SHAPE)
    if not isinstance(shape, dict) or "peft_type" not in shape:
        raise _Misfit(f"{SHAPE} cannot be read, or is not PEFT's: it names no peft_type")
    if not is_whole(adapter / WEIGHTS):
        raise _Misfit(f"{WEIGHTS} is not whole")
    implied = _implied(adapter, base, shape)
    by_plain = {_plain(name): name for name in implied.shapes}
    by_plain |= {_plain(name): name for name in implied.optional if _plain(name) not in by_plain}
    found = _shapes(adapter / WEIGHTS)
    names: dict[str, str] = {}
    unknown = [name for name in found if _plain(name) not in by_plain and not _NOT_OURS.match(name)]
    for name in found.keys() - set(unknown):
        if ours := by_plain.get(_plain(name)):
            if ours in names.values():
                raise _Misfit(f"it holds {ours!r} more than once, under other names: two adapters in one file")
            names[name] = ours
    _check_names(unknown, found, implied)
    there = set(names.values())
    if lacking := [name for name in implied.shapes if name not in there]:
        what = f"the file lacks {len(lacking)} of the {len(implied.shapes)} tensors that its {SHAPE} implies"
        raise _Misfit(f"{what}, first {lacking[0]!r}")
    wanted = implied.shapes | implied.optional
    if odd := [(theirs, ours) for theirs, ours in names.items() if found[theirs] != wanted[ours]]:
        first, ours = odd[0]
        what = f"{len(odd)} of {len(names)} tensors have another shape than this base and {SHAPE} imply"
        raise _Misfit(f"another base or another rank: {what}, first {first!r}: {found[first]}, not {wanted[ours]}")
    _check_values(adapter / WEIGHTS, names, shape)
    return Fit(adapter, names, _repairs(names, len(found)))


def _repairs(names: Mapping[str, str], total: int) -> str:
    renamed, dropped = sum(theirs != ours for theirs, ours in names.items()), total - len(names)
    said = [f"{renamed} of {total} tensors had names of another version or wrapper"] if renamed else []
    said += [f"{dropped} of {total} tensors are a value head, left out"] if dropped else []
    return "; ".join(said)


def _plain(name: str) -> str:
    """A tensor's name without what differs between versions, wrappers and adapters' names."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while parts[:1] in (["module"], ["pretrained_model"]) or parts[:2] == ["base_model", "model"]:
        parts = parts[1 if parts[0] != "base_model" else 2 :]
    found = _NAMED.sub(r".\1", ".".join(parts)).replace(".base_layer.", ".")
    found = re.sub(r"\.modules_to_save\.(?:\w+\.)?(?=(?:weight|bias)$)", ".", found)
    return re.sub(r"(lora_magnitude_vector|lora_embedding_[AB])\.weight$", r"\1", found)


# -- what the config implies -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Implied:
    shapes: dict[str, tuple[int, ...]]
    optional: dict[str, tuple[int, ...]]
    """The embeddings themselves, which PEFT saves as well where they might have been changed."""
    modules: set[str]
    """Every module of the base."""


def _implied(adapter: Path, base: Path, shape: Mapping[str, Any]) -> _Implied:
    """The tensors that PEFT would save of such an adapter on this base, found without any weights."""
    import warnings

    import peft
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    _check_config(shape)
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base, trust_remote_code=False))
            modules, weights = {name for name, _ in model.named_modules()}, model.state_dict().keys()
            config = peft.PeftConfig.from_pretrained(adapter)
            if hasattr(config, "init_lora_weights"):
                config.init_lora_weights = False  # the shapes do not depend on it, and some need the weights
            built = peft.get_peft_model(model, config, low_cpu_mem_usage=True)
            kept = peft.get_peft_model_state_dict(built, save_embedding_layers=False)
            more = peft.get_peft_model_state_dict(built, save_embedding_layers=True)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError, re.error) as error:
        said = " ".join(str(error).split())[:200]
        raise _Misfit(f"another base, or an {SHAPE} that PEFT {peft.__version__} cannot follow: {said}") from None
    biases = {f"{_module(name)}.bias" for name in kept if name.endswith(".lora_B.bias")}
    if homeless := sorted(biases - weights):
        raise _Misfit(
            f"lora_bias in {SHAPE} trains biases, and {len(homeless)} of {len(biases)} have no place in the base"
        )
    inside = (".modules_to_save.", ".original_module.", ".token_adapter.")
    optional = {k: tuple(v.shape) for k, v in more.items() if k not in kept and not any(part in k for part in inside)}
    return _Implied({name: tuple(tensor.shape) for name, tensor in kept.items()}, optional, modules)


def _check_config(shape: Mapping[str, Any]) -> None:
    """Refuses settings that this PEFT does not know, which it would leave out, and those that no merge can keep."""
    import peft

    kind = shape["peft_type"]
    known = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise _Misfit(f"PEFT {peft.__version__} knows no adapter of the type {kind!r}")
    if kind not in peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING or known(peft_type=kind).is_prompt_learning:
        raise _Misfit(f"an adapter of the type {kind} changes no weights, so it cannot be merged")
    fields = known.__dataclass_fields__
    unknown = [key for key, value in shape.items() if key not in fields and value not in (None, False, [], {}, "")]
    unmerged = [key for key in ("layer_replication", "alora_invocation_tokens", "megatron_config") if shape.get(key)]
    if unknown:
        told = ", ".join(f"{key} = {repr(shape[key])[:40]}" for key in unknown[:3])
        raise _Misfit(f"{len(unknown)} of {len(shape)} settings in {SHAPE} are not known to this PEFT: {told}")
    if unmerged:
        raise _Misfit(f"{unmerged[0]} in {SHAPE} makes more of the model than a change of its weights")


# -- what the file holds ---------------------------------------------------------------------------


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118


def _check_names(unknown: Iterable[str], found: Mapping[str, object], implied: _Implied) -> None:
    """Refuses tensors whose names mean nothing here; says so where they are of layers that this base has not."""
    unknown = list(unknown)
    if not unknown:
        return
    elsewhere = [name for name in unknown if (module := _module(name)) and module not in implied.modules]
    if elsewhere:
        what = f"this one has no {_module(elsewhere[0])!r} ({len(elsewhere)} of {len(found)} tensors)"
        raise _Misfit(f"another base: {what}")
    what = f"{len(unknown)} of the {len(found)} tensors in the file are not implied by its {SHAPE}"
    raise _Misfit(f"{what}, first {unknown[0]!r}")


def _module(name: str) -> str:
    """The module that a part of a LoRA belongs to; "" where the name is none of a LoRA's."""
    module, _, part = _plain(name).partition(".lora_")
    return module if part else ""


def _check_values(path: Path, names: Mapping[str, str], shape: Mapping[str, Any]) -> None:
    import torch
    from safetensors import SafetensorError, safe_open

    bad, moved = [], shape["peft_type"] != "LORA"
    try:
        with safe_open(path, framework="pt") as opened:
            for name, ours in names.items():
                tensor = opened.get_tensor(name)
                if not tensor.is_floating_point() or not bool(torch.isfinite(tensor.float()).all()):
                    bad.append(name)
                elif not _STARTS_AT_RANDOM.search(ours):
                    moved = moved or bool(tensor.any())
    except (SafetensorError, OSError, RuntimeError) as error:
        raise _Misfit(f"{WEIGHTS} cannot be read: {error}") from None
    if bad:
        raise _Misfit(f"{len(bad)} of {len(names)} tensors hold values that are not numbers, first {bad[0]!r}")
    if not moved:
        raise _Misfit("the adapter changes nothing")
