"""Where every command that looks gets runs from: the daemon, or the files where none answers (and it says so).

Nothing here starts a daemon: looking must not change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from carruns.protocol import errors
from carruns.protocol.paths import RUNS_NAME
from carruns.protocol.records import Record
from carruns.reading.probe import LOOK_SECS, State, probe


class Trace(Protocol):
    """The records of a run, in order; ``skipped`` (lines that could not be read) is right once they were read."""

    skipped: int

    def __iter__(self) -> Iterator[Record]:
        """Yield the records.  Raises ``RunNotFound`` if the run is gone meanwhile."""


class Source(Protocol):
    """What commands that look ask.  ``live``: a daemon answers."""

    live: bool

    def runs(
        self,
        agent: str | None = None,
        status: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> list[Record]:
        """Return summaries, newest first; ``since`` and ``until`` are instants in nanoseconds."""

    def agents(self) -> list[Record]:
        """Return the agents, the last active first."""

    def trace(self, run_id: str, agent_id: str) -> Trace:
        """Return a run's records."""

    def last(self, run_id: str, agent_id: str, count: int) -> list[Record]:
        """Return a run's last records without reading all of it."""


def open_source(car_dir: Path, socket: Path, tell: Callable[[str], None]) -> Source:
    """Return the daemon where one answers, else the files; then ``tell`` hears why."""
    found = probe(socket)
    text = found.text
    if found.state is State.UP:
        from carruns import Client
        from carruns.reading.daemon_source import DaemonSource

        client = Client(car_dir, socket, autostart=False)
        try:
            client.call("server.ping", timeout=LOOK_SECS)
        except errors.CarrunsError as error:
            text = str(error)
        else:
            return DaemonSource(client)
    from carruns.reading.file_source import FileSource

    root = car_dir / RUNS_NAME
    tell(f"{text}; reading the files in {root}")
    return FileSource(root)
