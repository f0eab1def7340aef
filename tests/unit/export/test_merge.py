"""What is copied beside the merged weights: the tokenizer as it was, a template that Ollama leaves alone, a card."""

import types

import jinja2

from reasoner import config, files, runs
from reasoner.bases import locate
from reasoner.export import merge

CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT = [{"role": "user", "content": "1 + 1"}]


def rendered(template):
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as transformers renders
    return environment.from_string(template).render(messages=CHAT, add_generation_prompt=True)


def test_the_comment_in_a_template_renders_to_nothing_and_is_added_once():
    kept = merge.keep_template(CHATML)
    assert rendered(kept) == rendered(CHATML)
    assert len(kept) > len(CHATML) + 200  # Ollama's limit of likeness is 100 edits
    assert merge.keep_template(kept) == kept
    assert merge.keep_template("{# short #}" + CHATML).endswith("{# short #}" + CHATML)
    assert len(merge.keep_template("{# short #}" + CHATML)) > len(CHATML) + 200  # a short comment protects nothing


def test_a_template_that_resembles_no_short_one_stays_as_it_is():
    long = CHATML + "{% if false %}" + "x" * 5000 + "{% endif %}"
    assert merge.keep_template(long) == long


def test_the_template_is_kept_wherever_it_stands(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir(), target.mkdir()
    files.write_json(source / "tokenizer_config.json", {"eos_token": "<|endoftext|>", "chat_template": CHATML})
    (source / "chat_template.jinja").write_text(CHATML)
    merge.save_tokenizer(source, target, types.SimpleNamespace(eos_token="<|im_end|>", chat_template=CHATML))
    stored = files.read_json(target / "tokenizer_config.json")
    assert stored["eos_token"] == "<|im_end|>"
    assert stored["chat_template"] == (target / "chat_template.jinja").read_text() == merge.keep_template(CHATML)
    assert (source / "chat_template.jinja").read_text() == CHATML


def test_the_card_carries_the_licence_of_the_base(tmp_path):
    found, _ = config.resolve("pocket", {"train.steps": "7"})
    (tmp_path / "README.md").write_text(merge.card(found, runs.Run(tmp_path / "night"), 7, "apache-2.0"))
    assert locate.licence(tmp_path) == "apache-2.0"
    text = (tmp_path / "README.md").read_text()
    assert "night" in text
    assert "7 steps" in text
