"""What the converter is told of a folder before it runs."""

import numpy
import pytest
from safetensors.numpy import save_file

from reasoner import files
from reasoner.llamacpp import install, quantize
from reasoner.machine import processes


@pytest.mark.parametrize(
    ("kind", "tensor", "is_told"),
    [
        ("qwen3_5_text", "model.norm.weight", True), ("qwen3_5", "model.norm.weight", True),
        ("qwen3_5_text", "mtp.fc.weight", False), ("qwen3", "model.norm.weight", False), (None, "x", False),
    ],
)  # fmt: skip
def test_layers_for_further_tokens_are_not_asked_for_where_there_are_none(kind, tensor, is_told, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(processes, "run", lambda argv, **_: (asked.extend(argv), argv[4].write_bytes(b"")))
    tools = install.LlamaCpp(tmp_path, tmp_path, tmp_path, "", "built")
    monkeypatch.setattr(install, "llama_cpp", lambda say: tools)
    files.write_json(tmp_path / "config.json", {"model_type": kind} if kind else {})
    save_file({tensor: numpy.zeros(2)}, tmp_path / "model.safetensors")
    quantize.convert(tmp_path, tmp_path / "out.gguf", tmp_path / "log", lambda text: None)
    assert ("--no-mtp" in asked) is is_told
