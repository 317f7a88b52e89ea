"""When the turns of a run were: one line of blocks over its time, and the gaps between turns.  Pure."""

from __future__ import annotations

from carruns.protocol.records import Record
from carruns.render import units
from carruns.render.style import Style
from carruns.render.tally import Tally
from carruns.render.units import turn_times
from carruns.render.whole_run import WholeRun

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = ".:-=+*#@"
#: A gap is worth a word if it is this share of the whole run (and a second at least).
GAP_SHARE = 0.15


def gaps_between(previous: int, turn: Record) -> float:
    """Return the seconds between the last record and this turn's beginning, 0 if they overlap."""
    began, recorded = turn_times(turn)
    at = began if began is not None else recorded
    return 0.0 if at is None else max(0.0, (at - previous) / units.SECOND)


def sparkline(style: Style, run: WholeRun, cells: int) -> str:
    """Return one line that shows where in the run's time its turns are; ``""`` where that says nothing."""
    seconds, tally = run.seconds, run.tally
    if run.began is None or not seconds or tally.turns < 2:
        return ""
    counts, bad = _by_cell(tally, run.began, seconds, cells)
    most = max(counts)
    if not most:
        return ""
    marks = style.mark(_BLOCKS, _PLAIN)
    drawn = "".join(_mark(style, marks, count, most, at in bad) for at, count in enumerate(counts))
    return f"{drawn} {units.duration(seconds)}"


def _by_cell(tally: Tally, began: int, seconds: float, cells: int) -> tuple[list[int], set[int]]:
    """Return how many turns fall into each cell of the line, and the cells that hold one that failed."""
    counts, bad = [0] * cells, set()
    for at, failed in tally.times():
        cell = min(cells - 1, max(0, int((at - began) / units.SECOND / seconds * cells)))
        counts[cell] += 1
        if failed:
            bad.add(cell)
    return counts, bad


def _mark(style: Style, marks: str, count: int, most: int, bad: bool) -> str:
    if not count:
        return style.paint(style.mark("·", " "), "dim")
    return style.paint(marks[min(len(marks) - 1, (count * len(marks) - 1) // most)], "red" if bad else "cyan")
