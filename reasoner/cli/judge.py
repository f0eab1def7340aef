"""Commands about verifiers and problems: check, audit, sandbox, data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reasoner.cli.options import Commands, answer, json_option
from reasoner.errors import GATE, MISSING, printable
from reasoner.verifiers import registry

if TYPE_CHECKING:
    from reasoner.problems.named import Overview


@click.command("check")
@click.option("--verifier", "name", default="number", show_default=True, metavar="NAME",
              help="A built-in verifier, or a function of your own: path/to/file.py:name.")  # fmt: skip
@click.option("--explain", "wanted", metavar="ID", help="Print how the verdict on the rows of this ID came about.")
@click.argument("source", metavar="FILE.jsonl|-")
def check_command(name: str, wanted: str | None, source: str) -> None:
    """Score completions without training: rows with `answer` and `completion` in, a verdict for each out.

    A row's ID is its `id`, else its `problem_id` (as in a run's completions), else its line number.
    """
    from reasoner.audit import check, explain

    if wanted is not None:
        for line in explain.run(source, registry.load(name), wanted):
            click.echo(printable(line))
        return
    check.run(source, registry.load(name), lambda text: click.echo(printable(text), err=True))


@click.command("audit")
@click.option(
    "--verifier", "name", metavar="NAME",
    help="A built-in verifier, or your own: path/to/file.py:name; default: what the data is paired with.",
)  # fmt: skip
@click.option(
    "--data", "source", metavar="SOURCE",
    help="References: a data set by name, a hub id, a folder or a JSONL file; default: a built-in set.",
)  # fmt: skip
@click.option("--split", metavar="NAME", help="Split of the data; default: train, or all there is.")
@click.option("--run", "run_name", metavar="NAME", help="Audit a run's verifier on its training references.")
@click.option("--labelled", metavar="FILE", help="Your own JSONL of completion, answer, expected: rates on these rows.")
@json_option
def audit_command(
    name: str | None, source: str | None, split: str | None, run_name: str | None, labelled: str | None, as_json: bool
) -> None:
    """Prove that a verifier may be a reward: its references, rewrites, near misses, hostile text. Exit 4 if not."""
    from reasoner.audit import audit, render
    from reasoner.audit import labelled as labels

    checker, problems, label = audit.asked(name, source, split, run_name)
    rows = labels.labelled(checker, Path(labelled)) if labelled else None
    found = dataclasses.replace(audit.run(checker, problems, label), labelled=rows)
    answer(found, render.lines(found), as_json)
    if not found.holds:
        raise click.exceptions.Exit(GATE)


@click.group("sandbox", cls=Commands)
def sandbox_group() -> None:
    """Where submitted code is run when code is the reward."""


@sandbox_group.command("selftest")
@json_option
def sandbox_selftest_command(as_json: bool) -> None:
    """Attack the sandbox: what each tier holds against here, and which one is used."""
    from reasoner.sandbox import selftest

    reports = [selftest.report(tier, is_thorough=True) for tier in selftest.TIERS]
    chosen = next((one.tier for one in reports if one.passed), None)
    tiers = [dataclasses.asdict(one) | {"passed": one.passed} for one in reports]
    value = {"chosen": chosen, "tiers": tiers, "advice": None if chosen else selftest.advice()}
    answer(value, selftest.lines(reports), as_json)
    if chosen is None:
        raise click.exceptions.Exit(MISSING)


@click.command("data")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--split", type=click.Choice(["train", "dev", "test", "ood"]), help="Default: train, or all there is.")
@click.option("--show", type=click.IntRange(min=0), default=5, metavar="N", help="Problems shown; default: 5.")
@click.option("--subset", metavar="NAME", help="A hub data set's configuration; sets data.subset.")
@click.option("--question", metavar="COLUMN", help="The column that asks, of your own rows; sets data.question.")
@click.option("--answer", "reference", metavar="COLUMN", help="The column with the reference; sets data.answer.")
@click.option("--verifier", "verifier", metavar="NAME", help="Reads the references; default: the one paired with NAME.")
@json_option
def data_command(
    name: str | None, split: str | None, show: int, verifier: str | None, as_json: bool, **columns: str | None
) -> None:
    """The data sets known by name; or, with NAME, some problems of one and what a verifier reads.

    NAME is wordproblems, linetasks, gsm8k, math, svamp, mbpp, humaneval, a hub id, or a file or folder of your own:
    JSON Lines, JSON, CSV, TSV, Parquet or Arrow, also gzipped; in a folder train.csv and test.csv, or another of these.
    """
    from reasoner import config, files
    from reasoner.problems import generated, load, named

    if name is None:
        rows = named.overview()
        answer(rows, _overview_lines(rows, str(named.sets_dir())), as_json)
        return
    settings = config.Data(
        source=name, subset=columns["subset"], question=columns["question"], answer=columns["reference"]
    )
    split = split or load.default_split(name)
    num = max(show, 1) if name == generated.WORDPROBLEMS else None
    found = load.read(settings, split, num)
    record = files.as_json(found.provenance)
    checker = registry.load(verifier or record["verifier"] or config.Verifier().name)
    shown = []
    for problem in found.problems[:show]:
        score = registry.verify(checker, checker.commit(problem.answer), problem.answer)
        read = {"type": score.type, "value": score.extracted, "verdict": score.verdict, "why": score.why}
        shown.append({**dataclasses.asdict(problem), "read": read})
    value = {**record, "read_by": checker.name, "shown": shown}
    answer(value, _data_lines(value), as_json)


def _overview_lines(rows: list[Overview], folder: str) -> list[str]:
    def line(*cells: str) -> str:
        return "{:<13} {:<9} {:>7} {:>5} {:>6}  {}".format(*cells)

    lines = [
        line("source", "verifier", "train", "dev", "test", "found"),
        line("wordproblems", "number", "any", "any", "any", "generated, and ood too"),
        line("linetasks", "code", "any", "any", "any", "generated, and ood too"),
    ]
    for row in rows:
        sizes = [f"{row.splits[one]:,}" if one in row.splits else "-" for one in ("train", "dev", "test")]
        lines.append(line(row.source, row.verifier, *sizes, ", ".join(row.found) or "not here"))
        notes = [f"licence: {row.licence}"]
        if row.missing:
            notes += [f"not here: {', '.join(row.missing)}", f"else the hub is asked: {', '.join(row.hub)}"]
        if row.error:
            notes.append(f"cannot be read: {row.error}")
        lines += [line("", "", "", "", "", note) for note in notes]
    return [
        *lines,
        "",
        f"Files are looked for in {folder} (REASONER_DATA, else ./data).",
        "Also a hub id, or a file or folder of your own (JSON Lines, CSV, Parquet, …): reasoner data NAME --show 5",
    ]


def _data_lines(value: dict[str, Any]) -> list[str]:
    out_of = f" of {value['available']:,}" if value["available"] not in (None, value["problems"]) else ""
    lines = [f"{value['source']}, {value['split']}: {value['problems']:,}{out_of} problems"]
    for place in value["found"]:
        if "path" in place:
            lines.append(f"  found     {place['path']}")
        elif "hub" in place:
            where = f"{place['hub']} {place['subset'] or ''} at {place['revision'] or 'its newest'}"
            lines.append(f"  found     hub {where}")
        else:
            lines.append("  found     generated here, as many as are asked for")
    lines.append(f"  licence   {value['licence'] or 'not known to us: it is yours to check'}")
    pairing = "paired with this source" if value["verifier"] else "none is paired with this source: --verifier NAME"
    if value["verifier"] not in (None, value["read_by"]):
        pairing = f"asked for; {value['verifier']} is paired with this source"
    lines.append(f"  verifier  {value['read_by']} ({pairing})")
    if value["rows"] is not None:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in value["dropped"].items())
        lines.append(f"  rows      {value['rows']:,} read; dropped: {dropped or 'none'}")
        lines += [f"            {why}: {', '.join(rows)}" for why, rows in value["lines"].items()]
    for key, taken in value["columns"].items():
        lines.append(f"  {key:<9} {(', ' if key == 'unused' else ', else ').join(f'`{name}`' for name in taken)}")
    if value["carved"]:
        parts = " and ".join(f"{count:,} for {name}" for name, count in value["carved"].items())
        lines.append(f"  held out  {parts}, by a hash of the question: this source has no such split of its own")
    if value["kinds"]:
        lines.append(f"  kinds     {', '.join(f'{count:,} {kind}' for kind, count in value['kinds'].items())}")
    lines.append(f"  sha256    {value['sha256']}")
    for row in value["shown"]:
        read = row["read"]
        what = f"{read['type']} {read['value']}".strip() if read["verdict"] == "right" else f"no: {read['why']}"
        lines += ["", f"{row['id']}{'  ' + row['kind'] if row['kind'] else ''}"]
        lines += [f"  {line}" for line in row["question"].strip().splitlines()]
        first, *rest = (_cut(line) for line in row["answer"].strip().splitlines())
        lines += [f"  reference  {first}", *(f"             {line}" for line in rest), f"  read as    {what}"]
    return lines


def _cut(line: str, most: int = 300) -> str:
    """A reference's line on a screen: that of a code task is its tests as JSON."""
    return line if len(line) <= most else f"{line[:most]}… ({len(line):,} characters)"
