"""Names, directories and modes below a car directory: what is where, and how it is opened.

Everything is opened relative to a directory descriptor with ``O_NOFOLLOW`` and made with its final mode, so
that there is no window in which a file is wider than 0600 and no symbolic link is ever followed.
What stands in the files is not decided here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator

SUFFIX = ".jsonl"
NOBACKUP = ".nobackup"
MAX_NAME_BYTES = 255  # NAME_MAX of every file system in use; what the kernel refuses beyond it is caught too

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_APPEND = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class StoreError(OSError):
    """The store will not work with what it found: a link, a pipe, another owner.  The message says what to do."""


class NameConflictError(StoreError):
    """Two ids meet on one file, or the file system cannot hold the name (docs/files.md)."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EEXIST, message)


def sanitize(name: str) -> str:
    """Return the path component for an id: separators and NUL become ``_``, outer dots go (the seed's rule)."""
    cleaned = name.replace("/", "_").replace("\\", "_").replace("\0", "_").strip(".")
    return cleaned or "_"


def agent_dir_name(agent_id: str) -> str:
    """Return the directory name of an agent.  Raises :class:`NameConflictError` if no file system holds it."""
    return _checked(sanitize(agent_id), "agent id", agent_id)


def run_file_name(run_id: str) -> str:
    """Return the file name of a run.  Raises :class:`NameConflictError` if no file system holds it."""
    return _checked(sanitize(run_id) + SUFFIX, "run id", run_id)


def _checked(name: str, what: str, given: str) -> str:
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        raise NameConflictError(f"the {what} {ascii(given)[:60]} is not valid Unicode; choose another") from None
    if size > MAX_NAME_BYTES:
        raise NameConflictError(
            f"the {what} {given[:40]!r}... makes a file name of {size} bytes; "
            f"the file system holds {MAX_NAME_BYTES}: choose a shorter one"
        )
    return name


def ensure_root(path: str) -> int:
    """Make the runs directory (and its parents) if missing and return a descriptor of it, mode 0700.

    A directory made here gets ``.nobackup`` (and on macOS the Time Machine attribute) and its parent is synced.
    Raises ``OSError``; :class:`StoreError` where a link or another user's directory stands in its place.
    """
    parent, name = os.path.split(os.path.abspath(path))
    make_dirs(parent)
    parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd, created = ensure_dir(parent_fd, name)
        if created:
            _mark_backup_excluded(fd, path)
            sync_dir(fd)
        sync_dir(parent_fd)  # who made it may have died before this
    finally:
        os.close(parent_fd)
    return fd


#: fsync(2) of a directory on a file system that knows none (CIFS, 9p, some FUSE): it does what it does.
_NO_SYNC = frozenset((errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))


def sync_dir(fd: int) -> None:
    """Sync a directory: whatever was made, renamed or removed in it is on the device.  Raises ``OSError``.

    The one place that does: where the file system does not know how, that is no failed sync.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


#: What a file system, a mount or a sandbox does not give, however it is asked.
_NOT_GIVEN = {
    errno.ENOLCK: "the file system gives no locks (NFS without its lock service?)",
    errno.EOPNOTSUPP: "the file system does not support it",
    errno.ENOTSUP: "the file system does not support it",
    errno.ENOSYS: "the system does not support it",
    errno.EINVAL: "the file system does not support it",
    errno.EPERM: "the system forbids it (a file system without owners or sockets, or a sandbox?)",
    errno.EACCES: "permission is denied",
}


@contextlib.contextmanager
def said_where(path: str, doing: str, remedy: str) -> Iterator[None]:
    """Let an ``OSError`` that says that something cannot be had at ``path`` say where, what and what to do."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = _NOT_GIVEN.get(error.errno or 0)
        if reason is None:
            raise
        raise StoreError(error.errno, f"{path}: {doing}: {reason}; {remedy}") from None


def make_dirs(path: str) -> None:
    """Make a directory and its parents where they are missing, each 0700 (``os.makedirs`` does the last only)."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_dirs(os.path.dirname(path))
        os.mkdir(path, 0o700)


def ensure_dir(parent_fd: int, name: str) -> tuple[int, bool]:
    """Make directory ``name`` in ``parent_fd`` if missing; return its descriptor and whether it was made.

    Its mode is 0700 from the first moment, under any umask; a wider one that stands there is narrowed.
    """
    created = False
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
        created = True
    except FileExistsError:
        pass
    fd = open_dir(name, parent_fd)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != 0o700:
            os.fchmod(fd, 0o700)
    except BaseException:
        os.close(fd)
        raise
    return fd, created


def open_dir(name: str, parent_fd: int | None = None) -> int:
    """Open a directory that is no link and belongs to this user (or, for root, to anyone)."""
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise StoreError(error.errno, f"{name!r} is no directory (or a symbolic link); move it away") from None
        raise
    _check_owner(fd, name)
    return fd


def open_for_reading(name: str, dir_fd: int) -> int:
    """Open a run file for reading.  Never follows a link, never waits on a pipe."""
    return _open_regular(name, _READ, dir_fd)


@contextlib.contextmanager
def opened(root: str | os.PathLike[str], path: tuple[str, str]) -> Iterator[int]:
    """Open a run file (the agent's directory, the file's name) below ``root`` for reading.

    For whoever has no hold on the directories, a thread or another program; raises ``OSError`` where there is no
    such file, or none that may be read.
    """
    directory = open_dir(os.path.join(root, path[0]))
    try:
        fd = open_for_reading(path[1], directory)
    finally:
        os.close(directory)
    try:
        yield fd
    finally:
        os.close(fd)


def open_for_rewriting(name: str, dir_fd: int) -> int:
    """Open a run file for writing at offsets (on a descriptor with ``O_APPEND``, pwrite(2) appends)."""
    return _open_regular(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd)


def open_for_append(name: str, dir_fd: int, *, create: bool) -> tuple[int, bool]:
    """Open a run file for appending; return its descriptor and whether it was made (0600 from the start)."""
    if create:
        try:
            fd = os.open(name, _APPEND | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=dir_fd)
        except FileExistsError:
            pass
        else:
            os.fchmod(fd, 0o600)  # a umask may have taken more than group and others
            return fd, True
    fd = _open_regular(name, _APPEND, dir_fd)
    if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
        os.fchmod(fd, 0o600)
    return fd, False


def _open_regular(name: str, flags: int, dir_fd: int) -> int:
    try:
        fd = os.open(name, flags, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise StoreError(error.errno, f"{name!r} is no regular file; move it away") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreError(errno.EINVAL, f"{name!r} is no regular file; move it away")
    return fd


def _check_owner(fd: int, name: str) -> None:
    owner = os.fstat(fd).st_uid
    if owner != os.geteuid() and os.geteuid() != 0:
        os.close(fd)
        raise StoreError(errno.EPERM, f"{name!r} belongs to user {owner}, not to {os.geteuid()}: not used")


def agent_dirs(root_fd: int) -> Iterator[str]:
    """Yield the names of the agents' directories; links and files are passed over."""
    return (name for name, _ in agent_dirs_changed(root_fd))


def agent_dirs_changed(root_fd: int) -> Iterator[tuple[str, int]]:
    """Yield the names of the agents' directories, and when each was changed last (ns since the epoch)."""
    with os.scandir(root_fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    yield entry.name, entry.stat(follow_symlinks=False).st_mtime_ns


def run_files(dir_fd: int) -> Iterator[str]:
    """Yield the names of the run files in an agent's directory; anything but regular files is passed over."""
    with os.scandir(dir_fd) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                yield entry.name


def _mark_backup_excluded(fd: int, path: str) -> None:
    """Leave the marks that backup tools look for.  Failing to is no reason not to store runs."""
    try:
        mark = os.open(
            NOBACKUP, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd
        )
    except OSError:
        return
    with os.fdopen(mark, "wb") as file:
        file.write(b"Runs of AI agents, kept by carrunsd. Backup tools that honour this mark leave them out.\n")
    if sys.platform == "darwin":
        attribute = "com.apple.metadata:com_apple_backup_excludeItem"
        subprocess.run(["/usr/bin/xattr", "-w", attribute, "1", path], check=False, capture_output=True)
