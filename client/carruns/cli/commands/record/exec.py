"""``carruns exec``: a command as a run.  Options and endings; ``child_process`` runs it."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from carruns.cli import exits
from carruns.cli.option_types import AgentId, Size
from carruns.cli.screen import warn
from carruns.cli.settings import RUN_VARIABLE, Command, Settings, examples, pass_settings
from carruns.render import harmless

if TYPE_CHECKING:
    from carruns import Client, Run
    from carruns.cli.child_process import Ending


@click.command(
    "exec",
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    options_metavar="--agent NAME [OPTIONS] [--]",
    epilog=examples(
        """
carruns exec --agent ci -- make test
carruns exec --agent backup --intent 'nightly copy' -- rsync -a src/ dst/
carruns exec --agent me --max-output 64K -- ./noisy.sh | tail -1
carruns exec --agent me --pty -- python3
"""
    ),
)
@click.option("--agent", "-a", required=True, type=AgentId(), metavar="NAME", help="Whose run it is.")
@click.option("--intent", "-i", metavar="TEXT", help="What for (default: the command).")
@click.option(
    "--max-output",
    type=Size(),
    default="4M",
    show_default=True,
    metavar="SIZE",
    help="Record so much of the output, and its last 32K; all of it is passed on.",
)
@click.option(
    "--pty",
    is_flag=True,
    help="Give the command a terminal: for programs that ask for one (editors, REPLs, colours).",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD [ARG]...")
@pass_settings
def exec_command(
    settings: Settings, agent: str, intent: str | None, max_output: int, pty: bool, command: tuple[str, ...]
) -> int:  # fmt: skip
    """Run a command and record it as a run.

    Its output is passed on unchanged and recorded as it comes; exit code, signal and duration are recorded as
    `cli_outcome`.  Returns the command's own exit code and ends by the signal that ended it (a shell says 128+N);
    127 if it was not found, 126 if it could not be started.  Without a daemon the record goes to the spool; the
    command runs in any case.

    When its run is cancelled (`carruns cancel`) the command gets SIGTERM, and SIGKILL after 5 seconds.
    """
    from carruns.cli.child_process import Child
    from carruns.cli.stop_command import Stopping

    client = settings.client()
    run = _begin(client, agent, intent or shlex.join(command))
    parameters = {"argv": [text_of_argument(word) for word in command]}
    run.turn(tool="exec", parameters=parameters)
    stopping = Stopping(lambda: run.cancel_requested)
    child = Child(command, _environment(settings, run.id), run.turn, max_output, stopping, pty=pty)
    ending = child.run()
    _record_end(run, ending)
    _deliver(client, run)
    child.leave_rest()
    return -ending.signal_number or ending.code


def _begin(client: Client, agent: str, intent: str) -> Run:
    """Begin the run.  A name that cannot be used is said before anything is started."""
    from carruns.protocol import errors

    parent = os.environ.get(RUN_VARIABLE) or None
    try:
        return client.run(agent, intent=intent, parent_run_id=parent, metadata={"source": "carruns exec"})
    except errors.CarrunsError as error:
        raise exits.NotBegun(f"the run cannot be begun, so the command was not started: {error}") from None


def text_of_argument(word: str) -> str:
    r"""Return an argument as text: bytes that are no UTF-8 (surrogates in Python) as ``\xNN``."""
    return os.fsencode(word).decode("utf-8", "backslashreplace")


def _environment(settings: Settings, run_id: str) -> dict[str, str]:
    """Runs begun inside find the same daemon, and name this run as their parent."""
    environment = {**os.environ, RUN_VARIABLE: run_id}
    if settings.car_dir_option:
        environment["CAR_HOME"] = str(settings.car_dir)
    if settings.socket_option:
        environment["CARRUNSD_SOCKET"] = str(settings.socket)
    return environment


def _record_end(run: Run, ending: Ending) -> None:
    turn: dict[str, Any] = {"tool": "exec", "cli_outcome": ending.outcome(), "duration_ms": ending.duration_ms}
    if ending.problem:
        warn(harmless.line(ending.problem))
        turn["error"] = ending.problem
    run.turn(**turn)
    metrics = {"actions_succeeded": int(ending.code == 0), "actions_failed": int(ending.code != 0), "tool_calls": 1}
    status = "failure" if ending.code else "give_up" if ending.cancelled else "success"
    run.finish(status, ending.summary(), metrics=metrics)


def _deliver(client: Client, run: Run) -> None:
    """Say if the record is neither in the store nor in the spool; it is never the command's fault."""
    client.flush()
    client.close()
    if lost := run.delivery().lost:
        warn(f"this run is not recorded: {harmless.line(lost)}")
