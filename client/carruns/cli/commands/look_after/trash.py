"""``carruns trash``: what ``rm`` put there, taking it back, deleting it for good."""

from __future__ import annotations

import contextlib
import os
import sys
import time

import click

from carruns.cli import exits
from carruns.cli.option_types import agent_option
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.render import harmless, units


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def trash() -> None:
    """What `carruns rm` removed: list it, take it back, or delete it for good."""


@trash.command("list", cls=Command)
@pass_settings
def list_trash(settings: Settings) -> None:
    """Show what is in the trash, the last put there first."""
    from carruns.protocol import times
    from carruns.reading.trash import in_trash
    from carruns.render.removed_table import trash_table

    found = in_trash(settings.car_dir)
    if settings.json:
        for item in found:
            print_json({**item.summary, "removed_at": times.render(item.put_at)})
    elif not found:
        settings.screen.print("the trash is empty")
    else:
        rows = [(item.summary, item.put_at) for item in found]
        settings.screen.print_all(trash_table(settings.screen.style, rows, time.time_ns()))


@trash.command(cls=Command, epilog=examples("carruns trash restore 019a2f"))
@click.argument("run", metavar="RUN")
@agent_option("Where several agents had a run of that id.")
@pass_settings
def restore(settings: Settings, run: str, agent: str | None) -> None:
    """Take a run back from the trash; RUN is an unambiguous beginning of its id."""
    from carruns.reading.trash import find_in_trash

    file = find_in_trash(settings.car_dir, run, agent)
    with settings.client() as client:
        result = client.call("runs.restore", {"run_id": file.run_id, "agent_id": file.directory})
    if settings.json:
        print_json(result)
    else:
        settings.screen.print(f"{harmless.line(result['run_id'])} of {harmless.line(result['agent_id'])} is back")


@trash.command(cls=Command)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_settings
def empty(settings: Settings, yes: bool) -> int:
    """Delete all that is in the trash, for good."""
    from carruns.reading.trash import in_trash

    found = in_trash(settings.car_dir)
    size = units.size(sum(item.summary.bytes for item in found))
    if found and not yes:
        if not sys.stdin.isatty():
            raise exits.Failure("nobody to ask here: --yes does it")
        if not click.confirm(f"delete {units.counted(len(found), 'run')} for good, {size}?", err=True):
            return exits.FAILURE
    for item in found:
        with contextlib.suppress(FileNotFoundError):  # the daemon's own retention was faster
            os.unlink(item.file.path)
    if settings.json:
        print_json({"removed": len(found)})
    else:
        settings.screen.print(f"{units.counted(len(found), 'run')} deleted for good, {size}")
    return 0
