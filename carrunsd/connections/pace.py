"""How much is read of a connection at a time, and when the loop stays awake for one that asks again at once."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

READ_BYTES = 256 << 10  # at a time, at most
LEAST_READ_BYTES = 16 << 10
SLICE_SECS = 0.004  # that a block should take at most, so that many connections have fair turns
ALONE_SECS = 0.05  # without another's request: writes may be put off
FOLLOW_UP_SECS = 150e-6  # between an answer and the next request of a client that waits for nothing else
LOOKOUT_SECS = 60e-6  # that the loop stays awake for it


class Pace:
    """Who has read last, which all connections share.  ``call_soon`` is the event loop's."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self.lookout = Lookout(call_soon)
        self._last: object = None
        self._since = 0.0

    def long_alone(self, reader: object, now: float) -> bool:
        """Tell whether for a while nobody but ``reader`` has sent anything; ``now`` in monotonic seconds."""
        return self._last is reader and now - self._since > ALONE_SECS

    def next_appetite(self, reader: object, appetite: int, took: float, count: int) -> int:
        """Return how many bytes to read next, behind ``count`` bytes of ``appetite`` that ``took`` seconds.

        Less at a time where others want to be read too and the last block took long; more where not.
        """
        alone = self._last is reader
        if not alone:
            self._last, self._since = reader, monotonic()
        if took > SLICE_SECS and not alone:
            return max(LEAST_READ_BYTES, appetite >> 1)
        if count == appetite < READ_BYTES and (alone or took < SLICE_SECS / 4):
            return appetite << 1
        return appetite


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
