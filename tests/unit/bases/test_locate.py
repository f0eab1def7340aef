"""What cannot be a base is refused by name, before anything is trained."""

import json
import shutil
from pathlib import Path

import pytest

from reasoner import config
from reasoner.bases import locate
from reasoner.config import Model
from reasoner.errors import ReasonerError
from reasoner.export import register


def refused(model_folder):
    with pytest.raises(ReasonerError) as caught:
        locate.resolve(Model(base=str(model_folder)))
    assert caught.value.code == 2
    assert caught.value.fix
    return caught.value.why


def test_the_shipped_base_is_small_and_whole():
    found = locate.resolve(Model(base="pocket"))
    assert found.weights_bytes <= 12_000_000
    assert found.architecture == "LlamaForCausalLM"
    assert len(found.sha256) == 64


def test_without_tokenizer(model_folder):
    (model_folder / "tokenizer.model").unlink()
    assert refused(model_folder) == "it has no tokenizer"


def test_without_config(model_folder):
    (model_folder / "config.json").write_text("{")
    assert refused(model_folder) == "it has no readable config.json"


def test_pickled_weights(model_folder):
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    assert refused(model_folder) == "it has only pickled weights (pytorch_model.bin)"


def test_code_of_its_own(model_folder):
    stored = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**stored, "auto_map": {"AutoModel": "x.Y"}}))
    assert "code of its own" in refused(model_folder)


def test_missing_shard(model_folder):
    (model_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    assert refused(model_folder) == "model-2.safetensors is missing"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (
            "quantization_config",
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            "stored quantized (bitsandbytes)",
        ),
        ("quantization_config", {"quant_method": "fp8"}, "stored quantized (fp8)"),
        ("vision_config", {"hidden_size": 8}, "it reads more than text"),
    ],
)
def test_weights_that_cannot_be_merged(model_folder, key, value, says):
    stored = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**stored, key: value}))
    assert says in refused(model_folder)


def test_an_adapter_beside_the_weights_or_instead_of_them(model_folder):
    (model_folder / "adapter_config.json").write_text("{}")
    assert "an adapter stands beside its weights" in refused(model_folder)
    (model_folder / "model.safetensors").rename(model_folder / "adapter_model.safetensors")
    assert refused(model_folder) == "it is an adapter, not a model"


@pytest.fixture
def pocket(tmp_path):
    """A copy of the base that ships, to spoil."""
    return Path(shutil.copytree(locate.shipped()["pocket"], tmp_path / "pocket"))


def test_every_end_that_a_base_declares_is_one_the_templates_first(pocket):
    tokenizer = locate.load_tokenizer(pocket)
    own = tokenizer.eos_token_id
    assert locate.end_ids(pocket, tokenizer) == [own]
    other = next(i for i in tokenizer.added_tokens_decoder if i != own)
    (pocket / "generation_config.json").write_text(json.dumps({"eos_token_id": [other, own, 10**6]}))
    assert locate.end_ids(pocket, tokenizer) == [own, other]
    stops = register.parameters(config.resolve("pocket", {})[0], pocket)["stop"]
    assert stops == [tokenizer.eos_token, tokenizer.added_tokens_decoder[other].content]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}",
            "takes no system message",
        ),
        (
            "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}",
            "leaves the system message out",
        ),
    ],
)
def test_a_system_message_that_the_template_refuses_or_leaves_out(pocket, change, says):
    tokenizer = locate.load_tokenizer(pocket)
    locate.check_system(pocket, tokenizer, "Be brief.")
    tokenizer.chat_template = change + tokenizer.chat_template
    locate.check_system(pocket, tokenizer, None)
    with pytest.raises(ReasonerError) as caught:
        locate.check_system(pocket, tokenizer, "Be brief.")
    assert says in caught.value.why and caught.value.code == 2


@pytest.mark.parametrize("spec", ["pockte", "./nowhere", "a/b/c", "/no/such/model_folder"])
def test_unknown_base(spec):
    with pytest.raises(ReasonerError) as caught:
        locate.resolve(Model(base=spec))
    assert caught.value.code == 2


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_says_so(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*args, **kwargs):
        raise LocalEntryNotFoundError("no connection and not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ReasonerError) as caught:
        locate.resolve(Model(base="Qwen/Qwen3-0.6B-Base"))
    assert caught.value.code == 3
    assert "PROFILE=pocket" in caught.value.fix
