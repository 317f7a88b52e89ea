"""One poll for everything that ``carruns exec`` waits for: whoever has a descriptor plugs it in with a function."""

from __future__ import annotations

import select
from collections.abc import Callable

#: Called with what poll(2) says of the descriptor.
Ready = Callable[[int], None]


class Loop:
    """Descriptors and what is called when something happens at them."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._ready: dict[int, Ready] = {}

    def watch(self, fd: int, events: int, ready: Ready) -> None:
        """Call ``ready`` for ``events`` at a descriptor, and for its errors (also with no events at all)."""
        self._poll.register(fd, events)
        self._ready[fd] = ready

    def forget(self, fd: int) -> None:
        """Watch a descriptor no longer; nothing happens if it is not watched."""
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def wait(self, seconds: float | None) -> None:
        """Wait for the next thing to happen, so many seconds at most, and call whom it concerns."""
        for fd, events in self._poll.poll(None if seconds is None else max(0.0, seconds) * 1000 + 1):
            ready = self._ready.get(fd)  # one that was called before it may have taken it out
            if ready is not None:
                ready(events)
