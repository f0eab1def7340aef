"""Every command in the documents is one that the command line takes, and every link leads somewhere."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from reasoner.cli import main

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]  # fmt: skip
COMMAND = re.compile(r"^    (?:\.venv/bin/)?(reasoner|make) ?(.*)$", re.MULTILINE)


def commands(path):
    for program, rest in COMMAND.findall(path.read_text(encoding="utf-8")):
        yield program, shlex.split(rest, comments=True)


ALL = sorted({(program, tuple(argv)) for path in DOCUMENTS for program, argv in commands(path)})


@pytest.mark.parametrize("argv", [list(argv) for program, argv in ALL if program == "reasoner"], ids=" ".join)
def test_a_command_is_one_that_we_take(argv):
    command, context = main.cli, click.Context(main.cli)
    while isinstance(command, click.Group):
        _, command, argv = command.resolve_command(context, argv)
        context = click.Context(command)
    context = command.make_context(str(command.name), list(argv))
    if "overrides" in context.params:
        check_settings(context.params["overrides"])


def check_settings(pairs):
    from reasoner import config

    settings = dict(pair.split("=", 1) for pair in pairs)
    config.resolve("smol", settings)


@pytest.mark.parametrize("argv", [list(argv) for program, argv in ALL if program == "make"], ids=" ".join)
def test_a_make_command_has_its_target_and_its_settings(argv):
    done = subprocess.run(["make", "-n", *argv], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    given = dict(pair.split("=", 1) for pair in argv if "=" in pair)
    rest = shlex.split(given.get("ARGS", ""))
    if rest and argv[0] in ("reasoner", "watch"):
        test_a_command_is_one_that_we_take(["run" if argv[0] == "reasoner" else "watch", *rest])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith(("http:", "https:")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
    for name in re.findall(r"`(reasoner/[\w/]+\.\w+|scripts/[\w/]+\.\w+|tests/[\w/]+\.\w+)`", text):
        assert (ROOT / name).exists(), f"{path.name}: {name}"


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    rows = [len(table.splitlines()) - 2 for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    assert max(rows) <= 8
