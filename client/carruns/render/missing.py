"""What is not in a run's records, said plainly: unreadable lines, lost turns, turns that were cut.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from carruns.protocol.cut import MARKER
from carruns.protocol.records import Record
from carruns.render import harmless
from carruns.render.value_lines import compact

_MANY_TURNS = 5000  # so many are not gone through for it


def sentences(turns: Sequence[Record], skipped: int) -> Iterator[str]:
    """Yield a harmless sentence for each kind of loss; ``skipped`` counts lines that could not be read."""
    if skipped:
        yield f"{skipped} lines of the file cannot be read and are left out"
    lost = lost_indexes(turns)
    if lost:
        yield f"turns are missing: {', '.join(lost[:6])}{' ...' if len(lost) > 6 else ''}"
    yield from _lost_with_the_agent(turns)
    cut = count_cut(turns) if len(turns) < _MANY_TURNS else 0
    if cut:
        yield f"{cut} turns were too large and are truncated"


def lost_indexes(turns: Sequence[Record]) -> list[str]:
    """Return the gaps in the daemon's numbers, like ``3`` and ``7-9``."""
    out, expected = [], 0
    for turn in turns:
        index = turn.get("index")
        if isinstance(index, int):
            if index > expected:
                out.append(f"{expected}" if index == expected + 1 else f"{expected}-{index - 1}")
            expected = max(expected, index + 1)
    return out


def count_cut(turns: Sequence[Record]) -> int:
    """Return how many turns hold the marker of something cut, in any form that was ever written."""
    return sum(1 for turn in turns if MARKER.search(compact(turn)))


def _lost_with_the_agent(turns: Sequence[Record]) -> Iterator[str]:
    """The library records what it could not keep as a turn with such an ``error`` (carruns/session.py)."""
    for turn in turns:
        error = turn.get("error")
        if isinstance(error, dict) and error.get("kind") == "gap":
            count, reason = harmless.line(error.get("lost")), harmless.line(error.get("reason"))
            yield f"{count} turns before #{harmless.line(turn.get('index'))} were lost with the agent: {reason}"
