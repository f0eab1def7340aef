"""What cannot be a base is refused by name, before anything is trained."""

import json
import shutil

import pytest

from reasoner import base, merge
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


def set_template(folder, template):
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    stored = json.loads(path.read_text())
    stored.pop("chat_template", None)
    if template is not None:
        stored["chat_template"] = template
    path.write_text(json.dumps(stored))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "it has no chat template"),
        ("{% for m in messages %}", "its chat template does not render"),
        ("{{ raise_exception('no') }}", "its chat template does not render"),
        ("hello", "its chat template leaves messages out"),
    ],
)
def test_templates_that_cannot_be_used(folder, template, says):
    set_template(folder, template)
    with pytest.raises(ReasonerError) as caught:
        base.load_tokenizer(folder)
    assert says in caught.value.why


@pytest.mark.slow
def test_end_token_follows_the_template(folder):
    tokenizer = base.load_tokenizer(folder)
    right = tokenizer.eos_token
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": tokenizer.bos_token}))
    assert base.load_tokenizer(folder).eos_token == right


@pytest.mark.slow
def test_saved_tokenizer_is_the_same_but_for_the_end_token(folder, tmp_path):
    target = tmp_path / "merged"
    target.mkdir()
    tokenizer = base.load_tokenizer(folder)
    merge.save_tokenizer(folder, target, str(tokenizer.eos_token))
    assert (target / "tokenizer.model").read_bytes() == (folder / "tokenizer.model").read_bytes()
    again = base.load_tokenizer(target)
    chat = [{"role": "user", "content": "Mia has 12 apples.\nShe buys 5 more."}]
    assert base.prompt_ids(again, chat) == base.prompt_ids(tokenizer, chat)


@pytest.mark.slow
def test_embeddings_smaller_than_the_tokenizer(folder):
    tokenizer = base.load_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": len(tokenizer) - 1}))
    with pytest.raises(ReasonerError, match="cannot be a base"):
        base.check_embeddings(folder, tokenizer)
