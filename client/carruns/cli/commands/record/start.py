"""``carruns start``: begin a detached run, which no process has to stay for."""

from __future__ import annotations

import os

import click

from carruns.cli.detached_runs import EXAMPLE, decoded
from carruns.cli.option_types import AgentId
from carruns.cli.screen import print_json
from carruns.cli.settings import RUN_VARIABLE, Command, Settings, examples, pass_settings

_GREETING = 3.0  # seconds, from a daemon that is there; one that is not is started


@click.command(cls=Command, epilog=examples(EXAMPLE))
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
    from carruns.core import working_directory
    from carruns.protocol.ids import uuid7
    from carruns.reading.probe import State, probe

    details = {
        "agent_id": agent, "agent_name": agent, "intent": intent, "idempotency_key": run_id or uuid7(),
        "parent_run_id": parent or os.environ.get(RUN_VARIABLE) or None, "session_id": session,
        "cwd": working_directory(),
        "detached": True, "metadata": decoded(metadata, "--metadata") if metadata else {"source": "carruns start"},
    }  # fmt: skip
    with settings.client() as client:
        if probe(settings.socket).state in (State.UP, State.NOT_ANSWERING):
            client.call("server.ping", timeout=_GREETING)
        started = client.start(**{key: value for key, value in details.items() if value is not None})
    if settings.json:
        print_json({"run_id": started.run_id, "agent_id": started.agent_id})
    else:
        settings.screen.print(str(started.run_id))
