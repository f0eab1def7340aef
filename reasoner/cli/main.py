"""The command line: it parses, calls and prints. Results go to standard output, progress to standard error."""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback

import click

from reasoner import __version__, files
from reasoner.cli import flow, init, judge, measure, tools
from reasoner.cli.options import Commands
from reasoner.errors import DONE, FAILED, INTERRUPTED, USAGE, ReasonerError, printable
from reasoner.machine import cpu


class Families(Commands):
    """Lists the commands by what they are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in FAMILIES.items():
            with formatter.section(title):
                formatter.write_dl([(str(one.name), one.get_short_help_str(90)) for one in commands])


FAMILIES: dict[str, tuple[click.Command, ...]] = {
    "Use it": (init.init_command, flow.run_command, tools.setup_command, tools.serve_command,
               measure.status_command, measure.report_command),
    "Stage by stage": (flow.train_command, *flow.STAGES, flow.promote_command),
    "Checkpoints of a long run": (flow.watch_command, flow.history_command, flow.export_command, flow.rollback_command),
    "Measure": (measure.eval_command, measure.compare_command, measure.ladder_command),
    "Verifiers and problems": (judge.check_command, judge.audit_command, judge.data_command, judge.sandbox_group),
    "This machine": (tools.doctor_command, tools.config_command, tools.uninstall_command),
}  # fmt: skip
"""Every command, by what it is for, in the order of `reasoner --help`."""


@click.group(cls=Families, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """A small language model that reasons, in Ollama, and proof that it got better."""


for _commands in FAMILIES.values():
    for _command in _commands:
        cli.add_command(_command)


def main() -> None:
    """Entry point: every error ends here, once, with its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cpu.share_cores()
    sys.unraisablehook = _come_again
    debug = "--debug" in sys.argv[1:3]
    try:
        code = cli(prog_name="reasoner", standalone_mode=False)
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
    except Exception as error:
        if debug:
            raise
        click.echo(f"error: {printable(str(_bug(error)))}", err=True)
        code = FAILED
    sys.exit(code if isinstance(code, int) else DONE)


def _bug(error: Exception) -> ReasonerError:
    """Writes the traceback to a log, and says that what ended the command is a fault of ours."""
    from reasoner.machine import cache

    log = cache.log_path(f"bug-{time.strftime('%Y%m%d-%H%M%S')}")
    told = "".join([f"reasoner {__version__}: {' '.join(sys.argv[1:])}\n", *traceback.format_exception(error)])
    is_written = True
    try:
        files.write_text(log, told)
    except OSError:
        is_written = False
        click.echo(printable(told), err=True)
    why = f"{type(error).__name__}: {str(error).strip() or 'without a word'}"[:400]
    fix = "what is done stays done; please report it, with the log"
    return ReasonerError("this is a bug of reasoner", why, fix, log if is_written else None)


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
