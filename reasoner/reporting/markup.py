"""Builds HTML elements out of text that is escaped on its way in: only what `tag` made is markup."""

from __future__ import annotations

import html as entities
import unicodedata
from collections.abc import Iterable


class Markup(str):
    """Is text that is markup already."""

    __slots__ = ()


def visible(text: str) -> str:
    """Shows control characters, lone surrogates and marks of direction as signs that do nothing.

    >>> visible("\x1b[31mred\u202e")
    '␛[31mred[U+202E]'
    """

    def sign(char: str) -> str:
        if char in "\n\t\u200c\u200d" or char.isprintable() or unicodedata.category(char) == "Zs":
            return char
        code = ord(char)
        return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else f"[U+{code:04X}]"

    return "".join(map(sign, text))


def _escaped(child: object) -> str:
    if isinstance(child, Markup):
        return child
    if child is None:
        return ""
    if isinstance(child, Iterable) and not isinstance(child, str):
        return "".join(map(_escaped, child))
    return entities.escape(visible(str(child)))


def join(*children: object) -> Markup:
    """Joins markup and text: text is escaped and made `visible`, None is nothing, lists are joined in turn."""
    return Markup(_escaped(children))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Makes an element. An attribute's `_` is a `-`, one at its end is dropped; None leaves it out, True has no value.

    >>> tag("p", "1 < 2", class_="note", hidden=True)
    '<p class="note" hidden>1 &lt; 2</p>'
    """
    told = "".join(
        f" {key.removesuffix('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(value)}"')
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{told}>{join(*children)}</{name}>")
