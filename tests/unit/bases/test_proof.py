"""What goes back to a GGUF must be known there as the same tokenizer."""

import dataclasses

import pytest
from test_from_gguf import FACTS

from reasoner.bases import proof
from reasoner.errors import ReasonerError
from reasoner.llamacpp.header import Described


def test_a_reexport_must_be_known_as_the_same_tokenizer():
    same = Described("llama", "gpt2", "llama-bpe", 2, None, 512, "t", {})
    proof.check_reexport(FACTS, same)
    for key, value in [("tokenizer", "llama"), ("pre_tokenizer", "default"), ("eos_token_id", 0)]:
        with pytest.raises(ReasonerError, match="does not survive") as caught:
            proof.check_reexport(FACTS, dataclasses.replace(same, **{key: value}))
        assert f"{key} is {value!r}" in caught.value.why
    sentences = dataclasses.replace(FACTS, tokenizer="llama", pre_tokenizer=None)
    proof.check_reexport(sentences, dataclasses.replace(same, tokenizer="llama", pre_tokenizer="default"))
