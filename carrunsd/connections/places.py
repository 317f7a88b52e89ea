"""The daemon's places: car directory, lock, socket.  Taken at the start, looked at again, left at the end.

What is at a path may go, move or be replaced while the daemon lives (a person tidies up, a test removes its
temporary directory, tmpfiles.d its old sockets).  A socket's path that does not lead here any more is bound anew.
A lock or directory that is not ours any more means that another daemon may be at work there, or that nobody will
find what is stored: then there is nothing to do but to finish and stop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat

from carruns.protocol import owners, paths
from carrunsd.connections import listener
from carrunsd.host import systemd
from carrunsd.store import layout, lock

log = logging.getLogger("carrunsd")

LOOK_SECS = 2.0  # a look is three stat(2)

_Identity = tuple[int, int]


def prepare_car_dir(path: str) -> None:
    """Make the car directory if it is missing, and see that nobody else can write to it.

    Raises ``OSError``, with a message that says what to do.
    """
    owners.refuse_foreign(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.mkdir(path, 0o700)
        _sync_dir(os.path.dirname(path))
    except FileExistsError:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(20, "the car directory is no directory; move it away", path) from None
        if status.st_mode & 0o022:
            log.warning("%s was writable by others (%o); it is not any more", path, status.st_mode & 0o777)
            os.chmod(path, stat.S_IMODE(status.st_mode) & ~0o022)


def _sync_dir(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        layout.sync_dir(fd)
    finally:
        os.close(fd)


class Places:
    """What one daemon holds of the file system; see the module's text."""

    def __init__(self, car_dir: str, socket_path: str) -> None:
        """Both paths are absolute."""
        self.car_dir = car_dir
        self.socket_path = socket_path
        self.listener: socket.socket | None = None
        self.handed_over = False
        self._lock_path = os.path.join(car_dir, paths.LOCK_NAME)
        self._lock = -1
        self._bound: _Identity | None = None  # of the path that leads to our socket, systemd's too
        self._complaint = ""

    def take(self) -> None:
        """Take the lock, then the socket.  Raises ``OSError`` or :class:`lock.AlreadyRunningError`."""
        prepare_car_dir(self.car_dir)
        self._lock = lock.take(self._lock_path)
        os.close(layout.ensure_root(os.path.join(self.car_dir, paths.RUNS_NAME)))  # or say why not
        self.listener = systemd.listen_socket()
        if self.listener is None:
            self._bind()
        else:
            self.handed_over = True
            address = self.listener.getsockname()
            self.socket_path = os.fsdecode(address) if address and address[:1] not in ("\0", b"\0") else ""
            self._bound = _identity(self.socket_path)

    def _bind(self) -> socket.socket:
        """Bind the path.  Raises ``OSError``."""
        self.listener = listener.bind(self.socket_path)
        self.handed_over = False
        self._bound = _identity(self.socket_path)
        return self.listener

    def lost(self) -> str:
        """Say what is not this daemon's any more, so that it has to stop; ``""`` if all is well."""
        try:
            if lock.is_ours(self._lock, self._lock_path):
                return ""
        except OSError as error:  # a disk that does not answer, a mount that is away: nothing is known
            self._complain(f"the lock cannot be looked at: {error}")
            return ""
        if not os.path.isdir(self.car_dir):
            return f"{self.car_dir} is gone or was moved away"
        return f"{self._lock_path} was removed or replaced: another daemon may have taken it"

    def bound_anew(self) -> socket.socket | None:
        """Return a new listener where the path does not lead to ours any more, ``None`` where it does."""
        if not self.socket_path or (self._bound is not None and _identity(self.socket_path) == self._bound):
            self._complaint = ""
            return None
        try:
            fresh = self._bind()
        except OSError as error:
            self._complain(f"{self.socket_path} does not lead to this daemon any more: {error}")
            return None
        log.warning("%s did not lead to this daemon any more; it is bound anew", self.socket_path)
        return fresh

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            log.error("%s", text)

    def leave(self) -> None:
        """Remove the socket's path, if it is this daemon's, and let go of the lock."""
        if not self.handed_over and self._bound is not None and _identity(self.socket_path) == self._bound:
            with contextlib.suppress(OSError):
                os.unlink(self.socket_path)
        if self._lock >= 0:
            os.close(self._lock)


def _identity(path: str) -> _Identity | None:
    """Return what tells one file from another, ``None`` where none can be seen."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
