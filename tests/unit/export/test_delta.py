"""Rows, patterns and broken files of the fast route; that its bytes are right is a contract test."""

import json
import struct
from contextlib import ExitStack

import numpy
import pytest

from reasoner.export import delta


@pytest.mark.parametrize(("heads", "rows"), [(1, 8), (2, 8), (4, 64), (9, 576)])
def test_rows_are_where_the_converter_puts_them(heads, rows):
    hf = numpy.arange(rows)
    converted = hf.reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)  # `permute`, conversion/llama.py
    assert [delta._source(row, rows, heads) for row in range(rows)] == converted.tolist()
    assert [delta._source(row, rows, 0) for row in range(rows)] == hf.tolist()


@pytest.mark.parametrize(
    ("module", "alpha"),
    [
        ("model.layers.0.self_attn.q_proj", 4),
        ("model.layers.1.mlp.up_proj", 16),
        ("model.layers.11.mlp.up_proj", 8),
        ("model.layers.0.mlp.my_up_proj", 8),
        ("q_proj", 4),
    ],
)
def test_patterns_are_looked_up_as_peft_does(module, alpha):
    patterns = {"q_proj": 4, r"layers\.1\.mlp\.up_proj": 16, "q": 99}
    assert delta._of_pattern(patterns, module, 8) == alpha


def adapter(folder, header, body=b"", config=None):
    folder.mkdir(exist_ok=True)
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    wanted = {"peft_type": "LORA", "lora_alpha": 8, "r": 1, **(config or {})}
    (folder / "adapter_config.json").write_text(json.dumps(wanted))
    return folder


def changes(folder):
    with ExitStack() as opened:
        return delta._changes(folder, opened)


def tensor(start, *shape):
    return {
        "dtype": "F32",
        "shape": list(shape),
        "data_offsets": [start, start + 4 * numpy.prod(shape, dtype=int).item()],
    }


A, B = "base_model.model.x.lora_A.weight", "base_model.model.x.lora_B.weight"


def test_scaling_is_by_the_rank_that_the_tensors_have(tmp_path):
    header = {A: tensor(0, 4, 2), B: tensor(32, 3, 4)}
    for config, scale in (({}, 2.0), ({"use_rslora": True}, 4.0), ({"alpha_pattern": {"x": 2}}, 0.5)):
        found = changes(adapter(tmp_path / "adapter", header, bytes(80), config))
        assert list(found) == ["x.weight"] and found["x.weight"].scale == scale


@pytest.mark.parametrize(
    ("header", "body", "why"),
    [
        (b"{", b"", "cannot be read"),
        (b"[]", b"", "cannot be read"),
        ({A: 3}, b"", "cannot be read"),
        ({A: {"dtype": "F32", "shape": [1]}}, b"", "cannot be read"),
        ({A: tensor(0, 1, 2)}, bytes(4), "is not whole"),
        ({A: {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 8]}}, bytes(8), "is not whole"),
        ({A: {"dtype": "F32", "shape": [1, 2], "data_offsets": [-8, 0]}}, bytes(8), "is not whole"),
        ({A: {"dtype": "F32", "shape": [0, 2], "data_offsets": [0, 0]}}, bytes(8), "is not whole"),
        ({A: tensor(0, 1, 2)}, bytes(8), "holds lora_A.weight of x"),
        ({A: tensor(0, 1, 2), B: tensor(8, 3, 2)}, bytes(32), "do not fit each other"),
        ({A: tensor(0, 2), B: tensor(8, 3, 2)}, bytes(32), "do not fit each other"),
        ({"x.weird": tensor(0, 1, 2)}, bytes(8), "not known here"),
        ({"base_model.model.x.lora_magnitude_vector": tensor(0, 2)}, bytes(8), "not known here"),
    ],
)
def test_broken_and_unknown_adapters_are_refused(header, body, why, tmp_path):
    folder = adapter(tmp_path / "adapter", header, body)
    assert why in delta.refuses(tmp_path, folder, tmp_path / "no.gguf", "Q8_0")


def test_a_folder_without_an_adapter_is_refused_and_said(tmp_path):
    assert "adapter_config.json" in delta.refuses(tmp_path, tmp_path, tmp_path / "no.gguf", "Q8_0")
