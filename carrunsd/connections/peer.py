"""One connection: bytes in, requests carried out, answers out.

Theory of operation.  The socket is read directly, by readiness (``output`` says why), and to the end even where
writing has failed.  Input pauses while a method waits for a thread, while answers are not taken and while too
many wait for the disk; requests that were read by then wait too.  So what a connection can hold is bounded: one
unfinished line, one block of requests, ``PAUSE_BYTES`` of answers and the one that went beyond.  ``memory_cap``
bounds all of them together.
"""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Protocol

import anyio.to_thread
from msgspec import UNSET

from carruns.protocol import errors, ids
from carruns.protocol.framing import LineFramer
from carrunsd.connections.memory_cap import MemoryCap
from carrunsd.connections.output import PAUSE_BYTES, Output
from carrunsd.connections.pace import LEAST_READ_BYTES, READ_BYTES, Pace
from carrunsd.core import Core
from carrunsd.methods import dispatch
from carrunsd.run import Run
from carrunsd.wire import cut, decode, requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Aside, Batch, Outbox, Ticket

log = logging.getLogger("carrunsd.connections")

LONG_BYTES = 1 << 20  # of a block that is looked at line by line in a thread
SMALL_BYTES = 64 << 10
MAX_WAITING = 4096  # answers that wait for the disk: no more requests are carried out
MAX_BATCH_BYTES = 16 << 20  # of answers to one JSON array

_LAST_READS = 64  # at the end of the daemon; 16 MiB of what had arrived

_buffer = bytearray(READ_BYTES)  # one for all: it is emptied before the next read
_view = memoryview(_buffer)


class Host(Protocol):
    """What all connections share: the listener's, seen from one of them."""

    cap: MemoryCap
    pace: Pace

    def spawn(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run in the background; a defect in it is logged."""

    def gone(self, peer: Peer) -> None:
        """A connection is closed."""


class Peer:
    """A connected client."""

    __slots__ = (
        "__weakref__", "_appetite", "_busy", "_closed", "_core", "_eof", "_host", "_input_held", "_last_reads",
        "_left", "_reading", "_sock", "events", "framer", "name", "outbox", "pages",
        "runs",
    )  # fmt: skip

    def __init__(self, core: Core, sock: socket.socket, host: Host) -> None:
        self._core = core
        self._sock = sock
        self._host = host
        output = Output(sock, core.loop, host.cap, on_room=core.feed.wake, on_change=self._output_moved)
        self.events = output
        self.outbox = output.outbox
        self.framer = LineFramer(core.settings.max_line_bytes)
        self.name = ids.uuid7()
        self.pages = False  # whether it has negotiated pagination
        self.runs: set[Run] = set()
        self._reading = False
        self._busy = False
        self._closed = False
        self._eof = False
        self._last_reads: int | None = None
        self._input_held = 0
        self._appetite = READ_BYTES
        #: Requests held up, whether some are long, and how many answers may wait for the disk when they go on.
        self._left: tuple[list[Any], bool, int] | None = None

    def open(self) -> None:
        """Begin to read."""
        self._resume_reading()

    # -- reading -------------------------------------------------------------------------------------------

    def _resume_reading(self) -> None:
        if not self._reading and not self._closed and not self._eof and self._last_reads is None:
            self._reading = True
            self._core.loop.add_reader(self._sock.fileno(), self.on_readable)

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._core.loop.remove_reader(self._sock.fileno())

    def on_readable(self) -> bool:
        """Read once and carry out what came; return whether anything did."""
        began = monotonic()
        try:
            count = self._sock.recv_into(_buffer, self._appetite)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            count = 0
        if not count:
            self._at_end()
            return False
        block = self._framed(bytes(_view[:count]))
        if block:
            output = self.events
            appender = self._core.appender
            appender.begin_block(self)
            self._take(block)
            nobody_waits = not (self.outbox.waiting or output.parts)
            more_follows = nobody_waits and count >= LEAST_READ_BYTES and self._host.pace.long_alone(self, began)
            appender.end_block(len(block), more_follows=more_follows)
        self._answer(began, count)
        return True

    def _framed(self, data: bytes) -> bytes:
        """Return the whole lines that ``data`` completes."""
        framer = self.framer
        block = framer.feed(data)
        if framer.overlong:
            self._refuse_overlong()
        if framer.held or self._input_held:
            change, self._input_held = framer.held - self._input_held, framer.held
            self._host.cap.add_input(change)
        return block

    def _answer(self, began: float, count: int) -> None:
        """Send what a block's requests have answered already, and see how much to read next."""
        output, pace = self.events, self._host.pace
        answers = bool(output.parts) and not output.waiting
        if answers:
            output.push()
        now = monotonic()
        if answers:
            pace.lookout.answered(began, now)
        self._appetite = pace.next_appetite(self, self._appetite, now - began, count)

    def _at_end(self) -> None:
        """The client is gone, or will send no more; half a line at the end was never sent."""
        self._eof = True
        self._pause_reading()
        self._close_if_done()

    def _close_if_done(self) -> None:
        """A client that sends no more may still read: its answers come first."""
        if (
            self._eof
            and not self._busy
            and not (self.outbox.waiting or self.outbox.aside)
            and not (self.events.parts and self.events.writable)
        ):
            self.close()

    @property
    def vanished(self) -> bool:
        """Whether the client is gone altogether; one that only sends no more may still read."""
        poll = select.poll()
        poll.register(self._sock.fileno(), 0)
        return self._closed or bool(poll.poll(0))

    @property
    def input_held(self) -> int:
        """Bytes of the unfinished line."""
        return self._input_held

    @property
    def output_held(self) -> int:
        """Bytes of answers and events that were not taken."""
        return self.events.held

    def hang_up(self) -> None:
        """Write no more: all connections together leave too much untaken, and this one most."""
        self.events.hang_up()

    def tell(self, line: bytes) -> None:
        """Send a notification."""
        self.outbox.send(line)

    def drop_line(self) -> None:
        """Refuse the unfinished line: all connections together hold too much."""
        change, self._input_held = -self._input_held, 0
        self.framer.skip_line()
        message = "unfinished lines of all connections take too much memory; it was skipped: send it again later"
        self.outbox.ticket(None).fail(errors.BUSY, message)
        self._host.cap.add_input(change)

    def _refuse_overlong(self) -> None:
        for _ in range(self.framer.overlong):
            limit = self.framer.limit
            message = f"a line may be {limit} bytes long at most; it was skipped: send less, or in parts"
            self.outbox.ticket(None).fail(errors.TOO_LARGE, message, {"max_line_bytes": limit})
        self.framer.overlong = 0

    # -- requests ------------------------------------------------------------------------------------------

    def _take(self, block: bytes) -> None:
        settings = self._core.settings
        limit = min(settings.max_string_bytes, settings.max_turn_bytes, SMALL_BYTES)
        big = not cut.lines_within(block, limit)
        incoming = decode.quickly(block)
        if incoming is None and len(block) > LONG_BYTES:  # may take seconds
            self._busy = True
            self._pause_reading()
            self._host.spawn(self._read_closely, block, big)
            return
        self._carry_out(decode.one_by_one(block) if incoming is None else incoming, big=big)

    def _carry_out(self, incoming: list[Any], *, big: bool) -> None:
        """Run requests; after a defect nobody knows which were carried out, so the client has to come anew."""
        try:
            self._run(incoming, big=big)
        except Exception:
            log.exception("a defect in the daemon: the connection is closed")
            self.close()

    async def _read_closely(self, block: bytes, big: bool) -> None:
        self._continue(await anyio.to_thread.run_sync(decode.one_by_one, block), big=big)

    def _run(self, incoming: list[Any], *, big: bool) -> None:
        """Carry out requests in order; where one has to be awaited, the rest waits behind it.

        A sender's turns without ``id`` come one a line; those that follow each other are recorded as one.
        ``big`` says that some of the lines are long.
        """
        quick = requests.QuickRecordTurns
        runs = self._core.table.by_id
        begin = 0  # of the requests that are recorded as one
        first: Any = None
        turns: list[Any] = []
        due = -1
        for place, request in enumerate(incoming):
            if type(request) is quick and request.id is UNSET:
                params = request.params
                if params.seq == due and params.run_id == first.run_id and params.writer == first.writer:
                    turns += params.turns
                    due += len(params.turns)
                    continue
                if turns:
                    self._record(incoming[begin:place], turns, big=big)
                    turns, due = [], -1
                if params.run_id in runs:
                    begin, first, turns = place, params, params.turns.copy()
                    due = -1 if params.seq is None or params.durable else params.seq + len(turns)
                    continue
            elif turns:
                self._record(incoming[begin:place], turns, big=big)
                turns, due = [], -1
            full = self.events.held >= PAUSE_BYTES or self.outbox.waiting >= MAX_WAITING
            if full and self._last_reads is None:
                self._hold_up(incoming[place:], big=big)
                return
            waiting = self._handle(request, big=big)
            if waiting is not None:
                self._wait(waiting, incoming[place + 1 :], big=big)
                return
        if turns:
            self._record(incoming[begin:], turns, big=big)

    def _record(self, given: list[Any], turns: list[Any], *, big: bool) -> None:
        """Record the ``turns`` of requests without ``id`` as one request where they may be, which is quicker."""
        first = given[0].params
        run = self._core.table.by_id[first.run_id]
        if len(given) > 1 and run.turn_count + len(turns) <= self._core.settings.max_turns_per_run:
            self._core.stats.requests += len(given) - 1
            whole = requests.RecordTurnsParams(first.run_id, turns, first.writer, first.seq)
            given = [requests.RecordTurns(params=whole)]
        for request in given:
            dispatch.handle(self._core, self, request, None, big=big)

    def _handle(self, request: Any, queue: Outbox | Batch | None = None, *, big: bool) -> Awaitable[None] | None:
        if type(request) is list:
            return self._batch(request)
        queue = queue or self.outbox
        if type(request) is RequestError:
            if request.request_id is not UNSET:
                queue.ticket(request.request_id).fail(request.code, request.message, request.data)
            self._core.stats.errors += 1
            return None
        if self._last_reads is not None and type(request) in dispatch.QUESTIONS:
            return None  # no answer but the end of the connection, which clients know how to go on from
        ticket: Ticket | None = None
        if request.id is not UNSET:
            late = type(request) is requests.Cancel and queue is self.outbox
            ticket = Aside(self.outbox, request.id) if late else queue.ticket(request.id)
        return dispatch.handle(self._core, self, request, ticket, big=big)

    async def _batch(self, parts: list[Any]) -> None:
        batch = self.outbox.batch()
        for part in parts:
            if batch.size > MAX_BATCH_BYTES:
                self._refuse_part(part, batch)
                continue
            waiting = self._handle(part, batch, big=True)
            if waiting is not None:
                await waiting
        batch.close()

    def _refuse_part(self, part: Any, batch: Batch) -> None:
        request_id = part.request_id if type(part) is RequestError else part.id
        if request_id is not UNSET:
            message = "not carried out: the answers to this batch are too large already; send it by itself"
            batch.ticket(request_id).fail(errors.TOO_LARGE, message, {"max_batch_bytes": MAX_BATCH_BYTES})

    def _output_moved(self) -> None:
        if self.events.held >= PAUSE_BYTES:
            self._pause_reading()
        elif not self._busy:
            self._resume_reading()
        if self._left is not None:
            self._go_further()
        if self._eof:
            self._close_if_done()

    def _hold_up(self, left: list[Any], *, big: bool) -> None:
        """Carry out no more until answers are taken, or the disk has answered."""
        self._left = left, big, MAX_WAITING // 2
        self._busy = True
        self._pause_reading()

    def _go_further(self) -> None:
        """Take up what was held up, if its time has come."""
        if self._left is None or self.events.held >= PAUSE_BYTES or self.outbox.waiting > self._left[2]:
            return
        (left, big, _), self._left = self._left, None
        self._continue(left, big=big)

    def _wait(self, waiting: Awaitable[None], left: list[Any], *, big: bool) -> None:
        self._busy = True
        self._pause_reading()
        self._host.spawn(self._go_on, waiting, left, big)

    async def _go_on(self, waiting: Awaitable[None], left: list[Any], big: bool) -> None:
        await waiting
        # Its answer may be large: no more such before it could go out.
        if self.outbox.waiting and left and self._last_reads is None:
            self._left = left, big, 0
        else:
            self._continue(left, big=big)

    def _continue(self, left: list[Any], *, big: bool) -> None:
        self._busy = False
        self._carry_out(left, big=big)
        self._core.appender.flush()
        if self._busy:
            return
        if self._eof:
            self._close_if_done()
        elif self._last_reads is not None:
            self._read_last()
        elif self.events.held < PAUSE_BYTES:
            self._resume_reading()

    # -- the end -------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Read and carry out what has arrived, for a daemon that is about to stop."""
        self._pause_reading()
        self._last_reads = _LAST_READS
        if self._left is not None:
            (left, big, _), self._left = self._left, None
            self._continue(left, big=big)
        self._read_last()

    def _read_last(self) -> None:
        """Read what is there, but not for ever: a client that goes on asking is told nothing more."""
        while self._last_reads and not (self._busy or self._eof or self._closed):
            self._last_reads -= 1
            if not self.on_readable():
                break

    @property
    def busy(self) -> bool:
        """Whether a command is being waited for; not what waits for the client to take its answers."""
        return self._busy and self._left is None

    def close(self) -> None:
        """End the connection; its runs get their grace."""
        if self._closed:
            return
        self._closed = True
        self.events.close()
        self._pause_reading()
        self._host.cap.add_input(-self._input_held)
        self._input_held = 0
        self._sock.close()
        self._core.feed.leave(self.events)
        self._core.owners.detach_all(self)
        self._host.gone(self)
