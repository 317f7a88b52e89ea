"""How much an outage may cost the agent, and when to look for the daemon again.  Pure: the caller brings the clock.

Theory of operation.  All times are seconds of one monotonic clock.  The *budget* is what an outage may cost
in all, over every call made during it.  Waiting spends it.  While the daemon is away nothing refills it; once
it is back 5 % of the time that passes does, so that a daemon that keeps dying cannot cost an agent more than
that share. Tries to connect are spaced from 50 ms, doubling to 2 s, once the budget is gone; while there is
some left, whoever waits looks every few milliseconds.
"""

from __future__ import annotations

REFILL = 0.05
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0


class Outage:
    """What is left of the budget, and the next time to try."""

    __slots__ = ("_charged", "_full", "_left", "_pause", "_stamp", "next_try", "on")

    def __init__(self, budget: float) -> None:
        self._full = self._left = budget
        self._stamp = self._charged = 0.0
        self._pause = FIRST_PAUSE
        self.on = False
        self.next_try = 0.0

    def left(self, now: float) -> float:
        """Return the seconds that may still be waited."""
        if self.on:
            return self._left
        return min(self._full, self._left + REFILL * max(0.0, now - self._stamp))

    def began(self, now: float) -> None:
        """The daemon is gone: nothing refills from here on."""
        if not self.on:
            self._left = self.left(now)
            self.on = True
            self._pause, self.next_try = FIRST_PAUSE, now

    def spend(self, since: float, now: float) -> None:
        """A call has waited in vain from ``since`` until ``now``; others waiting then cost no more."""
        seconds = max(0.0, now - max(since, self._charged))
        self._left = max(0.0, self.left(now) - seconds)
        self._charged = self._stamp = now

    def tried(self, now: float) -> None:
        """A try to connect failed: the next is due after a pause that doubles.

        Tries of someone who waits anyway, before the next is due, do not count.
        """
        if now >= self.next_try:
            self.next_try = now + self._pause
            self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def ended(self, now: float) -> None:
        """The daemon answers again."""
        if self.on:
            self._stamp = now
            self.on = False
        self._pause = FIRST_PAUSE
