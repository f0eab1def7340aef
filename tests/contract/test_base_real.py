"""What tokenizers and chat templates promise us, through transformers itself."""

import json

import pytest

from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.export import merge


def set_template(model_folder, template):
    (model_folder / "chat_template.jinja").unlink(missing_ok=True)
    path = model_folder / "tokenizer_config.json"
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
def test_templates_that_cannot_be_used(model_folder, template, says):
    set_template(model_folder, template)
    with pytest.raises(ReasonerError) as caught:
        locate.load_tokenizer(model_folder)
    assert says in caught.value.why


@pytest.mark.slow
def test_end_token_follows_the_template(model_folder):
    tokenizer = locate.load_tokenizer(model_folder)
    right = tokenizer.eos_token
    path = model_folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": tokenizer.bos_token}))
    assert locate.load_tokenizer(model_folder).eos_token == right


@pytest.mark.slow
def test_saved_tokenizer_is_the_same_but_for_the_end_token(model_folder, tmp_path):
    target = tmp_path / "merged"
    target.mkdir()
    tokenizer = locate.load_tokenizer(model_folder)
    merge.save_tokenizer(model_folder, target, str(tokenizer.eos_token))
    assert (target / "tokenizer.model").read_bytes() == (model_folder / "tokenizer.model").read_bytes()
    again = locate.load_tokenizer(target)
    chat = [{"role": "user", "content": "Mia has 12 apples.\nShe buys 5 more."}]
    assert locate.prompt_ids(again, chat) == locate.prompt_ids(tokenizer, chat)


@pytest.mark.slow
def test_embeddings_smaller_than_the_tokenizer(model_folder):
    tokenizer = locate.load_tokenizer(model_folder)
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**config, "vocab_size": len(tokenizer) - 1}))
    with pytest.raises(ReasonerError, match="cannot be a base"):
        locate.check_embeddings(model_folder, tokenizer)
