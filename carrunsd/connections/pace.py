"""How much is read of whom, and when the loop stays awake for one that asks again at once."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

FOLLOW_UP_SECS = 150e-6  # between an answer and the next request of a client that waits for nothing else
LOOKOUT_SECS = 60e-6  # that the loop stays awake for it


class Lookout:
    """Keeps the loop from sleeping for a moment behind an answer, where the last one was followed up at once.

    To wake a sleeping process costs 10 to 40 us on a virtual machine, which is more than a request costs.  So a
    client that asks, reads and asks again is looked out for; one that does something in between is not.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._last = self._until = 0.0
        self._awake = False

    def answered(self, began: float, now: float) -> None:
        """A request that was read at ``began`` is answered ``now``, seconds of one clock."""
        prompt = began - self._last < FOLLOW_UP_SECS
        self._last = now
        if prompt:
            self._until = now + LOOKOUT_SECS
            if not self._awake:
                self._awake = True
                self._call_soon(self._stay)

    def _stay(self) -> None:
        if monotonic() < self._until:
            self._call_soon(self._stay)
        else:
            self._awake = False
