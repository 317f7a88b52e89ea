"""Runs as the daemon tells them: a ``Source``."""

from __future__ import annotations

from collections.abc import Iterator

from carruns import Client
from carruns.protocol import errors, times
from carruns.protocol.records import Record

_END = 1 << 52  # a cursor behind every file's end


class DaemonSource:
    """Asks the daemon.  Raises ``CarrunsError``."""

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
        """Ask ``runs.list``."""
        return self.client.list_runs(agent, status, _text(since), _text(until))

    def agents(self) -> list[Record]:
        """Ask ``runs.agents``."""
        return self.client.agents()

    def trace(self, run_id: str, agent_id: str) -> DaemonTrace:
        """Ask ``runs.get_trace``, page by page."""
        return DaemonTrace(self.client, run_id, agent_id)

    def last(self, run_id: str, agent_id: str, count: int) -> list[Record]:
        """Ask ``runs.get_trace`` behind the end, which says where that is, and once more before it."""
        place = {"run_id": run_id, "agent_id": agent_id}
        end = self.client.call("runs.get_trace", {**place, "cursor": _END, "limit": 1}).get("line", 0)
        page = self.client.call("runs.get_trace", {**place, "cursor": max(0, end - count)})
        return [Record(record) for record in page.get("records", [])][-count:]


class DaemonTrace:
    """The records of one run, in order; ``skipped`` counts the lines of its file that held none."""

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
