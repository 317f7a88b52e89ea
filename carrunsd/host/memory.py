"""The C library's heap: kept while there is work, given back when there is none.

A block of requests and a page of a trace are megabytes that come and go.  glibc hands such memory back to the
kernel at once and takes it anew, page fault by page fault: with that, a trace of 100,000 turns took 204 ms to send
and 475,000 recorded turns left 61 MB resident; without, 88 ms and 32 MB.  So the heap is told to keep what it has
(mallopt(3)), and some seconds after the work it is trimmed (malloc_trim(3)).  With another C library both do
nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_KEEP_BYTES = 256 << 20
_PAD_BYTES = 4 << 20
_MMAP_BYTES = 32 << 20  # the most that glibc takes

TIDY_DELAY = 3.0  # seconds


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None)


def keep_heap() -> None:
    """Do not return freed memory to the kernel until :func:`give_back`."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
        mallopt(_M_TOP_PAD, _PAD_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def give_back() -> None:
    """Return the heap's free memory to the kernel."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


class Tidier:
    """Gives memory back some seconds after work that took it.  ``call_later`` is the event loop's."""

    def __init__(
        self, call_later: Callable[[float, Callable[[], None]], object], *before: Callable[[], None]
    ) -> None:
        """``before`` is called first: whatever lets go of what may be made again."""
        self._call_later = call_later
        self._before = before
        self._scheduled = False

    def later(self) -> None:
        """There was work."""
        if not self._scheduled:
            self._scheduled = True
            self._call_later(TIDY_DELAY, self._tidy)

    def _tidy(self) -> None:
        self._scheduled = False
        for let_go in self._before:
            let_go()
        give_back()
