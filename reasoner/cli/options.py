"""What commands share: their options, and the run that was meant."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reasoner import files
from reasoner.cli.screen import Screen
from reasoner.errors import USAGE, ReasonerError, nearest, printable

if TYPE_CHECKING:
    from reasoner.pipeline.job import Job


class Commands(click.Group):
    """Names the nearest command where one is mistyped, and lists commands in the order of use."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}: {nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@dataclass(frozen=True)
class Asked:
    """What a person asked for: a run by its profile or its name, and settings that differ."""

    profile: str | None = None
    run_name: str | None = None
    control: str | None = None
    base: str | None = None
    overrides: tuple[str, ...] = ()
    file: Path | None = None

    def __post_init__(self) -> None:
        named = self._own[0]
        if named and self.profile not in (None, named):
            fix = f"leave --profile out, or change `profile` in {self.file}"
            raise ReasonerError(f"{self.file} starts from {named}, not {self.profile}", fix=fix, code=USAGE)
        object.__setattr__(self, "profile", self.profile or named)

    @functools.cached_property
    def _own(self) -> tuple[str | None, dict[str, str]]:
        from reasoner import config

        return config.own(self.file) if self.file else (None, {})

    def where(self) -> dict[str, str]:
        """Where the settings stand that were not given at the command line."""
        given = {pair.partition("=")[0].strip() for pair in self.overrides}
        return {key: self.file.name for key in self._own[1] if key not in given} if self.file else {}

    def settings(self) -> dict[str, str]:
        """The settings given, by dotted key; a file by its whole path."""
        here, found = self.file.parent if self.file else Path(), dict(self._own[1])
        for key in _PATHS & found.keys():
            found[key] = absolute(key, str(json.loads(found[key])), here)
        found |= {"model.base": self.base} if self.base else {}
        for pair in self.overrides:
            key, mark, value = pair.partition("=")
            if not mark:
                raise ReasonerError(f"--set {pair!r} has no '='", fix="--set section.key=value", code=USAGE)
            found[key.strip()] = absolute(key.strip(), value.strip())
        return found | ({"train.control": self.control} if self.control else {})


_OPTIONS = {
    "profile": click.option(
        "--profile", metavar="NAME", help="smol, pocket, gsm8k, math, code; default: what this machine can do."
    ),
    "run_name": click.option("--run", "run_name", metavar="NAME", help="Name of the run; default: the profile's."),
    "base": click.option(
        "--base", metavar="BASE",
        help="A hub id, a folder, gguf:FILE, ollama:NAME[:TAG] or pypi:NAME==VERSION[,…]; sets model.base.",
    ),
    "file": click.option(
        "--config", "file", type=click.Path(path_type=Path), metavar="FILE",
        help="A TOML file of your own: `profile`, and settings on top of it.",
    ),
    "control": click.option(
        "--control", type=click.Choice(["shuffled"]), help="Control run: same budget, references of other problems."
    ),
    "overrides": click.option(
        "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE",
        help="Override one config value; may be repeated. See `reasoner config`.",
    ),
}  # fmt: skip


def asking(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of these names, or all, as its first argument: an `Asked`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**given: Any) -> None:
            asked = Asked(**{name: given.pop(name) for name in names or _OPTIONS})
            function(asked, **given)

        decorated: Callable[..., None] = command
        for name in reversed(names or tuple(_OPTIONS)):
            decorated = _OPTIONS[name](decorated)
        return decorated

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON value on standard output.")
run_argument = click.argument("run_name", metavar="[RUN]", required=False)
COUNT = click.IntRange(min=1)


def answer(value: object, lines: Iterable[str], as_json: bool) -> None:
    """Prints what a command found: one JSON value, or lines for a person."""
    click.echo(json.dumps(files.as_json(value)) if as_json else printable("\n".join(lines)))


_PATHS = {"model.base", "verifier.name", "watch.checkpoints", "data.source", "eval.source"}


def absolute(key: str, value: str, here: Path = Path()) -> str:
    """A file given as a setting, by its whole path: the run works from another folder too."""
    if key == "verifier.name" and ".py:" in value:
        file, _, name = value.rpartition(":")
        return f"{(here / Path(file).expanduser()).absolute()}:{name}"
    if key == "model.base":  # of a config file only
        file = value.removeprefix("gguf:")
        is_here = file != value or (here / file).is_dir()
        return f"{'gguf:' if file != value else ''}{(here / Path(file).expanduser()).absolute()}" if is_here else value
    path = here / Path(value).expanduser()
    is_file = value.startswith(("./", "../", "~")) or path.is_file()
    if key == "watch.checkpoints" or (key in ("data.source", "eval.source") and is_file):
        return str(path.absolute())
    return value


def chosen_job(asked: Asked, screen: Screen) -> tuple[Job, dict[str, str]]:
    """The run that was meant: the one that exists under this name, else a new one from a profile."""
    from reasoner import config, runs
    from reasoner.machine import device
    from reasoner.pipeline import plan
    from reasoner.pipeline.job import Job

    profile, overrides, why = asked.profile, asked.settings(), asked.file.name if asked.file else "as asked"
    if asked.run_name is not None and runs.new(asked.run_name).config_path.exists():
        run, why = runs.new(asked.run_name), "run exists"
    else:
        if profile is None:
            profile, why = plan.default_profile()
        own = asked.file.stem if asked.file else None
        run = runs.new(asked.run_name or own or default_name(profile, overrides))
    if profile is not None and not run.config_path.exists():
        found, origin = config.resolve(profile, overrides, here := device.kind(), asked.where())
        if here == "cpu" and (free := plan.free_gib()) < (wanted := plan.MEMORY.get(profile, 0)):
            screen.say(f"{profile} wants {wanted} GiB of free memory on a CPU, {free:.1f} are free: it may be killed")
    else:
        found, origin = config.read(run.config_path, overrides, asked.where())
        if profile not in (None, found.profile):
            fix = "choose another name with RUN=… (make) or --run"
            raise ReasonerError(f"run {run.name} has profile {found.profile}, not {profile}", fix=fix, code=USAGE)
    screen.say(f"profile {found.profile} ({why}), run {run.path}")
    return Job(found, run, screen.reporter()), origin


def default_name(profile: str, overrides: dict[str, str]) -> str:
    """A name of its own for a run that is not just its profile: another base, a control."""
    name = profile
    if "model.base" in overrides:
        source = re.sub(r"^(gguf|ollama|pypi):", "", overrides["model.base"].rstrip("/")).rpartition("/")[2]
        name += "-from-" + re.sub(r"[^A-Za-z0-9._]+", "-", source).strip("-.")[:40]
    return name + ("-shuffled" if "train.control" in overrides else "")


def existing_job(name: str | None) -> tuple[Screen, Job, dict[str, str]]:
    """The named run, or the newest; where it says how it goes; and where its settings came from."""
    from reasoner import config, runs
    from reasoner.pipeline.job import Job

    screen, run = Screen(), runs.existing(name)
    found, origin = config.read(run.config_path)
    return screen, Job(found, run, screen.reporter()), origin
