"""Small GGUF files for tests, and what an import that must be refused looks like."""

import numpy as np
import pytest
from gguf import GGUFWriter

from reasoner.bases import from_gguf
from reasoner.errors import ReasonerError

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
TOKENS = ["<|im_start|>", "<|im_end|>", "a", "b", "ab"]
WIDTH, INNER, HEADS, HEAD, LAYERS = 32, 64, 2, 16, 1


def write(path, architecture="llama", fields=(), drop=(), tensors=(), dtype=np.float32):
    """A GGUF that passes every check of the header, but for what the test changes."""
    values = {
        "general.name": "tiny",
        f"{architecture}.embedding_length": WIDTH,
        f"{architecture}.feed_forward_length": INNER,
        f"{architecture}.block_count": LAYERS,
        f"{architecture}.context_length": 128,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3, 3, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": TEMPLATE,
        **dict(fields),
    }
    q = HEADS * HEAD
    shapes = {
        "token_embd.weight": (len(TOKENS), WIDTH),
        "output_norm.weight": (WIDTH,),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.ffn_norm.weight": (WIDTH,),
        "blk.0.attn_q.weight": (q, WIDTH),
        "blk.0.attn_k.weight": (q, WIDTH),
        "blk.0.attn_v.weight": (q, WIDTH),
        "blk.0.attn_output.weight": (WIDTH, q),
        "blk.0.ffn_gate.weight": (INNER, WIDTH),
        "blk.0.ffn_up.weight": (INNER, WIDTH),
        "blk.0.ffn_down.weight": (WIDTH, INNER),
        **dict(tensors),
    }
    out = GGUFWriter(str(path), architecture)
    for key, value in values.items():
        if key in drop:
            continue
        if isinstance(value, bool):
            out.add_bool(key, value)
        elif isinstance(value, int):
            out.add_uint32(key, value)
        elif isinstance(value, float):
            out.add_float32(key, value)
        elif isinstance(value, str):
            out.add_string(key, value)
        else:
            out.add_array(key, value)
    for name, shape in shapes.items():
        if name not in drop:
            out.add_tensor(name, np.ones(shape, dtype))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def refused(spec, tmp_path, client=None):
    """The error of an import, which must have left nothing behind."""
    with pytest.raises(ReasonerError) as caught:
        from_gguf.materialize(spec, lambda text: None, client or (lambda: pytest.fail("no server is needed")))
    left = tmp_path / "cache" / "bases"
    assert not left.exists() or list(left.iterdir()) == []
    assert caught.value.fix
    return caught.value
