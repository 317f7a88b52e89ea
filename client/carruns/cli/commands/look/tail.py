"""``carruns tail``: the last records of runs, and what comes after them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import click

from carruns.cli.event_printer import EventPrinter
from carruns.cli.option_types import RunId, agent_option
from carruns.cli.screen import print_json, warn
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import Record
from carruns.reading.find_run import find_run
from carruns.reading.instants import recorded_at
from carruns.reading.source import Source
from carruns.render import harmless
from carruns.render.run_cells import id_length

_RECENT_RUNS = 20


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns tail                      the last ten records of all runs
carruns tail -f                   what all agents record, as it comes
carruns tail -f --agent tester
carruns tail -f 019a2f            one run, until it ends
"""
    ),
)
@click.argument("run", type=RunId(), metavar="[RUN]", required=False)
@agent_option()
@click.option("--all", "everything", is_flag=True, help="All runs (the default).")
@click.option("-f", "--follow", is_flag=True, help="Go on as records come, through restarts of the daemon.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many records to begin with.",
)
@pass_settings
def tail(
    settings: Settings, run: str | None, agent: str | None, everything: bool, follow: bool, lines: int
) -> None:  # fmt: skip
    """Show the last records, and with -f those that follow.

    With -f every record is shown once, however often the daemon is restarted.  A run that is followed ends the
    command when it ends; Ctrl-C ends it otherwise.
    """
    if run is not None and everything:
        raise click.UsageError("RUN and --all exclude each other")
    began = time.time_ns()
    if follow:
        from carruns.reading.follow import wait_for_daemon

        wait_for_daemon(settings.socket, _tell)
    source = settings.source()
    summary = find_run(source, run, agent) if run is not None else None
    show = _shower(settings, source)
    if follow:
        _follow(settings, source, agent, summary, lines, began, show)
        return
    runs = [summary] if summary is not None else source.runs(agent)[:_RECENT_RUNS]
    for run_id, agent_id, record in _last(source, runs, lines):
        show(run_id, agent_id, None, record)


Show = Callable[[str, str, "int | None", Record], None]


def _tell(text: str) -> None:
    warn(harmless.line(text))


def _shower(settings: Settings, source: Source) -> Show:
    ids = [] if settings.json else [run.run_id for run in source.runs()]
    printer = EventPrinter(settings.screen, id_length(ids, settings.screen.width))

    def show(run_id: str, agent_id: str, line: int | None, record: Record) -> None:
        if settings.json:
            place = {} if line is None else {"line": line}
            print_json({"run_id": run_id, "agent_id": agent_id, **place, "record": record})
            sys.stdout.flush()
        else:
            printer.show({"run_id": run_id, "agent_id": agent_id, "record": record})

    return show


def _last(source: Source, runs: list[Record], lines: int) -> Iterator[tuple[str, str, Record]]:
    """Yield the last records of these runs in the order of their times."""
    found = []
    for run in runs:
        for number, record in enumerate(source.last(run.run_id, run.agent_id, lines) if lines else ()):
            found.append(((recorded_at(record) or 0, run.run_id, number), run, record))
    found.sort(key=lambda item: item[0])
    for _, run, record in found[-lines:] if lines else ():
        yield run.run_id, run.agent_id, record


def _follow(
    settings: Settings,
    source: Source,
    agent: str | None,
    summary: Record | None,
    lines: int,
    began: int,
    show: Show,
) -> None:
    from carruns.reading.daemon_source import DaemonSource
    from carruns.reading.follow import Following

    agent_id = summary.agent_id if summary is not None else agent
    run_id = summary.run_id if summary is not None else None
    client = source.client if isinstance(source, DaemonSource) else settings.client(autostart=False)
    following = Following(client, agent_id, run_id, lines, began, _tell)
    try:
        for item in following:
            show(*item)
    finally:
        following.close()
        client.close()
