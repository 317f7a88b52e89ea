"""How ``top`` looks: on a live screen through rich, and as plain lines.  Draws ``TopState``; nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carruns.cli.screen import Screen
from carruns.render import clean, humane
from carruns.render.table import Cell, Column, render

if TYPE_CHECKING:
    from rich.console import RenderableType

    from carruns.reading.topstate import TopState

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


def plain(screen: Screen, state: TopState, rows: int | None = None) -> list[str]:
    """Return the lines of the whole picture; ``rows`` bounds them."""
    runs = state.rows()
    out = [_headline(screen, state.daemon_row()), *_health(screen, state.daemon_row()), ""]
    room = len(runs) if rows is None else max(0, rows - len(out) - 2)
    shown = runs[:room] if len(runs) <= room else runs[: max(0, room - 1)]
    length = 1 << 20 if screen.width is None else _id_length(runs)
    out += render(screen, _COLUMNS, [_row(run, length) for run in shown]) if runs else ["no open runs"]
    if len(shown) < len(runs):
        out.append(screen.paint(f"and {len(runs) - len(shown)} more", "dim"))
    return out


def screenful(state: TopState, width: int, height: int) -> RenderableType:
    """Return the picture for a live screen of that size."""
    from rich.text import Text

    screen = _Canvas(width)
    lines = plain(screen, state, height)
    return Text.from_ansi("\n".join(lines[:height]), no_wrap=True, overflow="crop")


class _Canvas(Screen):
    """A screen of rich's: always in colour (rich takes it away again where there is none)."""

    def __init__(self, width: int) -> None:
        super().__init__(color=True)
        self._cells = width

    @property
    def width(self) -> int | None:
        return self._cells


def _headline(screen: Screen, daemon: dict[str, Any]) -> str:
    if not daemon["up"]:
        head = screen.paint(screen.mark("○", "o") + " down", "red", "bold")
        return f"{head}  {clean.fit(clean.line(daemon['message']), max(20, screen.text_width - 8))}"
    head = screen.paint(screen.mark("●", "*") + " up", "green", "bold")
    uptime = humane.duration(daemon.get("uptime") or 0)
    return f"{head} {uptime}  carrunsd {clean.line(daemon['version'])}, process {daemon['pid']}"


def _health(screen: Screen, daemon: dict[str, Any]) -> list[str]:
    if not daemon["up"]:
        return []
    n = {
        key: humane.count(value or 0)
        for key, value in daemon.items()
        if isinstance(value, int | float) or value is None
    }
    first = (
        f"{n['open_runs']} open runs, {n['connections']} connections, {daemon['records_per_second']:g} records/s, "
        f"{humane.size(daemon['bytes_per_second'])}/s"
    )
    second = (
        f"{n['records']} records, {humane.size(daemon.get('bytes') or 0)}; queue {n['queue']}, "
        f"{humane.size(daemon.get('unsynced_bytes') or 0)} not synced, {n['errors']} errors"
    )
    return [clean.fit(text, screen.text_width) for text in (first, second)]


def _id_length(runs: list[dict[str, Any]]) -> int:
    from carruns.reading.runref import short_length

    return short_length([run["run_id"] for run in runs])


def _row(run: dict[str, Any], length: int) -> list[Cell]:
    stuck = ("red", "bold") if run["stuck"] else ()
    return [
        Cell(clean.line(run["run_id"])[:length]),
        Cell(clean.line(run["agent_id"]), ("bold",)),
        Cell(humane.count(run["turn_count"])),
        Cell(f"{run['turns_per_second']:.1f}", () if run["turns_per_second"] else ("dim",)),
        Cell(humane.age(run["idle_seconds"]) + (" stuck" if run["stuck"] else ""), stuck),
        Cell(humane.age(run["age_seconds"]), ("dim",)),
        Cell(clean.line(run["last_tool"] or ""), ("cyan",)),
        Cell(clean.line(run["intent"])),
    ]
