"""What one run has to write, who waits for it, and what is written but not yet known to be on the device."""

from __future__ import annotations

import errno
from typing import Any

import msgspec

from carruns.protocol import errors
from carrunsd.run import Run
from carrunsd.store.layout import NameConflictError
from carrunsd.store.runfile import RunFile
from carrunsd.wire.replies import Ticket

encode_lines = msgspec.json.Encoder().encode_lines

Acks = list[tuple[Ticket, bytes]]


class Journal:
    """A run's way to its file.  ``path`` is the names of its directory and file.

    ``fresh`` until the first write: the file may be made, and must hold nothing.  ``entry_unsynced`` until the
    first sync, whoever made the file: its directories are synced with it.  ``closed_size`` is the size it was
    closed with, -1 if it never was.  ``unsynced`` keeps what was written behind ``synced_bytes``, the length known
    to be on the device: should a sync fail, the pages in the kernel cannot be trusted, and this is written again.
    ``failure`` is the sync's error until that was done.
    """

    __slots__ = (
        "acks", "chunks", "close_after_sync", "closed_size", "durable", "entry_unsynced", "failure",
        "file", "fresh", "path", "pending", "queued", "run", "sync_acks", "synced_bytes", "syncing", "unsynced",
        "unsynced_bytes",
    )  # fmt: skip

    def __init__(self, run: Run, *, fresh: bool, unsynced_bytes: int = 0) -> None:
        self.run = run
        self.path = run.path
        self.fresh = fresh
        self.entry_unsynced = True
        self.closed_size = -1
        self.file: RunFile | None = None
        self.chunks: list[bytes] = []
        self.pending: list[Any] = []
        self.acks: Acks = []
        self.durable = False
        self.queued = False
        self.unsynced: list[bytes] = []
        self.unsynced_bytes = unsynced_bytes
        self.synced_bytes = 0
        self.sync_acks: Acks = []
        self.syncing = False
        self.close_after_sync = False
        self.failure: OSError | None = None

    def take(self) -> tuple[bytes, Acks, bool]:
        """Hand out what was put down since the last time, as lines, and whether it must be durable."""
        if self.pending:
            self.chunks.append(encode_lines(self.pending))
        chunks = self.chunks
        out = chunks[0] if len(chunks) == 1 else b"".join(chunks), self.acks, self.durable
        self.chunks, self.pending, self.acks, self.durable, self.queued = [], [], [], False, False
        return out

    def put_lines(self, lines: bytes) -> None:
        """Take lines that are encoded already, behind what was put down before."""
        if self.pending:
            self.chunks.append(encode_lines(self.pending))
            self.pending = []
        self.chunks.append(lines)

    @property
    def idle(self) -> bool:
        """Nothing is written that is not synced, and nobody waits."""
        broken = self.file is not None and self.file.broken
        return not (self.unsynced or self.syncing or self.sync_acks or self.failure or self.queued or broken)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.closed_size = self.file.size
            self.file.close()
            self.file = None


def refuse(acks: Acks, error: OSError, *, written: bool = False) -> None:
    """Answer everyone who waits with a ``storage`` error that names the errno, and say what to do.

    ``written``: it stands in the file, but is not known to be on the device.
    """
    name = errno_name(error)
    code = errors.CONFLICT if isinstance(error, NameConflictError) else errors.STORAGE
    message = str(error.strerror or error)
    if code == errors.STORAGE:
        advice = _UNSYNCED if written else _advice(error.errno)
        message = f"the store could not {'sync' if written else 'write'}: {message} ({name}); {advice}"
    for ticket, _ in acks:
        ticket.fail(code, message, {"errno": name})


_UNSYNCED = "it is written, but not on the device: ask again, or send it again with its writer and seq"


def errno_name(error: OSError) -> str:
    """Return ``"ENOSPC"`` and the like."""
    return errno.errorcode.get(error.errno or 0, "EIO")


def _advice(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "make room, then send it again"
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many open files: send it again later, or raise the limit"
    if number == errno.EROFS:
        return "the file system is read-only: mount it writable, then send it again"
    if number in (errno.ENOENT, errno.ESTALE):
        return "the run's file was removed or replaced: start a new run"
    return "nothing of this request was stored; send it again"
