"""Renders a report as one HTML file, light and dark: no network, no script.

All text is escaped where it enters the page, and its control characters and marks of direction are made visible: most
of it was written by a model. The page's policy lets nothing run and nothing be fetched besides.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from reasoner.reporting import blocks
from reasoner.reporting.markup import Markup, join, tag

STYLE = Path(__file__).with_name("page.css")
ROLES = ("base", "tuned")
"""Classes of `page.css` for the two sides of whatever has two."""


def render(page: blocks.Page, refresh: int | None = None) -> str:
    """Returns the page. `refresh`: seconds after which a browser reads the file again, while the run goes on."""
    style = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    meta = f'<meta http-equiv="refresh" content="{refresh}">\n' if refresh else ""
    again = tag("p", f"This page is read again every {refresh} s.", class_="note") if refresh else None
    made = f" {page.version}" if page.version else ""
    body = tag(
        "body",
        tag("header", _head(page), again),
        tag("main", _sections([one for one in page.sections if one.blocks])),
        tag("footer", f"Made by reasoner{made} from the records of the run. One file: it fetches nothing."),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n{meta}'
        f"{tag('title', page.title)}\n<style>{style}</style>\n</head>\n{body}\n</html>\n"
    )


def _head(page: blocks.Page) -> Iterator[Markup]:
    facts = (tag("span", name, " ", tag("b", value)) for name, value in page.facts if value)
    yield tag("p", facts, class_="eyebrow")
    yield from (tag("p", text, class_="warning") for text in page.warnings)
    figure, words = page.headline
    big = tag("span", figure, class_="big tuned" if page.is_finding else "big") if figure else None
    yield tag("h1", big, " " if figure else "", words)
    yield from map(_block, page.head)


def _sections(sections: Sequence[blocks.Section]) -> Markup:
    links = (tag("li", tag("a", one.title, href=f"#{one.name}")) for one in sections)
    return join(
        tag("nav", tag("ul", links), aria_label="Parts of this report"),
        (tag("section", tag("h2", one.title, id=f"{one.name}-title"), map(_block, one.blocks), id=one.name,
             aria_labelledby=f"{one.name}-title") for one in sections),
    )  # fmt: skip


def _text(text: blocks.Text) -> Markup:
    return join(tag("code", one) if isinstance(one, blocks.Code) else one for one in blocks.pieces(text))


def _block(block: blocks.Block) -> Markup:
    match block:
        case blocks.Paragraph(text, kind, of_picture):
            told = join(_text(text), f" {of_picture}" if of_picture else "")
            return tag("p", told, class_=kind or None, role="status" if kind == "live" else None)
        case blocks.Heading(text):
            return tag("h3", _text(text))
        case blocks.Picture(drawn):
            return drawn
        case blocks.Quoted(text):
            return tag("pre", text, class_="command")
        case blocks.Table():
            return _table(block)
        case blocks.Folded(title, inner, remark, is_open):
            name = tag("h3", _text(title)) if remark else tag("span", _text(title), class_="title")
            more = tag("span", remark, class_="soft") if remark else None
            return tag("details", tag("summary", name, more), map(_block, inner), open=is_open or None)
        case blocks.Answers():
            return _answers(block)


def _table(table: blocks.Table) -> Markup:
    titles = (tag("th", one if isinstance(one, Markup) else _text(one or ""), scope="col") for one in table.titles)
    head = tag("thead", tag("tr", titles)) if any(table.titles) else None
    body = tag("tbody", (tag("tr", _row(row)) for row in table.rows))
    return tag("div", tag("table", head, body, class_=table.kind or None), class_="scroll", tabindex=0, role="region",
               aria_label=table.label)  # fmt: skip


def _row(row: blocks.Row) -> Iterator[Markup]:
    """Renders the head of a row and its cells; one wide cell where the others are None."""
    yield _cell(row[0], "th", scope="row")
    rest = row[1:]
    wide = len(rest) if None in rest else None
    yield from (_cell(item, "td", colspan=wide) for item in rest if item is not None)


def _cell(item: blocks.Item, name: str, **attributes: object) -> Markup:
    match item:
        case Markup():
            return tag(name, item, class_="plot", **attributes)
        case blocks.Cell(text, kind):
            return tag(name, _text(text), class_=kind, **attributes)
        case _:
            return tag(name, _text(item or ""), **attributes)


# -- what a model wrote ------------------------------------------------------------------------


def _said(text: str) -> Markup:
    return tag("pre", text, class_="said", dir="auto")


def _answers(answers: blocks.Answers) -> Markup:
    """Renders both answers beside each other, under each other on a phone; folded ones below their prompt."""
    reference, (base, tuned) = answers.reference, answers.sides
    both = (
        tag("div", tag("h4", one.name, tag("span", one.remark)), _said(one.text), class_=f"side {role}")
        for role, one in zip(ROLES, (base, tuned), strict=True)
    )
    sides = tag("div", both, class_="sides")
    if answers.is_folded:
        told = "; ".join(f"{one.name}: {one.remark}" for one in (base, tuned) if one.remark)
        same = tag("span", "the same answer" if base.text == tuned.text else told, class_="soft")
        return tag("details", tag("summary", tag("span", tag("bdi", answers.prompt), class_="title"), same), sides)
    return tag(
        "article",
        tag("p", _text(answers.title), class_="id"),
        tag("div", answers.prompt, class_="said asked", dir="auto"),
        None if reference is None else tag("details", tag("summary", "reference"), _said(reference)),
        sides,
        class_="pair",
    )
