"""Commands that measure: eval, report, compare, ladder, status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from reasoner import files
from reasoner.cli.options import COUNT, answer, existing_job, json_option, run_argument
from reasoner.cli.screen import Screen
from reasoner.errors import USAGE, ReasonerError, printable


@click.command("eval")
@click.argument("model", metavar="MODEL")
@click.option("--data", "source", metavar="SOURCE",
              help="A data set by name, a hub id, a folder, or a JSONL file; a run brings its own.")  # fmt: skip
@click.option("--split", metavar="NAME", help="Split of the data; default: test; of a file: all rows.")
@click.option("-n", "num", type=COUNT, metavar="N", help="The first N problems; default: all.")
@click.option("-k", "samples", type=COUNT, default=1, metavar="K",
              help="Completions of each problem, for pass@k and maj@k; default: 1.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, metavar="T", help="Default: 0, greedy.")
@click.option("--engine", type=click.Choice(["transformers", "vllm", "llama.cpp", "ollama", "openai"]),
              help="What runs it; default: what MODEL is for.")  # fmt: skip
@click.option("--verifier", metavar="NAME", help="Default: the one paired with the data.")
@click.option("--system", metavar="TEXT", help="System message; default: a run's own, else none.")
@click.option(
    "--max-tokens", type=COUNT, metavar="N", help="Most tokens of a completion; default: a run's own, else 512."
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, metavar="N",
              help="Completions on their way at once.")  # fmt: skip
@click.option("--adapter", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="A PEFT adapter on top of a model folder.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where completions and result.json go; default: under evals/ beside the runs.")  # fmt: skip
@json_option
def eval_command(model: str, as_json: bool, **options: Any) -> None:
    """Score any model: pass@1 with its interval, on any problems. Goes on where it was interrupted.

    MODEL is a run, a tag in Ollama, a GGUF, a model or adapter folder, or URL#MODEL of an OpenAI-compatible server.
    """
    from reasoner.measuring import one, render
    from reasoner.measuring.collect import Listener

    screen = Screen()
    with screen:
        value = one.run(model, one.Options(**options), Listener(screen.say, screen.reporter().scored))
    answer(value, render.lines(value), as_json)


@click.command("report")
@run_argument
@click.option("--live", is_flag=True, help="Write the page anew every few seconds, until the run ends or Ctrl-C.")
@click.option("--compare", "pair", nargs=2, metavar="A B", help="One page with two finished runs beside each other.")
@json_option
def report_command(run_name: str | None, live: bool, pair: tuple[str, str] | None, as_json: bool) -> None:
    """Write report.html and report.md of a run, finished or not, and print the Markdown; --json: print its summary."""
    from reasoner import runs
    from reasoner.reporting import pages

    if pair and (run_name or live or as_json):
        raise click.UsageError("--compare A B stands alone; for JSON: reasoner compare A B --json")
    if live and as_json:
        raise click.UsageError("--live writes a page, --json prints a summary: one of them")
    say = Screen().say
    if pair:
        say(f"page     {pages.write_pair(pair)}")
        return
    run = runs.existing(run_name)
    if as_json:
        if (summary := files.read_json(run.summary_path)) is None:
            raise ReasonerError(f"run {run.name} has no summary yet", fix="reasoner status; make reasoner", code=USAGE)
        click.echo(json.dumps(summary))
        return
    if live:
        pages.follow(run, say)
        return
    markdown, html = pages.write(run)
    click.echo(printable(markdown.read_text(encoding="utf-8")), nl=False)
    say(f"page     {html}\nmarkdown {markdown}")


@click.command("compare")
@click.argument("names", metavar="RUN RUN...", nargs=-1, required=True)
@json_option
def compare_command(names: tuple[str, ...], as_json: bool) -> None:
    """Finished runs side by side: the mean over seeds, and lift minus control. Refuses runs scored differently."""
    from reasoner.reporting import compare

    value = compare.run(names)
    answer(value, compare.lines(value), as_json)


@click.command("ladder")
@run_argument
@click.option("-n", "num", type=COUNT, metavar="N", help="Problems; default: as many as in evaluation.")
@click.option("--split", type=click.Choice(["dev", "ood"]), default="dev", show_default=True,
              help="Problems asked; the test split is scored once, elsewhere.")  # fmt: skip
@click.option("--margin", type=click.FloatRange(0, 100, min_open=True), metavar="POINTS",
              help="Points that a rung may lose; default: the run's gguf.margin.")  # fmt: skip
@json_option
def ladder_command(run_name: str | None, num: int | None, split: str, margin: float | None, as_json: bool) -> None:
    """Where a score is lost: base, adapter, merged, F16, each quant, served, problem by problem."""
    from rich.console import Console

    from reasoner.measuring import ladder, render
    from reasoner.pipeline import checkpoint

    screen, job, _ = existing_job(run_name)
    with screen:
        value = checkpoint.climb(job, ladder.Options(num, split, margin))
    if as_json:
        click.echo(json.dumps(files.as_json(value)))
    else:
        Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(render.ladder(value))


@click.command("status")
@run_argument
@json_option
def status_command(run_name: str | None, as_json: bool) -> None:
    """What a run has done, what is stale and why. Starts nothing."""
    from reasoner import runs
    from reasoner.pipeline import plan
    from reasoner.reporting import summary as summaries

    _, job, _ = existing_job(run_name)
    states = plan.states(job)
    steps = files.read_jsonl(job.run.path / "metrics.jsonl")
    summary = files.read_json(job.run.summary_path)
    value = {
        "run": job.run.name,
        "path": str(job.run.path),
        "profile": job.config.profile,
        "step": steps[-1]["step"] if steps else 0,
        "steps": job.step,
        "checkpoints": runs.ready_steps(job.run.checkpoints_dir),
        "stages": files.as_json(states),
        "summary": summary,
    }
    if as_json:
        click.echo(json.dumps(value))
        return
    click.echo(f"run {value['run']} ({value['profile']}), step {value['step']} of {value['steps']}, {value['path']}")
    for row in states:
        seconds = f"{row.seconds:.1f} s" if row.seconds is not None else ""
        click.echo(f"  {row.stage:<10} {row.state:<8} {seconds:>9}  {'; '.join(row.reasons)}")
    for what, text in summaries.lines(summaries.parse(summary)) if summary else ():
        click.echo(f"  {what:<16} {text}")
