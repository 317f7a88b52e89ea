"""Where reading commands get runs from: the daemon, or the files where none runs (and they say so).

Nothing here starts a daemon: looking must not change anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from carruns.cli.screen import warn
from carruns.protocol import errors, times
from carruns.protocol.paths import RUNS_NAME
from carruns.protocol.records import Record
from carruns.reading.probe import State, probe

if TYPE_CHECKING:
    from carruns import Client
    from carruns.cli.settings import Settings


_END = 1 << 52  # a cursor behind every file's end


class Trace(Protocol):
    """The records of a run, in order; ``skipped`` (lines that could not be read) is right once they were read."""

    skipped: int

    def __iter__(self) -> Iterator[Record]:
        """Yield the records."""


class Source(Protocol):
    """What reading commands ask."""

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


def open_source(settings: Settings, *, quiet: bool = False) -> Source:
    """Return the daemon where one answers, else the files; says on standard error that it is the files."""
    found = probe(settings.socket)
    text = found.text
    if found.state is State.UP:
        client = settings.client(autostart=False)
        try:
            client.handshake()
        except errors.CarrunsError as error:
            text = str(error)
        else:
            return DaemonSource(client)
    from carruns.reading.filesource import FileSource

    root = settings.car_dir / RUNS_NAME
    if not quiet:
        warn(f"{text}; reading the files in {root}")
    return FileSource(root)


class DaemonSource:
    """Asks the daemon."""

    live = True

    def __init__(self, client: Client) -> None:
        self.client = client

    def runs(
        self,
        agent: str | None = None,
        status: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> list[Record]:
        """``runs.list``."""
        return self.client.list_runs(agent, status, _text(since), _text(until))

    def agents(self) -> list[Record]:
        """``runs.agents``."""
        return self.client.agents()

    def trace(self, run_id: str, agent_id: str) -> Trace:
        """``runs.get_trace``, page by page."""
        return _DaemonTrace(self.client, run_id, agent_id)

    def last(self, run_id: str, agent_id: str, count: int) -> list[Record]:
        """``runs.get_trace`` behind the end says where that is, and once more before it has the records."""
        place = {"run_id": run_id, "agent_id": agent_id}
        end = self.client.call("runs.get_trace", {**place, "cursor": _END, "limit": 1}).get("cursor", 0)
        page = self.client.call("runs.get_trace", {**place, "cursor": max(0, end - count)})
        return [Record(record) for record in page.get("records", [])][-count:]


class _DaemonTrace:
    def __init__(self, client: Client, run_id: str, agent_id: str) -> None:
        self._client, self._run_id, self._agent_id = client, run_id, agent_id
        self.skipped = 0

    def __iter__(self) -> Iterator[Record]:
        cursor: int | None = None
        self.skipped = 0
        while True:
            params = {"run_id": self._run_id, "agent_id": self._agent_id, "cursor": cursor}
            page = self._client.call("runs.get_trace", params)
            if page.get("not_found"):
                raise errors.RunNotFound(f"run {self._run_id} is gone", errors.RUN_NOT_FOUND)
            self.skipped += page.get("skipped", 0)
            yield from map(Record, page["records"])
            cursor = page.get("next_cursor")
            if cursor is None:
                return


def _text(instant: int | None) -> str | None:
    return None if instant is None else times.render(instant, 9)


def runs_root(settings: Settings) -> Path:
    """Return the directory the runs are in."""
    return settings.car_dir / RUNS_NAME
