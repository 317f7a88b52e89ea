"""The way out of a connection: answers and events, and what of them the client has not taken.

The socket is written directly, by readiness, not through a transport: a transport closes on the first failed
write, and then what a dead agent had still sent would be lost unread.  Here a failed write only ends writing.
"""

from __future__ import annotations

import contextlib
import socket
from abc import abstractmethod
from typing import Any

from carrunsd.core import Core
from carrunsd.wire.replies import Outbox

PAUSE_BYTES = 1 << 20  # of answers not taken: reading stops
EVENT_BYTES = 512 << 10  # of output not taken: no more events; less than PAUSE_BYTES, so they never stop reading
LARGE_BYTES = 128 << 10  # an answer from here on gets more room in the kernel than the usual 208 KiB
ROOM_BYTES = 1 << 20  # the kernel cuts it to wmem_max


class Outlet:
    """The sending half of a :class:`~carrunsd.peer.Peer`, which is told of each change by ``_output_moved``."""

    __slots__ = (
        "_closed", "_core", "_out", "_out_bytes", "_push_scheduled", "_roomy", "_sock", "_starved", "_writable",
        "_writing", "outbox", "server",
    )  # fmt: skip

    def __init__(self, core: Core, sock: socket.socket, server: Any) -> None:
        self._core = core
        self._sock = sock
        self.server = server
        self.outbox = Outbox(self._write)
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._push_scheduled = False
        self._writing = False
        self._roomy = False
        self._writable = True
        self._closed = False
        self._starved = False

    @abstractmethod
    def _output_moved(self) -> None:
        """Some of the output was taken, or there is more of it."""

    def has_room(self) -> bool:
        """Tell whether events may be offered: not so much waits to be read already."""
        self._starved = self._writing or self._out_bytes + self.outbox.held_bytes > EVENT_BYTES
        return not self._starved

    def offer(self, lines: bytes) -> None:
        """Take events, and send them now, so that the feed knows what it costs."""
        self.outbox.send(lines)
        if self._out and not self._writing:
            self._push()

    def _write(self, data: bytes) -> None:
        if self._writable:
            self._out.append(data)
            self._out_bytes += len(data)
            if len(data) > LARGE_BYTES and not self._roomy:
                self._roomy = True
                with contextlib.suppress(OSError):  # it goes without, only slower
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM_BYTES)
        if not self._push_scheduled and not self._writing:
            self._push_scheduled = True
            self._core.loop.call_soon(self._push)
        if self._writable:
            self.server.budget.add_output(len(data))

    def _push(self) -> None:
        """Send what there is; what the kernel does not take waits until it does."""
        self._push_scheduled = False
        if self._closed:
            return
        if not self._out:
            self._output_moved()
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        try:
            sent = self._sock.send(data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._stop_writing()
            return
        # A view, since a long answer goes out in many pieces.
        self._out = [memoryview(data)[sent:]] if sent < len(data) else []
        self._out_bytes = len(data) - sent
        self.server.budget.add_output(-sent)
        self._watch_output()

    def _watch_output(self) -> None:
        if self._out and not self._writing:
            self._writing = True
            self._core.loop.add_writer(self._sock.fileno(), self._push)
        elif not self._out and self._writing:
            self._writing = False
            self._core.loop.remove_writer(self._sock.fileno())
        if self._starved and self.has_room():
            self._core.feed.wake()
        self._output_moved()

    def _stop_writing(self) -> None:
        """Nobody reads answers any more.  What was sent before is still read to the end."""
        self._writable = False
        change, self._out, self._out_bytes = -self._out_bytes, [], 0
        self.server.budget.add_output(change)
        self._watch_output()

    @property
    def output_held(self) -> int:
        """Bytes of answers and events that were not taken."""
        return self._out_bytes

    def hang_up(self) -> None:
        """Write no more: all connections together leave too much untaken, and this one most."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._stop_writing()

    def _close_output(self) -> None:
        """Send what the kernel takes at once; the rest is lost with the connection."""
        if self._out and self._writable:
            with contextlib.suppress(OSError):
                self._sock.send(b"".join(self._out), socket.MSG_NOSIGNAL)
        if self._writing:
            self._core.loop.remove_writer(self._sock.fileno())
        self._writable = False
        self.server.budget.add_output(-self._out_bytes)
        self._out_bytes = 0
