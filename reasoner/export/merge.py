"""Base + adapter -> one 16-bit model folder, with proof that the adapter is in it.

The merge is done in 32 bits and rounded once, to float16 whatever the base's own type is. Most bases are bfloat16, and
what GRPO and LoRA add to a weight is often less than half of bfloat16's step there: rounding to it would take a young
adapter half away (scripts/LOG.md). The folder's `config.json` names the base's type, which is the one to compute in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner import files, runs
from reasoner.bases import locate, tokens, weights
from reasoner.config import Config, public
from reasoner.errors import ReasonerError
from reasoner.export.facts import MergeFacts
from reasoner.problems.problem import messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOLERANCE = 1e-3
"""Largest accepted difference of a 32-bit logit, merged against base + adapter, relative to the logits' spread."""

_COMMENT = (
    "{# The chat template that this model was trained with, unchanged. This comment renders to nothing. It is here"
    " because a server that recognises templates by their likeness would otherwise put a similar one of its own in"
    " this place, and the model would be asked something else than it was trained on. #}"
)

_PROBES = [
    "There are 3 boxes with 4 pens each. 5 pens are lost. How many pens are left?",
    "What is 12 + 30?",
    "Hello! Who are you?",
]


def run(
    config: Config, run_: runs.Run, base_path: Path, adapter: Path, out: Path, steps: int
) -> tuple[list[Path], MergeFacts]:
    """Write `out`, a folder that loads like any other model, and say what the adapter of so many steps changed.

    Raises where the adapter changed nothing, holds a value that is not a number, was trained on
    another base, or where merged and base + adapter disagree by more than rounding.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    tokenizer = locate.load_tokenizer(base_path, config.data.think)
    model = _load(base_path)
    original = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    embeddings = model.get_input_embeddings().weight
    tied = next((name for name, tensor in model.named_parameters() if tensor is embeddings), "")
    tuned = _with_adapter(model, adapter)
    _untie(tuned.get_base_model())
    probes = [locate.prompt_ids(tokenizer, messages(text, config.data.system)) for text in _PROBES]
    with_adapter = _logits(tuned, probes)
    merged = _merged(tuned)
    as_merged = _logits(merged, probes)
    tolerance = TOLERANCE * max(1.0, *(float(x.abs().max()) for x in with_adapter))
    worst = _largest_difference(with_adapter, as_merged)
    changed, norm = _changes(merged, original, tied)
    if not changed:
        raise changes_nothing()
    if not worst <= tolerance:
        why = f"logits differ by up to {worst:.2g}, tolerance {tolerance:.2g}"
        fix = "this is a bug worth reporting, with adapter_config.json"
        raise ReasonerError("merged and base + adapter disagree", why, fix)
    _save(merged, tokenizer, base_path, out, card(config, run_, steps, locate.licence(base_path)))
    rounded = _logits(_load(out), probes)
    agree = [float((a.argmax(-1) == b.argmax(-1)).float().mean()) for a, b in zip(as_merged, rounded, strict=True)]
    return [out], MergeFacts(
        dtype="float16",
        changed_tensors=len(changed),
        tensors=len(original),
        delta_norm_over_base_norm=norm,
        max_logit_difference=worst,
        tolerance=tolerance,
        max_logit_difference_16_bit=_largest_difference(as_merged, rounded),
        top_token_agreement_16_bit=sum(agree) / len(agree),
    )


def rehearse(base_path: Path, out: Path) -> None:
    """Writes the untouched base as a merged model is written, so that what cannot be served shows before a training."""
    _save(_load(base_path), locate.load_tokenizer(base_path), base_path, out, "")


def _load(path: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    how = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False}
    return AutoModelForCausalLM.from_pretrained(path, **how).eval()


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, adapter).eval()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        fix = "export a run with the base that it was trained on, or train again under another name"
        raise ReasonerError("the adapter does not fit the base", str(error)[:300], fix) from None


def _merged(tuned: Any) -> Any:
    try:
        return tuned.merge_and_unload()
    except (RuntimeError, ValueError, NotImplementedError) as error:
        fix = "train it without what is named here"
        raise ReasonerError("PEFT cannot merge this kind of adapter", str(error)[:300], fix) from None


def _untie(model: Any) -> None:
    """Gives the output its own weights where an adapter on one end of tied embeddings would change the other too."""
    import torch

    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    tables = [getattr(one, "base_layer", one) for one in ends]
    is_adapted = any(table is not end for table, end in zip(tables, ends, strict=True))
    if is_adapted and getattr(tables[0], "weight", 0) is getattr(tables[1], "weight", 1):
        tables[1].weight = torch.nn.Parameter(tables[1].weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False


def _changes(merged: Any, original: Mapping[str, Any], tied: str) -> tuple[list[str], float]:
    """Names of the tensors that the adapter changed, and the norm of all changes over the norm of the base.

    `tied` names the base's input embeddings: where an adapter untied them, the merged ones have a new name.
    """
    changed, norm, base_norm = [], 0.0, 0.0
    for name, tensor in merged.named_parameters():
        before = original[name if name in original else tied]
        if not bool(tensor.isfinite().all()):
            raise not_numbers(name)
        if not bool(tensor.half().isfinite().all()):
            raise too_large(name)
        moved = float((tensor.detach() - before).float().norm())
        base_norm += float(before.float().norm()) ** 2
        if moved > 0:
            changed.append(name)
            norm += moved**2
    return changed, (norm / base_norm) ** 0.5


def _save(merged: Any, tokenizer: PreTrainedTokenizerBase, base_path: Path, out: Path, card_: str) -> None:
    """Write the model in float16 with the base's own tokenizer; its config names the type to compute in."""
    import torch

    merged = merged.to(torch.float16)
    merged.config.eos_token_id, ends = tokenizer.eos_token_id, locate.end_ids(base_path, tokenizer)
    settings = merged.generation_config
    settings.eos_token_id, settings.pad_token_id = ends if len(ends) > 1 else ends[0], tokenizer.pad_token_id
    if any(getattr(settings, name, None) is not None for name in ("temperature", "top_p", "top_k", "min_p")):
        settings.do_sample = True  # what the base's file means; without it the library refuses to save
    with files.partial_dir(out) as partial:
        merged.save_pretrained(partial, safe_serialization=True)
        weights.carry_over(base_path, weights.check(base_path), partial)
        given, stored = (files.read_json(folder / "config.json") for folder in (base_path, partial))
        compute = given.get("dtype") or given.get("torch_dtype") or "bfloat16"
        files.write_json(partial / "config.json", {**stored, "dtype": compute})
        save_tokenizer(base_path, partial, tokenizer)
        files.write_text(partial / "README.md", card_)


def _logits(model: Any, probes: Sequence[list[int]]) -> list[Any]:
    """The logits of each probe, `(tokens, vocabulary)` in 32 bits."""
    import torch

    with torch.inference_mode():
        return [model(input_ids=torch.tensor([ids])).logits[0].float() for ids in probes]


def _largest_difference(some: Sequence[Any], others: Sequence[Any]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(some, others, strict=True))


def card(config: Config, run_: runs.Run, steps: int, licence: str) -> str:
    """The model card; the converter carries its front matter into the GGUF."""
    paid = "the share of hidden tests that hold for" if config.verifier.reward == "share" else "the verdict of"
    return (
        f"---\nlicense: {json.dumps(licence)}\npipeline_tag: text-generation\n---\n\n# {config.serve.name}\n\n"
        f"Run `{run_.name}`: `{config.model.base}`, tuned with GRPO and LoRA for {steps} steps (seed"
        f" {config.train.seed}) on `{public(config.data.source)}`. The reward was {paid} the verifier"
        f" `{public(config.verifier.name)}` and nothing else.\n"
    )


def save_tokenizer(source: Path, target: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Copy the base's own tokenizer and licence files unchanged but for what `tokenizer` was trained with otherwise.

    That is the end token, and the thinking switch of the chat template, which gets a comment too.

    Re-saving a tokenizer changes the hash by which the GGUF converter knows its pre-tokenizer.
    """
    for name in (
        "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "chat_template.jinja", *(path.name for path in locate.licence_files(source)),
    ):  # fmt: skip
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    eos_token = str(tokenizer.eos_token)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        stored = files.read_json(target / name)
        if not isinstance(stored, dict) or "eos_token" not in stored:
            continue
        given = stored["eos_token"]
        if (given.get("content") if isinstance(given, dict) else given) != eos_token:
            stored["eos_token"] = eos_token
            files.write_json(target / name, stored)
    if tokens.strays(source):  # so that the converter, and whoever loads the folder, reads tokenizer.json as well
        stored = files.read_json(target / "tokenizer_config.json") or {}
        files.write_json(target / "tokenizer_config.json", {**stored, "tokenizer_class": "PreTrainedTokenizerFast"})
    if not isinstance(tokenizer.chat_template, str):
        return
    kept, apart = keep_template(tokenizer.chat_template), target / "chat_template.jinja"
    if apart.exists():
        apart.write_text(kept, encoding="utf-8")
    stored = files.read_json(target / "tokenizer_config.json")
    if isinstance(stored, dict) and isinstance(stored.get("chat_template"), str):
        files.write_json(target / "tokenizer_config.json", {**stored, "chat_template": kept})


def keep_template(text: str) -> str:
    """The chat template, with a comment that renders to nothing where Ollama might put another in its place.

    Ollama replaces a template within 100 edits of one it knows (`server/model.go`, `detectChatTemplate`); a base's
    own default system message would be lost without a word. Remove when it asks the template's author instead.
    """
    return text if _COMMENT in text or len(text) > 4000 else _COMMENT + text


def changes_nothing() -> ReasonerError:
    fix = "train longer, or raise train.learning_rate; see metrics.jsonl for reward and signal"
    return ReasonerError("the adapter changed nothing", "every weight of the merged model equals the base's", fix)


def not_numbers(name: str) -> ReasonerError:
    what, fix = f"{name} has values that are not numbers", "lower train.learning_rate"
    return ReasonerError(what, "training diverged", fix)


def too_large(name: str) -> ReasonerError:
    why, fix = "the base has them, or training diverged", "lower train.learning_rate, or choose another base"
    return ReasonerError(f"{name} has values over 65,504, the largest of a 16-bit float", why, fix)
