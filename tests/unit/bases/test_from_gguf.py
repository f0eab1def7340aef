"""An import leaves a whole, proven folder or nothing; a folder that is whole is used again."""

import dataclasses
import shutil
import struct

import psutil
import pytest
from gguf_files import refused, write

from reasoner.bases import from_gguf
from reasoner.bases.locate import Provenance
from reasoner.errors import MISSING
from reasoner.files import write_json


def test_every_truncation_is_one_clear_error(tmp_path, stops_at_llama_cpp):
    whole = write(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in [*range(0, 1200, 13), len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:size])
        error = refused(f"gguf:{cut}", tmp_path)
        assert "is not whole" in error.why or "is not a GGUF file" in error.why, size


def test_sizes_that_lie_do_not_take_memory_or_time(tmp_path, stops_at_llama_cpp):
    whole = write(tmp_path / "whole.gguf").read_bytes()
    bad = tmp_path / "bad.gguf"
    huge = struct.pack("<Q", 2**62)
    at = whole.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens") + 8
    types = whole.index(b"tokenizer.ggml.token_type") + len("tokenizer.ggml.token_type") + 8
    for place in (8, 16, 24, at, types):  # tensors, values, the first key, a list of texts, a list of numbers
        bad.write_bytes(whole[:place] + huge + whole[place + 8 :])
        assert "is not whole" in refused(f"gguf:{bad}", tmp_path).why, place


@pytest.mark.parametrize("data", [b"", b"GGU", b"PK\x03\x04" + b"x" * 100, b"GGUF" + struct.pack(">I", 3) + b"\0" * 64])
def test_a_file_that_is_no_gguf(data, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    assert path.name in refused(f"gguf:{path}", tmp_path).why


def test_too_little_memory_and_disk(tmp_path, monkeypatch):
    spec = f"gguf:{write(tmp_path / 'm.gguf')}"
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = refused(spec, tmp_path)
    assert (error.code, error.what) == (MISSING, f"too little disk for {spec}")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1 << 30}))
    error = refused(spec, tmp_path)
    assert (error.code, error.what) == (MISSING, f"too little memory for {spec}")


# -- what is kept


FACTS = Provenance(
    spec="gguf:x", file="m.gguf", sha256="s", architecture="llama", weights=1, quantization="Q8_0",
    bits_per_weight=8.5, tensor_types={"Q8_0": 1}, licence="mit", name="m", tokenizer="gpt2", pre_tokenizer="llama3",
    eos_token="</s>", eos_token_id=2, eos_claimed=None, eos_repaired=True, strings_compared=3000, tokens_compared=9,
    kl=0.0, max_kl=0.0, top_token_agreement=1.0, max_logit_difference=0.0, largest_logit=1.0,
)  # fmt: skip


def stored(folder, **changes):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    record = {
        "schema": from_gguf.SCHEMA,
        "gguf": "/m.gguf",
        "sha256": "s",
        "facts": dataclasses.asdict(FACTS),
        "files": {"config.json": 2},
    }
    write_json(folder / from_gguf.MARKER, {**record, **changes})
    return folder


def test_a_folder_that_is_whole_is_used_again(tmp_path):
    found = from_gguf.stored(stored(tmp_path / "a"))
    assert (found.path, str(found.gguf), found.facts) == (tmp_path / "a", "/m.gguf", FACTS)
    assert from_gguf.stored(stored(tmp_path / "b", schema=0)) is None
    assert from_gguf.stored(stored(tmp_path / "c", files={"config.json": 3})) is None
    assert from_gguf.stored(stored(tmp_path / "d", files={"model.safetensors": 2})) is None
    assert from_gguf.stored(tmp_path / "e") is None


def test_imported_bases_can_be_removed(tmp_path):
    assert from_gguf.remove_imported() == []
    stored(tmp_path / "cache" / "bases" / "a")
    assert from_gguf.remove_imported() == [tmp_path / "cache" / "bases"]
    assert not (tmp_path / "cache" / "bases").exists()
