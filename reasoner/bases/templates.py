"""Settles what a chat template does about thoughts, so that trainer, converter and server ask a model the same.

A trainer leaves a template's thinking switch undefined; Ollama and llama.cpp turn it on where a chat says nothing, as
most do. So our copy of a template that does not think by itself has its switch fixed, and whatever a server sends, the
prompt is the one that was trained on. A template that thinks by itself, and may, keeps its switch.

What it does not do: levels of thinking (`reasoning_effort`), a thought that is begun with more than its tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner.bases.specs import unfit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SWITCHES = ("enable_thinking", "thinking")
"""By which names templates ask whether to think; a server of today sends the first."""
_NOTE = "{# as this model was trained #}"
_FIXED = re.compile(r"\{%- set \w+ = (true|false) %\}" + re.escape(_NOTE))
_BEGUN = re.compile(r"<think>\s*\Z")


@dataclass(frozen=True)
class Settled:
    """Is a template that needs no switch, and whether it lets the model think; None where it has no say in that."""

    template: str
    think: bool | None


def settle(path: Path, tokenizer: PreTrainedTokenizerBase, think: bool | None) -> Settled:
    """Returns a tokenizer's template with its switch as `think` says; None is as the template is by itself.

    What an earlier training fixed counts as the template's own. Raises where there is nothing to switch.
    """
    own = str(tokenizer.chat_template)
    plain, earlier = _FIXED.sub("", own), fixed(own)
    now = rendered(tokenizer, plain)
    for name in _SWITCHES:
        on, off = (rendered(tokenizer, plain, **{name: value}) for value in (True, False))
        if on != off:
            break
    else:
        if think is not None:
            why = f"data.think is {str(think).lower()}, and its chat template has no thinking switch"
            raise unfit(path, why, "set data.think=none, or choose a base whose template takes enable_thinking")
        return Settled(own, None)
    wanted = next((value for value in (think, earlier) if value is not None), now == on)
    if think is earlier is None and now not in (on, off):
        why = f"{name} on, off and unset are three prompts in its chat template"
        raise unfit(path, why, "set data.think=true or data.think=false")
    template = plain if wanted and now == on else f"{{%- set {name} = {str(wanted).lower()} %}}{_NOTE}{plain}"
    if rendered(tokenizer, template) != (on if wanted else off):
        raise unfit(path, f"{name} cannot be fixed in its chat template", "choose another base")
    return Settled(template, wanted)


def fixed(template: str) -> bool | None:
    """Returns what the switch of a template was fixed to by `settle`; None where it was not."""
    found = _FIXED.search(template)
    return found[1] == "true" if found else None


def rendered(tokenizer: PreTrainedTokenizerBase, template: str | None = None, **switch: bool) -> str:
    """Renders a short chat up to the assistant's turn."""
    chat = [{"role": "user", "content": "1 + 1"}]
    how = {"chat_template": template, "tokenize": False, "add_generation_prompt": True, **switch}
    return str(tokenizer.apply_chat_template(chat, **how))


def begun(prompt: str) -> str:
    r"""Returns the thought that a rendered prompt has begun: a completion goes on inside it.

    >>> begun("<|assistant|><think>\n"), begun("<|assistant|><think>\n\n</think>\n\n")
    ('<think>\n', '')
    """
    found = _BEGUN.search(prompt)
    return found[0] if found else ""


def check_tags(path: Path, tokenizer: PreTrainedTokenizerBase, settled: Settled) -> None:
    """Refuses thoughts whose tags are special tokens: training would take the tags away, and judge the thought."""
    tags = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    thinks = settled.think or begun(rendered(tokenizer, settled.template))
    if thinks and tags & {"<think>", "</think>"}:
        why = "it thinks, and <think> is a special token of its tokenizer, which training takes out of completions"
        raise unfit(path, why, "set data.think=false where its template has a switch, or choose another base")
