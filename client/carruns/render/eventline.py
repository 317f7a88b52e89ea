"""One line for each record as it happens: for ``demo`` and ``tail``.  Everything in it is made harmless."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from carruns.cli.screen import Screen
from carruns.render import clean, humane
from carruns.render.fold import compact

_COLORS = ("cyan", "magenta", "yellow", "blue", "green")
_NAME_CELLS = 12


class EventPrinter:
    """Prints events of ``runs.watch`` and records of a trace; ``ended`` counts the runs that were seen to end."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._colors: dict[str, str] = {}
        self.ended = 0

    def show(self, event: Mapping[str, Any]) -> None:
        """Print one event."""
        record = event.get("record")
        if not isinstance(record, dict):
            return
        for text in self.lines(str(event.get("agent_id", "")), record):
            self._screen.print(text)
        sys.stdout.flush()
        self.ended += record.get("record") == "ended"

    def lines(self, agent: str, record: Mapping[str, Any]) -> list[str]:
        """Return the lines for a record of an agent."""
        color = self._colors.setdefault(agent, _COLORS[len(self._colors) % len(_COLORS)])
        name = clean.pad(clean.fit(clean.line(agent), _NAME_CELLS), _NAME_CELLS)
        head = f"{self._screen.paint(_clock(record), 'dim')} {self._screen.paint(name, color)} "
        room = self._screen.width
        used = len(_clock(record)) + _NAME_CELLS + 2
        out = []
        for text, styles in self._texts(record):
            shown = text if room is None else clean.fit(text, max(16, room - used))
            out.append(head + self._screen.paint(shown, *styles))
        return out

    def _texts(self, record: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
        kind = record.get("record")
        if kind == "started":
            mark = self._screen.mark("▶", ">")
            return [(f"{mark} {clean.line(record.get('intent', ''))}", ("bold",))]
        if kind == "ended":
            return [self._end(record)]
        if kind == "turn":
            return self._turn(record)
        return [(clean.line(compact(dict(record))), ("dim",))]

    def _end(self, record: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        termination = record.get("termination")
        outcome = termination.get("outcome") if isinstance(termination, dict) else None
        if not isinstance(outcome, dict):
            reason = record.get("reason") or "no outcome"
            return f"{self._screen.mark('■', '#')} incomplete: {clean.line(reason)}", ("yellow", "bold")
        status = clean.line(outcome.get("status", "?"))
        good = status in ("success", "done")
        summary = clean.line(outcome.get("summary") or "")
        text = f"{self._screen.mark('■', '#')} {status}" + (f": {summary}" if summary else "")
        return text, ("green" if good else "red", "bold")

    def _turn(self, turn: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
        output = turn.get("output")
        if isinstance(output, dict) and "stream" in output and isinstance(output.get("text"), str):
            rows = clean.lines(output["text"].rstrip("\n"))
            style = ("red",) if output["stream"] == "stderr" else ()
            return [(f"  {row}", style) for row in rows]
        tool = clean.line(turn.get("tool") or turn.get("model") or "turn")
        took = turn.get("duration_ms")
        parts = [f"#{clean.line(turn.get('index', '?'))} {tool}"]
        parts += [humane.duration(took / 1000)] if isinstance(took, int | float) else []
        for key, label in (("policy_rejected", "REJECTED "), ("error", "ERROR ")):
            if turn.get(key) is not None:
                return [(" ".join([*parts, label + _brief(turn[key])]), ("red", "bold"))]
        shown = (turn.get(key) for key in ("prompt", "parameters", "output", "cli_outcome"))
        parts += [_brief(value) for value in shown if value is not None]
        return [("  ".join(parts), ())]


def _brief(value: Any) -> str:
    """One short line of a value; a large one is not gone through for it."""
    if isinstance(value, str):
        return clean.line(value[:400])
    if isinstance(value, dict):
        return "{" + ", ".join(f"{clean.line(key)}: {_brief(item)}" for key, item in list(value.items())[:8]) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_brief(item) for item in value[:8]) + "]"
    return compact(value)


def _clock(record: Mapping[str, Any]) -> str:
    """The local time of day of a record, to the millisecond."""
    text = record.get("recorded_at") or record.get("ended_at") or record.get("started_at")
    at = humane.instant(text) or time.time_ns()
    return f"{datetime.fromtimestamp(at / humane.SECOND):%H:%M:%S.%f}"[:-3]  # noqa: DTZ006  # local, on purpose
