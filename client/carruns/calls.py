"""The questions one can ask the daemon: their parameters, their answers, and which may be asked twice.  Pure.

Both clients build a :class:`Call` here, send it, and hand the answer to its ``parse``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from carruns import encoding
from carruns.protocol import errors, messages, times
from carruns.protocol.records import Record
from carruns.protocol.version import VERSION
from carruns.results import Trace, decoded

T = TypeVar("T")
Result = bytes | memoryview | Raw
Instant = str | datetime | float | int

#: Methods that change nothing, or nothing the second time.
SAFE = frozenset(
    (
        "server.handshake", "server.ping", "server.stats", "runs.flush", "runs.list", "runs.agents",
        "runs.get_trace", "runs.agent_for_run", "runs.subscribe", "runs.unsubscribe", "runs.watch",
        "runs.unwatch", "runs.resume", "runs.gc", "runs.adopt_orphans", "runs.complete", "runs.abandon",
        "runs.cancel",
    )
)  # fmt: skip


class Call(NamedTuple, Generic[T]):
    """One request: what to ask, how to read the answer, and whether asking twice does no harm."""

    method: str
    params: bytes
    parse: Callable[[Result], T]
    safe: bool


class TracePage(Struct):
    """The result of ``runs.get_trace``; the records stay undecoded."""

    run_id: str = ""
    agent_id: str = ""
    records: list[Raw] = []  # msgspec copies it
    line: int = 0
    next_cursor: int | None = None
    skipped: int = 0
    not_found: bool = False


class Flushed(Struct):
    """The result of ``runs.flush``."""

    acked_seq: int | None = None
    turn_count: int = 0


class Resumed(Struct):
    """The result of ``runs.resume``."""

    run_id: str = ""
    agent_id: str = ""
    status: str = ""
    turn_count: int = 0
    acked_seq: int | None = None


class Recorded(Struct):
    """The result of ``runs.record_turns`` as far as the sender of a turn needs it."""

    ok: bool = True
    dropped: str | None = None


class _Runs(Struct):
    runs: list[dict[str, Any]] = []


class _Agents(Struct):
    agents: list[dict[str, Any]] = []


def encode_params(params: Any) -> bytes:
    """Return the parameters as JSON, whatever is in them; absent ones (``None`` on top) are left out."""
    if isinstance(params, dict):
        params = {key: value for key, value in params.items() if value is not None}
    return encoding.encode_any(params)


def line(method: str, params: bytes, request_id: int | None = None) -> bytes:
    """Return a request line around encoded parameters; without an id no answer comes."""
    if request_id is None:
        return b'{"method":"%b","params":%b}\n' % (method.encode(), params)
    return b'{"id":%d,"method":"%b","params":%b}\n' % (request_id, method.encode(), params)


def call(method: str, params: dict[str, Any] | None = None) -> Call[Any]:
    """Any method, its result as plain Python objects."""
    return _call(method, params or {}, msgspec.json.decode)


def record(method: str, **params: Any) -> Call[Record]:
    """Any method whose result is an object."""
    return _call(method, params, lambda result: Record(msgspec.json.decode(result)))


def _call(method: str, params: dict[str, Any], parse: Callable[[Result], T]) -> Call[T]:
    safe = method in SAFE or (method == "runs.start" and params.get("idempotency_key") is not None)
    safe = safe or (method == "runs.record_turns" and params.get("writer") is not None)
    return Call(method, encode_params(params), parse, safe)


def handshake() -> Call[Record]:
    """``server.handshake`` as this library says it."""
    return record("server.handshake", client_version=VERSION, protocol_version=messages.PROTOCOL_VERSION)


def list_runs(
    agent_id: str | None, status: str | None, since: Instant | None, until: Instant | None, limit: int | None
) -> Call[list[Record]]:
    """``runs.list``; times as RFC 3339, ``datetime`` (naive is local) or seconds since 1970."""
    params = {
        "agent_id": agent_id,
        "status": None if status is None else str(status),
        "since": instant(since),
        "until": instant(until),
        "limit": limit,
    }
    decoder = msgspec.json.Decoder(_Runs)
    return _call("runs.list", params, lambda result: [Record(run) for run in decoder.decode(result).runs])


def agents() -> Call[list[Record]]:
    """``runs.agents``."""
    decoder = msgspec.json.Decoder(_Agents)
    return _call("runs.agents", {}, lambda result: [Record(agent) for agent in decoder.decode(result).agents])


def agent_for_run(run_id: str) -> Call[str | None]:
    """``runs.agent_for_run``: an object with the agent's id, or ``null`` in its place or for all of it."""
    return _call("runs.agent_for_run", {"run_id": run_id}, lambda result: _owner(msgspec.json.decode(result)))


def _owner(found: Any) -> str | None:
    owner = found.get("agent_id") if isinstance(found, dict) else found
    return owner if isinstance(owner, str) else None


def record_turns(
    run_id: str, turns: Sequence[dict[str, Any]], writer: str | None, seq: int | None, *, durable: bool
) -> Call[Record]:
    """``runs.record_turns`` with an answer.  Each turn is encoded by itself: looked at together they seem deep."""
    encoded = b",".join(encoding.encode_each(turns))
    rest = encode_params({"run_id": run_id, "writer": writer, "seq": seq, "durable": durable or None})
    call = record("runs.record_turns", writer=writer)
    return Call(call.method, b'%b,"turns":[%b]}' % (rest[:-1], encoded), call.parse, call.safe)


def append(agent_id: str, run_id: str, records: Sequence[dict[str, Any]]) -> Call[int]:
    """``runs.append``."""
    return _number("runs.append", "count", agent_id=agent_id, run_id=run_id, records=list(records))


def cancel(run_id: str, reason: str, key: str) -> Call[Record]:
    """``runs.cancel``: answered when the run has ended.  The same key is one request, however often it is asked."""
    return record("runs.cancel", run_id=run_id, idempotency_key=key, reason=reason)


def adopt_orphans() -> Call[int]:
    """``runs.adopt_orphans``."""
    return _number("runs.adopt_orphans", "adopted")


def _number(method: str, name: str, **params: Any) -> Call[int]:
    return _call(method, params, lambda result: int(msgspec.json.decode(result)[name]))


def run_has_outcome(run_id: str) -> errors.RunTerminal:
    """Return the error for a run that cannot be gone on with."""
    return errors.RunTerminal(
        f"run {run_id} has an outcome, which is final: begin a new run",
        errors.RUN_TERMINAL,
        {"kind": "run_terminal"},
    )


def trace_page(run_id: str, agent_id: str | None, cursor: int | None, limit: int | None) -> Call[TracePage]:
    """``runs.get_trace``, one page."""
    params = {"run_id": run_id, "agent_id": agent_id, "cursor": cursor, "limit": limit}
    return _call("runs.get_trace", params, _page.decode)


_page = msgspec.json.Decoder(TracePage)
flushed: Callable[[Result], Flushed] = msgspec.json.Decoder(Flushed).decode
resumed: Callable[[Result], Resumed] = msgspec.json.Decoder(Resumed).decode
recorded: Callable[[Result], Recorded] = msgspec.json.Decoder(Recorded).decode


def instant(moment: Instant | None) -> str | None:
    """Return a time as RFC 3339; raises ``ValueError`` for text that is none."""
    if moment is None:
        return None
    if isinstance(moment, str):
        return times.in_utc(moment)
    if isinstance(moment, datetime):
        moment = moment.astimezone(timezone.utc).timestamp()
    return times.render(round(moment * 1_000_000_000), 9)


class TraceBuilder:
    """Asks for the pages of a trace one after another."""

    def __init__(self, run_id: str, agent_id: str | None, cursor: int = 0) -> None:
        self._run_id, self._agent_id = run_id, agent_id
        self._next: int | None = cursor
        self._lines: list[Raw] = []
        self._skipped = 0
        self.trace: Trace | None = None

    def next_call(self) -> Call[TracePage] | None:
        """Return the next page's request, ``None`` if there is no more."""
        if self._next is None:
            return None
        return trace_page(self._run_id, self._agent_id, self._next or None, None)

    def add(self, page: TracePage) -> None:
        """Keep a page; ``trace`` is whole when :meth:`next_call` says so."""
        self._turn_to(page)
        if page.not_found:
            return
        self._lines += page.records
        self._skipped += page.skipped
        agent_id = page.agent_id or self._agent_id or ""
        self.trace = Trace(page.run_id or self._run_id, agent_id, self._lines, page.line, self._skipped)

    def page(self, page: TracePage) -> Iterator[Record]:
        """Return a page's records, decoded one by one, and keep nothing; raises ``RunNotFound``."""
        self._turn_to(page)
        if page.not_found:
            raise errors.RunNotFound(
                f"no run {self._run_id} is in the store", errors.RUN_NOT_FOUND, {"kind": "run_not_found"}
            )
        return decoded(page.records)

    def _turn_to(self, page: TracePage) -> None:
        further = page.next_cursor is not None and page.next_cursor > (self._next or 0)
        self._next = page.next_cursor if further else None
