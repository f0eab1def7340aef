"""Holds what a report is made of, as data: a page of sections, sections of blocks, blocks of text, tables and pictures.

`sections` and `pair` make them, `markdown` and `html` render them; a new kind of block needs a case in both.

Text is a string or a tuple of strings, of three kinds. A plain `str` is a sentence of ours, in which `backticks` mark
code. `Code` and `Plain` hold what others wrote: names from data, ids, commands. A renderer escapes all three, `Code`
and `Plain` so that nothing in them is markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from reasoner.reporting.markup import Markup


class Code(str):
    """Is text that is shown as code, to the letter."""

    __slots__ = ()


class Plain(str):
    """Is text of others that is no code, such as the name of a kind of problem."""

    __slots__ = ()


Text = str | tuple[str, ...]


def pieces(text: Text) -> Iterator[str]:
    """Splits text into its strings, and those of ours at the code that backticks mark.

    >>> [(type(one).__name__, one) for one in pieces(("margin `m` of ", Plain("`x`")))]
    [('str', 'margin '), ('Code', 'm'), ('str', ' of '), ('Plain', '`x`')]
    """
    for one in (text,) if isinstance(text, str) else text:
        if isinstance(one, Code | Plain):
            yield one
        else:
            for at, part in enumerate(re.split(r"`([^`\n]+)`", one)):
                if part:
                    yield Code(part) if at % 2 else part


def listed(texts: Iterable[Text]) -> tuple[str, ...]:
    """Joins texts with commas; `none` where there are no texts."""
    found: list[str] = []
    for text in texts:
        found += [", "] if found else []
        found += [text] if isinstance(text, str) else text
    return tuple(found) or ("none",)


@dataclass(frozen=True)
class Cell:
    """Is a cell that the page marks: `bad`, `hash` (breaks anywhere) or `number`."""

    text: Text
    kind: Literal["bad", "hash", "number"]


Item = Text | Cell | Markup | None
Row = Sequence[Item]


@dataclass(frozen=True)
class Paragraph:
    """Is a paragraph; on the page a small one, or large, or framed because a run is in progress."""

    text: Text
    kind: Literal["note", "lede", "live", ""] = "note"
    of_picture: str = ""  # how to read the picture that follows; only the page has both


@dataclass(frozen=True)
class Heading:
    """Is a title within a section."""

    text: Text


@dataclass(frozen=True)
class Picture:
    """Is what `plots` drew. Only the page has it: what it shows stands in a text or a table too."""

    drawn: Markup


@dataclass(frozen=True)
class Table:
    """Is a table, the first cell of a row its head. `label` names it for who cannot see it.

    A column whose title is a drawn scale, or None, holds pictures, and so stands on the page alone. The one text of a
    row that holds None spans all columns but the first. `wide` tables do not break their lines.
    """

    label: str
    titles: Sequence[Text | Markup | None]
    rows: Sequence[Row]
    kind: Literal["wide", "pairs", ""] = ""


@dataclass(frozen=True)
class Quoted:
    """Is a text to the letter, lines and all: a command."""

    text: str


class Side(NamedTuple):
    """Is what one model said, and a remark on it."""

    name: str
    remark: str
    text: str


@dataclass(frozen=True)
class Answers:
    """Is what two models said to one prompt. `reference`: of several lines; a short one is in the title."""

    title: Text
    prompt: str
    sides: Sequence[Side]
    reference: str | None = None
    is_folded: bool = False  # whether the page shows the prompt only, until it is opened


@dataclass(frozen=True)
class Folded:
    """Are blocks under a title that the page opens and closes."""

    title: Text
    blocks: Sequence[Block]
    remark: str = ""
    is_open: bool = False


Block = Paragraph | Heading | Picture | Table | Quoted | Answers | Folded


class Section(NamedTuple):
    """Is a part of a page with its name in links; one without blocks is left out."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """Is a report: what stands at its top, then its sections."""

    title: str
    facts: Sequence[tuple[str, str]]  # what the run is, as (name, value)
    warnings: Sequence[str]  # what must be read before any figure
    headline: tuple[str, str]
    """A large figure, which may be empty, and the words behind it; of the page only, the title says as much."""
    is_finding: bool  # whether the large figure has the colour of the tuned model
    head: Sequence[Block]
    sections: Sequence[Section]
    version: str | None = None  # of this package, where the run's records say it
