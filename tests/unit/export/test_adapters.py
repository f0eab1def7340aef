"""An adapter of another trainer is whole and this base's, is repaired where that is certain, or says N of M."""

import os
import re
import struct

import adapter_files
import pytest

from reasoner.errors import ReasonerError
from reasoner.export import adapters

SECOND = "model.layers.1.self_attn.q_proj"


def two(**how):
    """An adapter of two layers, four tensors."""
    return {**adapter_files.pair(**how), **adapter_files.pair(SECOND, **how)}


def renamed(pattern, by):
    return {re.sub(pattern, by, name): tensor for name, tensor in two().items()}


def without(part):
    return {name: tensor for name, tensor in two().items() if part not in name}


def more(name, *shape, fill=1.0, of=None):
    import torch

    return {**(of or two()), name: torch.full(shape, fill)}


def magnitudes(suffix="", layers=(0, 1)):
    made = two()
    for layer in layers:
        made = more(f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_magnitude_vector{suffix}", 8, of=made)
    return made


def biases():
    first = f"base_model.model.{adapter_files.MODULE}.lora_B.bias"
    return more(f"base_model.model.{SECOND}.lora_B.bias", 8, of=more(first, 8))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return adapter_files.base(tmp_path_factory.mktemp("base"), num_hidden_layers=2)


def why(folder, base):
    with pytest.raises(ReasonerError) as caught:
        adapters.fit(folder, base)
    assert caught.value.code == 2 and caught.value.fix
    assert "\n" not in caught.value.why and "\x1b" not in caught.value.why
    return caught.value.why


# -- whole files


@pytest.mark.parametrize("cut", [-1, 1])
def test_a_file_is_whole_only_to_the_byte(tmp_path, cut):
    path = adapter_files.write(tmp_path) / adapters.WEIGHTS
    assert adapters.is_whole(path)
    data = path.read_bytes()
    path.write_bytes(data[:cut] if cut < 0 else data + b"x")
    assert not adapters.is_whole(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 8, b"\xff" * 80, struct.pack("<Q", 4) + b"[1]\n", struct.pack("<Q", 9000) + b"[" * 9001],
    ids=["empty", "nothing", "endless", "list", "deep"],
)
def test_no_bytes_pass_for_a_whole_file(tmp_path, data):
    (tmp_path / adapters.WEIGHTS).write_bytes(data)
    assert not adapters.is_whole(tmp_path / adapters.WEIGHTS)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / adapters.WEIGHTS)
    assert not adapters.is_whole(tmp_path / adapters.WEIGHTS)
    assert not adapters.is_whole(tmp_path / "missing")


def test_a_truncated_file_is_not_whole(base, tmp_path):
    path = adapter_files.write(tmp_path, two()) / adapters.WEIGHTS
    path.write_bytes(path.read_bytes()[:-4])
    assert why(tmp_path, base) == f"{adapters.WEIGHTS} is not whole"


@pytest.mark.parametrize("shape", ["", "[]", "{}", "[" * 100_000], ids=["empty", "list", "bare", "deep"])
def test_without_a_readable_shape(base, tmp_path, shape):
    assert "cannot be read" in why(adapter_files.write(tmp_path, two(), shape), base)


def test_a_pickle_is_refused_by_name_and_not_opened(base, tmp_path):
    path = adapter_files.write(tmp_path, two()) / adapters.WEIGHTS
    path.rename(tmp_path / "adapter_model.bin")
    assert "adapter_model.bin is a pickle" in why(tmp_path, base)


def test_a_whole_model_is_no_adapter(base, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert why(tmp_path, base) == "it is a whole model, not an adapter"


# -- repaired

NAMES = r"^base_model\.model\."
REPAIRED = {
    "without the prefix": (lambda: renamed(NAMES, ""), {}, "4 of 4 tensors"),
    "prefix twice": (lambda: renamed(NAMES, "base_model.model." * 2), {}, "4 of 4 tensors"),
    "adapter's name in the keys": (lambda: renamed(r"(lora_[AB])", r"\1.default"), {}, "4 of 4 tensors"),
    "another name in the keys": (lambda: renamed(r"(lora_[AB])", r"\1.policy"), {}, "4 of 4 tensors"),
    "compiled": (lambda: renamed(NAMES, "_orig_mod.base_model.model."), {}, "4 of 4 tensors"),
    "in parallel": (lambda: renamed(NAMES, "module.base_model.model."), {}, "4 of 4 tensors"),
    "under a value head": (lambda: renamed(NAMES, "pretrained_model.base_model.model."), {}, "4 of 4 tensors"),
    "sharded": (lambda: renamed("layers.1", "layers.1._fsdp_wrapped_module"), {}, "2 of 4 tensors"),
    "with a value head": (lambda: more("v_head.summary.weight", 1, 8), {}, "1 of 5 tensors are a value head"),
    "magnitudes with a suffix": (lambda: magnitudes(".weight"), {"use_dora": True}, "2 of 6 tensors"),
    "magnitudes with a name": (lambda: magnitudes(".default.weight"), {"use_dora": True}, "2 of 6 tensors"),
    "a whole module by its wrapper": (
        lambda: more("base_model.model.lm_head.modules_to_save.default.weight", 16, 8),
        {"modules_to_save": ["lm_head"]},
        "1 of 5 tensors",
    ),
}


@pytest.mark.parametrize("kind", REPAIRED)
def test_names_of_other_versions_are_repaired(base, tmp_path, kind):
    make, settings, says = REPAIRED[kind]
    found = adapters.fit(adapter_files.write(tmp_path / "theirs", make(), **settings), base)
    assert says in found.repairs
    found.save(tmp_path / "ours")
    again = adapters.fit(tmp_path / "ours", base)
    assert again.repairs == "" and all(name == ours for name, ours in again.names.items())
    assert set(two()) <= set(again.names)


FITS = {
    "plain": (two, {}),
    "rank-stabilized": (two, {"use_rslora": True}),
    "dora": (magnitudes, {"use_dora": True}),
    "one layer": (adapter_files.pair, {"layers_to_transform": [0]}),
    "ranks by pattern": (
        lambda: {**adapter_files.pair(), **adapter_files.pair(SECOND, rank=3)},
        {"rank_pattern": {"layers.1.self_attn.q_proj": 3}, "alpha_pattern": {"layers.1.self_attn.q_proj": 9}},
    ),
    "a whole module": (lambda: more("base_model.model.lm_head.weight", 16, 8), {"modules_to_save": ["lm_head"]}),
    "the embeddings beside it": (lambda: more("base_model.model.model.embed_tokens.weight", 16, 8), {}),
    "not meant for us": (two, {"base_model_name_or_path": "some/where", "peft_version": "9", "inference_mode": True}),
}


@pytest.mark.parametrize("kind", FITS)
def test_what_peft_itself_writes_fits_as_it_is(base, tmp_path, kind):
    make, settings = FITS[kind]
    found = adapters.fit(adapter_files.write(tmp_path, make(), **settings), base)
    assert found.repairs == "" and all(name == ours for name, ours in found.names.items())


def test_biases_that_were_trained_are_implied(tmp_path):
    base = adapter_files.base(tmp_path / "base", kind="Qwen2Config")
    made, settings = adapter_files.pair(), {"bias": "lora_only"}
    lacking = why(adapter_files.write(tmp_path / "a", made, **settings), base)
    assert "lacks 1 of the 3 tensors" in lacking and "q_proj" in lacking and "bias" in lacking
    name = lacking.rpartition("first ")[2].strip("'")
    assert adapters.fit(adapter_files.write(tmp_path / "b", more(name, 8, of=made), **settings), base).repairs == ""


# -- refused

NAN, INF = float("nan"), float("-inf")
REFUSED = {
    "nan": (lambda: two(fill=NAN), {}, "4 of 4 tensors hold values that are not numbers"),
    "inf": (lambda: {**two(), **adapter_files.pair(fill=INF)}, {}, "2 of 4 tensors hold values"),
    "one layer missing": (lambda: without("layers.1"), {}, "lacks 2 of the 4 tensors that its adapter_config.json"),
    "one half missing": (lambda: without("layers.1.self_attn.q_proj.lora_B"), {}, "lacks 1 of the 4 tensors"),
    "one magnitude missing": (lambda: magnitudes(layers=[0]), {"use_dora": True}, "lacks 1 of the 6 tensors"),
    "magnitudes unsaid": (magnitudes, {}, "2 of the 6 tensors in the file are not implied"),
    "whole module missing": (two, {"modules_to_save": ["lm_head"]}, "lacks 1 of the 5 tensors"),
    "fewer modules said": (two, {"layers_to_transform": [0]}, "2 of the 4 tensors in the file are not implied"),
    "unknown part": (lambda: more(f"base_model.model.{SECOND}.lora_C.weight", 2, 2), {}, "1 of the 5 tensors in the"),
    "another's layers": (
        lambda: renamed("layers.1", "layers.7"), {}, "no 'model.layers.7.self_attn.q_proj' (2 of 4 tensors)",
    ),
    "wider": (lambda: two(columns=10), {}, "another base or another rank: 2 of 4 tensors have another shape"),
    "taller": (lambda: two(rows=10), {}, "2 of 4 tensors have another shape"),
    "another rank": (lambda: two(rank=4), {}, "4 of 4 tensors have another shape"),
    "another vocabulary": (
        lambda: more("base_model.model.model.embed_tokens.weight", 20, 8), {}, "1 of 5 tensors have another shape",
    ),
    "no matrix": (lambda: more(f"base_model.model.{SECOND}.lora_B.weight", 8), {}, "1 of 4 tensors have another shape"),
    "not gathered from shards": (
        lambda: more(f"base_model.model.{SECOND}.lora_B.weight", 0), {}, "1 of 4 tensors have another shape",
    ),
    "idle": (lambda: two(fill=0.0), {}, "changes nothing"),
    "two adapters": (lambda: {**two(), **renamed(r"(lora_[AB])", r"\1.ref")}, {}, "two adapters in one file"),
    "hostile name": (lambda: more("\x1b[31mx", 1), {}, r"first '\x1b[31mx'"),
    "no such module": (two, {"target_modules": ["c_attn"]}, "another base, or an adapter_config.json that PEFT"),
    "a broken pattern": (two, {"target_modules": "("}, "cannot follow"),
    "a setting of later": (two, {"use_foo": "\x1b[31m"}, r"settings in adapter_config.json are not known to this PEFT"),
    "a type of later": (two, {"peft_type": "FOO"}, "knows no adapter of the type 'FOO'"),
    "no change of weights": (two, {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2}, "changes no weights"),
    "more layers": (two, {"layer_replication": [[0, 2], [1, 2]]}, "layer_replication in adapter_config.json makes"),
    "biases without a place": (biases, {"lora_bias": True}, "2 of 2 have no place in the base"),
    "after a word only": (two, {"alora_invocation_tokens": [1]}, "alora_invocation_tokens in adapter_config.json"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_one_sentence_with_its_count(base, tmp_path, kind):
    make, settings, says = REFUSED[kind]
    assert says in why(adapter_files.write(tmp_path, make(), **settings), base)
