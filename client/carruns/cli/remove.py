"""``carruns rm`` and ``prune``: what goes is shown and asked first; the daemon does it, never to an open run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from carruns import errors
from carruns.records import OUTCOME_STATUSES, Record

from . import clean, exits, humane
from .list_runs import status_cell
from .params import AgentId, Instant, RunId
from .runref import resolve, short_length
from .screen import print_json, warn
from .settings import Command, Settings, examples, pass_settings
from .source import DaemonSource
from .table import Cell, Column, render

_SHOWN = 15
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns rm 019a2f
carruns rm --agent scratch --before 7d
carruns rm --outcome failure --before yesterday --yes
carruns trash restore 019a2f           takes it back
"""
    ),
)
@click.argument("runs", nargs=-1, type=RunId(), metavar="[RUN]...")
@click.option("--agent", "-a", type=AgentId(), metavar="AGENT", help="All ended runs of this agent.")
@click.option("--outcome", "-o", type=click.Choice(OUTCOME_STATUSES), help="All runs that ended so.")
@click.option("--before", type=Instant(), metavar="TIME", help="All ended runs begun before then.")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@_yes
@pass_settings
def rm(
    settings: Settings, runs: tuple[str, ...], agent: str | None, outcome: str | None, before: int | None,
    dry_run: bool, yes: bool,
) -> int:  # fmt: skip
    """Move ended runs to the trash.

    They stay there for trash_max_age_days (7, unless config.toml says otherwise).  An open run is never removed.
    """
    if not runs and agent is None and outcome is None and before is None:
        raise click.UsageError("name a RUN, or say which with --agent, --outcome, --before")
    with settings.client() as client:
        source = DaemonSource(client)
        if runs:
            chosen = [resolve(source, run, agent) for run in runs]
        else:
            listed = source.runs(agent, until=before)
            chosen = [run for run in listed if outcome in (None, run.get("outcome_status"))]
            chosen = [run for run in chosen if run.status != "in_progress"]
        still_open = [run for run in chosen if run.status == "in_progress"]
        if still_open:
            names = ", ".join(clean.line(run.run_id) for run in still_open)
            raise exits.Failure(f"in progress, and never removed: {names}; end it first (carruns end --abandon)")
        if not _agreed(settings, chosen, "move to the trash", dry_run=dry_run, yes=yes):
            return 0 if dry_run or not chosen else exits.FAILURE
        return _remove(settings, client, chosen)


def _remove(settings: Settings, client: Any, chosen: Sequence[Record]) -> int:
    failed = 0
    for run in chosen:
        try:
            result = client.call("runs.remove", {"run_id": run.run_id, "agent_id": run.agent_id})
        except errors.RemoteError as error:
            failed += 1
            warn(f"{clean.line(run.run_id)}: {clean.line(error)}")
            continue
        if settings.json:
            print_json(result)
    if not settings.json:
        settings.screen.print(
            f"{_runs(len(chosen) - failed)} in the trash; carruns trash restore RUN takes one back"
        )
    return exits.FAILURE if failed else 0


@click.command(cls=Command, epilog=examples("carruns prune --dry-run\ncarruns prune --yes --json"))
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@_yes
@pass_settings
def prune(settings: Settings, dry_run: bool, yes: bool) -> int:
    """Remove now what retention does not keep ([runs] in config.toml); what that is, is shown and asked first.

    The daemon does so by itself at its start, every hour and whenever a run ends.  It does not go to the
    trash; `carruns list --removed` tells afterwards.
    """
    with settings.client() as client:
        going = [Record(row) for row in client.gc(dry_run=True).runs]
        if not _agreed(settings, going, "remove for good", dry_run=dry_run, yes=yes):
            return 0 if dry_run or not going else exits.FAILURE
        removed = client.gc()
    if settings.json:
        for row in removed.runs:
            print_json(row)
    else:
        settings.screen.print(f"{_runs(removed.removed)} removed, {humane.size(removed.bytes)}")
    return 0


def _agreed(settings: Settings, runs: Sequence[Record], what: str, *, dry_run: bool, yes: bool) -> bool:
    """Show what would go and ask; true if it shall."""
    if settings.json and dry_run:
        for run in runs:
            print_json(run)
        return False
    if not settings.json:
        _show(settings, runs)
    if not runs or dry_run:
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise exits.Failure("nobody to ask here: --yes does it, --dry-run only shows")
    sys.stdout.flush()
    return click.confirm(f"{what} {_runs(len(runs))}, {humane.size(sum(run.bytes for run in runs))}?", err=True)


def _show(settings: Settings, runs: Sequence[Record]) -> None:
    screen = settings.screen
    if not runs:
        screen.print("nothing to remove")
        return
    length = 1 << 20 if screen.width is None else short_length([run.run_id for run in runs])
    rows = [
        [
            Cell(clean.line(run.run_id)[:length]), Cell(clean.line(run.agent_id), ("bold",)),
            status_cell(run) if "status" in run else Cell(clean.line(run.get("reason", "")), ("yellow",)),
            Cell(humane.size(run.bytes), ("dim",)),
            Cell(clean.line(run.get("intent") or run.get("ended_at") or "")),
        ]
        for run in runs[:_SHOWN]
    ]  # fmt: skip
    columns = (
        Column("ID"), Column("AGENT", flexible=True), Column("STATUS" if "status" in runs[0] else "WHY"),
        Column("SIZE", right=True), Column("INTENT" if "intent" in runs[0] else "ENDED", flexible=True),
    )  # fmt: skip
    screen.print_all(render(screen, columns, rows))
    if len(runs) > _SHOWN:
        screen.print(f"and {len(runs) - _SHOWN} more")


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
