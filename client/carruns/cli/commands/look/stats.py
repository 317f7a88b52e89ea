"""``carruns stats``: how agents and tools do, over all runs.  Printing only; ``reading/run_stats.py`` counts."""

from __future__ import annotations

from typing import Any

import click

from carruns.cli.option_types import agent_option, time_options
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.render import harmless, units
from carruns.render.table import Cell, Column, render


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns stats --since 7d
carruns stats --agent researcher --json | jq 'select(.kind == "tool")'
"""
    ),
)
@agent_option()
@time_options
@pass_settings
def stats(settings: Settings, agent: str | None, since: int | None, until: int | None) -> None:
    """Count by agent and by tool: runs, success, turns, durations, failures, tokens.

    A run counts as a success if it ended as `success` or `done`; a turn as a failure if it has an `error`, was
    rejected by a policy, or its command ended with anything but 0.  Reads the files, daemon or not.
    """
    from carruns.reading.run_stats import RunStats

    found = RunStats()
    found.read(settings.runs_root, agent, since, until)
    agents, tools = found.agent_rows(), found.tool_rows()
    if settings.json:
        for row in agents:
            print_json({"kind": "agent", **row})
        for row in tools:
            print_json({"kind": "tool", **row})
        return
    if not agents:
        settings.screen.print("no runs")
        return
    settings.screen.print_all(render(settings.screen.style, _AGENTS, [_agent_cells(row) for row in agents]))
    if tools:
        settings.screen.print("")
        settings.screen.print_all(render(settings.screen.style, _TOOLS, [_tool_cells(row) for row in tools]))


_AGENTS = (
    Column("AGENT", flexible=True, least=10),
    Column("RUNS", right=True),
    Column("OPEN", right=True, drop=1),
    Column("SUCCESS", right=True),
    Column("TURNS", right=True),
    Column("MEDIAN", right=True),
    Column("P95", right=True),
    Column("FAILED", right=True),
    Column("TOKENS", right=True, drop=3),
    Column("CACHED", right=True, drop=2),
)
_TOOLS = (
    Column("TOOL", flexible=True, least=10),
    Column("TURNS", right=True),
    Column("MEDIAN", right=True),
    Column("P95", right=True),
    Column("FAILED", right=True),
    Column("TOKENS", right=True, drop=2),
    Column("CACHED", right=True, drop=1),
)


def _agent_cells(row: dict[str, Any]) -> list[Cell]:
    rate = row["success_rate"]
    style = "dim" if rate is None else "green" if rate >= 0.9 else "yellow" if rate >= 0.5 else "red"
    return [
        Cell(harmless.line(row["agent_id"]), ("bold",)),
        Cell(units.count(row["runs"])),
        Cell(units.count(row["in_progress"]), ("dim",)),
        Cell("" if rate is None else f"{100 * rate:.0f}%", (style,)),
        Cell(units.count(row["turns"])),
        Cell(_milliseconds(row["median_ms"])),
        Cell(_milliseconds(row["p95_ms"])),
        Cell(units.count(row["failed_turns"]), ("red",) if row["failed_turns"] else ("dim",)),
        Cell(units.count(row["tokens"])),
        Cell(units.count(row["cached_tokens"]), ("dim",)),
    ]


def _tool_cells(row: dict[str, Any]) -> list[Cell]:
    return [
        Cell(harmless.line(row["tool"] or "(none)"), ("bold",) if row["tool"] else ("dim",)),
        Cell(units.count(row["turns"])),
        Cell(_milliseconds(row["median_ms"])),
        Cell(_milliseconds(row["p95_ms"])),
        Cell(units.count(row["failed_turns"]), ("red",) if row["failed_turns"] else ("dim",)),
        Cell(units.count(row["tokens"])),
        Cell(units.count(row["cached_tokens"]), ("dim",)),
    ]


def _milliseconds(value: float | None) -> str:
    return "" if value is None else units.duration(value / 1000)
