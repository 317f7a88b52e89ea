"""Tables: columns as wide as what is in them, one of which gives way to the screen's width.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from carruns.render import cells
from carruns.render.style import Style

_GAP = "  "
_TINY = 3


class Column(NamedTuple):
    """``flexible`` columns give way down to ``least`` cells; ``drop`` orders which go when that is too little."""

    title: str
    right: bool = False
    flexible: bool = False
    least: int = 8
    drop: int = 0


class Cell(NamedTuple):
    """Harmless text and its styles."""

    text: str
    styles: tuple[str, ...] = ()


def render(style: Style, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Return the lines of a table with its header."""
    widths = [
        max([cells.width(column.title), *(cells.width(row[at].text) for row in rows)])
        for at, column in enumerate(columns)
    ]
    shown, widths = _fitted(columns, widths, style.width)
    header = [Cell(column.title, ("dim",)) for column in columns]
    return [_line(style, columns, widths, shown, row) for row in (header, *rows)]


def _fitted(columns: Sequence[Column], natural: list[int], width: int | None) -> tuple[list[int], list[int]]:
    """Narrow the flexible columns, then drop columns, until it fits; return which are left, and the widths."""
    shown = list(range(len(columns)))
    while True:
        widths = list(natural)
        over = 0 if width is None else sum(widths[at] + len(_GAP) for at in shown) - len(_GAP) - width
        for at in sorted((at for at in shown if columns[at].flexible), key=lambda at: -natural[at]):
            give = max(0, min(over, widths[at] - columns[at].least))
            widths[at] -= give
            over -= give
        droppable = [at for at in shown if columns[at].drop]
        if over <= 0:
            return shown, widths
        if not droppable:
            return shown, _squeezed(columns, widths, shown, over)
        shown.remove(min(droppable, key=lambda at: columns[at].drop))


def _squeezed(columns: Sequence[Column], widths: list[int], shown: list[int], over: int) -> list[int]:
    """Take from the flexible columns what is over, below their least; the last resort of a very narrow style."""
    for at in shown:
        if columns[at].flexible:
            give = max(0, min(over, widths[at] - _TINY))
            widths[at] -= give
            over -= give
    return widths


def _line(style: Style, columns: Sequence[Column], widths: list[int], shown: list[int], row: Sequence[Cell]) -> str:
    parts = []
    for at in shown:
        text = cells.fit(row[at].text, widths[at])
        last = at == shown[-1] and not columns[at].right
        padded = text if last else cells.pad(text, widths[at], right=columns[at].right)
        parts.append(padded.replace(text, style.paint(text, *row[at].styles), 1) if text else padded)
    return _GAP.join(parts).rstrip()
