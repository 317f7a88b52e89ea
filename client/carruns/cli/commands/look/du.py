"""``carruns du``: where the space goes, and what retention will take away."""

from __future__ import annotations

import time
from typing import Any

import click

from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import Record
from carruns.render import harmless, units
from carruns.render.retention_lines import retention_lines
from carruns.render.run_cells import id_length, status_cell
from carruns.render.table import Cell, Column, render


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns du
carruns du --top 20
carruns du --json | jq 'select(.kind == "expiry")'
"""
    ),
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    metavar="N",
    help="How many of the largest runs to show.",
)
@pass_settings
def du(settings: Settings, top: int) -> None:
    """Show where the space goes: by agent, the largest runs, and what retention removes and when."""
    from carruns.reading.retention_forecast import forecast

    runs = settings.source().runs()
    agents = _by_agent(runs)
    largest = sorted(runs, key=lambda run: -run.bytes)[:top]
    rules, going = forecast(settings.car_dir, runs, time.time_ns())
    if settings.json:
        for agent in agents:
            print_json({"kind": "agent", **agent})
        for run in largest:
            print_json({"kind": "run", **run})
        print_json({"kind": "retention", **rules})
        for row in going:
            print_json({"kind": "expiry", **row})
        return
    _print(settings, agents, largest, rules, going, [run.run_id for run in runs])


def _by_agent(runs: list[Record]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        row = rows.setdefault(run.agent_id, {"agent_id": run.agent_id, "runs": 0, "bytes": 0})
        row["runs"] += 1
        row["bytes"] += run.bytes
    return sorted(rows.values(), key=lambda row: -row["bytes"])


def _print(
    settings: Settings,
    agents: list[dict[str, Any]],
    largest: list[Record],
    rules: dict[str, Any],
    going: list[dict[str, Any]],
    ids: list[str],
) -> None:
    screen = settings.screen
    if not agents:
        screen.print("no runs")
        return
    screen.print_all(render(screen.style, _AGENT_COLUMNS, _agent_rows(agents)))
    if largest:
        screen.print("\n" + screen.style.paint("the largest runs", "bold"))
        screen.print_all(render(screen.style, _RUN_COLUMNS, _run_rows(settings, largest, ids)))
    screen.print("\n" + screen.style.paint("retention", "bold"))
    screen.print_all(f"  {text}" for text in retention_lines(rules, going, time.time_ns()))


_AGENT_COLUMNS = (
    Column("AGENT", flexible=True),
    Column("RUNS", right=True),
    Column("SIZE", right=True),
    Column("", right=True),
)
_RUN_COLUMNS = (
    Column("ID"),
    Column("AGENT", flexible=True),
    Column("STATUS"),
    Column("TURNS", right=True, drop=1),
    Column("SIZE", right=True),
    Column("INTENT", flexible=True, least=16),
)


def _agent_rows(agents: list[dict[str, Any]]) -> list[list[Cell]]:
    total = sum(agent["bytes"] for agent in agents)
    rows = [
        [
            Cell(harmless.line(agent["agent_id"]), ("bold",)), Cell(units.count(agent["runs"])),
            Cell(units.size(agent["bytes"])), Cell(f"{100 * agent['bytes'] / max(1, total):.0f}%", ("dim",)),
        ]
        for agent in agents
    ]  # fmt: skip
    runs = sum(agent["runs"] for agent in agents)
    return [*rows, [Cell("all", ("dim",)), Cell(units.count(runs)), Cell(units.size(total)), Cell("")]]


def _run_rows(settings: Settings, runs: list[Record], ids: list[str]) -> list[list[Cell]]:
    length = id_length([run.run_id for run in runs], settings.screen.width, ids)
    return [
        [
            Cell(harmless.line(run.run_id)[:length]), Cell(harmless.line(run.agent_id)), status_cell(run),
            Cell(units.count(run.turn_count)), Cell(units.size(run.bytes)), Cell(harmless.line(run.intent)),
        ]
        for run in runs
    ]  # fmt: skip
