"""What a template asks about thoughts is settled once, so that whoever renders it asks the same."""

import json
import shutil

import pytest

from reasoner.bases import locate, templates
from reasoner.errors import ReasonerError
from reasoner.export import merge

TURNS = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>' + (message['content'] | trim) + '<|end|>' }}{%- endfor %}"
)
ASKED = "<s><|user|>1 + 1<|end|><|assistant|>"
NONE, BEGUN = "<think>\n\n</think>\n\n", "<think>\n"
EMPTY_UNLESS_ON = (
    "{%- if enable_thinking is defined and enable_thinking %}{{- '<think>\n' }}"
    "{%- else %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
)
EMPTY_IF_OFF = (
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
)
OTHER_NAME = "{%- if thinking %}{{- '<think>\n' }}{%- endif %}"
THREE = (
    "{%- if enable_thinking is not defined %}{{- '?' }}"
    "{%- elif enable_thinking %}{{- 'on' }}{%- else %}{{- 'off' }}{%- endif %}"
)


def turn(end):
    return TURNS + "{%- if add_generation_prompt %}{{- '<|assistant|>' }}" + end + "{%- endif %}"


@pytest.fixture
def folder(tmp_path):
    """`folder(template)`: a copy of the shipped base with it; None leaves its own."""

    def make(template, name="base"):
        path = shutil.copytree(locate.shipped()["pocket"], tmp_path / name)
        if template is not None:
            stored = json.loads((path / "tokenizer_config.json").read_text())
            (path / "tokenizer_config.json").write_text(json.dumps({**stored, "chat_template": template}))
        return path

    return make


@pytest.mark.parametrize(
    ("end", "think", "asks", "is_fixed"),
    [
        (EMPTY_UNLESS_ON, None, NONE, False),  # a server turns it on where a chat says nothing
        (EMPTY_UNLESS_ON, False, NONE, False),
        (EMPTY_UNLESS_ON, True, BEGUN, True),  # a trainer leaves it unset
        (EMPTY_IF_OFF, None, "", None),  # on for everybody: the switch stays
        (EMPTY_IF_OFF, True, "", None),
        (EMPTY_IF_OFF, False, NONE, False),
        (OTHER_NAME, None, "", False),
        (OTHER_NAME, True, BEGUN, True),
        ("{{- '<think>\n' }}", None, BEGUN, None),
        ("", None, "", None),
    ],
)
def test_a_switch_is_settled_whoever_renders(folder, end, think, asks, is_fixed):
    tokenizer = locate.load_tokenizer(folder(turn(end)), think)
    assert templates.rendered(tokenizer) == ASKED + asks
    assert templates.fixed(tokenizer.chat_template) is is_fixed
    if is_fixed is not None:  # whatever a server sends
        for sent in (True, False):
            assert templates.rendered(tokenizer, enable_thinking=sent, thinking=sent) == ASKED + asks
    else:
        assert tokenizer.chat_template == turn(end)


def test_what_a_training_fixed_is_the_base_of_the_next_and_can_be_set_anew(folder):
    first = folder(turn(EMPTY_UNLESS_ON))
    tuned = folder(None, "tuned")
    merge.save_tokenizer(first, tuned, locate.load_tokenizer(first, True))
    assert templates.rendered(locate.load_tokenizer(tuned)) == ASKED + BEGUN
    again = locate.load_tokenizer(tuned, False)
    assert templates.rendered(again) == ASKED + NONE
    assert again.chat_template.count("set enable_thinking") == 1


def test_a_plain_template_stays_as_it_is(folder):
    path = folder(None)
    stored = json.loads((path / "tokenizer_config.json").read_text())["chat_template"]
    assert locate.load_tokenizer(path).chat_template == stored


def test_generation_tags_render_to_nothing(folder):
    tagged = TURNS.replace("(message['content'] | trim)", "message['content']").replace(
        "{%- endfor %}", "{% generation %}{% endgeneration %}{%- endfor %}"
    ) + turn("").removeprefix(TURNS)
    assert templates.rendered(locate.load_tokenizer(folder(tagged))) == ASKED


@pytest.mark.parametrize(
    ("end", "think", "says"),
    [
        ("", True, "no thinking switch"),
        ("{{- '<think>\n' }}", False, "no thinking switch"),
        (THREE, None, "three prompts"),
    ],
)
def test_what_cannot_be_settled_is_refused(folder, end, think, says):
    with pytest.raises(ReasonerError) as caught:
        locate.load_tokenizer(folder(turn(end)), think)
    assert says in caught.value.why and "data.think" in caught.value.fix and caught.value.code == 2


def test_thoughts_between_special_tokens_are_refused(folder):
    path = folder(turn(EMPTY_UNLESS_ON))
    stored = json.loads((path / "tokenizer_config.json").read_text())
    stored["added_tokens_decoder"]["6"] = {**stored["added_tokens_decoder"]["6"], "content": "<think>"}
    (path / "tokenizer_config.json").write_text(json.dumps(stored))
    locate.load_tokenizer(path, False)
    with pytest.raises(ReasonerError) as caught:
        locate.load_tokenizer(path, True)
    assert "special token" in caught.value.why


@pytest.mark.parametrize("closed", [NONE, "<think>a</think>", "think>", ""])
def test_only_an_open_thought_at_the_end_is_begun(closed):
    assert templates.begun("<think> is a tag. " + closed) == ""
    assert templates.begun(closed + BEGUN) == BEGUN
