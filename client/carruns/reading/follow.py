"""Follow many runs through restarts of the daemon: every record once, in each run's order.

Theory of operation.  ``runs.watch`` brings records with their ``line``, the number of lines of the run's file up to
and with them.  For each run the line of the last record handed out is kept: the next one is handed out, an older
one was seen already, a later one shows a gap, which is fetched with ``runs.get_trace``.  Whenever the watch is made
anew (at first, and after every lost connection) all runs that are not over are caught up with in the same way, and
so are those that began meanwhile.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from carruns import Client, calls
from carruns.engine import Steps
from carruns.protocol import errors, times
from carruns.protocol.records import Record
from carruns.reading.instants import SECOND, instant
from carruns.reading.probe import State, probe
from carruns.subscriber import Watcher
from carruns.sync import Watch

_END = 1 << 52  # a cursor behind every file's end
_AWAY = (errors.DaemonUnavailable, errors.ConnectionLost, errors.AnswerTimeout, errors.Busy)
#: Clocks of agents and of the daemon differ, and a spooled run began before it got here.
_LOOK_BACK = 300 * SECOND
_PAUSE = 0.3  # seconds between two looks for a daemon


class Item(NamedTuple):
    """One record of a run; ``line`` is its number in the file, from 1."""

    run_id: str
    agent_id: str
    line: int
    record: Record


class _MarkedWatcher(Watcher):
    """The library's watcher, which also says when something may have been missed.

    At a restart without open runs nothing else would come to show it.
    """

    def next(self) -> Steps[Record | None]:
        while not self._ready:
            if self._closed:
                return None
            answer = yield from self._subscribed()
            if answer is not None or (self.engine.flooded and not self._arrivals):
                self.engine.flooded = False  # a reader that fell behind has lost what nothing later may show
                self._ready.append(Record(event="subscribed"))
                continue
            arrival = yield from self._arrival()
            if arrival is not None and arrival.method == "runs.event":
                self._ready.append(Record(msgspec.json.decode(arrival.params)))
        return self._ready.popleft()


class Following:
    """An iterator over the records of all runs, of one agent's, or of one run."""

    def __init__(
        self,
        client: Client,
        agent_id: str | None,
        run_id: str | None,
        last: int,
        began: int,
        tell: Callable[[str], None],
    ) -> None:
        """Follow from the instant ``began`` on; of runs that are open by then the ``last`` records come first.

        ``tell`` hears of the daemon's comings and goings.
        """
        self._client, self._agent_id, self._run_id, self._last = client, agent_id, run_id, last
        self._tell = tell
        self._watch = Watch(_MarkedWatcher(client._core.new_engine(), agent_id))
        self._lines: dict[str, int] = {}
        self._over: set[str] = set()
        self._ready: deque[Item] = deque()
        self._began = began
        self._since = began - _LOOK_BACK
        self._subscribed = False

    def close(self) -> None:
        """End the connection."""
        self._watch.close()

    def __iter__(self) -> Iterator[Item]:
        """Yield records for ever, or until the one run has ended."""
        away = False
        while True:
            try:
                event = next(self._watch)
                self._take(event)
            except StopIteration:
                return
            except _AWAY as error:
                if not away:
                    self._tell(f"{error}; waiting for it")
                away = True
                continue
            if away:
                self._tell("the daemon is back")
                away = False
            while self._ready:
                item = self._ready.popleft()
                yield item
                if item.run_id == self._run_id and item.record.get("record") == "ended":
                    return

    def _take(self, event: Record) -> None:
        kind = event.get("event")
        if kind == "subscribed":
            self._catch_up(first=not self._subscribed)
            self._subscribed = True
        elif kind is None and self._run_id in (None, event.get("run_id")):
            self._record(event)

    # --- catching up ----------------------------------------------------------------------------------------

    def _catch_up(self, *, first: bool) -> None:
        if self._run_id is not None:
            runs = [run for run in self._client.list_runs(self._agent_id) if run.run_id == self._run_id]
        else:
            runs = self._client.list_runs(self._agent_id, since=times.render(self._since, 9))
            runs += [Record(run_id=run_id, agent_id="", status="") for run_id in self._unfinished(runs)]
        for run in reversed(runs):
            known = self._lines.get(run.run_id)
            if known is None:
                known = self._first_line(run) if first else 0
            self._fetch(run.run_id, run.agent_id, known, _END)

    def _first_line(self, run: Record) -> int:
        """Return where to begin with a run that was there before us, or began while we looked for the daemon."""
        if (instant(run.started_at) or 0) >= self._began:
            return 0
        last = self._last if self._run_id or run.status == "in_progress" else 0
        return max(0, self._end_of(run) - last)

    def _unfinished(self, runs: list[Record]) -> list[str]:
        listed = {run.run_id for run in runs}
        return [run_id for run_id in self._lines if run_id not in self._over and run_id not in listed]

    def _end_of(self, run: Record) -> int:
        page = self._page(run.run_id, run.agent_id, _END, 1)
        return 0 if page is None else page.line

    def _page(self, run_id: str, agent_id: str, line: int, limit: int | None) -> calls.TracePage | None:
        answer = self._client._ask(calls.trace_page(run_id, agent_id or None, line, limit))
        return None if answer.not_found else answer

    def _fetch(self, run_id: str, agent_id: str, line: int, upto: int) -> None:
        """Hand out what stands behind ``line``, as far as ``upto``."""
        while line < upto:
            page = self._page(run_id, agent_id, line, min(1000, upto - line))
            if page is None or page.line <= line:
                break
            first = page.line - len(page.records)
            for number, raw in enumerate(page.records, start=1):
                self._add(run_id, page.agent_id or agent_id, first + number, Record(msgspec.json.decode(raw)))
            line = page.line
        self._lines[run_id] = max(line, self._lines.get(run_id, 0))

    def _record(self, event: Record) -> None:
        run_id, line = str(event.get("run_id")), int(event.get("line", 0))
        known = self._lines.get(run_id, 0 if event["record"].get("record") == "started" else line - 1)
        if line <= known:
            return
        agent_id = str(event.get("agent_id", ""))
        if line > known + 1:
            self._fetch(run_id, agent_id, known, line - 1)
        self._add(run_id, agent_id, line, Record(event["record"]))
        self._lines[run_id] = line

    def _add(self, run_id: str, agent_id: str, line: int, record: Record) -> None:
        kind: Any = record.get("record")
        (self._over.add if kind == "ended" else self._over.discard)(run_id)
        self._since = max(
            self._since, (instant(record.get("started_at")) or 0) - _LOOK_BACK if kind == "started" else 0
        )
        self._ready.append(Item(run_id, agent_id, line, record))


def wait_for_daemon(socket: Path, tell: Callable[[str], None]) -> None:
    """Return once a daemon listens; ``tell`` hears why there is a wait, if there is one."""
    found = probe(socket)
    if found.state is State.UP:
        return
    tell(f"{found.text}; waiting for one")
    while probe(socket).state is not State.UP:
        time.sleep(_PAUSE)
