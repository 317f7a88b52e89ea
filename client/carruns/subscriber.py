"""Follow a run, or all open ones, as it happens: no record missed, none twice, over restarts of the daemon.  Pure.

Theory of operation.  A subscriber has an engine, and so a connection, of its own.  Its ``position`` is the number
of the file's lines up to the last record it handed out (``line`` on the wire).  An event right behind the position
is handed out; one further on shows that the daemon left some out for us, being slow, and those are fetched with
``runs.get_trace``; one at or before it was seen already.  After a lost connection it subscribes again and fetches
what came meanwhile.  Where the last events are the ones left out, none follows to show it: so after a flood the
trace is looked at.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from msgspec import Raw, Struct

from carruns import calls
from carruns.connection import Notification, Transport
from carruns.engine import Engine, Steps, Wait
from carruns.protocol import errors
from carruns.protocol.records import Record
from carruns.results import Event

_PAGE = 1000
_FOREVER = float("inf")


class _Snapshot(Struct):
    run_id: str = ""
    agent_id: str = ""
    turns_so_far: list[dict[str, Any]] = []
    cursor: int = 0
    line: int = 0
    status: str = ""


class _TraceEvent(Struct):
    run_id: str = ""
    record: dict[str, Any] = {}
    cursor: int = 0
    line: int = 0
    status: str = ""


_snapshot = msgspec.json.Decoder(_Snapshot).decode
_trace_event = msgspec.json.Decoder(_TraceEvent).decode


class Subscriber:
    """What both kinds have in common: the connection, and waiting for the next notification."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        engine.on_notification = self._arrived
        self._arrivals: deque[Notification] = deque()
        self._subscribed_on: Transport | None = None
        self._closed = False

    def close(self) -> None:
        """End it: whoever waits for the next event gets none."""
        self._closed = True
        self.engine.lose(errors.ConnectionLost("closed"))

    def _arrived(self, notification: Notification) -> None:
        self._arrivals.append(notification)

    def _subscribed(self) -> Steps[bytes | memoryview | Raw | None]:
        """Subscribe if this connection is not subscribed yet; return the answer, ``None`` if it is.

        A daemon that is being restarted is waited for as long as any question is.
        """
        engine = self.engine
        if engine.link is not None and engine.link is self._subscribed_on:
            return None
        self._arrivals.clear()
        method, params = self._question()
        answer = yield from engine.query(calls.Call(method, calls.encode_params(params), _as_it_is, safe=True))
        self._subscribed_on = engine.link
        return answer

    def _question(self) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def _arrival(self) -> Steps[Notification | None]:
        """Wait for the next notification, ``None`` if the connection is lost first."""
        engine = self.engine
        while True:
            engine.pump()
            if self._arrivals:
                return self._arrivals.popleft()
            if engine.link is None or engine.link is not self._subscribed_on:
                return None
            yield Wait(_FOREVER)


def _status_of_end(record: Record) -> str:
    """Every end but ``incomplete`` is final, and so is an ``incomplete`` that says so: a cancelled run's."""
    termination = record.get("termination")
    kind = termination.get("kind") if isinstance(termination, dict) else None
    return "incomplete" if kind == "incomplete" and record.get("final") is not True else "completed"


def _as_it_is(result: bytes | memoryview | Raw) -> bytes | memoryview | Raw:
    return result


class RunSubscriber(Subscriber):
    """Follow one run to its end."""

    def __init__(self, engine: Engine, run_id: str) -> None:
        super().__init__(engine)
        self.run_id = run_id
        self.agent_id: str | None = None
        self.position = -1
        self._ready: deque[Event] = deque()
        self._turns = 0  # handed out
        self._over = False

    def _question(self) -> tuple[str, dict[str, Any]]:
        return "runs.subscribe", {"run_id": self.run_id}

    def next(self) -> Steps[Event | None]:
        """Wait for the next event; ``None`` once the run has ended and all of it was handed out.

        Raises what a query raises: ``RunNotFound``, ``DaemonUnavailable`` and so on.
        """
        while True:
            if self._ready:
                event = self._ready.popleft()
                self.position = max(self.position, event.line)
                return event
            if self._over or self._closed:
                return None
            answer = yield from self._subscribed()
            if answer is not None:
                yield from self._begin(_snapshot(answer))
                continue
            if self.engine.flooded and not self._arrivals:
                yield from self._look_behind()
                continue
            arrival = yield from self._arrival()
            if arrival is not None and arrival.method == "runs.trace.event":
                yield from self._take(_trace_event(arrival.params))

    def _begin(self, snapshot: _Snapshot) -> Steps[None]:
        self.agent_id = snapshot.agent_id
        lines = 1 + len(snapshot.turns_so_far) + (snapshot.status != "in_progress")
        if self.position < 0 and snapshot.line == lines:
            self._replay(snapshot)
        else:  # also at the beginning of a run that holds more than turns: a request to cancel it, a bad line
            self.position = max(self.position, 1)
            yield from self._fetch(snapshot.line, snapshot.status)
        if snapshot.status != "in_progress":
            yield from self._fetch_end(snapshot)
            self._over = True

    def _replay(self, snapshot: _Snapshot) -> None:
        """Hand out the turns so far; their lines count back from the end: only ``started`` is before them."""
        turns = snapshot.turns_so_far
        first = snapshot.line - len(turns) - (snapshot.status != "in_progress")
        for number, turn in enumerate(turns, start=1):
            self._hand_out(Record(turn), first + number, snapshot.status)
        self.position = snapshot.line

    def _fetch_end(self, snapshot: _Snapshot) -> Steps[None]:
        """The snapshot holds turns only; the end of a run that is over is its file's last record."""
        if any(event.record.get("record") == "ended" for event in self._ready) or snapshot.line < 1:
            return
        call = calls.trace_page(self.run_id, self.agent_id, snapshot.line - 1, _PAGE)
        page = yield from self.engine.query(call)
        for raw in page.records:
            record = Record(msgspec.json.decode(raw))
            if record.get("record") == "ended":
                self._hand_out(record, page.line, snapshot.status)

    def _fetch(self, upto: int, status: str) -> Steps[None]:
        """Hand out what lies between the position and line ``upto``."""
        at = max([self.position, *(event.line for event in self._ready)])
        while at < upto:
            call = calls.trace_page(self.run_id, self.agent_id, at, min(_PAGE, upto - at))
            page = yield from self.engine.query(call)
            if page.not_found or page.line <= at:
                return
            first = page.line - len(page.records)
            for number, raw in enumerate(page.records, start=1):
                self._hand_out(Record(msgspec.json.decode(raw)), max(at + 1, first + number), status)
            at = page.line
        self.position = max(self.position, at) if not self._ready else self.position

    def _look_behind(self) -> Steps[None]:
        """After a flood: fetch what is in the file already, until there is nothing behind the position."""
        self.engine.flooded = False
        page = yield from self.engine.query(calls.trace_page(self.run_id, self.agent_id, self.position, _PAGE))
        self.engine.flooded = bool(page.records)
        self._hand_out_page(page, "in_progress")
        self._over = bool(self._ready) and self._ready[-1].record.get("record") == "ended"

    def _hand_out(self, record: Record, line: int, status: str) -> None:
        self._turns += record.get("record") in ("turn", "model_turn")
        self._ready.append(Event(record, self._turns, status, line))

    def _hand_out_page(self, page: calls.TracePage, status: str) -> None:
        at = max([self.position, *(event.line for event in self._ready)])
        first = page.line - len(page.records)
        for number, raw in enumerate(page.records, start=1):
            record = Record(msgspec.json.decode(raw))
            now = _status_of_end(record) if record.get("record") == "ended" else status
            self._hand_out(record, max(at + 1, first + number), now)

    def _take(self, event: _TraceEvent) -> Steps[None]:
        if event.run_id != self.run_id or event.line <= self.position:
            return
        if event.line > self.position + 1:
            yield from self._fetch(event.line - 1, event.status)
        self._hand_out(Record(event.record), event.line, event.status)
        if event.record.get("record") == "ended":
            self._over = True


class Watcher(Subscriber):
    """Follow the starts, turns and ends of all runs, or of one agent's."""

    def __init__(self, engine: Engine, agent_id: str | None) -> None:
        super().__init__(engine)
        self._agent_id = agent_id
        self._ready: deque[Record] = deque()

    def _question(self) -> tuple[str, dict[str, Any]]:
        return "runs.watch", {"agent_id": self._agent_id}

    def next(self) -> Steps[Record | None]:
        """Wait for the next event, ``None`` once this is closed.

        The runs that are open come first, as ``{"event": "open", ...}``.  After a restart of the
        daemon they come again: what happened in between is in their traces.
        """
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._closed:
                return None
            answer = yield from self._subscribed()
            if answer is not None:
                self._ready.extend(_open_runs(msgspec.json.decode(answer)))
                continue
            arrival = yield from self._arrival()
            if arrival is not None and arrival.method == "runs.event":
                return Record(msgspec.json.decode(arrival.params))


def _open_runs(answer: Any) -> list[Record]:
    runs = answer.get("runs", []) if isinstance(answer, dict) else answer
    if not isinstance(runs, list):
        raise errors.ConnectionLost("the daemon's answer to runs.watch makes no sense")
    return [Record({"event": "open", **run}) for run in runs]
