"""A merge proves itself: the adapter changed something, is finite, fits, and the result loads."""

import json
import shutil

import pytest

from reasoner import config, runs
from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.export import merge
from reasoner.training import engine

pytestmark = pytest.mark.slow
POCKET = locate.shipped()["pocket"]


@pytest.fixture
def adapter(tmp_path):
    def make(fill, rank=4, **settings):
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(POCKET, dtype=torch.float32)
        wanted = {"target_modules": "all-linear", **settings}
        tuned = get_peft_model(model, LoraConfig(r=rank, lora_alpha=8, task_type="CAUSAL_LM", **wanted))
        with torch.no_grad():
            for name, tensor in tuned.named_parameters():
                if "lora_B" in name or "lora_embedding_A" in name:
                    tensor.copy_(torch.randn_like(tensor) * fill)
        tuned.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter"

    return make


def run(adapter, tmp_path, base=POCKET):
    found, _ = config.resolve("pocket")
    return merge.run(found, runs.Run(tmp_path), base, adapter, tmp_path / "merged", 1)


def test_merged_is_base_plus_adapter_and_loads_like_any_model(adapter, tmp_path):
    from transformers import AutoModelForCausalLM

    outputs, facts = run(adapter(0.02), tmp_path)
    assert facts.changed_tensors == 28  # seven linear layers in each of four blocks
    assert facts.max_logit_difference <= facts.tolerance
    assert facts.top_token_agreement_16_bit > 0.9
    merged = AutoModelForCausalLM.from_pretrained(outputs[0])
    assert str(merged.dtype) == "torch.bfloat16"
    ours, original = locate.load_tokenizer(outputs[0]), locate.load_tokenizer(POCKET)
    assert ours.chat_template == merge.keep_template(original.chat_template)
    chat = [{"role": "user", "content": "1 + 1"}]
    assert locate.prompt_ids(ours, chat) == locate.prompt_ids(original, chat)


def test_settings_of_sampling_and_a_second_end_come_along(adapter, tmp_path):
    base = shutil.copytree(POCKET, tmp_path / "base")
    other = next(i for i in locate.load_tokenizer(base).added_tokens_decoder if i != 2)
    told = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, other]}  # without do_sample it cannot be saved
    (base / "generation_config.json").write_text(json.dumps(told))
    outputs, _ = run(adapter(0.02), tmp_path, base)
    kept = json.loads((outputs[0] / "generation_config.json").read_text())
    assert {name: kept[name] for name in told} == told and kept["do_sample"] is True
    assert locate.end_ids(outputs[0], locate.load_tokenizer(outputs[0])) == [2, other]


def test_a_young_adapter_is_not_rounded_away(adapter, tmp_path):
    """What it adds is less than half a step of the base's bfloat16 in most places, as early in a training."""
    import torch
    from safetensors.torch import load_file

    folder = adapter(4e-4)
    outputs, facts = run(folder, tmp_path)
    assert facts.delta_norm_over_base_norm < 2e-3
    before, after, lora = (
        load_file(path) for path in
        (POCKET / "model.safetensors", outputs[0] / "model.safetensors", folder / "adapter_model.safetensors")
    )  # fmt: skip
    name = "model.layers.0.mlp.up_proj"
    wanted = 2.0 * lora[f"base_model.model.{name}.lora_B.weight"] @ lora[f"base_model.model.{name}.lora_A.weight"]
    base_weight = before[f"{name}.weight"].float()
    found = after[f"{name}.weight"].float() - base_weight
    assert (found - wanted).norm() < 0.3 * wanted.norm()
    in_base_type = (base_weight + wanted).bfloat16().float() - base_weight
    assert (in_base_type - wanted).norm() > 0.6 * wanted.norm()  # what it would have been
    assert after[f"{name}.weight"].dtype == torch.float16


@pytest.mark.parametrize(
    ("fill", "says"), [(0.0, "changed nothing"), (float("nan"), "not numbers"), (1e8, "over 65,504")]
)
def test_an_adapter_that_is_none_is_refused(adapter, tmp_path, fill, says):
    with pytest.raises(ReasonerError, match=says):
        run(adapter(fill), tmp_path)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("ends", [["lm_head"], ["embed_tokens"], ["embed_tokens", "lm_head"]])
def test_an_adapter_on_one_end_of_tied_embeddings_leaves_the_other_end_alone(adapter, tmp_path, ends):
    from safetensors.torch import load_file

    outputs, facts = run(adapter(0.02, target_modules=["q_proj", *ends]), tmp_path)
    assert facts.changed_tensors == 4 + len(ends) and facts.max_logit_difference <= facts.tolerance
    assert facts.max_logit_difference_16_bit <= facts.tolerance  # the folder holds both ends, and loads so
    before = load_file(POCKET / "model.safetensors")["model.embed_tokens.weight"].half()
    after = load_file(outputs[0] / "model.safetensors")
    for end in ("embed_tokens", "lm_head"):
        stored = after["lm_head.weight" if end == "lm_head" else "model.embed_tokens.weight"]
        assert (stored != before).any() == (end in ends)


def test_an_adapter_that_cannot_be_merged_is_refused(adapter, tmp_path):
    with pytest.raises(ReasonerError, match="cannot merge this kind") as caught:
        run(adapter(0.02, lora_bias=True), tmp_path)
    assert "lora_bias" in caught.value.why and not (tmp_path / "merged").exists()


def test_an_adapter_of_another_base_is_refused(adapter, tmp_path):
    import safetensors.torch

    folder = adapter(0.02)
    path = folder / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({k: v[:, :100].contiguous() for k, v in tensors.items()}, path)
    with pytest.raises(ReasonerError, match="does not fit the base"):
        run(folder, tmp_path)


def test_weights_hash_ignores_the_adapter_and_sees_the_base():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(POCKET, dtype=torch.float32)
    before = engine.weights_sha256(model)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, tensor in tuned.named_parameters():
            if "lora_B" in name:
                tensor.add_(1)
    assert engine.weights_sha256(tuned) == before
    with torch.no_grad():
        next(t for n, t in tuned.named_parameters() if "base_layer" in n)[0, 0] += 1e-3
    assert engine.weights_sha256(tuned) != before
