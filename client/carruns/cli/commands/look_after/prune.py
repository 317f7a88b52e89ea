"""``carruns prune``: what retention does not keep is removed now."""

from __future__ import annotations

import click

from carruns.cli import exits
from carruns.cli.confirm_removal import agreed, count_of, yes_option
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import Record
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
    with settings.client() as client:
        going = [Record(row) for row in client.gc(dry_run=True).runs]
        if not agreed(settings, going, "remove for good", dry_run=dry_run, yes=yes):
            return 0 if dry_run or not going else exits.FAILURE
        removed = client.gc()
    if settings.json:
        for row in removed.runs:
            print_json(row)
    else:
        settings.screen.print(f"{count_of(removed.removed)} removed, {units.size(removed.bytes)}")
    return 0
