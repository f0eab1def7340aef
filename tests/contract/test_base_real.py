"""What tokenizers and chat templates promise us, through transformers itself."""

import json
import shutil

import pytest

from reasoner import base, merge
from reasoner.errors import ReasonerError


@pytest.fixture
def folder(tmp_path):
    source = base.shipped()["pocket"]
    target = tmp_path / "model"
    shutil.copytree(source, target)
    return target


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
