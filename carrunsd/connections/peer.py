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

from carruns.protocol import errors, ids
from carruns.protocol.framing import LineFramer
from carrunsd.connections.memory_cap import MemoryCap
from carrunsd.connections.output import PAUSE_BYTES, Output
from carrunsd.connections.pace import LEAST_READ_BYTES, READ_BYTES, Pace
from carrunsd.connections.requests import MAX_WAITING, Requests
from carrunsd.core import Core
from carrunsd.run import Run
from carrunsd.wire import cut, decode

log = logging.getLogger("carrunsd.connections")

LONG_BYTES = 1 << 20  # of a block that is looked at line by line in a thread
SMALL_BYTES = 64 << 10

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
        "_left", "_reading", "_requests", "_sock", "framer", "name", "outbox", "output", "pages",
        "runs",
    )  # fmt: skip

    def __init__(self, core: Core, sock: socket.socket, host: Host) -> None:
        self._core = core
        self._sock = sock
        self._host = host
        self.output = Output(sock, core.loop, host.cap, on_room=core.feed.wake, on_change=self._output_moved)
        self.outbox = self.output.outbox
        self._requests = Requests(core, self)
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

    @property
    def events(self) -> Output:
        """What takes events."""
        return self.output

    @property
    def is_last(self) -> bool:
        """Whether the daemon is about to stop."""
        return self._last_reads is not None

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
            output = self.output
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
        output, pace = self.output, self._host.pace
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
            and not (self.output.parts and self.output.writable)
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
        return self.output.held

    def hang_up(self) -> None:
        """Write no more: all connections together leave too much untaken, and this one most."""
        self.output.hang_up()

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
        self._carry_out(decode.lines(block) if incoming is None else incoming, big=big)

    def _carry_out(self, incoming: list[Any], *, big: bool) -> None:
        """Run requests; after a defect nobody knows which were carried out, so the client has to come anew."""
        try:
            stopped = self._requests.run(incoming, big=big)
        except Exception:
            log.exception("a defect in the daemon: the connection is closed")
            self.close()
            return
        if stopped is None:
            return
        self._busy = True
        self._pause_reading()
        if stopped.waiting is not None:
            self._host.spawn(self._go_on, stopped.waiting, stopped.left, big)
        elif stopped.resume:
            self._core.loop.call_soon(self._continue_later, stopped.left, big)
        else:
            self._left = stopped.left, big, MAX_WAITING // 2

    async def _read_closely(self, block: bytes, big: bool) -> None:
        self._continue(await anyio.to_thread.run_sync(decode.long_lines, block), big=big)

    def _continue_later(self, left: list[Any], big: bool) -> None:
        """Others have had their turn."""
        if not self._closed:
            self._continue(left, big=big)

    def _output_moved(self) -> None:
        if self.output.held >= PAUSE_BYTES:
            self._pause_reading()
        elif not self._busy:
            self._resume_reading()
        if self._left is not None:
            self._go_further()
        if self._eof:
            self._close_if_done()

    def _go_further(self) -> None:
        """Take up what was held up, if its time has come."""
        if self._left is None or self.output.held >= PAUSE_BYTES or self.outbox.waiting > self._left[2]:
            return
        (left, big, _), self._left = self._left, None
        self._continue(left, big=big)

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
            while self.read_last():
                pass
        elif self.output.held < PAUSE_BYTES:
            self._resume_reading()

    # -- the end -------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Carry out what was read, for a daemon that is about to stop; :meth:`read_last` follows."""
        self._pause_reading()
        self._last_reads = _LAST_READS
        if self._left is not None:
            (left, big, _), self._left = self._left, None
            self._continue(left, big=big)

    def read_last(self) -> bool:
        """Read once what has arrived; return whether there may be more.

        A client that goes on asking is told nothing more at some time.
        """
        if not self._last_reads or self._busy or self._eof or self._closed:
            return False
        self._last_reads -= 1
        return self.on_readable()

    @property
    def busy(self) -> bool:
        """Whether a command is being waited for; not what waits for the client to take its answers."""
        return self._busy and self._left is None

    def close(self) -> None:
        """End the connection; its runs get their grace."""
        if self._closed:
            return
        self._closed = True
        self.output.close()
        self._pause_reading()
        self._host.cap.add_input(-self._input_held)
        self._input_held = 0
        self._sock.close()
        self._core.feed.leave(self.output)
        self._core.owners.detach_all(self)
        self._core.table.let_retired_go()
        self._host.gone(self)
