"""A tokenizer is what its tokenizer.json says, whatever class its config or its model asks for."""

import functools
import json

import pytest

from reasoner.bases import locate, tokens
from reasoner.errors import ReasonerError
from reasoner.export import merge

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"


@functools.cache
def byte_level():
    """A small byte-level BPE that takes digits one by one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    made.train_from_iterator([*tokens.SCRIPTS, *tokens.PARTS, "some words and some more words"], trainer)
    return made.to_str()


def folder(path, chosen, model_type):
    (path / "tokenizer.json").write_text(byte_level())
    (path / "config.json").write_text(json.dumps({"model_type": model_type, "vocab_size": 400}))
    settings = {"eos_token": "<|end|>", "chat_template": TEMPLATE, **({"tokenizer_class": chosen} if chosen else {})}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize(
    ("chosen", "model_type", "says"),
    [
        ("PreTrainedTokenizerFast", "llama", ""),
        ("LlamaTokenizerFast", "llama", "as a LlamaTokenizer, "),
        ("GPT2TokenizerFast", "llama", "as a GPT2Tokenizer, "),
        ("PreTrainedTokenizerFast", "qwen2", "as a Qwen2Tokenizer, "),  # whatever the config asks for
        (None, "qwen3", "as a Qwen2Tokenizer, "),
        ("T5TokenizerFast", "llama", "Error: "),  # which cannot even read it
    ],
)
def test_the_file_decides(tmp_path, chosen, model_type, says):
    from tokenizers import Tokenizer

    path = folder(tmp_path, chosen, model_type)
    loaded = locate.load_tokenizer(path)
    found = tokens.strays(path)
    assert says in found if says else found == ""
    file = Tokenizer.from_str(byte_level())
    for text in (*tokens.SCRIPTS, *tokens.PARTS, "12345 words, e\u0301"):
        assert loaded(text, add_special_tokens=False)["input_ids"] == file.encode(text, add_special_tokens=False).ids
        assert locate.load_tokenizer(path).decode(loaded(text)["input_ids"]) == text
    (tmp_path / "copy").mkdir()
    merge.save_tokenizer(path, tmp_path / "copy", loaded)
    told = json.loads((tmp_path / "copy" / "tokenizer_config.json").read_text())
    assert told.get("tokenizer_class") == ("PreTrainedTokenizerFast" if says else chosen)


def test_an_edited_file_is_looked_at_again(tmp_path):
    path = folder(tmp_path, "PreTrainedTokenizerFast", "llama")
    assert tokens.strays(path) == ""
    assert tokens.strays(folder(path, "GPT2TokenizerFast", "llama"))


def test_what_no_way_of_loading_gives_is_refused_with_its_count(tmp_path, monkeypatch):
    path = folder(tmp_path, "GPT2TokenizerFast", "llama")
    monkeypatch.setattr(tokens, "_differing", lambda loaded, file: "7 of 300 texts have other token ids, first 'é'")
    with pytest.raises(ReasonerError) as caught:
        locate.load_tokenizer(path)
    assert "does not load its tokenizer as its tokenizer.json says: 7 of 300 texts" in caught.value.why


def test_a_broken_file(tmp_path):
    path = folder(tmp_path, None, "llama")
    (path / "tokenizer.json").write_text("{")
    with pytest.raises(ReasonerError) as caught:
        locate.load_tokenizer(path)
    assert "tokenizer.json cannot be read" in caught.value.why
