"""One line for each record as it happens, for ``tail`` and ``demo``.  Pure: ``cli/event_printer.py`` prints.

Everything in it is made harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from carruns.protocol.records import TIMES
from carruns.render import cells, harmless, units
from carruns.render.other_records import CANCELLATION_KINDS, other_line
from carruns.render.style import Style
from carruns.render.turn_view import turn_of
from carruns.render.value_lines import compact
from carruns.render.whole_run import outcome_of

_COLORS = ("cyan", "magenta", "yellow", "blue", "green")
_LEAST_NAME_CELLS = 12
Styled = tuple[str, tuple[str, ...]]


class EventLines:
    """Draws records of many agents, each agent in a colour of its own, in the order in which they come."""

    def __init__(self) -> None:
        self._colors: dict[str, str] = {}
        self._name_cells = _LEAST_NAME_CELLS

    def lines(self, agent: str, record: Mapping[str, Any], style: Style, now_ns: int, run: str = "") -> list[str]:
        """Return the lines for a record of an agent; ``now_ns`` stands for a time that it does not say.

        ``run`` names the run, where it is to be shown: short enough already.
        """
        color = self._colors.setdefault(agent, _COLORS[len(self._colors) % len(_COLORS)])
        plain = harmless.line(agent)
        self._name_cells = max(self._name_cells, cells.width(plain))  # a name is never cut
        name = cells.pad(plain, self._name_cells)
        named = f"{style.paint(harmless.line(run), 'dim')} " if run else ""
        clock = _clock(record, now_ns)
        head = f"{style.paint(clock, 'dim')} {named}{style.paint(name, color)} "
        taken = len(clock) + self._name_cells + 2 + (cells.width(harmless.line(run)) + 1 if run else 0)
        room = None if style.width is None else max(16, style.width - taken)
        return [
            head + style.paint(text if room is None else cells.fit(text, room), *styles)
            for text, styles in _texts(record, style)
        ]


def _texts(record: Mapping[str, Any], style: Style) -> list[Styled]:
    kind = record.get("record")
    if kind == "started":
        return [(f"{style.mark('▶', '>')} {harmless.line(record.get('intent', ''))}", ("bold",))]
    if kind == "ended":
        return [_end(record, style.mark("■", "#"))]
    turn = turn_of(record)
    if turn is not None:
        return _turn(turn)
    return [(other_line(record), ("yellow",) if kind in CANCELLATION_KINDS else ("dim",))]


def _end(record: Mapping[str, Any], mark: str) -> Styled:
    outcome = outcome_of(record)
    if not outcome:
        return _other_end(record, mark)
    status = harmless.line(outcome.get("status", "?"))
    summary = harmless.line(outcome.get("summary") or "")
    text = f"{mark} {status}" + (f": {summary}" if summary else "")
    return text, ("green" if status in ("success", "done") else "red", "bold")


def _other_end(record: Mapping[str, Any], mark: str) -> Styled:
    """An end without an outcome: ``incomplete``, cancelled, or one of CAR's."""
    termination = record.get("termination")
    kind = termination.get("kind") if isinstance(termination, dict) else None
    kind = record.get("reason") if record.get("final") is True and kind == "incomplete" else kind
    reason = record.get("reason") or (termination.get("reason") if isinstance(termination, dict) else None)
    name = harmless.line(kind or "incomplete")
    said = (
        f": {harmless.line(reason)}"
        if reason and reason != kind
        else ": no outcome"
        if name == "incomplete"
        else ""
    )
    return f"{mark} {name}{said}", ("yellow", "bold")


def _turn(turn: Mapping[str, Any]) -> list[Styled]:
    output = turn.get("output")
    if isinstance(output, dict) and "stream" in output and isinstance(output.get("text"), str):
        rows = harmless.lines(output["text"].rstrip("\n"))
        style = ("red",) if output["stream"] == "stderr" else ()
        return [(f"  {row}", style) for row in rows]
    tool = harmless.line(turn.get("tool") or turn.get("model") or "turn")
    took = turn.get("duration_ms")
    parts = [f"#{harmless.line(turn.get('index', '?'))} {tool}"]
    parts += [units.duration(took / 1000)] if isinstance(took, int | float) else []
    for key, label in (("policy_rejected", "REJECTED "), ("error", "ERROR ")):
        if turn.get(key) is not None:
            return [(" ".join([*parts, label + _brief(turn[key])]), ("red", "bold"))]
    shown = (turn.get(key) for key in ("prompt", "parameters", "output", "cli_outcome"))
    parts += [_brief(value) for value in shown if value is not None]
    return [("  ".join(parts), ())]


def _brief(value: Any) -> str:
    """One short line of a value; a large one is not gone through for it."""
    if isinstance(value, str):
        return harmless.line(value[:400])
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{harmless.line(key)}: {_brief(item)}" for key, item in list(value.items())[:8]) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_brief(item) for item in value[:8]) + "]"
    return compact(value)


def _clock(record: Mapping[str, Any], now_ns: int) -> str:
    """The local time of day of a record, to the millisecond."""
    text = next((record[name] for name in TIMES if record.get(name)), None)
    at = units.instant(text) or now_ns
    return f"{datetime.fromtimestamp(at / units.SECOND):%H:%M:%S.%f}"[:-3]  # noqa: DTZ006  # local, on purpose
