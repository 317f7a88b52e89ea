"""The listening socket: made safely, accepted from fairly, closed politely.

The path is 0600 before anybody can connect (fchmod before bind), a stale one is removed only after a connect to
it was refused, and only with the lock held.  ``accept`` that fails for want of descriptors waits instead of
spinning.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import msgspec

from carruns.protocol import errors
from carruns.protocol.paths import MAX_SOCKET_PATH_BYTES
from carrunsd.connections.memory_cap import MemoryCap
from carrunsd.connections.pace import Pace
from carrunsd.connections.peer import Peer
from carrunsd.core import Core
from carrunsd.store import layout
from carrunsd.store.layout import StoreError

log = logging.getLogger("carrunsd.server")
BACKLOG = 1024
_REMEDY = "set CARRUNSD_SOCKET (or --socket) to a path on a local file system"
LAST_READS_SECS = 2.0  # that the daemon reads what had arrived, at its end
_ACCEPT_PAUSE = 0.1  # seconds without accepting after EMFILE
_ACCEPT_AT_ONCE = 64
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_UCRED = struct.Struct("3i")


def bind(path: str) -> socket.socket:
    """Return a listening socket at ``path``, mode 0600.  Raises ``OSError``; call it with the lock held."""
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise StoreError(
            errno.ENAMETOOLONG,
            f"the socket's path has {size} bytes, {MAX_SOCKET_PATH_BYTES} is the most: "
            f"set CARRUNSD_SOCKET (or --socket) to a shorter one: {path}",
        )
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with layout.said_where(path, "no socket can be made there", _REMEDY):
            _bind_private(listener, path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_private(listener: socket.socket, path: str) -> None:
    with contextlib.suppress(OSError):  # some systems have no such thing for sockets: the umask does it
        os.fchmod(listener.fileno(), 0o600)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    os.chmod(path, 0o600)  # where fchmod on a socket does nothing


def _remove_stale(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise StoreError(errno.EEXIST, f"{path} is no socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise StoreError(error.errno or errno.EIO, f"{path} cannot be probed: {error.strerror}") from None
    raise StoreError(errno.EADDRINUSE, f"another program listens on {path}; choose another with --socket")


class Server:
    """Accepts connections for a core and keeps their peers.

    ``spawn`` runs a coroutine function in the background; ``on_peer`` is called when connections come and go.
    """

    def __init__(
        self,
        core: Core,
        listener: socket.socket,
        spawn: Callable[..., None],
        on_peer: Callable[[], None],
    ) -> None:
        self.core = core
        self.peers: set[Peer] = set()
        self.cap = MemoryCap(self.peers, core.settings.max_line_bytes, core.loop.call_soon)
        self.pace = Pace(core.loop.call_soon)
        self._spawn = spawn
        self._on_peer = on_peer
        self._listener = listener
        self._listening = False
        self._pause: asyncio.TimerHandle | None = None
        self._complained = False

    def spawn(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run ``function(*args)`` in the background; a defect in it is logged."""
        self._spawn(function, *args)

    def start(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._listen()

    def move_to(self, listener: socket.socket) -> None:
        """Accept from another socket from now on, after whoever waits in the backlog of this one."""
        self._stop_listening()
        self._listener.close()
        self._listener = listener
        self.start()

    def _stop_listening(self) -> None:
        if self._listening:
            self._accept()
        if self._listening:
            self.core.loop.remove_reader(self._listener.fileno())
            self._listening = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _listen(self) -> None:
        self._pause = None
        self._listening = True
        self.core.loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            self._admit(sock)

    def _rest(self, error: OSError) -> None:
        """Out of descriptors: the client stays in the backlog, and is asked again in a moment."""
        if error.errno not in _NO_DESCRIPTORS:
            log.error("accept failed: %s", error)
        elif not self._complained:
            log.error("accept: %s; new connections wait until some are closed", error.strerror)
            self._complained = True
        self.core.loop.remove_reader(self._listener.fileno())
        self._listening = False
        self._pause = self.core.loop.call_later(_ACCEPT_PAUSE, self._listen)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        stats = self.core.stats
        uid = _peer_uid(sock)
        if uid not in (os.geteuid(), 0):
            log.warning("refused a connection of user %s", uid)
            self._turn_away(sock, errors.INVALID_REQUEST, f"this daemon is for user {os.geteuid()} only")
            return
        if len(self.peers) >= self.core.settings.max_connections:
            self._turn_away(sock, errors.BUSY, "too many connections; close some, or raise max_connections")
            return
        stats.accepted += 1
        stats.connections += 1
        peer = Peer(self.core, sock, self)
        self.peers.add(peer)
        peer.open()
        self._on_peer()

    def _turn_away(self, sock: socket.socket, code: int, message: str) -> None:
        self.core.stats.refused += 1
        error = {"code": code, "message": message, "data": {"kind": errors.KINDS[code]}}
        line = msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": error}) + b"\n"
        try:
            sock.send(line, socket.MSG_NOSIGNAL)
        except OSError:
            pass
        finally:
            sock.close()

    def gone(self, peer: Peer) -> None:
        """A peer has closed."""
        self.peers.discard(peer)
        self.core.stats.connections -= 1
        self._on_peer()
        self._complained = False

    def stop(self) -> None:
        """Stop accepting, after whoever waits in the backlog; read what has arrived on every connection."""
        self._stop_listening()
        left = list(self.peers)
        for peer in left:
            peer.finish()
        until = monotonic() + LAST_READS_SECS
        while left and monotonic() < until:  # each once in turn: some send for as long as they are read
            left = [peer for peer in left if peer.read_last()]

    def close(self) -> None:
        """Close all connections and the listener."""
        for peer in list(self.peers):
            peer.close()
        self._listener.close()


def _peer_uid(sock: socket.socket) -> int:
    """Return the user id of the process that connected (SO_PEERCRED, unix(7)), -1 where it cannot be told."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.geteuid()  # the socket's mode is all there is
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return -1
    return int(_UCRED.unpack(raw)[1])
