"""What a GGUF must be to become a base: everything else is refused from its header, and nothing is left."""

import struct

import numpy as np
import pytest
from gguf_files import refused, write

from reasoner.bases import from_gguf, shape
from reasoner.errors import USAGE, ReasonerError
from reasoner.llamacpp.header import Broken, Tensor, read_header


def test_a_plain_file_passes(tmp_path, stops_at_llama_cpp):
    said = []
    path = write(tmp_path / "m.gguf", tensors={"rope_freqs.weight": (8,)})  # factors of 1 change nothing
    with pytest.raises(ReasonerError, match="past the header"):
        from_gguf.materialize(f"gguf:{path}", said.append, lambda: None)
    assert said[-1].endswith("F32, 32.00 bits a weight")


GEMMA = {f"blk.0.{name}.weight": (32,) for name in ("post_attention_norm", "post_ffw_norm")}
GEMMA |= {f"blk.0.attn_{name}_norm.weight": (16,) for name in "qk"}
CAPPED = {"gemma3.attention.sliding_window": 8, "gemma3.final_logit_softcapping": 30.0}
PATTERN = {"gemma3.attention.sliding_window": 8, "gemma3.attention.sliding_window_pattern": 2}


def by_layer(heads):
    return {"lfm2.attention.head_count_kv": heads}


CASES = {
    "adapter": (dict(fields={"general.type": "adapter"}), "it is an adapter"),
    "projector": (dict(fields={"general.type": "mmproj"}), "sees or hears"),
    "clip": (dict(architecture="clip"), "sees or hears"),
    "vision tensors": (dict(tensors={"v.patch_embd.weight": (4, 32)}), "sees or hears"),
    "embedder": (dict(architecture="nomic-bert"), "embedding model (nomic-bert)"),
    "pooling": (dict(architecture="qwen3", fields={"qwen3.pooling_type": 3}), "embedding model (qwen3)"),
    "architecture": (dict(architecture="mamba"), "architecture 'mamba' is not turned back into a folder"),
    "another embedder": (dict(architecture="gemma-embedding"), "embedding model (gemma-embedding)"),
    "window": (dict(fields={"llama.attention.sliding_window": 8}), "has a sliding window"),
    "caps": (dict(architecture="gemma3", tensors=GEMMA, fields=CAPPED), "it caps its logits"),
    "other windows": (dict(architecture="gemma3", tensors=GEMMA, fields=PATTERN), "has a sliding window"),
    "no convolution": (dict(architecture="lfm2", fields=by_layer([0])), "head_count_kv is [0]"),
    "too many layers": (dict(architecture="lfm2", fields=by_layer([0, 2])), "head_count_kv is [0, 2]"),
    "no layer's": (dict(architecture="lfm2", fields=by_layer([2])), "blk.0.attn_k_norm.weight is missing"),
    "experts": (dict(fields={"llama.expert_count": 8}), "mixture of experts 'llama'"),
    "split": (dict(fields={"split.count": 3}), "one part of a split file"),
    "no template": (dict(drop=["tokenizer.chat_template"]), "no chat template"),
    "no merges": (dict(drop=["tokenizer.ggml.merges"]), "no merges"),
    "no tokens": (dict(drop=["tokenizer.ggml.tokens"]), "no tokens"),
    "few tokens": (dict(fields={"tokenizer.ggml.tokens": ["a", "b"]}), "has 2 tokens, its embeddings 5 rows"),
    "a token twice": (dict(fields={"tokenizer.ggml.tokens": ["a", "b", "c", "d", "a"]}), "'a' more than once"),
    "types": (dict(fields={"tokenizer.ggml.token_type": [1]}), "token_type is not one value a token"),
    "end token": (dict(fields={"tokenizer.ggml.eos_token_id": 5}), "eos_token_id is 5, outside its 5 tokens"),
    "pad token": (dict(fields={"tokenizer.ggml.padding_token_id": 2**32 - 1}), "outside its 5 tokens"),
    "pre-tokenizer": (dict(fields={"tokenizer.ggml.pre": "default"}), "its pre-tokenizer is 'default'"),
    "no pre-tokenizer": (dict(drop=["tokenizer.ggml.pre"]), "its pre-tokenizer is None"),
    "tokenizer": (dict(fields={"tokenizer.ggml.model": "t5"}), "of the kind 't5'"),
    "no scores": (dict(fields={"tokenizer.ggml.model": "llama"}), "no scores"),
    "missing tensor": (dict(drop=["blk.0.ffn_up.weight"]), "its tensor blk.0.ffn_up.weight is missing"),
    "other tensor": (dict(tensors={"blk.0.extra.weight": (4,)}), "blk.0.extra.weight is not one of a plain llama"),
    "other shape": (dict(tensors={"blk.0.attn_q.weight": (16, 32)}), "blk.0.attn_q.weight is [32, 16], not [32, 32]"),
    "no biases": (dict(architecture="qwen2"), "blk.0.attn_k.bias is missing"),
    "layers": (dict(fields={"llama.block_count": 2**31 - 1}), "claims 2147483647 layers"),
    "no layers": (dict(fields={"llama.block_count": 0}), "llama.block_count is 0"),
    "heads by layer": (dict(fields={"llama.attention.head_count": [2, 2]}), "llama.attention.head_count is [2, 2]"),
    "partly rotated": (dict(fields={"llama.rope.dimension_count": 8}), "parts that are not rotated"),
    "long context": (dict(fields={"llama.rope.scaling.type": "yarn"}), "extended by 'yarn'"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_become_a_base_is_refused_by_name(name, tmp_path, stops_at_llama_cpp):
    change, why = CASES[name]
    path = write(tmp_path / "m.gguf", **change)
    error = refused(f"gguf:{path}", tmp_path)
    assert error.code == USAGE
    assert error.what == f"gguf:{path} cannot be a base"
    assert why in error.why


def test_a_family_that_is_only_taken_as_a_folder_says_so(tmp_path):
    error = refused(f"gguf:{write(tmp_path / 'm.gguf', architecture='smollm3')}", tmp_path)
    assert "'smollm3'" in error.why
    assert error.fix.endswith("of others, name the folder that it was made of")


def test_gemma_3_passes(tmp_path, stops_at_llama_cpp):
    fields = {"gemma3.attention.sliding_window": 512}
    with pytest.raises(ReasonerError, match="past the header"):
        path = write(tmp_path / "m.gguf", architecture="gemma3", fields=fields, tensors=GEMMA)
        from_gguf.materialize(f"gguf:{path}", lambda text: None, lambda: None)


def test_a_part_of_a_split_model_is_known_by_its_name(tmp_path):
    error = refused(f"gguf:{write(tmp_path / 'm-00001-of-00003.gguf')}", tmp_path)
    assert "one part of a split file" in error.why


def test_llama_3s_rotation_is_found_again_in_its_tensor(tmp_path):
    """The factors of Llama 3.2 (1B): 1 for short waves, 32 for long ones."""
    path = write(tmp_path / "m.gguf")
    header = read_header(path)
    found = shape.Shape(32, 64, 1, 2, 2, 64, 128, 500000.0, 1e-5, 5, has_biases=False)
    factors = []
    for i in range(32):
        wavelength = 2 * np.pi * 500000.0 ** (i / 32)
        smooth = np.clip((8192 / wavelength - 1) / 3, 0, 1)
        factors.append(1 / ((1 - smooth) / 32 + smooth))
    raw = struct.pack("<32f", *factors)
    with path.open("ab") as handle:
        start = handle.tell()
        handle.write(raw)
    header.tensors["rope_freqs.weight"] = Tensor((32,), "F32", start, 128)
    assert shape.rope(header, found) == {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    with path.open("r+b") as handle:
        handle.seek(start + 4 * 16)
        handle.write(struct.pack("<f", 7.0))
    with pytest.raises(Broken, match="not those of Llama 3"):
        shape.rope(header, found)
