"""``carruns top``: a live screen of the open runs.  The loop only; ``render/top_screen.py`` draws."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import click

from carruns.cli.option_types import agent_option
from carruns.cli.parse_units import parse_duration
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.reading.open_runs import OpenRuns

if TYPE_CHECKING:
    from carruns import Client

_SNAPSHOT = 0.5
_QUIT = (b"q", b"Q", b"\x1b")


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns top
carruns top --agent researcher --stuck 5m
carruns top --once | head            a snapshot, as in a pipe
"""
    ),
)
@agent_option()
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option(
    "--stuck",
    default="60s",
    show_default=True,
    metavar="TIME",
    help="Call a run stuck that has recorded nothing for this long.",
)
@click.option("--once", is_flag=True, help="Print it once and end (also in a pipe).")
@pass_settings
def top(settings: Settings, agent: str | None, interval: float, stuck: str, once: bool) -> int:
    """Show the open runs live: rate, last tool, age, which are stuck; and the daemon's health.  q ends it."""
    try:
        state = OpenRuns(agent, parse_duration(stuck))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--stuck") from None
    with settings.client(autostart=False, timeout=1.0) as client:
        if settings.json or once or not settings.screen.tty or os.environ.get("TERM") in (None, "", "dumb"):
            _snapshot(settings, client, state)
            _print_once(settings, state)
            return 0
        return _live(settings, client, state, interval)


def _snapshot(settings: Settings, client: Client, state: OpenRuns) -> None:
    """Look twice, as a rate wants it; where nobody answers once is enough."""
    from carruns.reading.poll_open_runs import poll
    from carruns.reading.probe import State, probe

    found = probe(settings.socket)
    if found.state is not State.UP:
        state.lost(found.text)
        return
    poll(client, state)
    if not state.problem:
        time.sleep(_SNAPSHOT)
        poll(client, state)


def _print_once(settings: Settings, state: OpenRuns) -> None:
    if settings.json:
        print_json({"kind": "daemon", **state.daemon_row()})
        for row in state.rows():
            print_json({"kind": "run", **row})
        return
    from carruns.render.top_screen import plain

    settings.screen.print_all(plain(settings.screen.style, state.daemon_row(), state.rows(), among=state.others))


def _live(settings: Settings, client: Client, state: OpenRuns, interval: float) -> int:
    """Show it until a key or a signal ends it; a stop (Ctrl-Z) gives the terminal back meanwhile."""
    from carruns.cli.live_terminal import Told, stop
    from carruns.reading.poll_open_runs import watching

    with watching(client, state):
        while True:
            try:
                return _shown(settings, client, state, interval)
            except Told as told:
                if told.number != signal.SIGTSTP:
                    return -told.number
            stop()


def _shown(settings: Settings, client: Client, state: OpenRuns, interval: float) -> int:
    from rich.console import Console
    from rich.live import Live

    from carruns.cli.live_terminal import keys
    from carruns.reading.poll_open_runs import poll
    from carruns.render.top_screen import screenful

    console = Console(no_color=not settings.screen.color, highlight=False, emoji=False, markup=False)
    screen = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with keys() as key, screen as live:
        while True:
            poll(client, state)
            picture = screenful(
                settings.screen.style, state.daemon_row(), state.rows(), console.width, console.height, state.others
            )
            live.update(picture, refresh=True)
            if key(interval) in _QUIT:
                return 0
