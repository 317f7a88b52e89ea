"""Prints records as they come, for ``tail`` and ``demo``.  How they look is ``render/event_lines.py``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from carruns.cli.screen import Screen
from carruns.render.event_lines import EventLines


class EventPrinter:
    """Prints events of ``runs.watch`` and records of a trace; ``ended`` counts the runs that were seen to end."""

    def __init__(self, screen: Screen, id_cells: int = 0) -> None:
        """``id_cells``: so many characters of each run's id are shown, none at all for 0."""
        self._id_cells = id_cells
        self._screen = screen
        self._view = EventLines()
        self.ended = 0

    def show(self, event: Mapping[str, Any]) -> None:
        """Print one event at once."""
        record = event.get("record")
        if not isinstance(record, dict):
            return
        agent, run = str(event.get("agent_id", "")), str(event.get("run_id", ""))[: self._id_cells]
        self._screen.print_all(self._view.lines(agent, record, self._screen.style, time.time_ns(), run))
        sys.stdout.flush()
        self.ended += record.get("record") == "ended"
