"""``carruns turn``: add a turn to a run; it is stored when the command ends with exit code 0."""

from __future__ import annotations

from typing import Any

import click

from carruns.cli import exits
from carruns.cli.detached_runs import EXAMPLE, decoded, find, run_option, text_of
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import Record


@click.command(cls=Command, epilog=examples(EXAMPLE))
@run_option
@click.option("--tool", metavar="NAME")
@click.option("--prompt", metavar="TEXT")
@click.option("--parameters", metavar="JSON", help="Any JSON.")
@click.option("--output", metavar="TEXT", help="Text; `-` reads standard input.")
@click.option("--output-json", metavar="JSON", help="The output as JSON.")
@click.option("--error", metavar="TEXT", help="What went wrong.")
@click.option("--model", metavar="NAME")
@click.option("--duration-ms", type=click.FloatRange(min=0), metavar="N")
@click.option("--exit-code", type=int, metavar="N", help="Of the command that this turn ran.")
@click.option("--turn-json", metavar="JSON", help="A whole turn; `-` reads standard input.")
@pass_settings
def turn(
    settings: Settings, /, run: str, parameters: str | None, output: str | None, output_json: str | None,
    exit_code: int | None, turn_json: str | None, **given: Any,
) -> None:  # fmt: skip
    """Add one turn to a run; returns once it is stored."""
    from carruns.protocol.ids import uuid7

    fields = {key: value for key, value in given.items() if value is not None}
    if turn_json is not None:
        whole = decoded(text_of(turn_json), "--turn-json")
        if not isinstance(whole, dict):
            raise click.BadParameter("is no JSON object", param_hint="--turn-json")
        fields = {**whole, **fields}
    if parameters is not None:
        fields["parameters"] = decoded(parameters, "--parameters")
    if output is not None:
        fields["output"] = text_of(output)
    if output_json is not None:
        fields["output"] = decoded(output_json, "--output-json")
    if exit_code is not None:
        fields["cli_outcome"] = {"exit_code": exit_code}
    if not fields:
        raise click.UsageError("a turn needs something in it: --tool, --output, ...")
    with settings.client() as client:
        summary = find(client, run)
        # With a writer of its own the turn may be sent again if the connection is lost, and is stored once.
        answer = client.record_turns(summary.run_id, [fields], writer=uuid7(), seq=0)
        _check(answer, summary)
    if settings.json:
        print_json({"run_id": summary.run_id, "index": answer.base_index})


def _check(answer: Record, summary: Record) -> None:
    if answer.get("ok") is False:
        raise exits.Failure(f"the turn was not stored: {answer.get('dropped')} (run {summary.run_id})")
