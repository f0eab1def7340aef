"""What cannot be a base is refused by name, before anything is trained."""

import json

import pytest

from reasoner.bases import locate
from reasoner.config import Model
from reasoner.errors import ReasonerError


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
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.Y"}}))
    assert "code of its own" in refused(model_folder)


def test_missing_shard(model_folder):
    (model_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    assert refused(model_folder) == "model-2.safetensors is missing"


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
