"""Appending to one run file: heal its tail, write all or nothing.

Theory of operation: the file is a row of whole lines up to ``size``.  An append that fails or comes out short
is cut back to ``size`` before anything else happens, so no half record ever stands between whole ones.
Syncing and the order of writes are the callers' business.
"""

from __future__ import annotations

import os

from carrunsd.store import torn_tail


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
        self.size, self.healed, unterminated = torn_tail.cut(self.fd)
        self.broken = False
        if unterminated:
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
