"""Rebuilds what a GGUF holds as the files that transformers loads: its tokenizer, and its weights in 16 bits.

Two kinds of tokenizer are known: byte-level BPE, whose pre-tokenizer the file only names, and SentencePiece. The
configuration is made of the header's own numbers, not of transformers' guesses from them. Whether the result is the
same model is not shown here but in `proof`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.bases import locate
from reasoner.bases.shape import ARCHITECTURES, PRE_TOKENIZERS, Shape, rope
from reasoner.bases.specs import Say, unfit
from reasoner.errors import ReasonerError
from reasoner.files import write_json
from reasoner.llamacpp.header import Header
from reasoner.llamacpp.loaded import LoadedModel

if TYPE_CHECKING:
    import tokenizers
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_LLAMA3 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTROL, _USER_DEFINED, _UNUSED = 8, 16, 2  # attributes of a token in llama.cpp


def write_tokenizer(
    spec: str, header: Header, reference: LoadedModel, folder: Path, say: Say
) -> tuple[PreTrainedTokenizerBase, str | None]:
    """Writes the tokenizer's files; returns it as every later stage loads it, and the end token that the file claims.

    The end token of the files is the one with which the chat template ends a turn.
    """
    tokens: list[str] = header.vocab("tokens")
    named = {key: header.vocab(f"{key}_token_id") for key in ("bos", "eos", "padding", "unknown")}
    special = {key: None if token is None else tokens[token] for key, token in named.items()}
    attributes = [reference.attribute(i) for i in range(len(tokens))]
    settings: dict[str, object] = {
        "add_bos_token": reference.adds_bos,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": special["bos"],
        "eos_token": special["eos"],
        "pad_token": special["padding"],
        "unk_token": special["unknown"],
        "model_max_length": header.own("context_length"),
        "chat_template": header.fields["tokenizer.chat_template"],
    }

    def saved(**more: object) -> PreTrainedTokenizerBase:
        settings.update(more)
        known = {key: value for key, value in settings.items() if value is not None}
        write_json(folder / "tokenizer_config.json", known)
        return locate.load_tokenizer(folder)

    if header.vocab("model") == "gpt2":
        bos = special["bos"] if settings["add_bos_token"] else None
        _byte_level(spec, header, attributes, bos).save(str(folder / "tokenizer.json"))
        tokenizer = saved(tokenizer_class="PreTrainedTokenizerFast", add_prefix_space=False)
    else:
        (folder / "tokenizer.model").write_bytes(_sentencepiece(header))
        prefixes = bool(header.vocab("add_space_prefix", True))
        added = {
            str(i): {"content": tokens[i], "special": bool(kind & _CONTROL)}
            | dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
            for i, kind in enumerate(attributes)
            if kind & (_CONTROL | _USER_DEFINED)
        }
        llama = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_prefix_space": prefixes}
        tokenizer = saved(**llama, added_tokens_decoder=added)
        if prefixes:
            _prefix_spaces(tokenizer).save(str(folder / "tokenizer.json"))
            tokenizer = saved(tokenizer_class="PreTrainedTokenizerFast")
    claimed, eos = special["eos"], str(tokenizer.eos_token)
    if claimed != eos:
        say(f"base: the end token is {eos!r}, with which its chat template ends a turn; its metadata says {claimed!r}")
        tokenizer = saved(eos_token=eos)
    return tokenizer, claimed


def _byte_level(spec: str, header: Header, attributes: Sequence[int], bos: str | None) -> tokenizers.Tokenizer:
    """Builds a byte-level BPE with the pre-tokenizer that llama.cpp means by the file's name for it.

    `bos` is put before every text. No Unicode normalization, which Qwen's own files ask for: llama.cpp does none, and
    it serves.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    tokens: list[str] = header.vocab("tokens")
    kind = PRE_TOKENIZERS[header.vocab("pre")]
    known = {token: i for i, token in enumerate(tokens) if not attributes[i] & _UNUSED}
    merges = [tuple(str(merge).split(" ")) for merge in header.vocab("merges")]
    wrong = next((m for m in merges if len(m) != 2 or not {m[0], m[1], "".join(m)} <= known.keys()), None)
    if wrong:
        raise unfit(spec, f"its tokenizer merges {wrong} into a token that it does not have", "name another file")
    model = models.BPE(known, [(m[0], m[1]) for m in merges], ignore_merges=kind == "llama-bpe")
    tokenizer = Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind in ("gpt-2", "smollm"))
    if kind == "gpt-2":
        tokenizer.pre_tokenizer = byte_level
    elif kind == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    else:
        pattern = _LLAMA3.replace("DIGITS", "{1,3}" if kind == "llama-bpe" else "")
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    plain = processors.ByteLevel(trim_offsets=False)
    if bos:
        first = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, known[bos])]
        )
        tokenizer.post_processor = processors.Sequence([plain, first])
    else:
        tokenizer.post_processor = plain
    for add, kind_, is_special in (
        (tokenizer.add_special_tokens, _CONTROL, True), (tokenizer.add_tokens, _USER_DEFINED, False),
    ):  # fmt: skip
        add([AddedToken(t, special=is_special, normalized=False) for t, i in known.items() if attributes[i] & kind_])
    return tokenizer


def _prefix_spaces(tokenizer: PreTrainedTokenizerBase) -> tokenizers.Tokenizer:
    """Returns a SentencePiece tokenizer that puts a space before every text, as llama.cpp and SentencePiece do.

    transformers leaves out the one before a text that begins with a space, and those after special tokens.
    """
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = None
    return backend


def _sentencepiece(header: Header) -> bytes:
    """Builds the `tokenizer.model` that the file's tokens, scores and types came from."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    tokens, scores, types = (header.vocab(key) for key in ("tokens", "scores", "token_type"))
    for token, score, kind in zip(tokens, scores, types, strict=True):
        model.pieces.add(piece=token, score=score, type=kind)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = trainer.BPE
    trainer.vocab_size = len(tokens)
    trainer.byte_fallback = "<0x00>" in tokens
    for key, name in (("unk", "unknown"), ("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        token = header.vocab(f"{name}_token_id")
        setattr(trainer, f"{key}_id", -1 if token is None else token)
        if token is not None:
            setattr(trainer, f"{key}_piece", tokens[token])
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = bool(header.vocab("add_space_prefix", True))
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    return bytes(model.SerializeToString())


# -- weights ---------------------------------------------------------------------------------------


def write_weights(spec: str, header: Header, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes config.json, generation_config.json and the weights, rounded to bfloat16."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    transformers.utils.logging.disable_progress_bar()
    config = _config(header, tokenizer)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            how = {"return_tensors": True, "model_to_load": model, "torch_dtype": torch.bfloat16}
            weights = load_gguf_checkpoint(str(header.path), **how)["tensors"]
    except NotImplementedError as error:
        why = f"its types cannot be de-quantized ({', '.join(sorted(header.tensor_types))}): {error}"
        raise unfit(spec, why, "use another quantization") from None
    bad = next((name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())), None)
    if bad:
        raise unfit(spec, f"{bad} has values that are not numbers", "use another quantization of the model")
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if unexpected or set(missing) - ({"lm_head.weight"} if config.tie_word_embeddings else set()):
        why = f"missing {missing[:3]}, unexpected {unexpected[:3]}"
        fix = "this is a bug worth reporting, with the name of the model"
        raise ReasonerError(f"the weights of {spec} do not fit their configuration", why, fix)
    model.tie_weights()
    ends = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder, safe_serialization=True)


def _config(header: Header, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    from transformers import AutoConfig

    shape = Shape.of(header)
    sizes = {key: value for key, value in vars(shape).items() if key not in ("theta", "has_biases", "attends")}
    own: dict[str, Any] = {"rope_parameters": rope(header, shape)}
    if header.architecture == "llama":
        own["attention_bias"] = shape.has_biases
    elif header.architecture == "gemma3":
        local = {"rope_type": "default", "rope_theta": header.own("rope.freq_base_swa", 10000.0)}
        own["rope_parameters"] = {"full_attention": own["rope_parameters"], "sliding_attention": local}
        own |= {"sliding_window": header.own("attention.sliding_window"), "query_pre_attn_scalar": shape.head_dim}
    elif header.architecture == "lfm2":
        own["layer_types"] = ["full_attention" if attends else "conv" for attends in shape.attends]
        own |= {"conv_L_cache": header.own("shortconv.l_cache"), "block_auto_adjust_ff_dim": False}
        own["norm_eps"] = shape.rms_norm_eps
    return AutoConfig.for_model(
        ARCHITECTURES[header.architecture],
        tie_word_embeddings="output.weight" not in header.tensors,
        bos_token_id=header.vocab("bos_token_id"),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
        **own,
    )
