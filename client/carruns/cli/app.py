"""The root command: finds the others by name and loads only the one that is asked for.

Errors become exit codes here (``exits``); whatever else goes wrong is a defect and says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from carruns.cli import exits
from carruns.cli.screen import warn
from carruns.cli.settings import Settings, common_options, examples
from carruns.protocol.version import VERSION

if TYPE_CHECKING:
    from carruns.reading.errors import ReadingError

#: Section, then name, module (and the command's name in it), and what the help says in a line.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Look": {
        "list": ("look.list:list_runs", "Runs, newest first."),
        "show": ("look.show:show", "One run: its turns, their timing, how it ended."),
        "tail": ("look.tail:tail", "What runs record, as it comes."),
        "top": ("look.top:top", "A live screen of the open runs."),
        "grep": ("look.grep:grep", "Search prompts, tools, parameters and outputs."),
        "agents": ("look.agents:agents", "Who has runs here."),
        "stats": ("look.stats:stats", "Success, durations, failures and tokens by agent and tool."),
        "du": ("look.du:du", "Where the space goes, and what retention removes."),
        "export": ("look.export:export", "A run as JSONL, JSON, Markdown or one HTML file."),
    },
    "Record": {
        "exec": (
            "record.exec:exec_command",
            "Run a command as a run; its output, exit code and duration are kept.",
        ),
        "record": ("record.record:record", "Turns as JSON lines from standard input become a run."),
        "start": ("record.start:start", "Begin a detached run and print its id."),
        "turn": ("record.turn:turn", "Add a turn to a run."),
        "end": ("record.end:end", "End a run."),
    },
    "Look after": {
        "cancel": ("look_after.cancel:cancel", "Ask that an open run be ended."),
        "rm": ("look_after.rm:rm", "Move ended runs to the trash."),
        "prune": ("look_after.prune:prune", "Remove now what retention does not keep."),
        "trash": ("look_after.trash:trash", "List the trash, take a run back, empty it."),
        "import": ("look_after.import_:import_runs", "Bring runs in from files or another car directory."),
        "status": ("look_after.status:status", "Show whether the daemon is up, and what is wrong if not."),
        "doctor": ("look_after.doctor:doctor", "Find what is wrong with the daemon and the store, and repair it."),
        "stop": ("look_after.stop:stop", "Stop the daemon."),
        "restart": ("look_after.stop:restart", "Stop the daemon and start it anew."),
        "service": ("look_after.service:service", "The systemd user units."),
        "demo": ("look_after.demo:demo", "Several agents at once in a temporary car directory."),
    },
}
_HOMES = {name: home for section in COMMANDS.values() for name, (home, _) in section.items()}


class Root(click.Group):
    """The group of all commands; a name that is none gets a suggestion."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the module of one command."""
        home = _HOMES.get(cmd_name)
        if home is None:
            return None
        module, _, name = home.partition(":")
        return getattr(import_module(f"carruns.cli.commands.{module}"), name)  # type: ignore[no-any-return]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one that is written alike."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], _HOMES, 1) if args else []
            if not near or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections from the table, so that help loads no command."""
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


@click.group(
    cls=Root,
    params=common_options(hidden=False),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        """
carruns exec --agent me -- make test     record a command as a run
carruns list --since 2h                  what ran lately
carruns show 019a                        one run, by the beginning of its id
"""
    )
    + "\n\nThe options above may also stand after the command.  `carruns COMMAND --help` says more about each.",
)
@click.version_option(VERSION, "--version", prog_name="carruns", message="%(prog)s %(version)s")
@click.pass_context
def root(context: click.Context) -> None:
    """What did my agents do?  Runs as carrunsd keeps them."""
    context.ensure_object(Settings)


def run(argv: list[str]) -> int:
    """Run the command line and return its exit code; ``-N`` where it is to end by signal N."""
    _standard_streams()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _invoke(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return -signal.SIGINT
    except click.ClickException as error:
        return _said(error)
    except OSError as error:
        warn(f"{error}")
        return exits.FAILURE
    except Exception as error:
        return _from_below(error)
    return code if isinstance(code, int) else 0


def _standard_streams() -> None:
    """Open what of the three standard streams is closed (``>&-``), before a socket or a file gets its number."""
    for fd, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            name = ("stdin", "stdout", "stderr")[fd]
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def _invoke(argv: list[str]) -> object:
    """What ``click.Command.main`` does, but that errors (EPIPE among them) come out as they are."""
    if "_CARRUNS_COMPLETE" in os.environ:
        root.main(argv, prog_name="carruns", obj=Settings())  # the shell asks for completions; does not return
    with root.make_context("carruns", argv, obj=Settings()) as context:
        return root.invoke(context)


def _said(error: click.ClickException) -> int:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    if isinstance(error, click.UsageError):
        error.show()
    else:
        warn(error.format_message())
    return error.exit_code


def _from_below(error: Exception) -> int:
    """Say what the reading layer, the library or the daemon said; a defect of ours keeps its traceback."""
    from carruns.protocol import errors
    from carruns.reading.errors import ReadingError

    if isinstance(error, ReadingError):
        return _from_reading(error)
    if not isinstance(error, errors.CarrunsError):
        raise error
    warn(str(error))
    if isinstance(error, errors.RunNotFound):
        return exits.NO_SUCH_RUN
    away = (errors.DaemonUnavailable, errors.ConnectionLost, errors.AnswerTimeout, errors.VersionMismatch)
    return exits.UNAVAILABLE if isinstance(error, away) else exits.FAILURE


def _from_reading(error: ReadingError) -> int:
    from carruns.cli import which_run
    from carruns.reading.errors import AmbiguousRun, NoSuchRun

    if isinstance(error, NoSuchRun):
        warn(which_run.no_such_run(error))
        return exits.NO_SUCH_RUN
    if isinstance(error, AmbiguousRun):
        warn(which_run.ambiguous(error))
        return exits.AMBIGUOUS
    raise error


def _pipe_closed() -> int:
    """The reader has seen enough (``| head``): no message, and none from the interpreter's last flush."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exits.PIPE_CLOSED
