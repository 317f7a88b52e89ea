"""Where the turns of one run go while there is no daemon: a file that the next daemon drains.

``<car dir>/spool/<uuid7>.jsonl``, one file a sender, 0600 in a directory of ours with 0700, held with flock
while the sender lives: whoever gets the lock may drain the file and unlink it.  Its lines are the requests as
they would go over the socket, whole lines only: a write that falls short is cut back.  Nothing is followed: a
link or a FIFO in the way, or another user's directory, means that there is no spool.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from carruns.protocol import owners, paths
from carruns.protocol.ids import uuid7

_READ = 1 << 16
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 5


class SpoolFullError(OSError):
    """The spool of this client has reached its bound."""


class SpoolRoom:
    """How many bytes one client may still spool, over all its runs."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0


class SpoolFile:
    """One sender's spool file.  Every method may raise ``OSError``, and then has changed nothing."""

    __slots__ = ("_fd", "_name", "_room", "directory", "size")

    def __init__(self, directory: Path, room: SpoolRoom) -> None:
        """Make the file, empty and locked."""
        self.directory = directory
        self._room = room
        self._name = ""
        self.size = 0
        with _OpenDirectory(directory) as parent:
            for _ in range(_ATTEMPTS):
                self._name = uuid7() + ".jsonl"
                self._fd = _locked_file(self._name, parent)
                if self._fd >= 0:
                    return
        raise BlockingIOError("a daemon drains every spool file as soon as it is made")

    def append(self, data: bytes) -> None:
        """Add whole lines; raises ``SpoolFullError`` at the bound, and what the disk says."""
        if self._room.used + len(data) > self._room.limit:
            raise SpoolFullError(f"the spool holds {self._room.used} bytes; its bound is {self._room.limit}")
        status = os.fstat(self._fd)
        if status.st_nlink == 0:
            raise FileNotFoundError("the spool file was removed")
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written to the spool")
        except OSError:
            os.ftruncate(self._fd, status.st_size)
            raise
        self._grow(status.st_size + len(data))

    def _grow(self, size: int) -> None:
        """The file's size, as it is on the disk: an interrupt may have kept an earlier write from being counted."""
        by, self.size = size - self.size, size
        self._room.used += by

    def lines(self, offset: int) -> Iterator[bytes]:
        """Return the lines from ``offset`` (a line's beginning) to the end, each with its newline."""
        held = b""
        while offset < self.size:
            data = os.pread(self._fd, min(_READ, self.size - offset), offset)
            if not data:
                return
            offset += len(data)
            *whole, held = (held + data).split(b"\n")
            for line in whole:
                yield line + b"\n"

    def replace(self, lines: Iterable[bytes]) -> SpoolFile:
        """Return a new file with these lines instead; this one is removed.  At no instant is there neither."""
        fresh = SpoolFile(self.directory, SpoolRoom(self._room.limit * 2))  # both exist for a moment
        try:
            for line in lines:
                fresh.append(line)
        except BaseException:
            fresh.remove()
            raise
        self.remove()
        fresh._room = self._room
        self._room.used += fresh.size
        return fresh

    def remove(self) -> None:
        """Unlink and close the file: what was in it is stored."""
        try:
            with _OpenDirectory(self.directory) as parent:
                os.unlink(self._name, dir_fd=parent)
        except OSError:
            pass  # a daemon may have drained it, someone may have tidied up
        finally:
            self.release()

    def release(self) -> None:
        """Leave the file to the next daemon: closing it gives up the lock."""
        if self._fd >= 0:
            self._room.used -= self.size
            fd, self._fd = self._fd, -1
            os.close(fd)

    def forget(self) -> None:
        """In a forked child: the file is the parent's; closing our copy leaves its lock alone."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def _locked_file(name: str, parent: int) -> int:
    """Return a new locked file, ``-1`` if a daemon that is just looking around was faster to lock it."""
    fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
    try:
        os.fchmod(fd, 0o600)  # a umask may have taken our own bits away
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        os.unlink(name, dir_fd=parent)
        raise
    os.close(fd)
    return -1


class _OpenDirectory:
    """The spool directory, made if missing, opened without following, ours."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1

    def __enter__(self) -> int:
        try:
            self._fd = os.open(self._directory, _DIRECTORY)
        except FileNotFoundError:
            owners.refuse_foreign(self._directory.parent)
            make_private(self._directory.parent)
            make_private(self._directory)
            self._fd = os.open(self._directory, _DIRECTORY)
        found = os.fstat(self._fd)
        if found.st_uid != os.geteuid():
            os.close(self._fd)
            raise PermissionError(f"{self._directory} belongs to uid {found.st_uid}, not to you")
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(self._fd, 0o700)  # older, wider directories are narrowed, as the daemon does
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def make_private(directory: Path) -> None:
    """Make a directory of mode 0700 (and its parents as the umask says) unless it is there."""
    if not directory.parent.is_dir():
        os.makedirs(directory.parent, exist_ok=True)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        return
    if stat.S_IMODE(os.stat(directory).st_mode) != 0o700:  # the umask took our own bits away
        os.chmod(directory, 0o700)


def spool_files(car_dir: Path, limit: int) -> Callable[[], SpoolFile]:
    """Return what makes the spool files of one client, bounded by ``limit`` bytes in all."""
    room = SpoolRoom(limit)
    directory = car_dir / paths.SPOOL_NAME
    return lambda: SpoolFile(directory, room)
