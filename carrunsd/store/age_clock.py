"""Whether the clock may be believed where it costs history.  Pure: the caller brings the clocks.

A clock that is wrong for a moment (a machine that boots before it has heard of the time) must not remove what is a
month old only by it.  Nothing is removed by age while the clock says something that the store cannot explain: at a
start, that it is far ahead of the newest file; later, that it has jumped.  When it has gone on saying so for a
while of a clock that cannot be set, it is believed.
"""

from __future__ import annotations

EXPLAINED_NS = 86_400 * 10**9  # ahead of the newest file: over night nobody works
JUMP_NS = 3600 * 10**9  # of the clock beside the one that cannot be set
SETTLE_SECS = 900.0


class AgeClock:
    """``newest_ns`` is when the newest file was written, 0 if there is none; wall clocks in ns since the epoch.

    ``steady`` are seconds of a clock that cannot be set and goes on in suspend.
    """

    def __init__(self, newest_ns: int, now_ns: int, steady: float) -> None:
        self._offset_ns = now_ns - int(steady * 1e9)
        explained = not newest_ns or now_ns - newest_ns < EXPLAINED_NS
        self._believed_from = steady if explained else steady + SETTLE_SECS

    def may_judge(self, now_ns: int, steady: float) -> bool:
        """Tell whether something may be removed because it is old."""
        offset_ns = now_ns - int(steady * 1e9)
        if abs(offset_ns - self._offset_ns) > JUMP_NS:
            self._offset_ns = offset_ns
            self._believed_from = steady + SETTLE_SECS
        return steady >= self._believed_from
