"""The command line: parse, call, print. Results go to standard output, progress to standard error."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reasoner import __version__, files
from reasoner.errors import DONE, GATE, INTERRUPTED, MISSING, USAGE, ReasonerError, nearest, printable
from reasoner.serving import install as ollama_install

if TYPE_CHECKING:
    from rich.console import Console

    from reasoner.pipeline import pipeline
    from reasoner.training.facts import StepMetrics


class Commands(click.Group):
    """Names the nearest command where one is mistyped, and lists commands in the order of use."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}: {nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """A small language model that reasons, in Ollama, and proof that it got better."""


def main() -> None:
    """Entry point: every error ends here, once, with its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = _come_again
    debug = "--debug" in sys.argv[1:3]
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as error:
        error.show()
        code = USAGE
    except ReasonerError as error:
        if debug:
            raise
        click.echo(f"error: {printable(str(error))}", err=True)
        code = error.code
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted: what is done stays done, the same command goes on from there", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        code = DONE
    sys.exit(code if isinstance(code, int) else DONE)


def _come_again(lost: sys.UnraisableHookArgs) -> None:
    """An interrupt that Python met where nothing can be raised (`__del__`, a callback from C) comes again soon after.

    A whole training lies in memory at its end, and taking it apart runs such code for seconds. It comes as SIGTERM:
    SIGINT may be ignored here, as in a shell's background jobs.
    """
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGTERM))
    again.daemon = True
    again.start()


# -- options shared by commands ----------------------------------------------------------------


def _settings(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE",
                     help="Override one config value; may be repeated. See `reasoner config`."),
        click.option("--control", type=click.Choice(["shuffled"]),
                     help="Control run: same budget, references of other problems."),
        click.option("--base", "base", metavar="BASE",
                     help="A hub id, a folder, gguf:FILE, ollama:NAME[:TAG] or pypi:NAME==VERSION; sets model.base."),
        click.option("--run", "run_name", metavar="NAME", help="Name of the run; default: the profile's."),
        click.option("--profile", metavar="NAME",
                     help="smol, pocket, gsm8k, math, code; default: what this machine can do."),
    ):  # fmt: skip
        function = option(function)
    return function


def _json(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="One JSON value on standard output.")(function)


def _overrides(pairs: tuple[str, ...], control: str | None, base: str | None) -> dict[str, str]:
    found = {"model.base": base} if base else {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark:
            raise ReasonerError(f"--set {pair!r} has no '='", fix="--set section.key=value", code=USAGE)
        found[key.strip()] = _absolute(key.strip(), value.strip())
    if control:
        found["train.control"] = control
    return found


def _absolute(key: str, value: str) -> str:
    """A file given as a setting, by its whole path: the run works from another folder too."""
    if key == "verifier.name" and ".py:" in value:
        file, _, name = value.rpartition(":")
        return f"{Path(file).expanduser().absolute()}:{name}"
    if key == "watch.checkpoints":
        return str(Path(value).expanduser().absolute())
    if key in ("data.source", "eval.source") and (value.startswith(("./", "../", "~")) or Path(value).is_file()):
        return str(Path(value).expanduser().absolute())
    return value


def _job(
    profile: str | None, run_name: str | None, overrides: dict[str, str], screen: Screen
) -> tuple[pipeline.Job, dict[str, str]]:
    """The run that was meant: the one that exists under this name, else a new one from a profile."""
    from reasoner import config, runs
    from reasoner.pipeline import pipeline

    why = "as asked"
    if run_name is not None and runs.new(run_name).config_path.exists():
        profile_of_run = None
    else:
        if profile is None:
            profile, why = pipeline.default_profile()
        profile_of_run = profile
        run_name = run_name or _default_name(profile, overrides)
    run = runs.new(run_name)
    if run.config_path.exists():
        found, origin = config.read(run.config_path, overrides)
        if profile is not None and found.profile != profile:
            raise ReasonerError(
                f"run {run_name} has profile {found.profile}, not {profile}",
                fix="choose another name with RUN=… (make) or --run",
                code=USAGE,
            )
        why = "run exists" if profile_of_run is None else why
    else:
        assert profile is not None
        found, origin = config.resolve(profile, overrides)
    screen.say(f"profile {found.profile} ({why}), run {run.path}")
    return pipeline.Job(found, run, screen.reporter()), origin


def _default_name(profile: str, overrides: dict[str, str]) -> str:
    """A name of its own for a run that is not just its profile: another base, a control."""
    name = profile
    if "model.base" in overrides:
        source = re.sub(r"^(gguf|ollama|pypi):", "", overrides["model.base"].rstrip("/")).rpartition("/")[2]
        name += "-from-" + re.sub(r"[^A-Za-z0-9._]+", "-", source).strip("-.")[:40]
    return name + ("-shuffled" if "train.control" in overrides else "")


def _existing(name: str | None, screen: Screen) -> tuple[pipeline.Job, dict[str, str]]:
    from reasoner import config, runs
    from reasoner.pipeline import pipeline

    run = runs.existing(name)
    found, origin = config.read(run.config_path)
    return pipeline.Job(found, run, screen.reporter()), origin


# -- the flow ----------------------------------------------------------------------------------


@cli.command("run")
@_settings
@_json
def run_command(
    profile: str | None,
    run_name: str | None,
    control: str | None,
    base: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train, export, register and score: what `make reasoner` does. Does only what is missing."""
    from reasoner.pipeline import pipeline
    from reasoner.serving import ollama

    screen = Screen()
    started = time.monotonic()
    job, origin = _job(profile, run_name, _overrides(overrides, control, base), screen)
    with screen:
        summary = pipeline.run(job, origin)
    assert summary is not None
    screen.closing(job, summary, time.monotonic() - started)
    if not control and summary["promoted"]:
        screen.say(f"\n  {ollama.install_link(job.config.serve.name)}\n")
    if as_json:
        click.echo(json.dumps(summary))


@cli.command("train")
@_settings
def train_command(
    profile: str | None, run_name: str | None, control: str | None, base: str | None, overrides: tuple[str, ...]
) -> None:
    """GRPO + LoRA against the verifier; goes on from the newest whole checkpoint."""
    from reasoner.pipeline import pipeline

    screen = Screen()
    job, origin = _job(profile, run_name, _overrides(overrides, control, base), screen)
    with screen:
        pipeline.run(job, origin, until="train")


def _stage_command(name: str, help_text: str) -> None:
    @cli.command(name, help=help_text + " Runs what it needs first, skips what is fresh.")
    @click.argument("run_name", metavar="[RUN]", required=False)
    def command(run_name: str | None) -> None:
        from reasoner.pipeline import pipeline

        screen = Screen()
        job, origin = _existing(run_name, screen)
        with screen:
            pipeline.run(job, origin, until=name)


for _name, _help in (
    ("merge", "Base + adapter to one 16-bit model, with proof that it is."),
    ("gguf", "Convert and quantize with llama.cpp."),
    ("modelfile", "Write the Modelfile."),
    ("register", "Register base and tuned under their own tags in Ollama."),
    ("evaluate", "Score base and tuned on the served endpoint."),
):
    _stage_command(_name, _help)


@cli.command("promote")
@click.argument("names", metavar="[RUN] [STEP]", nargs=-1)
def promote_command(names: tuple[str, ...]) -> None:
    """Point the public tag at a model: at an exported STEP as you say, else at the scored one, if it is fit.

    Without STEP it runs what it needs first, skips what is fresh, and goes by the evaluation. With STEP your word is
    enough; the model must answer, and the one before it stays for `reasoner rollback`.
    """
    from reasoner.pipeline import pipeline
    from reasoner.serving import register

    steps = [int(text) for name in names if (text := name.removeprefix("step-")).isdigit()]
    others = [name for name in names if not name.removeprefix("step-").isdigit()]
    if len(steps) > 1 or len(others) > 1:
        raise click.UsageError("at most one RUN and one STEP")
    screen = Screen()
    job, origin = _existing(others[0] if others else None, screen)
    with screen:
        if not steps:
            pipeline.run(job, origin, until="promote")
            return
        event = pipeline.promote_step(job.at(steps[0]), "reasoner promote")
    tag = register.public_tag(job.config)
    screen.say(f"{tag} is {'' if event else 'already '}step {steps[0]} of run {job.run.name}")


@cli.command("rollback")
@click.argument("run_name", metavar="[RUN]", required=False)
def rollback_command(run_name: str | None) -> None:
    """Make the model public again that was so before the newest promotion."""
    from reasoner.pipeline import pipeline

    screen = Screen()
    job, _ = _existing(run_name, screen)
    event = pipeline.rollback(job)
    screen.say(f"{event['tag']} is {event['from']} again; the promotion of step {event['step']} is undone")


@cli.command("export")
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("--step", type=click.IntRange(min=1), metavar="N", help="Default: the end of training, else the newest.")
@click.option(
    "--route",
    type=click.Choice(["auto", "reference", "delta"]),
    default="auto",
    show_default=True,
    help="`reference` merges, converts and quantizes; `delta` rewrites what the adapter touches.",
)
@_json
def export_command(run_name: str | None, step: int | None, route: Any, as_json: bool) -> None:
    """One checkpoint to a tag of its own (reasoner:step-000200); the public tag stays."""
    from reasoner.pipeline import watch

    screen = Screen()
    job, _ = _existing(run_name, screen)
    with screen:
        made = watch.export(job, step, route)
    if as_json:
        click.echo(json.dumps(made))
    else:
        screen.say(f"{made['tag']} in {duration(made['seconds'])}, {made['route']} route: {made['gguf']['path']}")


@cli.command("watch")
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("--with", "beside", type=click.Choice(["train"]), help="Train the run too, in a process of its own.")
@click.option(
    "--every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Export each checkpoint whose step is a multiple of N, even where they pile up.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of checkpoints that piled up, export the newest N; default: 1, with --every all.",
)
@click.option("--profile", metavar="NAME", help="Profile of a run that does not exist yet.")
@click.option("--base", "base", metavar="BASE", help="Its base; sets model.base.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override one config value; may be repeated. See `reasoner config`.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON value a line on standard output, for each event.")
def watch_command(
    run_name: str | None,
    beside: str | None,
    every: int | None,
    keep: int | None,
    profile: str | None,
    base: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Export each good checkpoint of a run as it is saved, score it, and promote it if it is not worse."""
    from reasoner import config, runs
    from reasoner.pipeline import pipeline, watch

    screen = Screen()
    chosen = _overrides(overrides, None, base)
    if beside or "watch.checkpoints" in chosen:
        job, origin = _job(profile, run_name, chosen, screen)
        run = job.run
        if not beside and not run.config_path.exists():
            files.write_text(run.config_path, config.dump(job.config, origin))
    else:
        run = runs.existing(run_name)
    argv = [sys.executable, "-m", "reasoner.cli.commands", "train", "--run", run.name]
    argv += ["--profile", job.config.profile] if beside else []
    argv += [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    shown = WatchScreen(screen, as_json)

    def make() -> pipeline.Job:
        return pipeline.Job(config.read(run.config_path, chosen)[0], run, shown.reporter())

    with screen, shown:
        watch.run(run, make, shown.event, screen.say, train=argv if beside else None, every=every, keep=keep)
    screen.say(f"the watch of run {run.name} is over: reasoner history {run.name}")


@cli.command("history")
@click.argument("run_name", metavar="[RUN]", required=False)
@_json
def history_command(run_name: str | None, as_json: bool) -> None:
    """What became of a run's checkpoints: exported, scored, promoted, kept, and what is served where."""
    from reasoner import runs
    from reasoner.pipeline import watch
    from reasoner.serving import register

    run = runs.existing(run_name)
    events = register.history(run)
    stack = register.promotions(run)
    hosts = files.read_json(run.path / "hosts.json") or {}
    if as_json:
        value = {"run": run.name, "promoted": stack[-1] if stack else None, "hosts": hosts, "events": events}
        click.echo(json.dumps(value))
        return
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(watch.table(events))
    for name, state in hosts.items():
        click.echo(printable(f"{name}: {state['error'] or state['tag']}"))


@cli.command("eval")
@click.argument("model", metavar="MODEL")
@click.option(
    "--data",
    "source",
    metavar="SOURCE",
    help="A data set by name, a hub id, a folder, or a JSONL file; a run brings its own.",
)
@click.option("--split", metavar="NAME", help="Split of the data; default: test; of a file: all rows.")
@click.option("-n", "num", type=click.IntRange(min=1), metavar="N", help="The first N problems; default: all.")
@click.option(
    "-k",
    "samples",
    type=click.IntRange(min=1),
    default=1,
    metavar="K",
    help="Completions of each problem, for pass@k and maj@k; default: 1.",
)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, metavar="T", help="Default: 0, greedy.")
@click.option(
    "--engine",
    type=click.Choice(["transformers", "vllm", "llama.cpp", "ollama", "openai"]),
    help="What runs it; default: what MODEL is for.",
)
@click.option("--verifier", metavar="NAME", help="Default: the one paired with the data.")
@click.option("--system", metavar="TEXT", help="System message; default: a run's own, else none.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most tokens of a completion; default: a run's own, else 512.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    metavar="N",
    help="Completions on their way at once.",
)
@click.option(
    "--adapter",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="A PEFT adapter on top of a model folder.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where completions and result.json go; default: under evals/ beside the runs.",
)
@_json
def eval_command(model: str, as_json: bool, **options: Any) -> None:
    """Score any model: pass@1 with its interval, on any problems. Goes on where it was interrupted.

    MODEL is a run, a tag in Ollama, a GGUF, a model or adapter folder, or URL#MODEL of an OpenAI-compatible server.
    """
    from reasoner.measuring import evaluate

    screen = Screen()
    reporter = screen.reporter()
    with screen:
        value = evaluate.one(model, **options, progress=reporter.scored, say=screen.say)
    click.echo(json.dumps(value) if as_json else printable("\n".join(evaluate.lines(value))))


@cli.command("report")
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("--live", is_flag=True, help="Write the page anew every few seconds, until the run ends or Ctrl-C.")
@click.option("--compare", "pair", nargs=2, metavar="A B", help="One page with two finished runs beside each other.")
@_json
def report_command(run_name: str | None, live: bool, pair: tuple[str, str] | None, as_json: bool) -> None:
    """Write report.html and report.md of a run, finished or not, and print the Markdown; --json: print its summary."""
    from reasoner import runs
    from reasoner.reporting import compare, page, report

    if pair and (run_name or live or as_json):
        raise click.UsageError("--compare A B stands alone; for JSON: reasoner compare A B --json")
    if live and as_json:
        raise click.UsageError("--live writes a page, --json prints a summary: one of them")
    say = Screen().say
    if pair:
        found = compare.run(pair)
        a, b = (report.read(runs.existing(name)) for name in pair)
        path = a.run.path / f"compare-{b.run.name}.html"
        files.write_text(path, page.compared(a, b, found))
        say(f"page     {path}")
        return
    run = runs.existing(run_name)
    if as_json:
        if (summary := files.read_json(run.summary_path)) is None:
            raise ReasonerError(f"run {run.name} has no summary yet", fix="reasoner status; make reasoner", code=USAGE)
        click.echo(json.dumps(summary))
        return
    if live:
        page.follow(run, say)
        return
    markdown, html = page.write(run)
    click.echo(printable(markdown.read_text(encoding="utf-8")), nl=False)
    say(f"page     {html}\nmarkdown {markdown}")


@cli.command("compare")
@click.argument("names", metavar="RUN RUN...", nargs=-1, required=True)
@_json
def compare_command(names: tuple[str, ...], as_json: bool) -> None:
    """Finished runs side by side: the mean over seeds, and lift minus control. Refuses runs scored differently."""
    from reasoner.reporting import compare

    value = compare.run(names)
    click.echo(json.dumps(value) if as_json else printable("\n".join(compare.lines(value))))


@cli.command("ladder")
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("-n", "num", type=click.IntRange(min=1), metavar="N", help="Problems; default: as many as in evaluation.")
@click.option(
    "--split",
    type=click.Choice(["dev", "ood"]),
    default="dev",
    show_default=True,
    help="Problems asked; the test split is scored once, elsewhere.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="POINTS",
    help="Points that a rung may lose; default: the run's gguf.margin.",
)
@_json
def ladder_command(run_name: str | None, num: int | None, split: str, margin: float | None, as_json: bool) -> None:
    """Where a score is lost: base, adapter, merged, F16, each quant, served, problem by problem."""
    from rich.console import Console

    from reasoner.measuring import ladder
    from reasoner.pipeline import pipeline

    screen = Screen()
    job, _ = _existing(run_name, screen)
    with screen:
        value = pipeline.climb(job, num=num, split=split, margin=margin)
    if as_json:
        click.echo(json.dumps(value))
    else:
        Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(ladder.rendered(value))


@cli.command("status")
@click.argument("run_name", metavar="[RUN]", required=False)
@_json
def status_command(run_name: str | None, as_json: bool) -> None:
    """What a run has done, what is stale and why. Starts nothing."""
    from reasoner import runs
    from reasoner.pipeline import pipeline

    screen = Screen()
    job, _ = _existing(run_name, screen)
    states = pipeline.states(job)
    steps = files.read_jsonl(job.run.path / "metrics.jsonl")
    summary = files.read_json(job.run.summary_path)
    value = {
        "run": job.run.name,
        "path": str(job.run.path),
        "profile": job.config.profile,
        "step": steps[-1]["step"] if steps else 0,
        "steps": job.config.train.steps,
        "checkpoints": runs.ready_steps(job.run.checkpoints_dir),
        "stages": states,
        "summary": summary,
    }
    if as_json:
        click.echo(json.dumps(value))
        return
    click.echo(f"run {value['run']} ({value['profile']}), step {value['step']} of {value['steps']}, {value['path']}")
    for row in states:
        seconds = f"{row['seconds']:.1f} s" if row["seconds"] is not None else ""
        click.echo(f"  {row['stage']:<10} {row['state']:<8} {seconds:>9}  {'; '.join(row['reasons'])}")
    if summary:
        from reasoner.reporting import report

        for what, text in report.lines(summary):
            click.echo(f"  {what:<16} {text}")


# -- tools -------------------------------------------------------------------------------------


@cli.command("check")
@click.option("--verifier", "name", default="number", show_default=True, metavar="NAME",
              help="A built-in verifier, or a function of your own: path/to/file.py:name.")  # fmt: skip
@click.argument("source", metavar="FILE.jsonl|-")
def check_command(name: str, source: str) -> None:
    """Score completions without training: rows with `answer` and `completion` in, a verdict for each out."""
    from reasoner import verifiers
    from reasoner.audit import check

    check.run(source, verifiers.load(name), lambda text: click.echo(printable(text), err=True))


@cli.command("audit")
@click.option(
    "--verifier",
    "name",
    metavar="NAME",
    help="A built-in verifier, or your own: path/to/file.py:name; default: what the data is paired with.",
)
@click.option(
    "--data",
    "source",
    metavar="SOURCE",
    help="References: a data set by name, a hub id, a folder or a JSONL file; default: a built-in set.",
)
@click.option("--split", metavar="NAME", help="Split of the data; default: train, or all there is.")
@click.option("--run", "run_name", metavar="NAME", help="Audit a run's verifier on its training references.")
@click.option("--labelled", metavar="FILE", help="Your own JSONL of completion, answer, expected: rates on these rows.")
@_json
def audit_command(
    name: str | None, source: str | None, split: str | None, run_name: str | None, labelled: str | None, as_json: bool
) -> None:
    """Prove that a verifier may be a reward: its references, rewrites, near misses, hostile text. Exit 4 if not."""
    from reasoner.audit import audit

    checker, problems, label = audit.asked(name, source, split, run_name)
    rows = audit.labelled(checker, Path(labelled)) if labelled else None
    value = audit.run(checker, problems, label) | ({"labelled": rows} if rows else {})
    click.echo(json.dumps(value) if as_json else printable("\n".join(audit.lines(value))))
    if not value["holds"]:
        raise click.exceptions.Exit(GATE)


@cli.command("serve")
@click.option("--stop", is_flag=True, help="Stop the server that reasoner started; never another.")
@_json
def serve_command(stop: bool, as_json: bool) -> None:
    """Start Ollama on loopback where none answers, or stop the one we started."""
    from reasoner.serving import ollama

    found = ollama.serve(stop, Screen().say)
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return
    server = found.server
    words = {
        "started": "Ollama started on",
        "running": "Ollama answers on",
        "stopped": "stopped the Ollama that reasoner started on",
        "nothing": "no Ollama of ours runs on",
    }
    log = f", log {server.log}" if server and server.log else ""
    owner = "" if server is None or server.is_ours else ", not started by reasoner"
    click.echo(f"{words[found.action]} {found.host}{owner}{log}")


@cli.command("setup")
def setup_command() -> None:
    """Build or find llama.cpp and Ollama; does nothing where they are whole."""
    from reasoner.llamacpp import install as toolchain
    from reasoner.serving import ollama

    screen = Screen()
    tools = toolchain.llama_cpp(screen.say)
    server = ollama.find_server()
    if server:
        found = f"Ollama {server.version} answers on {server.host}"
    else:
        install = ollama_install.ollama_binary(screen.say)
        found = f"Ollama {install.version} ({install.route}: {install.path})"
    screen.say(f"tools ready: llama.cpp {tools.version} ({tools.route}); {found}")


@cli.command("doctor")
@_json
def doctor_command(as_json: bool) -> None:
    """One line per requirement: what was found, where, and the exact fix."""
    from reasoner.pipeline import doctor

    checks = doctor.check()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in checks]))
    else:
        click.echo(printable("\n".join(doctor.lines(checks))))
    if not doctor.is_ready(checks):
        raise click.exceptions.Exit(MISSING)


@cli.group("sandbox", cls=Commands)
def sandbox_group() -> None:
    """Where submitted code is run when code is the reward."""


@sandbox_group.command("selftest")
@_json
def sandbox_selftest_command(as_json: bool) -> None:
    """Attack the sandbox: what each tier holds against here, and which one is used."""
    from reasoner.sandbox import selftest

    reports = [selftest.report(tier, is_thorough=True) for tier in selftest.TIERS]
    chosen = next((one.tier for one in reports if one.passed), None)
    if as_json:
        tiers = [dataclasses.asdict(one) | {"passed": one.passed} for one in reports]
        click.echo(json.dumps({"chosen": chosen, "tiers": tiers, "advice": None if chosen else selftest.advice()}))
    else:
        click.echo(printable("\n".join(selftest.lines(reports))))
    if chosen is None:
        raise click.exceptions.Exit(MISSING)


@cli.command("config")
@_settings
def config_command(
    profile: str | None, run_name: str | None, control: str | None, base: str | None, overrides: tuple[str, ...]
) -> None:
    """Print the config with every key: its value, where it came from, what it means."""
    from reasoner import config, runs
    from reasoner.pipeline import pipeline

    given = _overrides(overrides, control, base)
    if run_name is not None:
        found, origin = config.read(runs.existing(run_name).config_path, given)
    else:
        found, origin = config.resolve(profile or pipeline.default_profile()[0], given)
    click.echo(config.document(found, origin), nl=False)


@cli.command("data")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--split", type=click.Choice(["train", "dev", "test", "ood"]), help="Default: train, or all there is.")
@click.option("--show", type=click.IntRange(min=0), default=5, metavar="N", help="Problems shown; default: 5.")
@click.option("--subset", metavar="NAME", help="A hub data set's configuration; sets data.subset.")
@click.option("--verifier", "verifier", metavar="NAME", help="Reads the references; default: the one paired with NAME.")
@_json
def data_command(
    name: str | None, split: str | None, show: int, subset: str | None, verifier: str | None, as_json: bool
) -> None:
    """The data sets known by name; or, with NAME, some problems of one and what a verifier reads.

    NAME is wordproblems, linetasks, gsm8k, math, svamp, mbpp, humaneval, a hub id, a folder with train.jsonl and
    test.jsonl, or a JSONL file.
    """
    from reasoner import config, verifiers
    from reasoner.problems import data, sources

    if name is None:
        rows = sources.overview()
        click.echo(
            json.dumps(rows) if as_json else printable("\n".join(_overview_lines(rows, str(sources.sets_dir()))))
        )
        return
    settings = config.Data(source=name, subset=subset)
    split = split or sources.default_split(name)
    num = max(show, 1) if name == sources.GENERATED else None
    record = data.provenance(settings, split, num)
    checker = verifiers.load(verifier or record["verifier"] or config.Verifier().name)
    shown = []
    for problem in data.load(settings, split, num)[:show]:
        score = verifiers.verify(checker, checker.commit(problem.answer), problem.answer)
        read = {"type": score.type, "value": score.extracted, "verdict": score.verdict, "why": score.why}
        shown.append({**dataclasses.asdict(problem), "read": read})
    value = {**record, "read_by": checker.name, "shown": shown}
    click.echo(json.dumps(value) if as_json else printable("\n".join(_data_lines(value))))


def _overview_lines(rows: list[dict[str, Any]], folder: str) -> list[str]:
    def line(*cells: str) -> str:
        return "{:<13} {:<9} {:>7} {:>5} {:>6}  {}".format(*cells)

    lines = [
        line("source", "verifier", "train", "dev", "test", "found"),
        line("wordproblems", "number", "any", "any", "any", "generated, and ood too"),
        line("linetasks", "code", "any", "any", "any", "generated, and ood too"),
    ]
    for row in rows:
        sizes = [f"{row['splits'][one]:,}" if one in row["splits"] else "-" for one in ("train", "dev", "test")]
        lines.append(line(row["source"], row["verifier"], *sizes, ", ".join(row["found"]) or "not here"))
        notes = [f"licence: {row['licence']}"]
        if row["missing"]:
            notes += [f"not here: {', '.join(row['missing'])}", f"else the hub is asked: {', '.join(row['hub'])}"]
        if row["error"]:
            notes.append(f"cannot be read: {row['error']}")
        lines += [line("", "", "", "", "", note) for note in notes]
    return [
        *lines,
        "",
        f"Files are looked for in {folder} (REASONER_DATA, else ./data).",
        "Also a hub id, a folder with train.jsonl and test.jsonl, or a JSONL file: reasoner data NAME --show 5",
    ]


def _data_lines(value: dict[str, Any]) -> list[str]:
    out_of = f" of {value['available']:,}" if value["available"] not in (None, value["problems"]) else ""
    lines = [f"{value['source']}, {value['split']}: {value['problems']:,}{out_of} problems"]
    for place in value["found"]:
        if "path" in place:
            lines.append(f"  found     {place['path']}")
        elif "hub" in place:
            lines.append(
                f"  found     hub {place['hub']} {place['subset'] or ''} at {place['revision'] or 'its newest'}"
            )
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


@cli.command("uninstall")
def uninstall_command() -> None:
    """Remove what reasoner registered and installed; runs, other models and other servers stay."""
    from reasoner.bases import from_gguf
    from reasoner.serving import ollama, register

    screen = Screen()
    if register.has_registered():
        server = ollama.find_server()
        if server is None and ollama_install.find_ollama() is not None:
            server = ollama.ensure_server(screen.say)
        for tag in register.remove_all(server.client()) if server else []:
            screen.say(f"removed {tag} from Ollama")
    for folder in from_gguf.remove_imported():
        screen.say(f"removed {folder}")
    ollama.uninstall_tools(screen.say)
    screen.say("runs/ and your other models were not touched")


# -- the screen --------------------------------------------------------------------------------


class Screen:
    """Progress on standard error: live bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._live: Any = None
        self._tasks: dict[str, Any] = {}
        self._last = 0.0

    @property
    def console(self) -> Console:
        if not hasattr(self, "_console"):
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        return self._console

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def say(self, text: str) -> None:
        self.console.print(printable(text), markup=False)

    def reporter(self) -> pipeline.Reporter:
        from reasoner.pipeline import pipeline

        return pipeline.Reporter(self.say, self._stage, self._train_step, self._scored, self._begin)

    def _begin(self, name: str, reason: str) -> None:
        self.say(f"> {name:<10} {reason}")

    def _stage(self, name: str, verdict: str, reason: str, seconds: float) -> None:
        self._end_bar()
        if verdict == "fresh":
            self.say(f"= {name:<10} fresh: {reason}")
        else:
            self.say(f"+ {name:<10} {verdict} in {duration(seconds)}")

    def _train_step(self, done: StepMetrics) -> None:
        facts = (
            f"reward {done.reward:.2f}  signal {100 * done.signal:.0f} %"
            f"  length {done.length:.0f}  working {100 * done.shows_working:.0f} %"
        )
        self._advance("train", done.step, done.steps, facts)

    def _scored(self, role: str, done: int, total: int) -> None:
        self._advance(f"score {role}", done, total, "")

    def _advance(self, name: str, done: int, total: int, facts: str) -> None:
        if self.console.is_terminal:
            bar = self._bar()
            if name not in self._tasks:
                self._tasks[name] = bar.add_task(name, total=total, completed=done - 1, facts="")
            bar.update(self._tasks[name], completed=done, facts=facts)
            return
        now = time.monotonic()
        first = self._tasks.setdefault(name, (now, done))
        if done == total or now - self._last >= 15:
            self._last = now
            rate = (now - first[0]) / max(done - first[1], 1)
            left = f"  left {duration(rate * (total - done))}" if done < total and done > first[1] else ""
            self.say(f"  {name} {done}/{total}  {facts}{left}")

    def _bar(self) -> Any:
        if self._live is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._live = Progress(
                TextColumn("  {task.description}", markup=False),
                BarColumn(24),
                MofNCompleteColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
                console=self.console,
            )
            self._live.start()
        return self._live

    def _end_bar(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._tasks.clear()

    def closing(self, job: pipeline.Job, summary: dict[str, Any], seconds: float) -> None:
        """The closing summary: the figures, an example, where things are."""
        from reasoner.reporting import report

        self.say("")
        for what, text in report.lines(summary):
            self.say(f"  {what:<15} {text}")
        rows = {r: files.read_jsonl(job.run.path / "completions" / f"{r}.jsonl") for r in ("base", "tuned")}
        if pair := report.example(rows):
            self.say(f"\n  {pair[0]['question']}")
            for role, row in zip(report.ROLES, pair, strict=True):
                text = row["completion"].replace("\n", "\n                  ")
                self.say(f"    {role:<6} {row['verdict']:<6} {text}")
        if summary["control"]:
            self.say(f"\n  control run ({summary['control']} references): not promoted")
        self.say(f"\n  report   {job.run.path / 'report.html'} (and .md)")
        self.say(f"  summary  {job.run.summary_path}")
        self.say(f"  this call took {duration(seconds)}; the stages together {duration(summary['seconds']['total'])}")


class WatchScreen:
    """Events of a watch: JSON lines on standard output, else a live table, or lines where there is no terminal."""

    def __init__(self, screen: Screen, as_json: bool) -> None:
        self._screen, self._as_json = screen, as_json
        self._events: list[dict[str, Any]] = []
        self._live: Any = None
        self._now = ""

    def __enter__(self) -> WatchScreen:
        if self._screen.console.is_terminal and not self._as_json:
            from rich.live import Live

            self._live = Live(console=self._screen.console, auto_refresh=False)
            self._live.start()
            self._show()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def _show(self, now: str | None = None) -> None:
        from reasoner.pipeline import watch

        self._now = self._now if now is None else now
        if self._live:
            self._live.update(watch.table(self._events, self._now), refresh=True)

    def event(self, row: dict[str, Any]) -> None:
        self._events.append(row)
        if self._as_json:
            click.echo(json.dumps(row))
        elif self._live:
            self._show("")
        else:
            from reasoner.pipeline import watch

            last = next(one for one in watch.rows(self._events) if one["step"] == row["step"])
            score = last["score"] if row["event"] == "scored" else ""
            says = last["verdict"] if row["event"] in ("skipped", "kept", "failed", "promoted") else ""
            self._screen.say(f"  step {row['step']:<6} {row['event']:<9} {score}{says}")

    def reporter(self) -> pipeline.Reporter:
        from reasoner.pipeline import pipeline

        plain = self._screen.reporter()
        if not self._live:
            return plain
        return pipeline.Reporter(
            say=lambda text: self._show(text),
            begin=lambda name, reason: self._show(f"{name}: {reason}"),
            scored=lambda role, done, total: self._show(f"scoring {role}: {done} of {total}"),
        )


def duration(seconds: float) -> str:
    """Seconds as a person reads them.

    >>> duration(4.21), duration(75), duration(7320)
    ('4.2 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


if __name__ == "__main__":
    main()
