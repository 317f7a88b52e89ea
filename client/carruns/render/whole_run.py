"""One run with all its records, as ``show`` and ``export`` are given it.  Pure: ``cli/load_run.py`` reads it.

Which end counts is not decided here: ``reading/endings.py`` does, for every view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from carruns.protocol.records import Record
from carruns.render import units
from carruns.render.run_cells import duration_of
from carruns.render.turn_view import turn_of


@dataclass(frozen=True)
class WholeRun:
    """``end`` is the ``ended`` record that counts, ``None`` while the run goes on; ``skipped`` counts bad lines.

    ``now_ns`` is the instant at which it was read.
    """

    summary: Record
    records: Sequence[Record]
    skipped: int
    end: Record | None
    now_ns: int

    @property
    def started(self) -> Record:
        """The ``started`` record, empty if there is none."""
        return next((record for record in self.records if record.get("record") == "started"), Record())

    @cached_property
    def turns(self) -> list[Record]:
        """The turns, of either kind."""
        return [turn for record in self.records if (turn := turn_of(record)) is not None]

    @property
    def began(self) -> int | None:
        """When it began, as an instant; ``None`` where that cannot be read."""
        return units.instant(self.summary.get("started_at"))

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far."""
        return duration_of(self.summary, self.now_ns)

    @property
    def in_progress(self) -> bool:
        """Whether it goes on, by its summary."""
        return bool(self.summary.status == "in_progress")


def outcome_of(end: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome in an ``ended`` record, empty if it has none (``incomplete``)."""
    termination = end.get("termination")
    outcome = termination.get("outcome") if isinstance(termination, dict) else None
    return outcome if isinstance(outcome, dict) else {}
