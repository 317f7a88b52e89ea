"""``carruns cancel``: ask that a run be ended, and say what came of it; the daemon and the run's agent do it."""

from __future__ import annotations

from typing import Any

import click

from carruns.cli import exits
from carruns.cli.option_types import agent_option, run_argument
from carruns.cli.screen import print_json, warn
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol import errors
from carruns.protocol.ids import uuid7
from carruns.reading.daemon_source import DaemonSource
from carruns.reading.find_run import find_run
from carruns.render import harmless

#: How long the answer may take, seconds: the run's agent has ``cancel_grace_secs`` (10) to end it by itself.
_PATIENCE = 60.0
_SAID = {
    "cancelled_confirmed": "cancelled",
    "already_terminal": "has ended by itself",
    "termination_unconfirmed": "asked for, but its end could not be stored",
}


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns cancel 019a2f --reason 'wrong branch'
carruns cancel last || carruns show last
"""
    ),
)
@run_argument()
@agent_option("Where several agents have a run of that id.")
@click.option("--reason", default="cancelled by hand", show_default=True, metavar="TEXT", help="Told to its agent.")
@click.option("--key", metavar="KEY", help="The same key is one request, and has one receipt (default: a new one).")
@pass_settings
def cancel(settings: Settings, run: str, agent: str | None, reason: str, key: str | None) -> int:
    """Ask that an open run be ended, and wait until it has.

    Its agent is asked to end it (`carruns exec` stops its command); where it does not within cancel_grace_secs
    (10), or nobody is at it, the daemon ends it.  A run that is incomplete becomes final.  Exit code 0 once the run
    has ended, however it did; 1 where that is not certain.
    """
    key = key or uuid7()
    with settings.client(autostart=False) as client:
        summary = find_run(DaemonSource(client), run, agent)
        try:
            receipt = client.cancel(summary.run_id, reason, key, timeout=_PATIENCE)
        except errors.AnswerTimeout:
            warn(f"asked for, but it has not ended within {_PATIENCE:.0f} s; --key {key} asks again")
            return exits.FAILURE
        except errors.InvalidCall as error:
            raise click.UsageError(str(error)) from None
        if settings.json:
            print_json(receipt)
        else:
            ended = find_run(DaemonSource(client), summary.run_id, summary.agent_id)
            settings.screen.print(_sentence(receipt, ended))
    return exits.FAILURE if receipt.status == "termination_unconfirmed" else 0


def _sentence(receipt: dict[str, Any], summary: dict[str, Any]) -> str:
    status = receipt["status"]
    said = _SAID.get(status, harmless.line(status))
    if status == "already_terminal":
        outcome = harmless.line(summary.get("outcome_status", "?"))
        said = "was cancelled before" if outcome == "cancelled" else f"{said} ({outcome})"
    return f"{harmless.line(receipt['run_id'])} {said}"
