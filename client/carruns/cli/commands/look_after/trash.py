"""``carruns trash``: what ``rm`` put there, and taking it back; and ``list --removed``: what went and why."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from carruns.cli import exits
from carruns.cli.params import agent_option
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import Record
from carruns.reading import files
from carruns.render import clean, humane
from carruns.render.table import Cell, Column, render
from carrunsd.store import reader
from carrunsd.store.trash import REMOVED_NAME, TRASH_NAME


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def trash() -> None:
    """What `carruns rm` put aside: list it, take it back, or let it go for good."""


def _in_trash(settings: Settings) -> list[tuple[files.RunFile, Record, int]]:
    """Return the runs in the trash and when each was put there, the last first."""
    root = settings.car_dir / TRASH_NAME
    out = []
    for file in files.run_files(root):
        summary = files.summary(root, file)
        with contextlib.suppress(OSError):
            at = os.stat(root / file.directory / file.name, follow_symlinks=False).st_ctime_ns
            nameless = Record(run_id=file.run_id, agent_id=file.directory, intent="", bytes=0, status="")
            out.append((file, summary or nameless, at))
    return sorted(out, key=lambda item: -item[2])


@trash.command("list", cls=Command)
@pass_settings
def list_trash(settings: Settings) -> None:
    """Show what is in the trash, the last put there first."""
    found = _in_trash(settings)
    if settings.json:
        from carruns.protocol import times

        for _, run, at in found:
            print_json({**run, "removed_at": times.render(at)})
        return
    if not found:
        settings.screen.print("the trash is empty")
        return
    now = time.time_ns()
    rows = [
        [
            Cell(clean.line(run.run_id)), Cell(clean.line(run.agent_id), ("bold",)),
            Cell(humane.age((now - at) / humane.SECOND)), Cell(humane.size(run.bytes), ("dim",)),
            Cell(clean.line(run.intent)),
        ]
        for _, run, at in found
    ]  # fmt: skip
    settings.screen.print_all(render(settings.screen, _COLUMNS, rows))


_COLUMNS = (
    Column("ID"), Column("AGENT", flexible=True), Column("REMOVED", right=True), Column("SIZE", right=True),
    Column("INTENT", flexible=True),
)  # fmt: skip


@trash.command(cls=Command, epilog=examples("carruns trash restore 019a2f"))
@click.argument("run", metavar="RUN")
@agent_option("Where several agents had a run of that id.")
@pass_settings
def restore(settings: Settings, run: str, agent: str | None) -> None:
    """Take a run back from the trash; RUN is an unambiguous beginning of its id."""
    found = [file for file, _, _ in _in_trash(settings) if agent in (None, file.directory)]
    chosen = [file for file in found if file.run_id == run] or [f for f in found if f.run_id.startswith(run)]
    if not chosen:
        raise exits.NoSuchRun(
            f"no run in the trash begins with {clean.line(run)!r}; `carruns trash list` shows them"
        )
    if len(chosen) > 1:
        rows = [f"  {clean.line(file.run_id)}  {clean.line(file.directory)}" for file in chosen[:8]]
        raise exits.Ambiguous("\n".join([f"{len(chosen)} runs in the trash begin so:", *rows]))
    params = {"run_id": chosen[0].run_id, "agent_id": chosen[0].directory}
    with settings.client() as client:
        result = client.call("runs.restore", params)
    if settings.json:
        print_json(result)
    else:
        settings.screen.print(f"{clean.line(result['run_id'])} of {clean.line(result['agent_id'])} is back")


@trash.command(cls=Command)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_settings
def empty(settings: Settings, yes: bool) -> int:
    """Let go for good of all that is in the trash."""
    found = _in_trash(settings)
    size = humane.size(sum(run.bytes for _, run, _ in found))
    if found and not yes:
        if not sys.stdin.isatty():
            raise exits.Failure("nobody to ask here: --yes does it")
        if not click.confirm(f"remove {len(found)} runs for good, {size}?", err=True):
            return exits.FAILURE
    for file, _, _ in found:
        with contextlib.suppress(FileNotFoundError):  # the daemon's own retention was faster
            os.unlink(settings.car_dir / TRASH_NAME / file.directory / file.name)
    if settings.json:
        print_json({"removed": len(found)})
    else:
        settings.screen.print(f"{len(found)} runs removed for good, {size}")
    return 0


# --- what went ----------------------------------------------------------------------------------------------


def removed(settings: Settings, agent: str | None, since: int | None, until: int | None) -> Iterator[Record]:
    """Yield what retention, ``rm`` and the trash's age removed, the last first; times are those of the removal."""
    try:
        with open(settings.car_dir / REMOVED_NAME, "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return
    for line in reversed(lines):
        row = _row(line)
        at = humane.instant(row.get("removed_at"))
        if at is None or agent not in (None, row.get("agent_id")):
            continue
        if (since is None or at >= since) and (until is None or at <= until):
            yield row


def _row(line: bytes) -> Record:
    import msgspec

    try:
        value: Any = msgspec.json.decode(line)
    except reader.BAD_LINE:
        value = None
    return Record(value) if isinstance(value, dict) else Record()


def show_removed(settings: Settings, rows: list[Record]) -> None:
    """Print what went."""
    if settings.json:
        for row in rows:
            print_json(row)
        return
    if not rows:
        settings.screen.print("nothing was removed")
        return
    now = time.time_ns()
    cells = [
        [
            Cell(clean.line(row.get("run_id", ""))), Cell(clean.line(row.get("agent_id", "")), ("bold",)),
            Cell(humane.age((now - (humane.instant(row.removed_at) or now)) / humane.SECOND)),
            Cell(clean.line(row.get("reason", "")), ("yellow",)), Cell(humane.size(row.get("bytes", 0)), ("dim",)),
            Cell(clean.line(row.get("intent", ""))),
        ]
        for row in rows
    ]  # fmt: skip
    columns = (*_COLUMNS[:3], Column("WHY"), *_COLUMNS[3:])
    settings.screen.print_all(render(settings.screen, columns, cells))
