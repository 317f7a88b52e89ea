"""Tables of what is not in the store any more: the trash, and the list of what was removed.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from carruns.protocol.records import Record
from carruns.render import harmless, units
from carruns.render.style import Style
from carruns.render.table import Cell, Column, render

_HEAD = (Column("ID"), Column("AGENT", flexible=True), Column("REMOVED", right=True))
_TAIL = (Column("SIZE", right=True), Column("INTENT", flexible=True))


def trash_table(style: Style, rows: Sequence[tuple[Record, int]], now_ns: int) -> list[str]:
    """Return the lines of a table of what is in the trash: summaries, and the instants they were put there."""
    cells = [[*_head(run, at, now_ns), *_tail(run)] for run, at in rows]
    return render(style, (*_HEAD, *_TAIL), cells)


def removed_table(style: Style, rows: Sequence[Record], now_ns: int) -> list[str]:
    """Return the lines of a table of what was removed, and why."""
    cells = [
        [
            *_head(row, units.instant(row.get("removed_at")) or now_ns, now_ns),
            Cell(harmless.line(row.get("reason", "")), ("yellow",)),
            *_tail(row),
        ]
        for row in rows
    ]
    return render(style, (*_HEAD, Column("WHY"), *_TAIL), cells)


def _head(run: Record, at: int, now_ns: int) -> list[Cell]:
    agent = Cell(harmless.line(run.get("agent_id", "")), ("bold",))
    return [Cell(harmless.line(run.get("run_id", ""))), agent, Cell(units.age((now_ns - at) / units.SECOND))]


def _tail(run: Record) -> list[Cell]:
    return [Cell(units.size(run.get("bytes", 0)), ("dim",)), Cell(harmless.line(run.get("intent", "")))]
