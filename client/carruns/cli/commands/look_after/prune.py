"""``carruns prune``: what retention does not keep is removed now."""

from __future__ import annotations

import time
from typing import Any

import click

from carruns.cli import exits
from carruns.cli.confirm_removal import agreed, yes_option
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import Record
from carruns.reading.source import Source
from carruns.render import units


@click.command(cls=Command, epilog=examples("carruns prune --dry-run\ncarruns prune --yes --json"))
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@yes_option
@pass_settings
def prune(settings: Settings, dry_run: bool, yes: bool) -> int:
    """Remove now what retention does not keep ([runs] in config.toml); what that is, is shown and asked first.

    The daemon does so by itself at its start, every hour and whenever a run ends.  It does not go to the
    trash; `carruns list --removed` tells afterwards.
    """
    if dry_run:  # which starts no daemon
        source = settings.source()
        agreed(settings, _foretold(settings, source), source.runs(), "", dry_run=True, yes=False)
        return 0
    with settings.client() as client:
        going = [Record(row) for row in client.gc(dry_run=True).runs]
        if not agreed(settings, going, client.list_runs(), "remove for good", dry_run=False, yes=yes):
            return exits.FAILURE if going else 0
        removed = client.gc()
    if settings.json:
        for row in removed.runs:
            print_json(row)
    else:
        settings.screen.print(f"{units.counted(removed.removed, 'run')} removed, {units.size(removed.bytes)}")
    return 0


def _foretold(settings: Settings, source: Source) -> list[Record]:
    """Return what a daemon says that it would remove; without one, what the rules in the files say."""
    from carruns.reading.daemon_source import DaemonSource
    from carruns.reading.retention_forecast import forecast

    if isinstance(source, DaemonSource):
        return [Record(row) for row in source.client.gc(dry_run=True).runs]
    runs = source.runs()
    _, going = forecast(settings.car_dir, runs, time.time_ns())
    times = {(run.run_id, run.agent_id): run for run in runs}
    return [_row(row, times[row["run_id"], row["agent_id"]]) for row in going if row["due"]]


def _row(going: dict[str, Any], run: Record) -> Record:
    names = ("run_id", "agent_id", "bytes")
    out = {name: going[name] for name in names} | {name: run.get(name) for name in ("started_at", "ended_at")}
    return Record(out, reason=going["reason"])
