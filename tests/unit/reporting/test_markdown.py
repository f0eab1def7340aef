"""In Markdown nothing that others wrote is markup, in whatever part of it."""

import re

import pytest
from stored_run import chat, row, rows

from reasoner.reporting import markdown
from reasoner.reporting.blocks import Cell, Code, Page, Paragraph, Plain, Section, Table


def test_model_text_cannot_become_markup(told):
    hostile = "# Heading\n<script>alert(1)</script>\n\x1b[31m| cell |"
    text = told(completions={"base": rows(["wrong"], hostile), "tuned": rows(["right"], hostile)})
    found = [line for line in text.splitlines() if "script" in line or "Heading" in line or "cell" in line]
    assert len(found) == 6
    assert all(line.startswith("    ") for line in found)
    assert "\x1b" not in text


def test_everyday_answers_cannot_become_markup(told):
    hostile = "# Heading\n<script>alert(1)</script>\n\x1b[31m| cell |\r\u2028## After"
    text = told(answers={role: [chat(hostile)] for role in ("base", "tuned")})
    assert not {"\x1b", "\u2028", "\r"} & set(text)
    found = [line for line in text.split("\n") if any(w in line for w in ("Heading", "script", "cell", "After"))]
    assert len(found) == 6
    assert all(line.startswith("    ") for line in found)


def test_a_bar_or_a_tick_in_a_name_does_not_break_a_table(stored, told):
    stored["evaluate"]["facts"]["beside"] = {"gsm8k": {"missing": "a`|b\n"}}
    text = told(metrics=[row(1, kinds={"`|x": 1.0})])
    assert "| gsm8k | | not found in `a'\\|b` (`REASONER_DATA`) | | | | |" in text
    assert "| 2.0 % | `'\\|x` 100 % |" in text


HOSTILE = "</td>\\<i><script>x</script> [a](http://x) ![b](c) *d* _e_ `f | g` <!-- \x1b[31m \u202e\n# h"


def page(*blocks, **parts):
    whole = {"title": "t", "facts": [], "warnings": [], "headline": ("", ""), "is_finding": False, "head": []}
    return Page(**whole | {"sections": [Section("s", "s", blocks)]} | parts)


def test_names_in_a_table_are_text():
    cells = (Plain(HOSTILE), Code(HOSTILE), Cell((Plain(HOSTILE), ": here"), "bad"))
    text = markdown.render(page(Table("t", ("a", "b", "c"), [cells])))
    (line,) = [line for line in text.splitlines() if "script" in line]
    bare = re.sub(r"\\.", "", line)
    assert bare.count("|") == 4 and bare.count("`") == 2
    assert not set("<>[]*_`#\x1b\u202e") & set(re.sub(r"`.*`", "", bare))


@pytest.mark.parametrize("part", ["title", "warnings", "facts", "head", "blocks"])
def test_a_name_in_a_sentence_of_ours_opens_neither_tag_nor_link(part):
    parts = {
        "title": {"title": HOSTILE}, "warnings": {"warnings": [HOSTILE]}, "facts": {"facts": [("run", HOSTILE)]},
        "head": {"head": [Paragraph(HOSTILE)]}, "blocks": {"sections": [Section("s", HOSTILE, [Paragraph(HOSTILE)])]},
    }  # fmt: skip
    text = re.sub(r"\\.", "", markdown.render(page(**parts[part])))
    assert not re.search(r"<[a-z/!]|\]\(|\x1b|\u202e", text)
    assert "\n# h" not in text
