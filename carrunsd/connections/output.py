"""The way out of a connection: answers and events, and what of them the client has not taken.

The socket is written directly, by readiness, not through a transport: a transport closes on the first failed
write, and then what a dead agent had still sent would be lost unread.  Here a failed write only ends writing.
What a reader that takes nothing is spared, and when it is hung up on, is in ``docs/architecture.md``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from carrunsd.connections.memory_cap import MemoryCap
from carrunsd.wire.replies import Outbox

PAUSE_BYTES = 1 << 20  # of answers not taken: reading stops
EVENT_BYTES = 512 << 10  # of output not taken: no more events; less than PAUSE_BYTES, so they never stop reading
LARGE_BYTES = 128 << 10  # an answer from here on gets more room in the kernel than the usual 208 KiB
ROOM_BYTES = 1 << 20  # the kernel cuts it to wmem_max


class Output:
    """What goes out on one socket.

    ``cap`` bounds the output of all connections; ``on_room`` is called when events may be offered again,
    ``on_change`` whenever some was taken or there is more.
    """

    __slots__ = (
        "_cap", "_loop", "_on_change", "_on_room", "_push_scheduled", "_roomy", "_sock", "_starved", "closed",
        "held", "outbox", "parts", "waiting", "writable",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        cap: MemoryCap,
        *,
        on_room: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._loop = loop
        self._cap = cap
        self._on_room = on_room
        self._on_change = on_change
        self.outbox = Outbox(self.write)
        self.parts: list[bytes | memoryview] = []
        self.held = 0  # bytes of ``parts``
        self.waiting = False  # for the kernel to take more
        self.writable = True
        self.closed = False
        self._push_scheduled = False
        self._roomy = False
        self._starved = False

    def has_room(self) -> bool:
        """Tell whether events may be offered: not so much waits to be read already."""
        self._starved = self.waiting or self.held + self.outbox.held_bytes > EVENT_BYTES
        return not self._starved

    def offer(self, lines: bytes) -> None:
        """Take events, and send them now, so that the feed knows what it costs."""
        self.outbox.send(lines)
        if self.parts and not self.waiting:
            self.push()

    def write(self, data: bytes) -> None:
        """Take whole lines, to be sent in this turn of the loop."""
        if self.writable:
            self.parts.append(data)
            self.held += len(data)
            if len(data) > LARGE_BYTES and not self._roomy:
                self._roomy = True
                with contextlib.suppress(OSError):  # it goes without, only slower
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM_BYTES)
        if not self._push_scheduled and not self.waiting:
            self._push_scheduled = True
            self._loop.call_soon(self.push)
        if self.writable:
            self._cap.add_output(len(data))

    def push(self) -> None:
        """Send what there is; what the kernel does not take waits until it does."""
        self._push_scheduled = False
        if self.closed:
            return
        if not self.parts:
            self._on_change()
            return
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        try:
            sent = self._sock.send(data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._stop_writing()
            return
        # A view, since a long answer goes out in many pieces.
        self.parts = [memoryview(data)[sent:]] if sent < len(data) else []
        self.held = len(data) - sent
        self._cap.add_output(-sent)
        self._watch()

    def _watch(self) -> None:
        if self.parts and not self.waiting:
            self.waiting = True
            self._loop.add_writer(self._sock.fileno(), self.push)
        elif not self.parts and self.waiting:
            self.waiting = False
            self._loop.remove_writer(self._sock.fileno())
        if self._starved and self.has_room():
            self._on_room()
        self._on_change()

    def _stop_writing(self) -> None:
        """Nobody reads answers any more.  What was sent before is still read to the end."""
        self.writable = False
        change, self.parts, self.held = -self.held, [], 0
        self._cap.add_output(change)
        self._watch()

    def hang_up(self) -> None:
        """Write no more: all connections together leave too much untaken, and this one most."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._stop_writing()

    def close(self) -> None:
        """Send what the kernel takes at once; the rest is lost with the connection."""
        self.closed = True
        if self.parts and self.writable:
            with contextlib.suppress(OSError):
                self._sock.send(b"".join(self.parts), socket.MSG_NOSIGNAL)
        if self.waiting:
            self._loop.remove_writer(self._sock.fileno())
        self.writable = False
        self._cap.add_output(-self.held)
        self.held = 0
