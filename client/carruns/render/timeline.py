"""When the turns of a run were: one line of blocks over its time, and the gaps between turns.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from carruns.protocol.records import Record
from carruns.render import units
from carruns.render.style import Style
from carruns.render.whole_run import WholeRun

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = ".:-=+*#@"
#: A gap is worth a word if it is this share of the whole run (and a second at least).
GAP_SHARE = 0.15


def turn_times(turn: Record) -> tuple[int | None, int | None]:
    """Return when a turn began and when it was recorded, as instants; ``None`` where it does not say."""
    recorded = units.instant(turn.get("recorded_at"))
    began = units.instant(turn.get("started_at"))
    took = turn.get("duration_ms")
    if began is None and recorded is not None and isinstance(took, int | float) and took >= 0:
        began = recorded - round(took * 1_000_000)
    return began, recorded if recorded is not None else began


def gaps_between(previous: int, turn: Record) -> float:
    """Return the seconds between the last record and this turn's beginning, 0 if they overlap."""
    began, recorded = turn_times(turn)
    at = began if began is not None else recorded
    return 0.0 if at is None else max(0.0, (at - previous) / units.SECOND)


def sparkline(style: Style, run: WholeRun, cells: int) -> str:
    """Return one line that shows where in the run's time its turns are; ``""`` where that says nothing."""
    seconds, turns = run.seconds, run.turns
    if run.began is None or not seconds or len(turns) < 2:
        return ""
    counts, bad = _by_cell(turns, run.began, seconds, cells)
    most = max(counts)
    if not most:
        return ""
    marks = style.mark(_BLOCKS, _PLAIN)
    drawn = "".join(_mark(style, marks, count, most, at in bad) for at, count in enumerate(counts))
    return f"{drawn} {units.duration(seconds)}"


def _by_cell(turns: Sequence[Record], began: int, seconds: float, cells: int) -> tuple[list[int], set[int]]:
    """Return how many turns fall into each cell of the line, and the cells that hold one that went wrong."""
    counts, bad = [0] * cells, set()
    for turn in turns:
        _, at = turn_times(turn)
        if at is not None:
            cell = min(cells - 1, max(0, int((at - began) / units.SECOND / seconds * cells)))
            counts[cell] += 1
            if turn.get("error") is not None or turn.get("policy_rejected") is not None:
                bad.add(cell)
    return counts, bad


def _mark(style: Style, marks: str, count: int, most: int, bad: bool) -> str:
    if not count:
        return style.paint(style.mark("·", " "), "dim")
    return style.paint(marks[min(len(marks) - 1, (count * len(marks) - 1) // most)], "red" if bad else "cyan")
