"""Renders a report as Markdown: every text and table of it; of a plot only what its table says.

What others wrote cannot become markup. Whole texts are indented as code; names in a line are escaped or stand as code;
in our own sentences what would open a tag or a link is escaped too, should a name have got into one. Control characters
and marks of direction are made visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from reasoner.reporting import blocks
from reasoner.reporting.markup import Markup, visible


def render(page: blocks.Page) -> str:
    """Returns the Markdown of a report. The large figure of its head stands in the title."""
    out = [f"# {_inline(page.title)}", ""]
    out += [line for text in page.warnings for line in (f"**{_inline(text)}**", "")]
    out += [line for block in page.head for line in _block(block, 2)]
    facts = (_inline((f"{name} ", blocks.Plain(value)) if name else value) for name, value in page.facts if value)
    out += [", ".join(facts), ""]
    for section in page.sections:
        if section.blocks:
            out += [f"## {_inline(section.title)}", ""]
            out += [line for block in section.blocks for line in _block(block, 3)]
    return "\n".join(out).rstrip("\n") + "\n"


def _inline(text: blocks.Text) -> str:
    return "".join(map(_piece, blocks.pieces(text)))


def _piece(one: str) -> str:
    told = visible(re.sub(r"\s+", " ", one))
    if isinstance(one, blocks.Code):
        return "`" + " ".join(told.split()).replace("`", "'") + "`"
    if isinstance(one, blocks.Plain):
        return re.sub(r"([\\<>&*_`\[\]#])", r"\\\1", told.strip())
    return re.sub(r"(\\|<(?=[A-Za-z/!?])|`|\](?=[(\[]))", r"\\\1", told)


def _block(block: blocks.Block, level: int) -> Iterator[str]:
    """Yields the lines of a block, an empty one at its end. `level`: of the headings in it."""
    match block:
        case blocks.Paragraph(text):
            yield from (_inline(text), "")
        case blocks.Heading(text):
            yield from (f"{'#' * level} {_inline(text)}", "")
        case blocks.Quoted(text):
            yield from _quoted(text)
        case blocks.Table():
            yield from _table(block)
        case blocks.Folded(title, inner):
            yield from (f"{'#' * level} {_inline(title)}", "")
            for one in inner:
                yield from _block(one, level + 1)
        case blocks.Answers():
            yield from (f"{'#' * level} {_inline(block.title)}", "", *_quoted(block.prompt))
            if block.reference is not None:
                yield from ("reference:", "", *_quoted(block.reference))
            for name, remark, text in block.sides:
                yield from (_inline((blocks.Plain(name), f" ({remark}):" if remark else ":")), "", *_quoted(text))
        case blocks.Picture():
            return


def _quoted(text: str) -> list[str]:
    """Indents lines as code: nothing in them is markup."""
    return [*(f"    {line}" for line in visible(text).split("\n")), ""]


def _table(table: blocks.Table) -> Iterator[str]:
    titles = table.titles or [""] * len(table.rows[0])
    shown = [at for at, title in enumerate(titles) if title is not None and not isinstance(title, Markup)]
    yield _row([titles[at] for at in shown])
    yield "|---" * len(shown) + "|"
    yield from (_row([row[at] for at in shown]) for row in table.rows)
    yield ""


def _row(cells: blocks.Row) -> str:
    """Renders a row, in whose cells not even code can hold a bar."""
    return "|" + "".join(" |" if cell is None else f" {_cell(cell)} |" for cell in cells)


def _cell(item: blocks.Text | blocks.Cell) -> str:
    return _inline(item.text if isinstance(item, blocks.Cell) else item).replace("|", "\\|")
