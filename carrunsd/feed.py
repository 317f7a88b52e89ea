"""Who watches what: ``runs.subscribe`` on one run, ``runs.watch`` on all of an agent's or everyone's.

Theory of operation.  The writer only leaves the lines it has written in a :class:`Stream`, whoever watches it and
however many.  A pump hands them on between other work and takes at most a small share of the time for it, so a
hundred subscribers cost the writer no more than one.  A stream keeps a bounded row of recent lines; a reader that
has fallen behind its beginning has lost events and sees the gap in ``line``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import msgspec

from carrunsd.run import Run
from carrunsd.stats import Stats
from carrunsd.store import pages
from carrunsd.store.history import AFTER, OPEN

log = logging.getLogger("carrunsd.feed")

KEPT_BYTES = 16 << 20  # of lines in one stream
KEPT_IN_ALL = 64 << 20  # of lines in all streams
HANDOVER_BYTES = 64 << 10  # of lines to one reader at a time
SLICE = 0.004  # seconds the pump works at a time
REST = 12  # times as long as it has worked, the pump rests: a share of 1/13


class Reader(Protocol):
    """A connection, as the feed sees it."""

    def has_room(self) -> bool:
        """Tell whether events may be offered; if not, :meth:`Feed.wake` is called once they may."""
        ...

    def offer(self, lines: bytes) -> None:
        """Take events."""
        ...


class Chunk:
    """What one flush wrote to one run: its lines, and how the run stood behind the last of them.

    ``count`` is the number of the file's lines then, ``turns`` that of its turns.
    """

    __slots__ = ("_events", "count", "lines", "number", "run", "status", "turns")

    def __init__(self, number: int, run: Run, lines: bytes) -> None:
        self.number = number
        self.run = run
        self.lines = lines
        self.count = run.lines
        self.turns = run.turn_count
        self.status = run.status
        self._events: tuple[bytes, int] | None = None

    def events(self, method: bytes) -> tuple[bytes, int]:
        """Return the chunk as notifications, and how many; only the last carries the status."""
        if self._events is None:
            texts = self.lines.split(b"\n")[:-1]
            self._events = _events(method, self, texts), len(texts)
        return self._events


class Stream:
    """Recent chunks, and for each reader the number of the next one that it gets."""

    __slots__ = ("agents", "chunks", "end", "kept", "method", "readers")

    def __init__(self, method: bytes) -> None:
        self.method = method
        self.chunks: deque[Chunk] = deque()
        self.end = 0
        self.kept = 0
        self.readers: OrderedDict[Reader, int] = OrderedDict()
        self.agents: dict[Reader, set[str | None]] = {}

    def add(self, run: Run, lines: bytes) -> int:
        """Take in lines; return by how many bytes the row grew."""
        before = self.kept
        self.chunks.append(Chunk(self.end, run, lines))
        self.end += 1
        self.kept += len(lines)
        while self.kept > KEPT_BYTES and len(self.chunks) > 1:
            self._drop()
        return self.kept - before

    def trim(self) -> int:
        """Let go of what every reader has had; return the bytes."""
        before = self.kept
        least = min(self.readers.values(), default=self.end)
        while self.chunks and self.chunks[0].number < least:
            self._drop()
        return before - self.kept

    def _drop(self) -> None:
        self.kept -= len(self.chunks.popleft().lines)

    def lost(self, reader: Reader) -> bool:
        """Tell whether the row no longer begins early enough for ``reader``."""
        return bool(self.chunks) and self.readers[reader] < self.chunks[0].number

    def next_lines(self, reader: Reader) -> tuple[bytes, int, int]:
        """Return the next events for ``reader``, their count, and the number to go on with."""
        at = self.readers[reader]
        first = self.chunks[0].number if self.chunks else self.end
        agents = self.agents.get(reader)
        parts: list[bytes] = []
        count = size = 0
        at = max(at, first)
        while at < self.end and size < HANDOVER_BYTES:
            chunk = self.chunks[at - first]
            at += 1
            if agents is None or None in agents or chunk.run.agent_id in agents:
                lines, number = chunk.events(self.method)
                parts.append(lines)
                count += number
                size += len(lines)
        return b"".join(parts), count, at


class Feed:
    """The subscriptions of all connections.  ``call_later`` is the event loop's."""

    def __init__(self, stats: Stats, call_later: Callable[[float, Callable[[], None]], Any]) -> None:
        self._stats = stats
        self._call_later = call_later
        self._runs: dict[tuple[str, str], Stream] = {}  # by path: a run may leave memory and come back
        self._all = Stream(b"runs.event")
        self._kept = 0
        self._ready: OrderedDict[Stream, None] = OrderedDict()
        self._scheduled = False
        self._resume_at = 0.0

    @property
    def watching(self) -> bool:
        """Whether anybody watches more than single runs."""
        return bool(self._all.readers)

    # -- who watches ---------------------------------------------------------------------------------------

    def subscribe(self, reader: Reader, run: Run) -> None:
        """Send the run's events to ``reader`` from now on."""
        stream = self._runs.setdefault(run.path, Stream(b"runs.trace.event"))
        stream.readers[reader] = stream.end
        run.watched = True

    def unsubscribe(self, reader: Reader, run: Run) -> bool:
        """Stop that; return whether there was anything to stop."""
        if not self._unsubscribe(reader, run.path):
            return False
        run.watched = run.path in self._runs
        return True

    def _unsubscribe(self, reader: Reader, path: tuple[str, str]) -> bool:
        stream = self._runs.get(path)
        if stream is None or stream.readers.pop(reader, None) is None:
            return False
        self._kept -= stream.trim()
        if not stream.readers:
            del self._runs[path]
            self._ready.pop(stream, None)
        return True

    def is_watched(self, path: tuple[str, str]) -> bool:
        """Tell whether somebody subscribes to the run of a file."""
        return path in self._runs

    def watch(self, reader: Reader, agent_id: str | None) -> None:
        """Send the events of all runs (of one agent) to ``reader`` from now on."""
        self._all.readers.setdefault(reader, self._all.end)
        self._all.agents.setdefault(reader, set()).add(agent_id)

    def watched(self, reader: Reader) -> int:
        """Return how many agents a reader watches by name."""
        return len(self._all.agents.get(reader, ()))

    def unwatch(self, reader: Reader, agent_id: str | None) -> bool:
        """Stop that; return whether there was anything to stop."""
        agents = self._all.agents.get(reader)
        if agents is None or agent_id not in agents:
            return False
        agents.discard(agent_id)
        if not agents:
            del self._all.agents[reader], self._all.readers[reader]
            self._kept -= self._all.trim()
        return True

    def leave(self, reader: Reader) -> None:
        """Forget a connection."""
        for agent_id in list(self._all.agents.get(reader, ())):
            self.unwatch(reader, agent_id)
        for path in [path for path, stream in self._runs.items() if reader in stream.readers]:
            self._unsubscribe(reader, path)

    # -- what there is to see ------------------------------------------------------------------------------

    def publish(self, run: Run, lines: bytes) -> None:
        """Take ``lines``, which are the last ones of the run's file now, for whoever watches."""
        stream = self._runs.get(run.path) if run.watched else None
        run.watched = stream is not None  # whoever watched may be gone
        if stream is not None:
            self._add(stream, run, lines)
        if self._all.readers:
            self._add(self._all, run, lines)

    def _add(self, stream: Stream, run: Run, lines: bytes) -> None:
        self._kept += stream.add(run, lines)
        while self._kept > KEPT_IN_ALL:  # whoever keeps most gives way
            most = max((*self._runs.values(), self._all), key=lambda one: one.kept)
            self._kept -= len(most.chunks[0].lines)
            most._drop()
        self._ready[stream] = None
        self.wake()

    def wake(self) -> None:
        """Have the pump run as soon as its rest is over."""
        if not self._scheduled:
            self._scheduled = True
            self._call_later(max(0.0, self._resume_at - monotonic()), self._pump)

    def _pump(self) -> None:
        """Hand on what there is, for no longer than a slice, and rest in proportion."""
        self._scheduled = False
        began = monotonic()
        progress = True
        while progress and self._ready and monotonic() - began < SLICE:
            progress = False
            for stream in list(self._ready):
                progress |= self._hand_on(stream, began + SLICE)
        now = monotonic()
        self._resume_at = now + (now - began) * REST
        if progress and self._ready:
            self.wake()

    def _offer(self, reader: Reader, lines: bytes) -> bool:
        """Hand lines to a reader.  One that raises is the only one that loses by it."""
        try:
            reader.offer(lines)
        except Exception:
            log.exception("a defect in the daemon: a reader of events is left out")
            self.leave(reader)
            return False
        return True

    def _hand_on(self, stream: Stream, deadline: float) -> bool:
        """Give each reader its next lines; return whether anybody took any."""
        progress = False
        for one in list(stream.readers):
            if not one.has_room():
                continue
            lines, count, following = stream.next_lines(one)
            if lines and not self._offer(one, lines):
                continue
            progress |= following != stream.readers[one]
            self._stats.events += count
            self._stats.event_gaps += stream.lost(one)
            stream.readers[one] = following
            stream.readers.move_to_end(one)
            if monotonic() > deadline:
                break
        self._kept -= stream.trim()
        if not stream.chunks:
            self._ready.pop(stream, None)
        return progress


def _events(method: bytes, chunk: Chunk, texts: list[bytes]) -> bytes:
    """Return notifications: ``cursor`` is the number of turns just behind the record, ``line`` that of lines."""
    run = chunk.run
    head = b'{"jsonrpc":"2.0","method":"%b","params":{"run_id":%b,"agent_id":%b,"record":' % (
        method,
        msgspec.json.encode(run.run_id),
        msgspec.json.encode(run.agent_id),
    )
    kinds = [pages.kind_of(text) for text in texts]
    cursor = chunk.turns - kinds.count("turn")
    line = chunk.count - len(texts)
    status = OPEN
    out = []
    for n, (text, kind) in enumerate(zip(texts, kinds, strict=True), 1):
        cursor += kind == "turn"
        status = AFTER.get((status, kind), status) if n < len(texts) else chunk.status
        tail = b',"cursor":%d,"line":%d,"status":"%b"}}\n' % (cursor, line + n, status.value.encode())
        out.append(head + text + tail)
    return b"".join(out)
