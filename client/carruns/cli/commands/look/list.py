"""``carruns list``: the runs, newest first."""

from __future__ import annotations

import time
from typing import Any

import click

from carruns.cli.params import agent_option, time_options
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import OUTCOME_STATUSES, Record
from carruns.reading.runref import short_length
from carruns.reading.source import open_source
from carruns.render import clean, humane
from carruns.render.table import Cell, Column, render

STATUSES = ("in_progress", "completed", "incomplete")
_STYLES = {
    "in_progress": "cyan", "incomplete": "yellow", "success": "green", "partial_success": "yellow", "done": "green",
    "give_up": "yellow", "timeout": "red", "failure": "red",
}  # fmt: skip
_SHORT = {"in_progress": "open", "partial_success": "partial", "incomplete": "incomplete"}


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
@click.option("--status", "-s", type=click.Choice(STATUSES), help="Only runs of this status.")
@click.option("--outcome", "-o", type=click.Choice(OUTCOME_STATUSES), help="Only runs that ended so.")
@time_options
@click.option("--grep", "-g", metavar="TEXT", help="Only runs whose intent holds this text (case aside).")
@click.option("--limit", "-n", type=click.IntRange(min=1), help="At most so many.")
@click.option("--removed", is_flag=True, help="What was removed instead: when (--since, --until), and why.")
@click.option("--full-ids", is_flag=True, help="Whole ids on a terminal too; a pipe gets them anyway.")
@pass_settings
def list_runs(
    settings: Settings, agent: str | None, status: str | None, outcome: str | None, since: int | None,
    until: int | None, grep: str | None, limit: int | None, full_ids: bool,
    removed: bool = False,
) -> int:  # fmt: skip
    """Show the runs, newest first."""
    if removed:
        from carruns.cli.commands.look_after import trash

        gone = trash.removed(settings, agent, since, until)
        trash.show_removed(settings, [row for row in gone if _holds(row, outcome, grep)][:limit])
        return 0
    runs = open_source(settings).runs(agent, status, since, until)
    length = short_length([run.run_id for run in runs])
    runs = [run for run in runs if _holds(run, outcome, grep)][:limit]
    if settings.json:
        for run in runs:
            print_json(with_duration(run))
        return 0
    if not runs:
        settings.screen.print("no runs")
        return 0
    if full_ids or settings.screen.width is None:
        length = 1 << 20
    settings.screen.print_all(render(settings.screen, _COLUMNS, [_row(run, length) for run in runs]))
    return 0


def _holds(run: Record, outcome: str | None, grep: str | None) -> bool:
    if outcome and run.get("outcome_status") != outcome:
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


def _row(run: Record, id_length: int) -> list[Cell]:
    now = time.time_ns()
    began, seconds = humane.instant(run.started_at), duration_of(run)
    return [
        Cell(clean.line(run.run_id)[:id_length]),
        Cell(clean.line(run.agent_id), ("bold",)),
        status_cell(run),
        Cell(str(run.turn_count)),
        Cell("" if seconds is None else humane.duration(seconds)),
        Cell("" if began is None else humane.age((now - began) / humane.SECOND), ("dim",)),
        Cell(humane.size(run.bytes), ("dim",)),
        Cell(clean.line(run.intent)),
    ]


def status_cell(run: Record) -> Cell:
    """Return how a run stands, or how it ended, in its colour."""
    word = run.get("outcome_status") or run.status
    return Cell(clean.line(_SHORT.get(word, word)), (_STYLES.get(word, ""),))


def duration_of(run: Record) -> float | None:
    """Return how many seconds a run took, or has taken so far; ``None`` where its times cannot be read."""
    began, ended = humane.instant(run.get("started_at")), humane.instant(run.get("ended_at"))
    if ended is None and run.status == "in_progress":
        ended = time.time_ns()
    return None if began is None or ended is None else max(0, ended - began) / humane.SECOND


def with_duration(run: Record) -> dict[str, Any]:
    """Return a summary as ``--json`` prints it."""
    seconds = duration_of(run)
    return {**run, "duration_ms": None if seconds is None else round(seconds * 1000)}
