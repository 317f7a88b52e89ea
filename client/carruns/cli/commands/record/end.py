"""``carruns end``: end a run with an outcome, or abandon it."""

from __future__ import annotations

import click

from carruns.cli.detached_runs import EXAMPLE, find, run_option
from carruns.cli.option_types import Word
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import OUTCOME_STATUSES


@click.command(cls=Command, epilog=examples(EXAMPLE))
@run_option
@click.option(
    "--status", "-s", type=Word(OUTCOME_STATUSES), default="done", show_default=True, help="How it ended."
)
@click.option("--summary", default="", metavar="TEXT", help="What came of it.")
@click.option("--evidence", multiple=True, metavar="TEXT", help="What shows it (repeatable).")
@click.option("--abandon", is_flag=True, help="End it without an outcome, as incomplete; it can be resumed.")
@click.option("--reason", metavar="TEXT", help="Why it is abandoned.")
@pass_settings
def end(
    settings: Settings, run: str, status: str, summary: str, evidence: tuple[str, ...], abandon: bool,
    reason: str | None,
) -> None:  # fmt: skip
    """End a run with an outcome, which is final."""
    import time

    from carruns.outcome import items
    from carruns.protocol import times

    with settings.client() as client:
        found = find(client, run)
        if abandon:
            client.abandon(found.run_id, reason)
        else:
            began = times.parse(found.started_at)
            metrics = {"turns": found.turn_count, "duration_ms": max(0, time.time_ns() - began) // 1_000_000}
            outcome = {
                "status": status, "summary": summary, "evidence": items(evidence),
                "metrics": metrics, "timestamp": times.render(time.time_ns(), 9),
            }  # fmt: skip
            client.complete(found.run_id, outcome)
    if settings.json:
        print_json({"run_id": found.run_id, "status": "incomplete" if abandon else status})
