"""``carruns agents``: who has runs here."""

from __future__ import annotations

import time

import click

from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.render import harmless, units
from carruns.render.table import Cell, Column, render

_COLUMNS = (
    Column("AGENT", flexible=True, least=10),
    Column("RUNS", right=True),
    Column("OPEN", right=True),
    Column("SIZE", right=True),
    Column("LAST", right=True),
)


@click.command(cls=Command, epilog=examples("carruns agents\ncarruns agents --json | jq -r .agent_id"))
@pass_settings
def agents(settings: Settings) -> None:
    """Show the agents that have runs, the last active first."""
    found = settings.source().agents()
    if settings.json:
        for agent in found:
            print_json(agent)
        return
    if not found:
        settings.screen.print("no runs")
        return
    now = time.time_ns()
    rows = [
        [
            Cell(harmless.line(agent.agent_id), ("bold",)),
            Cell(units.count(agent.runs)),
            Cell(units.count(agent.in_progress), ("cyan",) if agent.in_progress else ("dim",)),
            Cell(units.size(agent.bytes)),
            Cell(_age(agent.get("last_activity"), now), ("dim",)),
        ]
        for agent in found
    ]
    settings.screen.print_all(render(settings.screen.style, _COLUMNS, rows))


def _age(text: object, now: int) -> str:
    at = units.instant(text)
    return "" if at is None else units.age((now - at) / units.SECOND)
