"""``carruns start``, ``turn`` and ``end``: a run by programs that come and go.  The run is detached.

Each command is a process of its own; what it records is stored when it ends with exit code 0.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import msgspec

from carruns.records import OUTCOME_STATUSES, Record

from . import exits
from .exec import RUN_VARIABLE
from .params import AgentId, RunId
from .runref import resolve
from .screen import print_json
from .settings import Command, Settings, examples, pass_settings
from .source import DaemonSource

_SCRIPT = """
export CARRUNS_RUN_ID=$(carruns start --agent backup --intent 'nightly copy')
rsync -av src/ dst/ 2>&1 | carruns turn --tool rsync --output -
carruns end --status success --summary 'copied'
"""


@click.command(cls=Command, epilog=examples(_SCRIPT))
@click.option("--agent", "-a", required=True, type=AgentId(), metavar="NAME", help="Whose run it is.")
@click.option("--intent", "-i", required=True, metavar="TEXT", help="What for.")
@click.option("--id", "run_id", metavar="ID", help="The run's id; the same id again goes on with the same run.")
@click.option("--parent", metavar="RUN", help="The run that this one is part of.")
@click.option("--session", metavar="ID", help="What several runs belong to.")
@click.option("--metadata", metavar="JSON", help="Anything else to keep with it.")
@pass_settings
def start(
    settings: Settings, agent: str, intent: str, run_id: str | None, parent: str | None, session: str | None,
    metadata: str | None,
) -> None:  # fmt: skip
    """Begin a run that no process has to stay for, and print its id.

    `turn` and `end` take the id from --run or $CARRUNS_RUN_ID.  A run that nothing is added to for a day
    (detached_idle_secs) ends as incomplete.
    """
    from carruns.ids import uuid7

    details = {
        "agent_id": agent, "agent_name": agent, "intent": intent, "idempotency_key": run_id or uuid7(),
        "parent_run_id": parent or os.environ.get(RUN_VARIABLE) or None, "session_id": session, "cwd": os.getcwd(),
        "detached": True, "metadata": _json(metadata, "--metadata") if metadata else {"source": "carruns start"},
    }  # fmt: skip
    with settings.client() as client:
        started = client.start(**{key: value for key, value in details.items() if value is not None})
    if settings.json:
        print_json({"run_id": started.run_id, "agent_id": started.agent_id})
    else:
        settings.screen.print(str(started.run_id))


def _run_option(command: Any) -> Any:
    return click.option(
        "--run", "-r", type=RunId(), envvar=RUN_VARIABLE, required=True, metavar="RUN",
        help=f"Which run (default: ${RUN_VARIABLE}).",
    )(command)  # fmt: skip


@click.command(cls=Command, epilog=examples(_SCRIPT))
@_run_option
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
    from carruns.ids import uuid7

    fields = {key: value for key, value in given.items() if value is not None}
    if turn_json is not None:
        whole = _json(_text(turn_json), "--turn-json")
        if not isinstance(whole, dict):
            raise click.BadParameter("is no JSON object", param_hint="--turn-json")
        fields = {**whole, **fields}
    if parameters is not None:
        fields["parameters"] = _json(parameters, "--parameters")
    if output is not None:
        fields["output"] = _text(output)
    if output_json is not None:
        fields["output"] = _json(output_json, "--output-json")
    if exit_code is not None:
        fields["cli_outcome"] = {"exit_code": exit_code}
    if not fields:
        raise click.UsageError("a turn needs something in it: --tool, --output, ...")
    with settings.client() as client:
        summary = _find(client, run)
        # With a writer of its own the turn may be sent again if the connection is lost, and is stored once.
        answer = client.record_turns(summary.run_id, [fields], writer=uuid7(), seq=0)
        _check(answer, summary)
    if settings.json:
        print_json({"run_id": summary.run_id, "index": answer.base_index})


@click.command(cls=Command, epilog=examples(_SCRIPT))
@_run_option
@click.option("--status", "-s", type=click.Choice(OUTCOME_STATUSES), default="done", show_default=True)
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

    from carruns import calls, times

    with settings.client() as client:
        found = _find(client, run)
        if abandon:
            client.abandon(found.run_id, reason)
        else:
            began = times.parse(found.started_at)
            metrics = {"turns": found.turn_count, "duration_ms": max(0, time.time_ns() - began) // 1_000_000}
            outcome = {
                "status": status, "summary": summary, "evidence": calls.evidence_items(evidence),
                "metrics": metrics, "timestamp": times.render(time.time_ns(), 9),
            }  # fmt: skip
            client.complete(found.run_id, outcome)
    if settings.json:
        print_json({"run_id": found.run_id, "status": "incomplete" if abandon else status})


def _find(client: Any, wanted: str) -> Record:
    return resolve(DaemonSource(client), wanted)


def _check(answer: Record, summary: Record) -> None:
    if answer.get("ok") is False:
        raise exits.Failure(f"the turn was not stored: {answer.get('dropped')} (run {summary.run_id})")


def _json(text: str, option: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint=option) from None


def _text(given: str) -> str:
    return sys.stdin.buffer.read().decode("utf-8", "backslashreplace") if given == "-" else given
