"""Rounds of syncs: the files in one, the directories of those that are new, and how each went.

When there is a round, who takes part, and what becomes of what it found, is decided in ``syncer``.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from collections import deque

from carrunsd.store import layout
from carrunsd.store.tree import ROOT, Tree
from carrunsd.writing.journal import Journal

_COPY_BYTES = 1 << 20


class Track:
    """What is to be synced for one reason.  It has one round at a time."""

    __slots__ = ("journals", "round")

    def __init__(self) -> None:
        self.journals: dict[Journal, None] = {}
        self.round: Round | None = None

    def choose(self, most: int | None) -> list[Journal]:
        """Take out the first ``most``; those that a round of another track has come after it."""
        free = (journal for journal in self.journals if not journal.syncing)
        chosen = list(itertools.islice(free, most))
        for journal in chosen:
            del self.journals[journal]
        return chosen


class Round:
    """The jobs of a round, and their directories.  Threads take the jobs, and may join while it runs."""

    __slots__ = ("_dirs", "_left", "_lock", "_waiting", "jobs", "threads", "track", "tree")

    def __init__(self, tree: Tree, track: Track) -> None:
        self.tree = tree
        self.track = track
        self.jobs: list[Job] = []
        self.threads = 0  # that were asked to take part
        self._waiting: deque[Job] = deque()
        self._left = 0
        self._lock = threading.Lock()
        self._dirs: dict[str, Directory] = {}

    def add(self, journal: Journal) -> None:
        """Let the journal's file be synced in this round.  Raises ``OSError`` where it cannot be opened."""
        job = Job(journal, self)
        self.jobs.append(job)
        self._waiting.append(job)
        self._left += 1

    def directories(self, name: str) -> tuple[Directory, Directory]:
        """Return the directories that the entry of a new file in ``name`` needs synced.  Raises ``OSError``."""
        for key in (name, ROOT):
            if key not in self._dirs:
                self._dirs[key] = Directory(self.tree.open_again(key))
        return self._dirs[name], self._dirs[ROOT]

    def take(self) -> Job | None:
        """In a thread: return a job that nobody has taken."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def one_is_done(self) -> bool:
        """In a thread: count a job off; tell whether it was the last."""
        with self._lock:
            self._left -= 1
            return not self._left

    def close(self) -> None:
        """Close the directories: every job is done."""
        for directory in self._dirs.values():
            with contextlib.suppress(OSError):  # an error to sync was told by the sync
                os.close(directory.fd)


class Directory:
    """A directory that a round syncs once, however many of its files are new: all were made before the round."""

    __slots__ = ("_error", "_lock", "_tried", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = threading.Lock()
        self._tried = False
        self._error: OSError | None = OSError(errno.EIO, "the directory could not be synced")

    def sync(self) -> None:
        """Sync it, or wait for whoever does.  Raises ``OSError``, to everyone, if that failed."""
        with self._lock:
            if not self._tried:
                self._tried = True
                try:
                    layout.sync_dir(self.fd)
                    self._error = None
                except OSError as error:
                    self._error = error
        if self._error is not None:
            raise OSError(*self._error.args)


class Job:
    """One file's part in a round: what is to be synced as of its start, and how it went.

    Raises ``OSError`` where the journal's file is gone.
    """

    __slots__ = (
        "acks", "bytes", "count", "dirs", "end", "error", "fd", "journal", "offset", "own_fd", "rewrite",
    )  # fmt: skip

    def __init__(self, journal: Journal, this_round: Round) -> None:
        self.journal = journal
        self.offset = journal.synced_bytes
        self.end = self.offset + journal.unsynced_bytes
        self.count = len(journal.unsynced)
        self.bytes = sum(map(len, journal.unsynced))
        self.error: OSError | None = None
        self.rewrite: bytes | None = None
        self.own_fd = -1
        if journal.failure is None and journal.file is not None:
            self.fd = journal.file.fd  # it stays open: whoever closes the journal sees that it is syncing
        else:
            self.fd = self.own_fd = this_round.tree.open_for_rewriting(journal.path, journal.file)
        if journal.failure is not None:
            kept = b"".join(journal.unsynced)
            self.rewrite = kept if len(kept) == self.end - self.offset else b""
        try:
            self.dirs = this_round.directories(journal.path[0]) if journal.entry_unsynced else ()
        except OSError:
            self._close()
            raise
        self.acks, journal.sync_acks = journal.sync_acks, []
        journal.syncing = True

    def run(self) -> None:
        """In a thread: make it durable."""
        try:
            if self.rewrite:
                self._write_anew(self.rewrite, self.offset)
            elif self.rewrite is not None:
                self._copy_onto_itself()
            os.fdatasync(self.fd)
            for directory in self.dirs:
                directory.sync()
        except OSError as error:
            self.error = error
        self._close()

    def _close(self) -> None:
        if self.own_fd >= 0:
            os.close(self.own_fd)

    def _copy_onto_itself(self) -> None:
        """Write anew what is not kept in memory, as it can still be read.

        A page that the kernel has thrown away reads as NULs, which no record holds: then it is lost for good.
        """
        offset = self.offset
        while offset < self.end:
            data = os.pread(self.fd, min(_COPY_BYTES, self.end - offset), offset)
            if not data or b"\0" in data:
                raise OSError(errno.EIO, "what was not synced cannot be read back: it is lost")
            self._write_anew(data, offset)
            offset += len(data)

    def _write_anew(self, data: bytes, offset: int) -> None:
        """Write ``data`` again where it stands, through a descriptor that knows no earlier error."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            view, offset = view[written:], offset + written
