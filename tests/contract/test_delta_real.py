"""The fast route's file is the long route's, to the byte: every type, both orders of rows, every kind of adapter."""

import dataclasses
import hashlib
import json
import shutil

import pytest

from reasoner import config, runs
from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.export import delta, merge
from reasoner.llamacpp import header, quantize

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp]

POCKET = locate.shipped()["pocket"]
QUANTS = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16")


def quiet(text):
    pass


def model(folder, kind, *, tied, dtype="bfloat16", heads=4, kv_heads=2):
    """A small random model with grouped-query attention and the pocket base's tokenizer."""
    import torch
    import transformers

    torch.manual_seed(7)
    shape = {
        "vocab_size": 768, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "head_dim": 64,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "tie_word_embeddings": tied,
        "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    known = {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config, "qwen2": transformers.Qwen2Config}
    found = transformers.AutoModelForCausalLM.from_config(known[kind](**shape), dtype=getattr(torch, dtype))
    with torch.no_grad():
        for name, tensor in found.named_parameters():
            if tensor.ndim == 1:  # norms of all ones and biases of all zeros would hide a permutation
                tensor.copy_(torch.rand_like(tensor) + (0.0 if name.endswith("bias") else 0.5))
    found.save_pretrained(folder, max_shard_size="1MB")
    for name in ("tokenizer.model", "tokenizer_config.json", "README.md"):
        shutil.copyfile(POCKET / name, folder / name)
    return folder


def adapter(base_dir, folder, seed, fill=0.02, stored="float32", **settings):
    """A random adapter, as PEFT saves one of this type."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    loaded = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32)
    wanted = {"r": 8, "lora_alpha": 24, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **settings}
    tuned = get_peft_model(loaded, LoraConfig(**wanted))
    with torch.no_grad():
        for name, tensor in tuned.named_parameters():
            if tensor.requires_grad:
                if "lora_" in name:
                    tensor.copy_(torch.randn_like(tensor) * fill)
                else:
                    tensor.mul_(1 + torch.randn_like(tensor) * fill)
                tensor.data = tensor.data.to(getattr(torch, stored))
    tuned.save_pretrained(folder)
    return folder


def long_route(base_dir, adapter_dir, folder, quants):
    """Merge, convert, quantize: the file of each type."""
    settings, _ = config.resolve("pocket")
    merge.run(settings, runs.Run(folder), base_dir, adapter_dir, folder / "merged", 1)
    log, source = folder / "log", folder / "16bit.gguf"
    quantize.convert(folder / "merged", source, log, quiet)  # as `gguf.run` does for each type, once for all of them
    made = {}
    for quant in quants:
        made[quant] = folder / f"model.{quant}.gguf"
        if quant in ("F16", "BF16"):
            quantize.run(folder / "merged", made[quant], quant, log, quiet)
        else:
            quantize.quantize(source, made[quant], quant, log, quiet)
    return made


def check(base_dir, tmp_path, quants=QUANTS[:4], references=None, **settings):
    """Two checkpoints of one training: the second by both routes. `references` is what the first has become."""
    second = adapter(base_dir, tmp_path / "adapter-2", 2, **settings)
    if references is None:
        first = adapter(base_dir, tmp_path / "adapter-1", 1, **settings)
        references = long_route(base_dir, first, tmp_path / "first", quants)
    wanted = long_route(base_dir, second, tmp_path / "second", quants)
    for quant in quants:
        assert delta.refuses(base_dir, second, references[quant], quant) is None
        out = tmp_path / f"fast.{quant}.gguf"
        facts = delta.run(base_dir, second, references[quant], out, quant, quiet)
        assert out.read_bytes() == wanted[quant].read_bytes(), quant
        assert references[quant].read_bytes() != out.read_bytes()
        assert facts.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
        expected = {"quant": quant, "bytes": out.stat().st_size, **dataclasses.asdict(header.check(wanted[quant]))}
        assert {key: vars(facts)[key] for key in expected} == expected
    return facts


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """The shipped base with a first adapter, by the long route: a file of each type that one conversion leads to."""
    folder = tmp_path_factory.mktemp("references")
    return long_route(POCKET, adapter(POCKET, folder / "adapter", 1), folder, QUANTS[:4])


def test_the_types_of_the_shipped_base(references, tmp_path):
    facts = check(POCKET, tmp_path, QUANTS[:4], references)
    assert len(facts.rewritten) == 28  # seven linear layers in each of four blocks


@pytest.mark.long
def test_every_type_of_the_shipped_base(tmp_path):
    facts = check(POCKET, tmp_path, QUANTS)
    assert len(facts.rewritten) == 28


PATTERNS = {
    "rank_pattern": {"q_proj": 4, "layers.1.mlp.up_proj": 16},
    "alpha_pattern": {"k_proj": 5, "up_proj": 32},
}


UNTIED = {**PATTERNS, "use_rslora": True, "modules_to_save": ["lm_head", "embed_tokens"]}


def long(*values):
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("kind", "tied", "dtype", "settings", "rewritten"),
    [
        ("qwen3", False, "bfloat16", UNTIED, 16),
        long("llama", True, "bfloat16", {"use_rslora": True, "stored": "bfloat16"}, 14),
        long("llama", False, "float32", {**PATTERNS, "modules_to_save": ["input_layernorm", "norm", "lm_head"]}, 20),
        long("qwen2", False, "float16", {"target_modules": ["q_proj", "k_proj"], "layers_to_transform": [1]}, 2),
        long("llama", True, "bfloat16", {"modules_to_save": ["embed_tokens"]}, 15),
        long("llama", False, "bfloat16", {"target_modules": ["q_proj", "lm_head", "embed_tokens"]}, 4),
        long("qwen3", True, "bfloat16", {**PATTERNS, "use_rslora": True}, 14),
        ("llama", True, "bfloat16", {"target_modules": ["q_proj", "lm_head"]}, 3),
        long("qwen3", True, "bfloat16", {"target_modules": ["q_proj", "lm_head", "embed_tokens"]}, 4),
    ],
)
def test_other_shapes_and_other_adapters(kind, tied, dtype, settings, rewritten, tmp_path):
    folder = model(tmp_path / "base", kind, tied=tied, dtype=dtype)
    facts = check(folder, tmp_path, QUANTS[:4] if dtype == "bfloat16" else QUANTS, **settings)
    assert len(facts.rewritten) == rewritten


@pytest.fixture(scope="module")
def exported(references, tmp_path_factory):
    """An adapter of the shipped base, and the reference of another one of the same training."""
    return adapter(POCKET, tmp_path_factory.mktemp("exported") / "adapter", 2), references["Q8_0"]


def changed(folder, to, settings=None, tensors=None):
    """A copy of an adapter with other settings, its tensors put through a function."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, to)
    path = to / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **(settings or {})}))
    if tensors:
        file = to / "adapter_model.safetensors"
        save_file({k: v.contiguous() for k, v in tensors(load_file(file)).items()}, file)
    return to


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"from_the_future": {"x": 1}}, "from_the_future"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_what_is_not_plain_lora_is_refused_by_name(exported, settings, why, tmp_path):
    other, reference = changed(exported[0], tmp_path / "adapter", settings), exported[1]
    assert why in delta.refuses(POCKET, other, reference, "Q8_0")
    with pytest.raises(ReasonerError, match="by its changes alone"):
        delta.run(POCKET, other, reference, tmp_path / "out.gguf", "Q8_0", quiet)
    assert not list(tmp_path.glob("*.gguf"))


def test_what_does_not_fit_is_refused(exported, tmp_path):
    second, reference = exported
    assert "Q8_0, not Q6_K" in delta.refuses(POCKET, second, reference, "Q6_K")
    narrow = changed(second, tmp_path / "narrow", tensors=lambda t: {k: v[:, :100] for k, v in t.items()})
    assert "[256, 100], the base's" in delta.refuses(POCKET, narrow, reference, "Q8_0")
    renamed = changed(
        second, tmp_path / "renamed", tensors=lambda t: {k.replace("mlp", "mlq"): v for k, v in t.items()}
    )
    assert "mlq" in delta.refuses(POCKET, renamed, reference, "Q8_0")
    fewer = changed(second, tmp_path / "fewer", tensors=lambda t: {k: v for k, v in t.items() if "mlp" not in k})
    assert "leaves it alone" in delta.refuses(POCKET, fewer, reference, "Q8_0")
    (tmp_path / "cut.gguf").write_bytes(reference.read_bytes()[:100_000])
    assert "cannot be read" in delta.refuses(POCKET, second, tmp_path / "cut.gguf", "Q8_0")
    cut = changed(second, tmp_path / "cut")
    (cut / "adapter_model.safetensors").write_bytes((second / "adapter_model.safetensors").read_bytes()[:-100])
    assert "not whole" in delta.refuses(POCKET, cut, reference, "Q8_0")
    other = model(tmp_path / "other", "llama", tied=True)
    assert delta.refuses(other, adapter(other, tmp_path / "others", 1), reference, "Q8_0")


@pytest.mark.parametrize(
    ("value", "says"), [(0.0, "changed nothing"), (float("nan"), "not numbers"), (1e8, "over 65,504")]
)
def test_an_adapter_that_is_none_leaves_no_file(exported, value, says, tmp_path):
    none = changed(
        exported[0], tmp_path / "none",
        tensors=lambda t: {k: v.fill_(value) if "lora_B" in k else v for k, v in t.items()},
    )  # fmt: skip
    with pytest.raises(ReasonerError, match=says):
        delta.run(POCKET, none, exported[1], tmp_path / "out.gguf", "Q8_0", quiet)
    assert not list(tmp_path.glob("*.gguf"))


def test_a_reference_made_by_an_importance_matrix_is_refused(exported, tmp_path):
    """Every checkpoint would have a matrix of its own."""
    (tmp_path / "text").write_text("".join(f"{i} + {i + 1} = {2 * i + 1}\n" for i in range(900)))
    weighed = tmp_path / "weighed.gguf"
    quantize.run(POCKET, weighed, "Q4_K_M", tmp_path / "log", quiet, tmp_path / "text")
    assert "importance matrix" in delta.refuses(POCKET, exported[0], weighed, "Q4_K_M")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_export_leaves_nothing_and_a_killed_ones_part_is_cleared(exported, error, monkeypatch, tmp_path):
    second, reference = exported
    out, calls = tmp_path / "out.gguf", []

    def made(*args):
        calls.append(args)
        if len(calls) > 20:
            raise error
        return real(*args)

    real = delta._made
    with monkeypatch.context() as patched, pytest.raises(type(error)):
        patched.setattr(delta, "_made", made)
        delta.run(POCKET, second, reference, out, "Q8_0", quiet)
    assert not list(tmp_path.iterdir())
    (tmp_path / "partial-out.gguf").write_bytes(b"of a killed process" * 1_000_000)
    facts = delta.run(POCKET, second, reference, out, "Q8_0", quiet)
    assert list(tmp_path.iterdir()) == [out]
    assert hashlib.sha256(out.read_bytes()).hexdigest() == facts.sha256 and out.stat().st_size == facts.bytes


def test_lora_on_embeddings_that_are_the_output_too_is_left_to_the_long_route(tmp_path):
    folder = model(tmp_path / "base", "llama", tied=True)
    plain = adapter(folder, tmp_path / "plain", 1, target_modules=["q_proj"])
    reference = long_route(folder, plain, tmp_path / "first", ["Q8_0"])["Q8_0"]
    tuned = adapter(folder, tmp_path / "tuned", 2, target_modules=["q_proj", "embed_tokens"])
    assert "the output as well" in delta.refuses(folder, tuned, reference, "Q8_0")


def test_products_that_differ_by_parts_are_made_whole(exported, monkeypatch, tmp_path):
    """Where a library gives other bits for a part than for the whole, the whole is used: the bytes stay the same."""
    import torch

    second, reference = exported
    delta.run(POCKET, second, reference, tmp_path / "usual.gguf", "Q8_0", quiet)
    proven = []
    monkeypatch.setattr(torch, "equal", lambda a, b: proven.append(a.shape))
    delta.run(POCKET, second, reference, tmp_path / "whole.gguf", "Q8_0", quiet)
    assert proven
    assert (tmp_path / "usual.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()
