"""``carruns list``: the runs, newest first."""

from __future__ import annotations

import time
from typing import Any

import click

from carruns.cli.option_types import STANDINGS, Word, agent_option, stands, time_options
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import Record, RunStatus
from carruns.reading.source import Source
from carruns.render import harmless, units
from carruns.render.removed_table import removed_table
from carruns.render.run_cells import duration_of, id_length, status_cell
from carruns.render.table import Cell, Column, render


@click.command(
    "list",
    cls=Command,
    epilog=examples(
        """
carruns list --since yesterday --outcome failure
carruns list --agent researcher -n 5
carruns list --grep 'flaky' --json | jq -r .run_id
"""
    ),
)
@agent_option()
@click.option("--status", "-s", type=Word(STANDINGS), help="Only runs with this status, as the table shows it.")
@click.option("--outcome", "-o", type=Word(STANDINGS), help="Only runs with this outcome; the same words.")
@time_options
@click.option(
    "--grep",
    "-g",
    metavar="TEXT",
    help="Only runs whose intent has this text in it; upper and lower case are the same.",
)
@click.option("--limit", "-n", type=click.IntRange(min=1), help="Show only the newest N runs.", metavar="N")
@click.option("--removed", is_flag=True, help="Show the runs that were removed: when (--since, --until) and why.")
@click.option("--full-ids", is_flag=True, help="Whole ids on a terminal too; a pipe gets them anyway.")
@pass_settings
def list_runs(
    settings: Settings, agent: str | None, status: str | None, outcome: str | None, since: int | None,
    until: int | None, grep: str | None, limit: int | None, full_ids: bool,
    removed: bool = False,
) -> int:  # fmt: skip
    """Show the runs, newest first."""
    if removed:
        from carruns.reading.trash import removed as what_went

        gone = what_went(settings.car_dir, agent, since, until)
        _print_removed(
            settings, [row for row in gone if stands(row, status) and _holds(row, outcome, grep)][:limit]
        )
        return 0
    source = settings.source()
    runs = source.runs(agent, status if status in tuple(RunStatus) else None, since, until)
    listed = [run for run in runs if stands(run, status) and _holds(run, outcome, grep)][:limit]
    if settings.json:
        for run in listed:
            print_json(_with_duration(run))
        return 0
    if not listed:
        settings.screen.print("no runs")
        return 0
    filtered = any(value is not None for value in (agent, status, since, until))
    length = _id_length(source, listed, runs, None if full_ids else settings.screen.width, filtered=filtered)
    now = time.time_ns()
    settings.screen.print_all(render(settings.screen.style, _COLUMNS, [_row(run, length, now) for run in listed]))
    return 0


def _id_length(
    source: Source, listed: list[Record], runs: list[Record], width: int | None, *, filtered: bool
) -> int:
    """Return how much of an id is enough for ``carruns show``, which looks at all runs there are."""
    among = source.runs() if filtered and width is not None else runs
    return id_length([run.run_id for run in listed], width, [run.run_id for run in among])


def _holds(run: Record, outcome: str | None, grep: str | None) -> bool:
    if not stands(run, outcome):
        return False
    return not grep or grep.casefold() in str(run.get("intent", "")).casefold()


_COLUMNS = (
    Column("ID"),
    Column("AGENT", flexible=True, least=10),
    Column("STATUS"),
    Column("TURNS", right=True, drop=4),
    Column("TOOK", right=True, drop=2),
    Column("AGE", right=True, drop=3),
    Column("SIZE", right=True, drop=1),
    Column("INTENT", flexible=True, least=16),
)


def _row(run: Record, length: int, now: int) -> list[Cell]:
    began, seconds = units.instant(run.started_at), duration_of(run, now)
    return [
        Cell(harmless.line(run.run_id)[:length]),
        Cell(harmless.line(run.agent_id), ("bold",)),
        status_cell(run),
        Cell(str(run.turn_count)),
        Cell("" if seconds is None else units.duration(seconds)),
        Cell("" if began is None else units.age((now - began) / units.SECOND), ("dim",)),
        Cell(units.size(run.bytes), ("dim",)),
        Cell(harmless.line(run.intent)),
    ]


def _with_duration(run: Record) -> dict[str, Any]:
    """A summary as ``--json`` prints it."""
    seconds = duration_of(run, time.time_ns())
    return {**run, "duration_ms": None if seconds is None else round(seconds * 1000)}


def _print_removed(settings: Settings, rows: list[Record]) -> None:
    if settings.json:
        for row in rows:
            print_json(row)
    elif not rows:
        settings.screen.print("nothing was removed")
    else:
        settings.screen.print_all(removed_table(settings.screen.style, rows, time.time_ns()))
