"""What ``carruns start``, ``turn`` and ``end`` share: a detached run by programs that come and go."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from carruns.cli.commands.record.exec import RUN_VARIABLE
from carruns.cli.params import RunId
from carruns.protocol.records import Record
from carruns.reading.runref import resolve
from carruns.reading.source import DaemonSource

EXAMPLE = """
export CARRUNS_RUN_ID=$(carruns start --agent backup --intent 'nightly copy')
rsync -av src/ dst/ 2>&1 | carruns turn --tool rsync --output -
carruns end --status success --summary 'copied'
"""


def run_option(command: Any) -> Any:
    return click.option(
        "--run", "-r", type=RunId(), envvar=RUN_VARIABLE, required=True, metavar="RUN",
        help=f"Which run (default: ${RUN_VARIABLE}).",
    )(command)  # fmt: skip


def find(client: Any, wanted: str) -> Record:
    return resolve(DaemonSource(client), wanted)


def decoded(text: str, option: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint=option) from None


def text_of(given: str) -> str:
    return sys.stdin.buffer.read().decode("utf-8", "backslashreplace") if given == "-" else given
