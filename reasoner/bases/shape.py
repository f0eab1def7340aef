"""Reads a model's shape out of a GGUF's header, and refuses by name what cannot become a base.

All from the header alone, before anything is written: adapters, parts of split files, models that see or hear,
embedding models, other architectures, missing or odd tensors, a tokenizer that contradicts itself or the weights.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from dataclasses import dataclass

from reasoner.bases.specs import unfit
from reasoner.llamacpp.header import Broken, Header

_EMBEDDERS = {
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "t5encoder",
    "gemma-embedding", "llama-embed",
}  # fmt: skip
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text", "lfm2": "lfm2"}
"""Gives transformers' name of each architecture that is rebuilt, by GGUF's; the proof of each is in `docs/base.md`."""
PRE_TOKENIZERS = {
    "gpt-2": "gpt-2",
    "smollm": "smollm",
    "qwen2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
    "llama-bpe": "llama-bpe",
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "lfm2": "llama-bpe",
}
"""Names the pre-tokenizers that are rebuilt; those with the same value split alike (`llama-vocab.cpp`)."""


def check(spec: str, header: Header) -> None:
    """Raises where a GGUF cannot become a base; the error names what it is instead."""
    architecture, kind = header.architecture, header.fields.get("general.type", "model")
    if header.fields.get("split.count", 0) > 1 or re.search(r"-\d{5}-of-\d{5}\.gguf$", header.path.name):
        raise unfit(spec, "it is one part of a split file", "join the parts: llama-gguf-split --merge FIRST OUT")
    if kind == "adapter" or header.fields.get("adapter.type"):
        raise unfit(spec, "it is an adapter, not a model", "name the model that it belongs to")
    vision = [name for name in header.tensors if name.startswith(("v.", "mm.", "a.", "resampler."))]
    if kind == "mmproj" or architecture == "clip" or vision:
        raise unfit(spec, "it is (part of) a model that sees or hears", "name a model of text only")
    if architecture in _EMBEDDERS or header.own("pooling_type", 0) or header.own("attention.causal", True) is False:
        raise unfit(spec, f"it is an embedding model ({architecture}), which writes no text", "name a chat model")
    if architecture not in ARCHITECTURES or header.own("expert_count", 0):
        what = "mixture of experts" if architecture in ARCHITECTURES else "architecture"
        fix = f"as a GGUF: {', '.join(ARCHITECTURES)}, without experts; of others, name the folder that it was made of"
        raise unfit(spec, f"{what} {architecture!r} is not turned back into a folder", fix)
    try:
        _check_tensors(header)
    except Broken as error:
        raise unfit(spec, str(error), "name another model or quantization of it") from None
    if lies := _lies_of_vocabulary(header):
        raise unfit(spec, "\n".join(lies), "name another file of the model, made by a recent converter")
    template = header.fields.get("tokenizer.chat_template")
    if not isinstance(template, str) or not template.strip():
        fix = "name an instruction-tuned model, or a model folder with a template"
        raise unfit(spec, "it has no chat template", fix)


@dataclass(frozen=True)
class Shape:
    """Holds the numbers that say which tensors a model has, and how large they are, by transformers' names for them."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    theta: float
    rms_norm_eps: float
    vocab_size: int
    has_biases: bool
    attends: tuple[bool, ...] = ()
    """Says which layers have attention; the others a short convolution. Empty where all have attention."""

    @classmethod
    def of(cls, header: Header) -> Shape:
        """Reads the numbers; raises `Broken` where one is missing or impossible."""

        def whole(key: str, default: int | None = None) -> int:
            value = header.own(key, default)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
                raise Broken(f"{header.architecture}.{key} is {value!r}")
            return value

        def real(key: str, default: float | None = None) -> float:
            value = header.own(key, default)
            if not isinstance(value, float) or not 0 < value < math.inf:
                raise Broken(f"{header.architecture}.{key} is {value!r}")
            return float(f"{value:.7g}")  # stored in 32 bits: 1e-5 comes back as 9.999999747378752e-06

        width, heads = whole("embedding_length"), whole("attention.head_count")
        by_layer = header.own("attention.head_count_kv") if header.architecture == "lfm2" else None
        if by_layer is not None and not _is_by_layer(by_layer, whole("block_count")):
            raise Broken(f"lfm2.attention.head_count_kv is {by_layer!r}"[:200])
        head = whole("attention.key_length", width // heads)
        if {head} != {whole("attention.value_length", head), whole("rope.dimension_count", head)}:
            raise Broken("its heads have parts that are not rotated, or values of another size")
        table = header.tensors.get("token_embd.weight")
        if table is None or len(table.shape) != 2:
            raise Broken("it has no token embeddings")
        return cls(
            hidden_size=width,
            intermediate_size=whole("feed_forward_length"),
            num_hidden_layers=whole("block_count"),
            num_attention_heads=heads,
            num_key_value_heads=max(by_layer) if by_layer else whole("attention.head_count_kv", heads),
            head_dim=head,
            max_position_embeddings=whole("context_length"),
            theta=real("rope.freq_base", 10000.0),
            rms_norm_eps=real("attention.layer_norm_rms_epsilon"),
            vocab_size=table.shape[1],
            has_biases="blk.0.attn_q.bias" in header.tensors,
            attends=tuple(num > 0 for num in by_layer or ()),
        )


def _is_by_layer(found: object, num_layers: int) -> bool:
    """Returns whether a value is a list with one number a layer, all of them the same but for zeros."""
    if not isinstance(found, list) or len(found) != num_layers or any(type(one) is not int for one in found):
        return False
    kinds = {*found} - {0}
    return len(kinds) == 1 and 0 < min(kinds) < 1 << 31


def _expected(header: Header, shape: Shape) -> dict[str, tuple[int, ...]]:
    """Returns every tensor that the model must have, with its shape in GGUF's order."""
    width, head = shape.hidden_size, shape.head_dim
    q, kv = shape.num_attention_heads * head, shape.num_key_value_heads * head
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (width,), "attn_output.weight": (q, width),
        "attn_q.weight": (width, q), "attn_k.weight": (width, kv), "attn_v.weight": (width, kv),
        "ffn_norm.weight": (width,), "ffn_down.weight": (shape.intermediate_size, width),
        "ffn_gate.weight": (width, shape.intermediate_size), "ffn_up.weight": (width, shape.intermediate_size),
    }  # fmt: skip
    is_llama = header.architecture == "llama"
    if header.architecture == "qwen2" or (is_llama and shape.has_biases):
        layer |= {"attn_q.bias": (q,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
        if is_llama:
            layer["attn_output.bias"] = (width,)
    if header.architecture in ("qwen3", "gemma3", "lfm2"):
        layer |= {"attn_q_norm.weight": (shape.head_dim,), "attn_k_norm.weight": (shape.head_dim,)}
    if header.architecture == "gemma3":
        layer |= {"post_attention_norm.weight": (width,), "post_ffw_norm.weight": (width,)}
    without = {name: size for name, size in layer.items() if not name.startswith(("attn_q", "attn_k", "attn_v"))}
    del without["attn_output.weight"]
    without |= {
        "shortconv.conv.weight": (header.own("shortconv.l_cache"), width),
        "shortconv.in_proj.weight": (width, 3 * width), "shortconv.out_proj.weight": (width, width),
    }  # fmt: skip
    table = (width, shape.vocab_size)
    norm = "token_embd_norm" if header.architecture == "lfm2" else "output_norm"  # llama.cpp's name for it
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": table, f"{norm}.weight": (width,)}
    for number in range(shape.num_hidden_layers):
        own = layer if not shape.attends or shape.attends[number] else without
        found |= {f"blk.{number}.{name}": size for name, size in own.items()}
    if "output.weight" in header.tensors:
        found["output.weight"] = table
    if is_llama and "rope_freqs.weight" in header.tensors:
        found["rope_freqs.weight"] = (shape.head_dim // 2,)
    return found


def _check_tensors(header: Header) -> None:
    shape = Shape.of(header)
    if shape.num_hidden_layers > len(header.tensors):
        raise Broken(f"it claims {shape.num_hidden_layers} layers and has {len(header.tensors)} tensors")
    wanted = _expected(header, shape)
    for name in sorted(wanted.keys() | header.tensors.keys()):
        if name not in header.tensors:
            raise Broken(f"its tensor {name} is missing")
        if name not in wanted:
            raise Broken(f"its tensor {name} is not one of a plain {header.architecture} model")
        if header.tensors[name].shape != wanted[name]:
            raise Broken(f"its tensor {name} is {list(header.tensors[name].shape)}, not {list(wanted[name])}")
    scaling = header.own("rope.scaling.type", "none")
    if scaling != "none":
        raise Broken(f"its context is extended by {scaling!r}, which would be lost")
    if header.own("final_logit_softcapping") or header.own("attn_logit_softcapping"):
        raise Broken("it caps its logits")
    windows = (header.own("attention.sliding_window"), header.own("attention.sliding_window_pattern", 6))
    if windows != (None, 6) and (header.architecture != "gemma3" or windows[1] != 6):
        raise Broken("its attention has a sliding window, which would be lost")
    rope(header, shape)


def rope(header: Header, shape: Shape) -> dict[str, str | float]:
    """Returns the rotation's parameters as transformers wants them.

    Llama 3's scaling is stored as a tensor of factors, from which its numbers are found again; raises `Broken` where
    the factors are not Llama 3's.
    """
    plain: dict[str, str | float] = {"rope_type": "default", "rope_theta": shape.theta}
    tensor = header.tensors.get("rope_freqs.weight")
    if tensor is None:
        return plain
    if tensor.type != "F32":
        raise Broken(f"its rope_freqs are {tensor.type}")
    with header.path.open("rb") as handle:
        handle.seek(tensor.start)
        found = struct.unpack(f"<{tensor.shape[0]}f", handle.read(tensor.bytes))
    factor, low, high, context = float(max(found)), 1.0, 4.0, 8192
    if factor == 1.0:
        return plain
    for index, value in enumerate(found):
        wavelength = 2 * math.pi * shape.theta ** (2 * index / shape.head_dim)
        smooth = min(1.0, max(0.0, (context / wavelength - low) / (high - low)))
        if not math.isclose(value, 1 / ((1 - smooth) / factor + smooth), rel_tol=1e-3):
            raise Broken("its rope_freqs are not those of Llama 3")
    scaling = {"factor": factor, "low_freq_factor": low, "high_freq_factor": high}
    return {**plain, "rope_type": "llama3", **scaling, "original_max_position_embeddings": context}


def _lies_of_vocabulary(header: Header) -> list[str]:
    """Returns why the tokenizer cannot be rebuilt, or contradicts itself or the weights; empty where it does not."""
    model, pre, tokens = header.vocab("model"), header.vocab("pre"), header.vocab("tokens")
    rows = header.tensors["token_embd.weight"].shape[1]
    lies: list[str] = []
    if model not in ("gpt2", "llama"):
        lies.append(
            f"its tokenizer is of the kind {model!r}; known are gpt2 (byte-level BPE) and llama (SentencePiece)"
        )
    elif model == "gpt2" and pre not in PRE_TOKENIZERS:
        lies.append(f"its pre-tokenizer is {pre!r}; known are {', '.join(PRE_TOKENIZERS)}")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(t, str) for t in tokens):
        lies.append("its tokenizer has no tokens")
        tokens = []
    elif len(tokens) != rows:
        lies.append(f"its tokenizer has {len(tokens)} tokens, its embeddings {rows} rows")
    if twice := [token for token, count in Counter(tokens).items() if count > 1]:
        lies.append(f"its tokenizer has {twice[0]!r} more than once")
    for key in ("token_type", "scores"):
        values = header.vocab(key)
        if values is not None and (not isinstance(values, list) or len(values) != len(tokens)):
            lies.append(f"tokenizer.ggml.{key} is not one value a token")
    if model == "gpt2" and not header.vocab("merges"):
        lies.append("its tokenizer has no merges")
    if model == "llama" and not (header.vocab("scores") and header.vocab("token_type")):
        lies.append("its tokenizer has no scores or no token types")
    for key, value in header.fields.items():
        is_token = isinstance(value, int) and 0 <= value < len(tokens)
        if re.fullmatch(r"tokenizer\.ggml\.\w+_token_id", key) and not is_token:
            lies.append(f"{key} is {value!r}, outside its {len(tokens)} tokens")
    if header.vocab("add_eos_token"):
        lies.append("it ends every text with an end token, prompts too")
    return lies
