"""The end of a run file that a crash left: where the whole lines end, and cutting what is behind them.

Only there is anything ever cut, by whoever opens the file to append (``RunFile``); a reader passes the tail over.
"""

from __future__ import annotations

import os

from carrunsd.store import reader

MAX_TAIL_BYTES = 256 << 20  # a longer one is NULs that a file system left, no record


def whole_lines(fd: int, size: int) -> tuple[int, bool]:
    """Return the bytes up to which a file of ``size`` bytes is whole lines, and whether the last lacks its newline.

    Half a line or NULs behind the last newline are the torn tail; a whole object counts, and a bad line before it
    stays where it is.  Raises ``OSError``.
    """
    tail_at = _last_newline(fd, size) + 1
    tail = os.pread(fd, min(size - tail_at, MAX_TAIL_BYTES), tail_at)
    whole = tail.rstrip(b"\0")
    good = bool(whole) and len(tail) < MAX_TAIL_BYTES and reader.is_object(whole)
    return (tail_at + len(whole), True) if good else (tail_at, False)


def cut(fd: int) -> tuple[int, int, bool]:
    """Cut a torn tail off.

    Return the bytes that stay, those that went, and whether the last line lacks its newline.  Raises ``OSError``.
    """
    size = os.fstat(fd).st_size
    keep, unterminated = whole_lines(fd, size)
    if keep < size:
        os.ftruncate(fd, keep)
    return keep, size - keep, unterminated


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
