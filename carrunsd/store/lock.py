"""The lock that makes a daemon the only one of its car directory, held for its whole life (docs/files.md)."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from carrunsd.store.layout import StoreError, said_where

_REMEDY = "set CAR_HOME (or --car-dir) to a directory on a local file system"


class AlreadyRunningError(Exception):
    """Another daemon holds the lock.  ``pid`` is its process id, 0 where the file does not say."""

    def __init__(self, path: str, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"a carrunsd is running already ({who} holds {path}); stop it first, or use another --car-dir"
        )
        self.pid = pid


def take(path: str) -> int:
    """Take the lock and write this process's id into it; return the descriptor that holds it.

    Raises :class:`AlreadyRunningError`, or ``OSError`` where the file is no regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise StoreError(error.errno, f"{path} is no regular file; move it away") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StoreError(errno.EINVAL, f"{path} is no regular file; move it away")
        try:
            with said_where(path, "it cannot be locked", _REMEDY):
                os.fchmod(fd, 0o600)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(path, _pid(fd)) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_ours(fd: int, path: str) -> bool:
    """Tell whether the file that is locked still stands at ``path``: what stands there now may be another's.

    Raises ``OSError`` where it cannot be looked at.
    """
    held = os.fstat(fd)
    if held.st_nlink == 0:
        return False
    try:
        there = os.stat(path, follow_symlinks=False)
        if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino):
            return True
        return _names_us(path)  # some FUSE file systems give a file another number now and then
    except (FileNotFoundError, NotADirectoryError):
        return False


def _names_us(path: str) -> bool:
    """Tell whether what is at ``path`` is locked, and says that it is by this process."""
    other = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(other) == os.getpid()
    finally:
        os.close(other)
    return False


def _pid(fd: int) -> int:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0
