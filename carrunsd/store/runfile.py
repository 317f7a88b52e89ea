"""Appending to one run file: heal its tail, write all or nothing.

Theory of operation: the file is a row of whole lines up to ``size``.  An append that fails or comes out short
is cut back to ``size`` before anything else happens, so no half record ever stands between whole ones.
Syncing and the order of writes are the callers' business.
"""

from __future__ import annotations

import os

from carrunsd.store import reader

MAX_TAIL_BYTES = 256 << 20  # a longer one is NULs that a file system left, no record


class RunFile:
    """An open run file.  ``size`` is its length in bytes as far as whole lines go."""

    __slots__ = ("broken", "created", "fd", "healed", "size")

    def __init__(self, fd: int, *, created: bool = False) -> None:
        self.fd = fd
        self.created = created
        self.broken = False
        self.healed = 0
        self.size = os.fstat(fd).st_size

    def heal(self) -> None:
        """Make the file end in a whole line: a torn tail goes, a whole last line gets its newline.

        ``healed`` says how many bytes were cut.  Only what stands behind the last newline is ever cut, and only
        if it is no whole object: a bad line stays.  Raises ``OSError``.
        """
        size = os.fstat(self.fd).st_size
        tail_at = _last_newline(self.fd, size) + 1
        tail = os.pread(self.fd, min(size - tail_at, MAX_TAIL_BYTES), tail_at)
        whole = tail.rstrip(b"\0")
        good = whole and len(tail) < MAX_TAIL_BYTES and reader.is_object(whole)
        keep = tail_at + len(whole) if good else tail_at
        if keep < size:
            os.ftruncate(self.fd, keep)
            self.healed = size - keep
        self.size = keep
        self.broken = False
        if keep > tail_at:
            self.append(b"\n")

    def append(self, data: bytes) -> None:
        """Write ``data`` (whole lines) at the end, all of it or nothing.

        Raises ``OSError`` when the disk refuses; the file is then as before, or ``broken`` until it is cut back:
        whole lines of a write that was refused must not come to count either.
        """
        if self.broken:
            os.ftruncate(self.fd, self.size)
            self.broken = False
        try:
            written = os.write(self.fd, data)
            while written < len(data):
                written += os.write(self.fd, data[written:])
        except OSError:
            self._cut_back()
            raise
        self.size += len(data)

    def _cut_back(self) -> None:
        self.broken = True
        try:
            os.ftruncate(self.fd, self.size)
        except OSError:
            return
        self.broken = False

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _last_newline(fd: int, size: int) -> int:
    """Return the offset of the last newline, -1 if there is none."""
    end = size
    while end > 0:
        start = max(0, end - 65536)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found
        end = start
    return -1
