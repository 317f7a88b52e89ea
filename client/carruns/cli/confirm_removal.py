"""Before ``carruns rm`` and ``prune`` remove anything: what goes is shown, and asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from carruns.cli import exits
from carruns.cli.screen import print_json
from carruns.cli.settings import Settings
from carruns.protocol.records import Record
from carruns.render import harmless, units
from carruns.render.run_cells import id_length, status_cell
from carruns.render.table import Cell, Column, render

_SHOWN = 15
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def agreed(
    settings: Settings, runs: Sequence[Record], among: Sequence[Record], what: str, *, dry_run: bool, yes: bool
) -> bool:
    """Show what would go, of all ``among`` which they are, and ask; true if it shall."""
    if settings.json and dry_run:
        for run in runs:
            print_json(run)
        return False
    if not settings.json:
        _show(settings, runs, [run.run_id for run in among])
    if not runs or dry_run:
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise exits.Failure("nobody to ask here: --yes does it, --dry-run only shows")
    sys.stdout.flush()
    return click.confirm(
        f"{what} {units.counted(len(runs), 'run')}, {units.size(sum(run.bytes for run in runs))}?", err=True
    )


def _show(settings: Settings, runs: Sequence[Record], ids: Sequence[str]) -> None:
    screen = settings.screen
    if not runs:
        screen.print("nothing to remove")
        return
    length = id_length([run.run_id for run in runs], screen.width, ids)
    rows = [
        [
            Cell(harmless.line(run.run_id)[:length]), Cell(harmless.line(run.agent_id), ("bold",)),
            status_cell(run) if "status" in run else Cell(harmless.line(run.get("reason", "")), ("yellow",)),
            Cell(units.size(run.bytes), ("dim",)),
            Cell(harmless.line(run.get("intent") or run.get("ended_at") or "")),
        ]
        for run in runs[:_SHOWN]
    ]  # fmt: skip
    columns = (
        Column("ID"), Column("AGENT", flexible=True), Column("STATUS" if "status" in runs[0] else "WHY"),
        Column("SIZE", right=True), Column("INTENT" if "intent" in runs[0] else "ENDED", flexible=True),
    )  # fmt: skip
    screen.print_all(render(screen.style, columns, rows))
    if len(runs) > _SHOWN:
        screen.print(f"and {len(runs) - _SHOWN} more")
