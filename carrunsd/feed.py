"""Who watches what: ``runs.subscribe`` on one run, ``runs.watch`` on all of an agent's or everyone's.

Events go out after the write.  A reader that does not keep up loses events and sees the gap in the cursor; the
daemon never waits for one.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from carrunsd.ledger import OPEN, Run
from carrunsd.stats import Stats


class Reader(Protocol):
    """A connection, as the feed sees it."""

    def offer(self, lines: bytes, count: int) -> bool:
        """Take ``count`` events, or refuse them all because the reader is slow."""
        ...


class Feed:
    """The subscriptions of all connections."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._runs: dict[Run, dict[Reader, None]] = {}
        self._watchers: dict[Reader, set[str | None]] = {}

    @property
    def watching(self) -> bool:
        """Whether anybody watches more than single runs."""
        return bool(self._watchers)

    def subscribe(self, reader: Reader, run: Run) -> None:
        """Send the run's events to ``reader`` from now on."""
        self._runs.setdefault(run, {})[reader] = None
        run.watched = True

    def unsubscribe(self, reader: Reader, run: Run) -> bool:
        """Stop that; return whether there was anything to stop."""
        readers = self._runs.get(run)
        if readers is None or reader not in readers:
            return False
        del readers[reader]
        if not readers:
            del self._runs[run]
            run.watched = False
        return True

    def watch(self, reader: Reader, agent_id: str | None) -> None:
        """Send the events of all runs (of one agent) to ``reader`` from now on."""
        self._watchers.setdefault(reader, set()).add(agent_id)

    def unwatch(self, reader: Reader, agent_id: str | None) -> bool:
        """Stop that; return whether there was anything to stop."""
        agents = self._watchers.get(reader)
        if agents is None or agent_id not in agents:
            return False
        agents.discard(agent_id)
        if not agents:
            del self._watchers[reader]
        return True

    def leave(self, reader: Reader) -> None:
        """Forget a connection."""
        self._watchers.pop(reader, None)
        for run in [run for run, readers in self._runs.items() if reader in readers]:
            self.unsubscribe(reader, run)

    def publish(self, run: Run, lines: bytes) -> None:
        """Send ``lines``, which are the last ones of the run's file now, to whoever watches."""
        texts = lines.split(b"\n")[:-1]
        readers = self._runs.get(run)
        if readers:
            self._offer(list(readers), _events(b"runs.trace.event", run, texts), len(texts))
        watchers = [r for r, agents in self._watchers.items() if None in agents or run.agent_id in agents]
        if watchers:
            self._offer(watchers, _events(b"runs.event", run, texts), len(texts))

    def _offer(self, readers: list[Reader], lines: bytes, count: int) -> None:
        for reader in readers:
            if reader.offer(lines, count):
                self._stats.events += count
            else:
                self._stats.events_dropped += count


def _events(method: bytes, run: Run, texts: list[bytes]) -> bytes:
    """Return one notification a record; only the last carries the status that the run has now."""
    head = b'{"jsonrpc":"2.0","method":"%b","params":{"run_id":%b,"agent_id":%b,"record":' % (
        method,
        msgspec.json.encode(run.run_id),
        msgspec.json.encode(run.agent_id),
    )
    first = run.lines - len(texts) + 1
    last = len(texts) - 1
    return b"".join(
        b'%b%b,"cursor":%d,"status":"%b"}}\n'
        % (head, text, first + n, (run.status if n == last else OPEN).value.encode())
        for n, text in enumerate(texts)
    )
