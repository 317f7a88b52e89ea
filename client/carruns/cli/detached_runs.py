"""What ``carruns start``, ``turn`` and ``end`` share: a detached run by programs that come and go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from carruns.cli.option_types import RunId
from carruns.cli.settings import RUN_VARIABLE
from carruns.protocol.records import Record
from carruns.reading.daemon_source import DaemonSource
from carruns.reading.find_run import find_run

if TYPE_CHECKING:
    from carruns import Client

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLE = """
export CARRUNS_RUN_ID=$(carruns start --agent backup --intent 'nightly copy')
rsync -av src/ dst/ 2>&1 | carruns turn --tool rsync --output -
carruns end --status success --summary 'copied'
"""


def run_option(command: F) -> F:
    """Add ``--run``, which a script need not give where the environment has it."""
    return click.option(
        "--run", "-r", type=RunId(), envvar=RUN_VARIABLE, required=True, metavar="RUN",
        help=f"Which run (default: ${RUN_VARIABLE}).",
    )(command)  # fmt: skip


def find(client: Client, wanted: str) -> Record:
    """Return the summary of the run that is meant.  Raises ``ReadingError``."""
    return find_run(DaemonSource(client), wanted)


def decoded(text: str, option: str) -> Any:
    """Return the value of an option that takes JSON.  Raises ``click.BadParameter``."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint=option) from None


def text_of(given: str) -> str:
    """Return an option's text; ``-`` stands for what comes on standard input."""
    return sys.stdin.buffer.read().decode("utf-8", "backslashreplace") if given == "-" else given
