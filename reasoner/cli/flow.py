"""Commands of the path: train, export, register, score; and which model of it is public."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from reasoner import files, words
from reasoner.cli.options import COUNT, Asked, asking, chosen_job, existing_job, json_option, run_argument
from reasoner.cli.screen import Screen, WatchScreen, table
from reasoner.errors import printable

if TYPE_CHECKING:
    from reasoner.pipeline.job import Job


@click.command("run")
@asking()
@json_option
def run_command(asked: Asked, as_json: bool) -> None:
    """Train, export, register and score: what `make reasoner` does. Does only what is missing."""
    from reasoner.pipeline import plan
    from reasoner.serving import install

    screen = Screen()
    started = time.monotonic()
    job, origin = chosen_job(asked, screen)
    with screen:
        summary = plan.run(job, origin)
    assert summary is not None
    screen.closing(job, summary, time.monotonic() - started)
    if not asked.control and summary.promoted:
        screen.say(f"\n  {install.install_link(job.config.serve.name)}\n")
    if as_json:
        click.echo(json.dumps(files.as_json(summary)))


@click.command("train")
@asking()
def train_command(asked: Asked) -> None:
    """GRPO + LoRA against the verifier; goes on from the newest whole checkpoint."""
    from reasoner.pipeline import plan

    screen = Screen()
    job, origin = chosen_job(asked, screen)
    with screen:
        plan.run(job, origin, until="train")


def _stage_command(name: str, help_text: str) -> click.Command:
    @click.command(name, help=help_text + " Runs what it needs first, skips what is fresh.")
    @run_argument
    def command(run_name: str | None) -> None:
        from reasoner.pipeline import plan

        screen, job, origin = existing_job(run_name)
        with screen:
            plan.run(job, origin, until=name)

    return command


STAGES = (
    _stage_command("merge", "Base + adapter to one 16-bit model, with proof that it is."),
    _stage_command("gguf", "Convert and quantize with llama.cpp."),
    _stage_command("modelfile", "Write the Modelfile."),
    _stage_command("register", "Register base and tuned under their own tags in Ollama."),
    _stage_command("evaluate", "Score base and tuned on the served endpoint."),
)


# -- which model is public


@click.command("promote")
@click.argument("names", metavar="[RUN] [STEP]", nargs=-1)
def promote_command(names: tuple[str, ...]) -> None:
    """Point the public tag at a model: at an exported STEP as you say, else at the scored one, if it is fit.

    Without STEP it runs what it needs first, skips what is fresh, and goes by the evaluation. With STEP your word is
    enough; the model must answer, and the one before it stays for `reasoner rollback`.
    """
    from reasoner.pipeline import checkpoint, plan
    from reasoner.serving import tags

    steps = [int(text) for name in names if (text := name.removeprefix("step-")).isdigit()]
    others = [name for name in names if not name.removeprefix("step-").isdigit()]
    if len(steps) > 1 or len(others) > 1:
        raise click.UsageError("at most one RUN and one STEP")
    screen, job, origin = existing_job(others[0] if others else None)
    with screen:
        if not steps:
            plan.run(job, origin, until="promote")
            return
        event = checkpoint.promote_step(job.at(steps[0]), "reasoner promote")
    tag = tags.public_tag(job.config)
    screen.say(f"{tag} is {'' if event else 'already '}step {steps[0]} of run {job.run.name}")


@click.command("rollback")
@run_argument
def rollback_command(run_name: str | None) -> None:
    """Make the model public again that was so before the newest promotion."""
    from reasoner.pipeline import checkpoint

    screen, job, _ = existing_job(run_name)
    event = checkpoint.rollback(job)
    screen.say(f"{event.tag} is {event.source} again; the promotion of step {event.step} is undone")


@click.command("export")
@run_argument
@click.option("--step", type=COUNT, metavar="N", help="Default: the end of training, else the newest.")
@click.option(
    "--route", type=click.Choice(["auto", "reference", "delta"]), default="auto", show_default=True,
    help="`reference` merges, converts and quantizes; `delta` rewrites what the adapter touches.",
)  # fmt: skip
@json_option
def export_command(run_name: str | None, step: int | None, route: Any, as_json: bool) -> None:
    """One checkpoint to a tag of its own (reasoner:step-000200); the public tag stays."""
    from reasoner.pipeline import checkpoint

    screen, job, _ = existing_job(run_name)
    with screen:
        made = checkpoint.export_step(job, step, route)
    if as_json:
        click.echo(json.dumps(files.as_json(made)))
    else:
        screen.say(f"{made.tag} in {words.duration(made.seconds)}, {made.route} route: {made.gguf.path}")


@click.command("watch")
@run_argument
@click.option("--with", "beside", type=click.Choice(["train"]), help="Train the run too, in a process of its own.")
@click.option("--every", type=COUNT, metavar="N",
              help="Export each checkpoint whose step is a multiple of N, even where they pile up.")  # fmt: skip
@click.option("--keep", type=COUNT, metavar="N",
              help="Of checkpoints that piled up, export the newest N; default: 1, with --every all.")  # fmt: skip
@asking("profile", "base", "overrides")
@click.option("--json", "as_json", is_flag=True, help="One JSON value a line on standard output, for each event.")
def watch_command(
    asked: Asked, run_name: str | None, beside: str | None, every: int | None, keep: int | None, as_json: bool
) -> None:
    """Export each good checkpoint of a run as it is saved, score it, and promote it if it is not worse."""
    from reasoner import config, runs
    from reasoner.pipeline import watch
    from reasoner.pipeline.job import Job

    screen = Screen()
    chosen = asked.settings()
    if beside or "watch.checkpoints" in chosen:
        job, origin = chosen_job(dataclasses.replace(asked, run_name=run_name), screen)
        run = job.run
        if not beside and not run.config_path.exists():
            files.write_text(run.config_path, config.dump(job.config, origin))
    else:
        run = runs.existing(run_name)
    argv = [sys.executable, "-m", "reasoner", "train", "--run", run.name]
    argv += ["--profile", job.config.profile] if beside else []
    argv += [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    shown = WatchScreen(screen, as_json)

    def make() -> Job:
        return Job(config.read(run.config_path, chosen)[0], run, shown.reporter())

    with screen, shown:
        watch.run(run, make, shown.event, screen.say, train=argv if beside else None, every=every, keep=keep)
    screen.say(f"the watch of run {run.name} is over: reasoner history {run.name}")


@click.command("history")
@run_argument
@json_option
def history_command(run_name: str | None, as_json: bool) -> None:
    """What became of a run's checkpoints: exported, scored, promoted, kept, and what is served where."""
    from rich.console import Console

    from reasoner import runs
    from reasoner.serving import history

    run = runs.existing(run_name)
    events, stack = history.events(run), history.promotions(run)
    hosts = files.read_json(run.path / "hosts.json") or {}
    if as_json:
        promoted, rows = stack[-1].as_json() if stack else None, [event.as_json() for event in events]
        click.echo(json.dumps({"run": run.name, "promoted": promoted, "hosts": hosts, "events": rows}))
        return
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table(events))
    for name, state in hosts.items():
        click.echo(printable(f"{name}: {state['error'] or state['tag']}"))
