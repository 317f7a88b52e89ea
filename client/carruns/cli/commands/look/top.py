"""``carruns top``: a live screen of the open runs and the daemon's health.  The loop; ``topview`` draws."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from carruns.cli.params import agent_option
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol import errors
from carruns.reading.topstate import TopState

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
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds.")
@click.option(
    "--stuck", default="60s", show_default=True, metavar="TIME", help="Stuck: without a record for so long."
)
@click.option("--once", is_flag=True, help="Print it once and end (also in a pipe).")
@pass_settings
def top(settings: Settings, agent: str | None, interval: float, stuck: str, once: bool) -> None:
    """Show the open runs live: rate, last tool, age, which are stuck; and the daemon's health.  q ends it."""
    from carruns.render.humane import parse_duration

    try:
        state = TopState(agent, parse_duration(stuck))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--stuck") from None
    with settings.client(autostart=False, timeout=2.0) as client:
        if settings.json or once or not settings.screen.tty or os.environ.get("TERM") in (None, "", "dumb"):
            _poll(client, state)
            time.sleep(_SNAPSHOT)  # a rate wants two looks
            _poll(client, state)
            _print_once(settings, state)
            return
        _live(settings, client, state, interval)


def _print_once(settings: Settings, state: TopState) -> None:
    if settings.json:
        print_json({"kind": "daemon", **state.daemon_row()})
        for row in state.rows():
            print_json({"kind": "run", **row})
        return
    from carruns.render.topview import plain

    settings.screen.print_all(plain(settings.screen, state))


def _poll(client: Any, state: TopState) -> None:
    try:
        state.polled(client.stats(), client.list_runs(state.agent, status="in_progress"), client.handshake())
        for run_id, agent_id in state.unknown_runs():
            state.looked(run_id, _last_turn(client, run_id, agent_id))
    except errors.CarrunsError as error:
        state.lost(str(error))


def _last_turn(client: Any, run_id: str, agent_id: str) -> dict[str, Any] | None:
    """Return the last record of a run; two short questions, however long it is."""
    place = {"run_id": run_id, "agent_id": agent_id}
    end = client.call("runs.get_trace", {**place, "cursor": 1 << 52, "limit": 1}).get("cursor", 0)
    page = client.call("runs.get_trace", {**place, "cursor": max(0, end - 1), "limit": 1})
    records = page.get("records") or [None]
    return records[-1] if isinstance(records[-1], dict) else None


def _live(settings: Settings, client: Any, state: TopState, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from carruns.render.topview import screenful

    console = Console(no_color=not settings.screen.color, highlight=False, emoji=False, markup=False)
    with (
        _watching(client, state),
        _keys() as key,
        Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live,
    ):
        while True:
            _poll(client, state)
            live.update(screenful(state, console.width, console.height), refresh=True)
            if key(interval) in _QUIT:
                return


@contextlib.contextmanager
def _watching(client: Any, state: TopState) -> Iterator[None]:
    """Take every record as it comes, in a thread of its own, so that the last tool is of this moment."""
    watch = client.watch(state.agent)

    def take() -> None:
        while not closed.is_set():
            try:
                for event in watch:
                    state.seen(event)
            except errors.CarrunsError:
                closed.wait(0.5)
            else:
                return

    closed = threading.Event()
    thread = threading.Thread(target=take, daemon=True, name="carruns-top")
    thread.start()
    try:
        yield
    finally:
        closed.set()
        watch.close()
        thread.join(2)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bytes]]:
    """Yield what waits for a key so many seconds; keys are not shown and need no Enter."""
    if not sys.stdin.isatty():

        def wait(seconds: float) -> bytes:
            time.sleep(seconds)
            return b""

        yield wait
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield lambda seconds: os.read(0, 1) if select.select([0], [], [], seconds)[0] else b""
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
