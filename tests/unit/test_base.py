"""What cannot be a base is refused by name, before anything is trained."""

import json
import shutil

import pytest

from reasoner import base
from reasoner.config import Model
from reasoner.errors import ReasonerError


@pytest.fixture
def folder(tmp_path):
    source = base.shipped()["pocket"]
    target = tmp_path / "model"
    shutil.copytree(source, target)
    return target


def refused(folder):
    with pytest.raises(ReasonerError) as caught:
        base.resolve(Model(base=str(folder)))
    assert caught.value.code == 2
    assert caught.value.fix
    return caught.value.why


def test_the_shipped_base_is_small_and_whole():
    found = base.resolve(Model(base="pocket"))
    assert found.weights_bytes <= 12_000_000
    assert found.architecture == "LlamaForCausalLM"
    assert len(found.sha256) == 64


def test_without_tokenizer(folder):
    (folder / "tokenizer.model").unlink()
    assert refused(folder) == "it has no tokenizer"


def test_without_config(folder):
    (folder / "config.json").write_text("{")
    assert refused(folder) == "it has no readable config.json"


def test_pickled_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refused(folder) == "it has only pickled weights (pytorch_model.bin)"


def test_code_of_its_own(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.Y"}}))
    assert "code of its own" in refused(folder)


def test_missing_shard(folder):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    assert refused(folder) == "model-2.safetensors is missing"


@pytest.mark.parametrize("spec", ["pockte", "./nowhere", "a/b/c", "/no/such/folder"])
def test_unknown_base(spec):
    with pytest.raises(ReasonerError) as caught:
        base.resolve(Model(base=spec))
    assert caught.value.code == 2


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_says_so(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*args, **kwargs):
        raise LocalEntryNotFoundError("no connection and not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ReasonerError) as caught:
        base.resolve(Model(base="Qwen/Qwen3-0.6B-Base"))
    assert caught.value.code == 3
    assert "PROFILE=pocket" in caught.value.fix
