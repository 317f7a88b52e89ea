"""Asking the daemon for the open runs, again and again, for ``carruns top``.  What comes of it: ``open_runs``."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from carruns import Client
from carruns.protocol import errors
from carruns.reading.daemon_source import DaemonSource
from carruns.reading.open_runs import OpenRuns

_PAUSE, _CLOSING = 0.5, 2.0  # seconds: after a lost connection; for the thread to end


def poll(client: Client, open_runs: OpenRuns) -> None:
    """Ask once.  A daemon that does not answer is a fact about it, not an error."""
    source = DaemonSource(client)
    try:
        if not open_runs.others:
            open_runs.others = [run.run_id for run in source.runs()]
        runs = source.runs(open_runs.agent, "in_progress")
        open_runs.polled(client.stats(), runs, client.handshake())
        for run_id, agent_id in open_runs.unknown_runs():
            open_runs.looked(run_id, next(iter(source.last(run_id, agent_id, 1)), None))
    except errors.CarrunsError as error:
        open_runs.lost(str(error))


@contextlib.contextmanager
def watching(client: Client, open_runs: OpenRuns) -> Iterator[None]:
    """Take every record as it comes, in a thread of its own, so that the last tool is of this moment."""
    watch = client.watch(open_runs.agent)
    closed = threading.Event()

    def take() -> None:
        while not closed.is_set():
            try:
                for event in watch:
                    open_runs.seen(event)
            except errors.CarrunsError:
                closed.wait(_PAUSE)
            else:
                return

    thread = threading.Thread(target=take, daemon=True, name="carruns-top")
    thread.start()
    try:
        yield
    finally:
        closed.set()
        watch.close()
        thread.join(_CLOSING)
