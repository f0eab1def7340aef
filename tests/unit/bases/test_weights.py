"""Files that are not the model of their config are refused with a count; what the library leaves out is carried."""

import json

import pytest

from reasoner.bases import weights
from reasoner.errors import ReasonerError

SIZES = {
    "vocab_size": 16, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 4, "tie_word_embeddings": False,
}  # fmt: skip


def model(folder, kind="Llama", **settings):
    import torch
    import transformers

    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, f"{kind}Config")(**{**SIZES, **settings}), dtype=torch.bfloat16
    )
    made.save_pretrained(folder)
    return folder


def edit(folder, change=None, **settings):
    """Puts the tensors through a function and settings into the config."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({k: v.contiguous() for k, v in (change or dict)(load_file(path)).items()}, path, {"format": "pt"})
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stored, **settings}))
    return folder


def more(*names, shape=(8,)):
    import torch

    return lambda tensors: {**tensors, **{name: torch.ones(shape, dtype=torch.bfloat16) for name in names}}


def without(part):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


FIRST = "model.layers.0"
REFUSED = {
    "a layer is missing": (without("layers.1."), {}, "its files lack 9 of the 21 tensors of a LlamaForCausalLM"),
    "no output weights, not tied": (
        without("lm_head"),
        {},
        "lack 1 of the 21 tensors of a LlamaForCausalLM, first 'lm_",
    ),
    "more layers than said": (dict, {"num_hidden_layers": 1}, "9 of 21 tensors have no place in a LlamaForCausalLM"),
    "fewer layers than said": (dict, {"num_hidden_layers": 3}, "lack 9 of the 30 tensors"),
    "biases unsaid": (more(f"{FIRST}.self_attn.q_proj.bias"), {}, "1 of 22 tensors have no place"),
    "a value head": (more("v_head.summary.weight"), {}, "1 of 22 tensors have no place"),
    "under a compiler's name": (lambda t: {f"_orig_mod.{k}": v for k, v in t.items()}, {}, "lack 21 of the 21 tensors"),
    "another width": (more("model.norm.weight", shape=(4,)), {}, "'model.norm.weight': [4], not [8]"),
    "another vocabulary": (dict, {"vocab_size": 20}, "2 of 21 tensors have another shape than its config.json says"),
    "tied, and two that differ": (dict, {"tie_word_embeddings": True}, "hold two that differ"),
    "a kind of later": (dict, {"model_type": "llama9"}, "cannot load it"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_are_not_the_model_of_the_config(tmp_path, kind):
    change, settings, says = REFUSED[kind]
    folder = edit(model(tmp_path), change, **settings)
    with pytest.raises(ReasonerError) as caught:
        weights.check(folder)
    assert says in caught.value.why and caught.value.code == 2 and caught.value.fix
    assert "\n" not in caught.value.why


def test_a_cut_file(tmp_path):
    path = model(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ReasonerError, match="cannot be a base") as caught:
        weights.check(tmp_path)
    assert "not whole" in caught.value.why


def copy_of_the_head(tensors):
    return {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}


WHOLE = {
    "plain": (dict, {}),
    "tied, and the output weights stored all the same": (copy_of_the_head, {"tie_word_embeddings": True}),
    "tied": (without("lm_head"), {"tie_word_embeddings": True}),
    "rotations, as older versions stored them": (more(f"{FIRST}.self_attn.rotary_emb.inv_freq", shape=(2,)), {}),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_folders(tmp_path, kind):
    change, settings = WHOLE[kind]
    assert weights.check(edit(model(tmp_path), change, **settings)) == []


def test_what_the_library_does_not_save_is_named_and_carried_over(tmp_path):
    import torch
    from safetensors.torch import load_file

    linear = {
        "linear_key_head_dim": 4,
        "linear_value_head_dim": 4,
        "linear_num_key_heads": 2,
        "full_attention_interval": 2,
    }
    folder = model(tmp_path / "base", "Qwen3_5Text", linear_num_value_heads=2, **linear)
    names = ["mtp.fc.weight", "mtp.layers.0.mlp.up_proj.weight"]
    edit(folder, more(*names))
    assert weights.check(folder) == names
    saved = tmp_path / "saved"
    saved.mkdir()
    weights.carry_over(folder, names, saved)
    carried = load_file(saved / weights.CARRIED)
    assert sorted(carried) == names and {one.dtype for one in carried.values()} == {torch.float16}
    assert sorted(["model.safetensors", weights.CARRIED])[0] == "model.safetensors"  # which decides on the 16-bit type
    (saved / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}')
    weights.carry_over(folder, names, saved)
    index = json.loads((saved / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {"a": "model-1.safetensors", **dict.fromkeys(names, weights.CARRIED)}
