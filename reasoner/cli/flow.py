"""Commands of the path: train, export, register, score."""

from __future__ import annotations

import json
import time

import click

from reasoner import files
from reasoner.cli.options import Asked, asking, chosen_job, existing_job, json_option, run_argument
from reasoner.cli.screen import Screen


@click.command("run")
@asking()
@json_option
def run_command(asked: Asked, as_json: bool) -> None:
    """Train, export, register and score: what `make reasoner` does. Does only what is missing."""
    from reasoner.pipeline import plan
    from reasoner.serving import links

    screen = Screen()
    started = time.monotonic()
    job, origin = chosen_job(asked, screen)
    with screen:
        summary = plan.run(job, origin)
    assert summary is not None
    screen.closing(job, summary, time.monotonic() - started)
    if not asked.control and summary.promoted:
        screen.say(f"\n  {links.install_link(job.config.serve.name)}\n")
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

        screen = Screen()
        job, origin = existing_job(run_name, screen)
        with screen:
            plan.run(job, origin, until=name)

    return command


STAGES = tuple(
    _stage_command(name, help_text)
    for name, help_text in (
        ("merge", "Base + adapter to one 16-bit model, with proof that it is."),
        ("gguf", "Convert and quantize with llama.cpp."),
        ("modelfile", "Write the Modelfile."),
        ("register", "Register base and tuned under their own tags in Ollama."),
        ("evaluate", "Score base and tuned on the served endpoint."),
    )
)
