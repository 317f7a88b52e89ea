"""How ``carruns top`` looks: on a live screen through rich, and as plain lines.  Pure.

What it shows are the rows of ``reading/open_runs.py``: one of the daemon, one for each open run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from carruns.render import cells, harmless, units
from carruns.render.run_cells import id_length
from carruns.render.style import Style
from carruns.render.table import Cell, Column, render

if TYPE_CHECKING:
    from rich.console import RenderableType

Row = Mapping[str, Any]

_COLUMNS = (
    Column("ID"),
    Column("AGENT", flexible=True, least=8),
    Column("TURNS", right=True),
    Column("/S", right=True, drop=2),
    Column("IDLE", right=True),
    Column("AGE", right=True),
    Column("LAST TOOL", flexible=True, least=8),
    Column("INTENT", flexible=True, least=8, drop=1),
)


def plain(
    style: Style, daemon: Row, runs: Sequence[Row], height: int | None = None, among: Sequence[str] = ()
) -> list[str]:
    """Return the lines of the whole picture; ``height`` bounds them, ``among`` are the ids of all runs."""
    out = [_headline(style, daemon), *_health(style, daemon), ""]
    room = len(runs) if height is None else max(0, height - len(out) - 2)
    shown = runs[:room] if len(runs) <= room else runs[: max(0, room - 1)]
    length = id_length([run["run_id"] for run in runs], style.width, among)
    out += render(style, _COLUMNS, [_row(run, length) for run in shown]) if runs else ["no open runs"]
    if len(shown) < len(runs):
        out.append(style.paint(f"and {len(runs) - len(shown)} more", "dim"))
    return out


def screenful(
    style: Style, daemon: Row, runs: Sequence[Row], width: int, height: int, among: Sequence[str] = ()
) -> RenderableType:
    """Return the picture for a live screen of that size, in colour: rich takes it away where there is none."""
    from rich.text import Text

    style = style._replace(width=width, text_width=width, color=True)
    lines = plain(style, daemon, runs, height, among)
    return Text.from_ansi("\n".join(lines[:height]), no_wrap=True, overflow="crop")


def _headline(style: Style, daemon: Row) -> str:
    if not daemon["up"]:
        head = style.paint(style.mark("○", "o") + " down", "red", "bold")
        return f"{head}  {cells.fit(harmless.line(daemon['message']), max(20, style.text_width - 8))}"
    head = style.paint(style.mark("●", "*") + " up", "green", "bold")
    uptime = units.duration(daemon.get("uptime") or 0)
    return f"{head} {uptime}  carrunsd {harmless.line(daemon['version'])}, process {daemon['pid']}"


def _health(style: Style, daemon: Row) -> list[str]:
    if not daemon["up"]:
        return []
    n = {
        key: units.count(value or 0)
        for key, value in daemon.items()
        if isinstance(value, int | float) or value is None
    }

    def counted(key: str, what: str) -> str:
        return units.counted(int(daemon.get(key) or 0), what)

    first = (
        f"{counted('open_runs', 'open run')}, {counted('connections', 'connection')}, "
        f"{daemon['records_per_second']:g} records/s, "
        f"{units.size(daemon['bytes_per_second'])}/s"
    )
    second = (
        f"{counted('records', 'record')}, {units.size(daemon.get('bytes') or 0)}; queue {n['queue']}, "
        f"{units.size(daemon.get('unsynced_bytes') or 0)} not synced, {counted('errors', 'error')}"
    )
    return [cells.fit(text, style.text_width) for text in (first, second)]


def _row(run: Row, length: int) -> list[Cell]:
    stuck = ("red", "bold") if run["stuck"] else ()
    return [
        Cell(harmless.line(run["run_id"])[:length]),
        Cell(harmless.line(run["agent_id"]), ("bold",)),
        Cell(units.count(run["turn_count"])),
        Cell(f"{run['turns_per_second']:.1f}", () if run["turns_per_second"] else ("dim",)),
        Cell(units.age(run["idle_seconds"]) + (" stuck" if run["stuck"] else ""), stuck),
        Cell(units.age(run["age_seconds"]), ("dim",)),
        Cell(harmless.line(run["last_tool"] or ""), ("cyan",)),
        Cell(harmless.line(run["intent"])),
    ]
