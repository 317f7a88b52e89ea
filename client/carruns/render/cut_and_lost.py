"""What is not in a run's records, said plainly: unreadable lines, lost turns, turns that were cut.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from carruns.protocol.cut import MARKER
from carruns.protocol.records import Record
from carruns.render import harmless, units

_MANY_TURNS = 5000  # so many are not gone through for what was cut
_NAMED = 6  # gaps that are named; of those that the agent told of, this many times as many
_NAMED_BY_AGENT = 20
_END = " bytes missing]"  # of every marker


class Missing:
    """Takes the turns of a run one after another; keeps no turn."""

    def __init__(self) -> None:
        self._expected = self._turns = self._cut = self._told = 0
        self._gaps: list[str] = []
        self._by_agent: list[str] = []

    def take(self, turn: Record) -> None:
        """Account for one turn."""
        self._turns += 1
        self._number(turn.get("index"))
        self._from_agent(turn)
        if self._turns < _MANY_TURNS and is_cut(turn):
            self._cut += 1

    def _number(self, index: Any) -> None:
        """Look for a gap in the daemon's numbers."""
        if not isinstance(index, int):
            return
        first, last = self._expected, index - 1
        if last >= first and len(self._gaps) <= _NAMED:
            self._gaps.append(f"{first}" if first == last else f"{first}-{last}")
        self._expected = max(self._expected, index + 1)

    def _from_agent(self, turn: Record) -> None:
        """The library records what it could not keep as a turn with such an ``error`` (carruns/session.py)."""
        error = turn.get("error")
        if isinstance(error, dict) and error.get("kind") == "gap":
            self._told += 1
            if self._told <= _NAMED_BY_AGENT:
                count, reason = harmless.line(error.get("lost")), harmless.line(error.get("reason"))
                index = harmless.line(turn.get("index"))
                self._by_agent.append(f"{count} turns before #{index} were lost with the agent: {reason}")

    def sentences(self, skipped: int) -> Iterator[str]:
        """Yield a harmless sentence for each kind of loss; ``skipped`` counts lines that could not be read."""
        if skipped:
            yield f"{units.counted(skipped, 'line')} of the file left out: not readable"
        if self._gaps:
            more = " ..." if len(self._gaps) > _NAMED else ""
            yield f"turns are missing: {', '.join(self._gaps[:_NAMED])}{more}"
        yield from self._by_agent
        if self._told > _NAMED_BY_AGENT:
            yield f"and {self._told - _NAMED_BY_AGENT} more such gaps"
        if self._cut and self._turns < _MANY_TURNS:
            yield f"{units.counted(self._cut, 'turn')} truncated: too large"


def is_cut(value: Any) -> bool:
    """Return whether a value holds the marker of something cut, in any form that was ever written."""
    if isinstance(value, str):
        return _END in value and MARKER.search(value) is not None  # the second alone takes 2 ms a megabyte
    if isinstance(value, dict):
        return any(is_cut(key) or is_cut(item) for key, item in value.items())
    return isinstance(value, list) and any(map(is_cut, value))
