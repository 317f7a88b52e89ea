"""``carruns rm``: ended runs go to the trash; the daemon does it, never to an open run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from carruns.cli import exits
from carruns.cli.confirm_removal import agreed, yes_option
from carruns.cli.option_types import STANDINGS, AgentId, Instant, RunId, Word, stands
from carruns.cli.screen import print_json, warn
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol import errors
from carruns.protocol.records import Record
from carruns.reading.daemon_source import DaemonSource
from carruns.reading.find_run import find_run
from carruns.reading.source import Source
from carruns.render import harmless, units

if TYPE_CHECKING:
    from carruns import Client


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
@click.option(
    "--outcome", "-o", type=Word(STANDINGS), help="All ended runs with this outcome, as `carruns list` shows it."
)
@click.option("--before", type=Instant(), metavar="TIME", help="All ended runs begun before then.")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@yes_option
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
    which = (runs, agent, outcome, before)
    if dry_run:  # which starts no daemon
        source = settings.source()
        agreed(settings, _chosen(source, *which), source.runs(), "", dry_run=True, yes=False)
        return 0
    with settings.client() as client:
        source = DaemonSource(client)
        chosen = _chosen(source, *which)
        if not agreed(settings, chosen, source.runs(), "move to the trash", dry_run=False, yes=yes):
            return exits.FAILURE if chosen else 0
        return _remove(settings, client, chosen)


def _chosen(
    source: Source, runs: Sequence[str], agent: str | None, outcome: str | None, before: int | None
) -> list[Record]:
    if not runs:
        listed = source.runs(agent, until=before)
        return [run for run in listed if run.status != "in_progress" and stands(run, outcome)]
    chosen = [find_run(source, run, agent) for run in runs]
    still_open = [run for run in chosen if run.status == "in_progress"]
    if still_open:
        names = ", ".join(harmless.line(run.run_id) for run in still_open)
        raise exits.Failure(f"in progress, and never removed: {names}; end it first (carruns end --abandon)")
    return chosen


def _remove(settings: Settings, client: Client, chosen: Sequence[Record]) -> int:
    failed = 0
    for run in chosen:
        try:
            result = client.call("runs.remove", {"run_id": run.run_id, "agent_id": run.agent_id})
        except errors.RemoteError as error:
            failed += 1
            warn(f"{harmless.line(run.run_id)}: {harmless.line(error)}")
            continue
        if settings.json:
            print_json(result)
    if not settings.json:
        settings.screen.print(
            f"{units.counted(len(chosen) - failed, 'run')} in the trash; carruns trash restore RUN takes one back"
        )
    return exits.FAILURE if failed else 0
