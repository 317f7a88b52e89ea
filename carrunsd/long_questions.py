"""Long questions go one at a time, and the daemon rests from them as long as each took.

A trace of megabytes or a list of thousands of runs takes milliseconds of the one thread that also records turns.
However many clients ask for such at once, recording gets half of the time.
"""

from __future__ import annotations

from time import monotonic

import anyio

LONGEST_REST = 0.05  # seconds


class OneAtATime:
    """An async context for one long question; the next waits until it is over."""

    def __init__(self) -> None:
        self._lock = anyio.Lock(fast_acquire=True)
        self._began = 0.0

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        self._began = monotonic()

    async def __aexit__(self, *exc: object) -> None:
        try:
            took = monotonic() - self._began
            if self._lock.statistics().tasks_waiting:
                await anyio.sleep(min(took, LONGEST_REST))
        finally:
            self._lock.release()
