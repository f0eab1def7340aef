"""Commands about this machine: setup, serve, doctor, config, uninstall."""

from __future__ import annotations

import json

import click

from reasoner.cli.options import Asked, answer, asking, json_option
from reasoner.cli.screen import Screen
from reasoner.errors import MISSING
from reasoner.serving import install as ollama_install


@click.command("setup")
def setup_command() -> None:
    """Build or find llama.cpp and Ollama; does nothing where they are whole."""
    from reasoner.llamacpp import install as toolchain
    from reasoner.serving import server as serving

    screen = Screen()
    tools = toolchain.llama_cpp(screen.say)
    if server := serving.find_server():
        found = f"Ollama {server.version} answers on {server.host}"
    else:
        install = ollama_install.ollama_binary(screen.say)
        found = f"Ollama {install.version} ({install.route}: {install.path})"
    screen.say(f"tools ready: llama.cpp {tools.version} ({tools.route}); {found}")


_DONE = {
    "started": "Ollama started on",
    "running": "Ollama answers on",
    "stopped": "stopped the Ollama that reasoner started on",
    "nothing": "no Ollama of ours runs on",
}


@click.command("serve")
@click.option("--stop", is_flag=True, help="Stop the server that reasoner started; never another.")
@json_option
def serve_command(stop: bool, as_json: bool) -> None:
    """Start Ollama on loopback where none answers, or stop the one we started."""
    from reasoner.serving import server as serving

    found = serving.serve(stop, Screen().say)
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return
    server = found.server
    log = f", log {server.log}" if server and server.log else ""
    owner = "" if server is None or server.is_ours else ", not started by reasoner"
    click.echo(f"{_DONE[found.action]} {found.host}{owner}{log}")


@click.command("doctor")
@json_option
def doctor_command(as_json: bool) -> None:
    """One line per requirement: what was found, where, and the exact fix."""
    from reasoner.pipeline import doctor

    checks = doctor.check()
    answer(checks, doctor.lines(checks), as_json)
    if not doctor.is_ready(checks):
        raise click.exceptions.Exit(MISSING)


@click.command("config")
@asking()
def config_command(asked: Asked) -> None:
    """Print the config with every key: its value, where it came from, what it means."""
    from reasoner import config, runs
    from reasoner.machine import device
    from reasoner.pipeline import plan

    given = asked.settings()
    if asked.run_name is not None:
        found, origin = config.read(runs.existing(asked.run_name).config_path, given, asked.where())
    else:
        found, origin = config.resolve(asked.profile or plan.default_profile()[0], given, device.kind(), asked.where())
    click.echo(config.document(found, origin), nl=False)


@click.command("uninstall")
def uninstall_command() -> None:
    """Remove what reasoner registered and installed; runs, other models and other servers stay."""
    from reasoner.bases import from_gguf
    from reasoner.serving import server as serving
    from reasoner.serving import tags

    screen = Screen()
    if tags.has_registered():
        server = serving.find_server()
        if server is None and ollama_install.find_ollama() is not None:
            server = serving.ensure_server(screen.say)
        for tag in tags.remove_all(server.client()) if server else []:
            screen.say(f"removed {tag} from Ollama")
    for folder in from_gguf.remove_imported():
        screen.say(f"removed {folder}")
    serving.uninstall_tools(screen.say)
    screen.say("runs/ and your other models were not touched")
