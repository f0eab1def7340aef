"""Reads the chat template that stands only in the Modelfile of a tag, and writes it in the language of chat templates.

Ollama's templates are Go, and only it renders them. So it is asked to render chats of marked words; what stands between
the words is the template, where it always is the same. It is used only if it renders other chats as Ollama does.

What it does not do: tools, thoughts, turns that are written otherwise in the middle of a chat than at its end.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from reasoner.bases.specs import unfit
from reasoner.llamacpp.header import Header
from reasoner.serving.client import THROUGH, Client

if TYPE_CHECKING:
    from collections.abc import Callable

Chat = list[dict[str, str]]
_WORDS = {"system": "zqsystem", "user": "zquser", "assistant": "zqassistant", "again": "zqagain"}
_TURNS: tuple[tuple[str, ...], ...] = (("user",), ("system", "user"), ("user", "assistant", "again"))
_TEXTS = ("What is 2 + 3?", "é “1”\n{{ 7 }} {% x %}", "#### 5", "a 'b' \"c\" \\n", "Be brief.")
_JINJA = (
    "{%- if messages[0]['role'] == 'system' %}{{- BEFORE_SYSTEM + messages[0]['content'] + AFTER_SYSTEM }}"
    "{%- set turns = messages[1:] %}{%- else %}{{- BEFORE }}{%- set turns = messages %}{%- endif %}"
    "{%- for message in turns %}{%- if message['role'] == 'assistant' %}{{- message['content'] + END }}"
    "{%- else %}{%- if not loop.first %}{{- NEXT }}{%- endif %}{{- message['content'] + ASKED }}{%- endif %}"
    "{%- endfor %}"
)


def template_of(spec: str, client: Client, tag: str, header: Header) -> str:
    """Returns the chat template of a tag whose file has none; empty where the tag has none either.

    Raises where Ollama's template cannot be told from what it renders.
    """
    shown = client.show(tag)
    if shown.template.strip() in ("", THROUGH):
        return ""
    bos, eos = (_token(header, name) for name in ("bos", "eos"))
    # Put before every text, once: by the template here, by the tokenizer there.
    adds_bos = bool(bos) and header.vocab("add_bos_token", header.vocab("model") == "llama")

    def render(chat: Chat) -> str:
        # An empty message of the system's keeps the tag's own SYSTEM out, which belongs to no template.
        silent = [{"role": "system", "content": ""}] if shown.system and chat[0]["role"] != "system" else []
        text = client.render(tag, [*silent, *chat])
        return text.removeprefix(bos) if adds_bos else text

    found = _derive(render, eos) if eos else None
    if found is None or not all(_jinja(found, chat) == render(chat) for chat in _others()):
        why = "its file has no chat template, and that of its Modelfile cannot be told from what Ollama renders with it"
        raise unfit(spec, why, "name a tag whose file has one, or a model folder with a template")
    return ("{{- bos_token }}" if adds_bos else "") + found


def _token(header: Header, name: str) -> str:
    tokens, number = header.vocab("tokens"), header.vocab(f"{name}_token_id")
    is_one = isinstance(tokens, list) and isinstance(number, int) and 0 <= number < len(tokens)
    return str(tokens[number]) if is_one else ""


def _derive(render: Callable[[Chat], str], eos: str) -> str | None:
    pieces = []
    for names in _TURNS:
        chat = [{"role": "user" if name == "again" else name, "content": _WORDS[name]} for name in names]
        text, found = render(chat), []
        for name in names:
            if text.count(_WORDS[name]) != 1:
                return None
            before, _, text = text.partition(_WORDS[name])
            found.append(before)
        pieces.append([*found, text])
    (before, asked), (before_system, after_system, asked_too), (first, answers, between, last) = pieces
    if {asked, asked_too, answers, last} != {asked} or first != before or eos not in between:
        return None
    end = between[: between.index(eos) + len(eos)]
    values = {
        "BEFORE_SYSTEM": before_system, "AFTER_SYSTEM": after_system, "BEFORE": before, "ASKED": asked,
        "NEXT": between.removeprefix(end), "END": end,
    }  # fmt: skip
    return re.sub("[A-Z_]{3,}", lambda name: json.dumps(values[name[0]], ensure_ascii=False), _JINJA)


def _others() -> list[Chat]:
    """Chats of another kind than those from which a template is told."""
    asked, odd, said, more, system = _TEXTS
    one = [{"role": "user", "content": odd}]
    answered = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    turns = [*answered, {"role": "user", "content": more}]
    head = [{"role": "system", "content": system}]
    return [one, [*head, *one], [*head, *turns], [*turns, {"role": "assistant", "content": odd}, *one]]


def _jinja(template: str, chat: Chat) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template([chat], chat_template=template, add_generation_prompt=True, bos_token="")
    return str(rendered[0])
