"""What the records of a run add up to, folded as they are read: no turn is kept.  Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from carruns.protocol.failures import turn_failed
from carruns.protocol.records import Record
from carruns.render.cut_and_lost import Missing
from carruns.render.token_counts import Tokens, tokens_of
from carruns.render.turn_view import turn_of
from carruns.render.units import turn_times

_NO_TIME = -1


class Tally:
    """Takes records one after another.  ``turns``, ``failed`` and ``others`` (of unknown kinds) count them."""

    def __init__(self) -> None:
        self.started = Record()
        self.turns = self.failed = self.others = 0
        self.tokens = Tokens()
        self.missing = Missing()
        self._times = array("q")  # of each turn, so that the timeline can be drawn in any width
        self._failed = bytearray()
        self._tools: dict[object, int] = {}
        self._tool_of = array("l")

    def take(self, record: Record) -> None:
        """Account for one record."""
        kind = record.get("record")
        turn = turn_of(record)
        if turn is not None:
            self._turn(turn)
        elif kind == "started":
            self.started = self.started or record
        elif kind != "ended":
            self.others += 1

    def _turn(self, turn: Record) -> None:
        failed = turn_failed(turn)
        _, at = turn_times(turn)
        self.turns += 1
        self.failed += failed
        self._failed.append(failed)
        self._times.append(_NO_TIME if at is None else at)
        tool = turn.get("tool")
        key = tool if isinstance(tool, str) else None
        self._tool_of.append(self._tools.setdefault(key, len(self._tools)))
        self.missing.take(turn)
        self.tokens = self.tokens.plus(tokens_of(turn.get("usage")))

    def times(self) -> Iterator[tuple[int, bool]]:
        """Yield when each turn was, as an instant, and whether it failed; those that do not say are left out."""
        for at, failed in zip(self._times, self._failed, strict=True):
            if at != _NO_TIME:
                yield at, bool(failed)

    def places(self, keep: slice, tool: str | None = None) -> list[int]:
        """Return which turns of the run, counted from 0, are in a slice of them and of a tool."""
        places = range(self.turns)[keep]
        if tool is None:
            return list(places)
        wanted = self._tools.get(tool)
        return [place for place in places if self._tool_of[place] == wanted]
