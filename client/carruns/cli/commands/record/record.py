"""``carruns record``: turns as JSON lines on standard input become a run, so that any language can record."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from carruns.cli import exits
from carruns.cli.option_types import AgentId, Word
from carruns.cli.screen import print_json, warn
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import OUTCOME_STATUSES
from carruns.render import harmless
from carruns.results import Delivery

_OWN = ("record", "index", "recorded_at", "writer", "seq")  # the daemon's


@click.command(
    cls=Command,
    epilog=examples(
        """
./agent | carruns record --agent mine --intent 'tidy up'
echo '{"tool": "ls", "output": "a b c"}' | carruns record -a mine -i 'look around'
carruns record -a mine -i 'plain text' --text < build.log
"""
    ),
)
@click.option("--agent", "-a", required=True, type=AgentId(), metavar="NAME", help="Whose run it is.")
@click.option("--intent", "-i", required=True, metavar="TEXT", help="What for.")
@click.option("--text", is_flag=True, help="Lines are text: each becomes the output of a turn.")
@click.option("--tool", metavar="NAME", help="The tool of turns that name none.")
@click.option(
    "--status",
    type=Word(OUTCOME_STATUSES),
    default="done",
    show_default=True,
    help="How the run ends at the end of the input, if a line does not say it.",
)
@click.option("--summary", default="", metavar="TEXT", help="What came of it.")
@click.option("--strict", is_flag=True, help="Stop at the first bad line; the run fails.")
@pass_settings
def record(
    settings: Settings, agent: str, intent: str, text: bool, tool: str | None, status: str, summary: str,
    strict: bool,
) -> int:  # fmt: skip
    """Record a run from standard input: one turn a line.

    A line is a JSON object with the fields of a turn (`tool`, `prompt`, `parameters`, `output`, ...); other fields
    are kept.  A line {"record": "ended", "outcome": {"status": ..., "summary": ...}} says how the run ended.
    Bad lines are recorded as turns with an `error`.  Prints the run's id.
    """
    with settings.client() as client:
        run = client.run(agent, intent=intent, metadata={"source": "carruns record"})
        bad = 0
        for number, line in enumerate(_lines(), start=1):
            turn, problem = ({"output": line.decode("utf-8", "backslashreplace")}, "") if text else _parsed(line)
            if turn.get("record") == "ended":
                status, summary = _end(turn, status, summary)
                break
            if problem:
                bad += 1
                warn(f"line {number}: {problem}")
                turn = {
                    "error": f"line {number}: {problem}",
                    "output": line[:4096].decode("utf-8", "backslashreplace"),
                }
            if tool is not None:
                turn.setdefault("tool", tool)
            fields: Any = {key: value for key, value in turn.items() if key not in _OWN}
            run.turn(**fields)
            if problem and strict:
                status, summary = "failure", f"line {number}: {problem}"
                break
        run.finish(status, summary)
    delivery = run.delivery()
    if settings.json:
        print_json({"run_id": run.id, "agent_id": run.agent_id, "turns": delivery.stored, "bad_lines": bad})
    else:
        settings.screen.print(run.id)
    return _said(delivery, bad)


def _said(delivery: Delivery, bad: int) -> int:
    if delivery.lost:
        warn(f"the run is lost: {harmless.line(delivery.lost)}")
    elif not delivery.ok:
        warn("no daemon took the run: it is in the spool, and the next one records it")
    return exits.FAILURE if bad or delivery.lost else 0


def _lines() -> Iterator[bytes]:
    """Yield the lines that are not blank, as they come."""
    while line := sys.stdin.buffer.readline():
        if line.strip():
            yield line.rstrip(b"\n")


def _parsed(line: bytes) -> tuple[dict[str, Any], str]:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return {}, f"no JSON: {error}"
    return (value, "") if isinstance(value, dict) else ({}, "no JSON object")


def _end(line: dict[str, Any], status: str, summary: str) -> tuple[str, str]:
    outcome = line.get("outcome")
    outcome = outcome if isinstance(outcome, dict) else line
    said = outcome.get("status", status)
    return said if said in OUTCOME_STATUSES else status, str(outcome.get("summary", summary))
