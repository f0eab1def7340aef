"""The Modelfile: pinned parameters, provenance as comments, hostile text kept in its place."""

from pathlib import Path

import pytest

from reasoner import config
from reasoner.errors import ReasonerError
from reasoner.export import register

PINNED = {"num_ctx": 512, "num_predict": 128, "temperature": 0.0, "stop": ["<|end|>"], "num_thread": 1}
FACTS = {
    "name": "reasoner", "run": "pocket", "step": 150, "base": "pocket", "base_sha256": "ab", "license": "apache-2.0",
    "llama_cpp": "x", "gguf_sha256": "cd", "template_sha256": "ef", "quant": "Q8_0",
}  # fmt: skip


def render(facts=FACTS, **overrides):
    settings, _ = config.resolve("pocket", overrides)
    return register.modelfile(settings, Path("/x/model.Q8_0.gguf"), PINNED, facts)


def instructions(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_every_parameter_is_pinned():
    assert instructions(render()) == [
        "FROM ./model.Q8_0.gguf",
        "PARAMETER num_ctx 512",
        "PARAMETER num_predict 128",
        "PARAMETER temperature 0.0",
        'PARAMETER stop """<|end|>"""',
        "PARAMETER num_thread 1",
    ]


def test_provenance_is_in_the_comments():
    text = render()
    for fact in ("run pocket, step 150", "weights sha256 ab", "verifier `number`", "file sha256 cd"):
        assert fact in text


def test_a_fact_cannot_become_an_instruction():
    text = render({**FACTS, "license": "apache-2.0\nFROM evil\nPARAMETER stop x"})
    assert instructions(text) == instructions(render())


def test_system_message_of_several_lines():
    text = render(**{"data.system": "Line one.\nFROM evil"})
    assert 'SYSTEM """Line one.\nFROM evil"""' in text


@pytest.mark.parametrize("system", ['a """ b', 'two\nlines "quoted"'])
def test_text_that_no_modelfile_can_hold_is_refused(system):
    with pytest.raises(ReasonerError, match="cannot hold this text"):
        register.quoted(system)


def test_the_licence_of_the_base_goes_along_whatever_it_quotes():
    terms = 'You "may" share this.\nFROM evil\n"""Never""" say "none"'
    settings, _ = config.resolve("pocket", {})
    text = register.modelfile(settings, Path("/x/model.gguf"), PINNED, FACTS, terms)
    assert text.endswith('\nLICENSE """You "may" share this.\nFROM evil\n\'\'\'Never\'\'\' say "none"\n"""\n')
    assert text.removesuffix(text[text.index("\nLICENSE") :]) == register.modelfile(
        settings, Path("/x/model.gguf"), PINNED, FACTS
    )
