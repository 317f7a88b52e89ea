"""What all connections may hold together, and who gives way when it is too much: whoever holds most.

One connection is bounded by itself (``peer``); a thousand of them are bounded here.  Lines that are not finished
count as input, answers and events that are not taken as output; both in bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Protocol

log = logging.getLogger("carrunsd.connections")

MAX_INPUT_BYTES = 64 << 20  # of unfinished lines in all; two lines of ``max_line_bytes`` at least
MAX_OUTPUT_BYTES = 128 << 20  # of answers and events not taken in all


class Holder(Protocol):
    """A connection, as the budget sees it."""

    @property
    def input_held(self) -> int: ...
    @property
    def output_held(self) -> int: ...
    def drop_line(self) -> None:
        """Refuse the unfinished line and skip the rest of it."""
        ...

    def hang_up(self) -> None:
        """Write no more: the answers are dropped, the client sees the end and may come back."""
        ...


class MemoryCap:
    """The sums over ``holders``, kept by them as they change.

    ``call_soon`` is the event loop's: nobody is made to give way in the middle of something.
    """

    __slots__ = ("_call_soon", "_holders", "_max_input", "_max_output", "_scheduled", "input", "output")

    def __init__(
        self, holders: Collection[Holder], max_line_bytes: int, call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self._holders = holders
        self._call_soon = call_soon
        self._scheduled = False
        self._max_input = max(MAX_INPUT_BYTES, 2 * max_line_bytes)
        self._max_output = MAX_OUTPUT_BYTES
        self.input = 0
        self.output = 0

    def add_input(self, change: int) -> None:
        """Account for a change of what is held as input."""
        self.input += change
        if self.input > self._max_input:
            self._soon()

    def add_output(self, change: int) -> None:
        """Account for a change of what is held as output."""
        self.output += change
        if self.output > self._max_output:
            self._soon()

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._shed)

    def _shed(self) -> None:
        """Let the longest unfinished lines go, and those who have taken least, until it is no longer too much."""
        self._scheduled = False
        while self.input > self._max_input and self._holders:
            log.warning("unfinished lines take %d bytes: the longest is refused", self.input)
            max(self._holders, key=lambda holder: holder.input_held).drop_line()
        while self.output > self._max_output and self._holders:
            log.warning("answers not taken are %d bytes: the connection with most is hung up on", self.output)
            max(self._holders, key=lambda holder: holder.output_held).hang_up()
