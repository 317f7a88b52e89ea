"""One non-blocking Unix socket to the daemon.  Knows sockets; knows neither runs nor waiting.

Nothing here ever blocks: ``send`` and ``receive`` take what the kernel takes or has, and the drivers wait.
What the kernel did not take of a line is kept in ``rest`` and goes first next time, so that no line is ever
interleaved with another.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable

from carruns.connection import READ_BYTES, Connection
from carruns.protocol import errors

#: SIGPIPE would kill a host that has set it back to its default; no call may block.
NOWAIT: int = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)

_SEND_BUFFER = 1 << 20
_SO_SNDBUFFORCE = 32  # Linux; needs CAP_NET_ADMIN


class Link:
    """A connected socket, the protocol state on it, and what the kernel has not yet taken."""

    __slots__ = ("_closing", "_watchers", "connection", "rest", "send", "sock")

    def __init__(self, path: str) -> None:
        """Connect to the socket at ``path``; raises ``OSError`` at once where that cannot be done now."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.setblocking(False)
            self.sock.connect(path)
            _check_peer(self.sock, path)
            _enlarge(self.sock)
        except BaseException:
            self.sock.close()
            raise
        self._watchers = 0
        self._closing = False
        self.connection = Connection()
        self.rest = b""
        self.send: Callable[[bytes, int], int] = self.sock.send

    def push(self, data: bytes) -> None:
        """Send the data behind what waits already; what the kernel does not take becomes the rest."""
        if self.rest:
            self.rest += data
            return
        try:
            sent = self.send(data, NOWAIT)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            self.rest = data[sent:]

    def push_rest(self) -> bool:
        """Send on what waits, and tell whether the kernel took all of it."""
        while self.rest:
            try:
                sent = self.send(self.rest, NOWAIT)
            except BlockingIOError:
                return False
            self.rest = self.rest[sent:]
        return True

    def receive(self) -> bytes | None:
        """Return what has arrived: ``None`` if nothing has, ``b""`` at the end of the stream."""
        try:
            return self.sock.recv(READ_BYTES, NOWAIT)
        except BlockingIOError:
            return None

    def watch(self) -> socket.socket:
        """Return the socket to wait on; it stays open until :meth:`unwatch`, so that its number is not reused."""
        self._watchers += 1
        return self.sock

    def unwatch(self) -> None:
        """The waiting is over."""
        self._watchers -= 1
        if self._closing and not self._watchers:
            self.sock.close()

    def close(self, *, wake: bool = True) -> None:
        """End the connection; whoever waits on it wakes and closes it.  A forked child must not ``wake``."""
        self._closing = True
        self.rest = b""
        if wake:
            with contextlib.suppress(OSError):  # the other side may have been faster
                self.sock.shutdown(socket.SHUT_RDWR)
        if not self._watchers or not wake:
            self.sock.close()


def _enlarge(sock: socket.socket) -> None:
    """Let the kernel hold more lines, so that a burst does not wait for the daemon's next look."""
    for option in (_SO_SNDBUFFORCE, socket.SO_SNDBUF) if sys.platform == "linux" else (socket.SO_SNDBUF,):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _SEND_BUFFER)
        except OSError:
            continue  # no privilege for the first; the second is cut to wmem_max, silently
        return


def _check_peer(sock: socket.socket, path: str) -> None:
    """Refuse a socket that another user listens on: turns are nobody else's to read."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, 12))
    if uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        raise errors.DaemonUnavailable(
            f"{path} is served by uid {uid}, not by you (uid {os.geteuid()}); nothing was sent. "
            "Give --car-dir or CAR_HOME a directory of your own"
        )
