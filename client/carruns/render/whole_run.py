"""One run, as ``show`` and ``export`` are given it: what it adds up to, and its records.  Pure.

``cli/load_run.py`` reads it.  A run may be larger than memory: its records are read anew each time they are gone
through, and nobody may keep them all.

Which end counts is not decided here: ``reading/endings.py`` does, for every view.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from carruns.protocol.records import TURN_KINDS, Record
from carruns.render import units
from carruns.render.run_cells import duration_of
from carruns.render.tally import Tally
from carruns.render.turn_view import turn_of


@dataclass(frozen=True)
class WholeRun:
    """``end`` is the ``ended`` record that counts, ``None`` while the run goes on; ``skipped`` counts bad lines.

    ``records`` can be gone through again and again; ``tally`` is what they add up to; ``now_ns`` is the instant at
    which it was read.
    """

    summary: Record
    records: Iterable[Record]
    tally: Tally
    skipped: int
    end: Record | None
    now_ns: int

    @property
    def started(self) -> Record:
        """The ``started`` record, empty if there is none."""
        return self.tally.started

    def turns(self, places: Container[int]) -> Iterator[Record]:
        """Yield those turns, of either kind, whose places are wanted, counted from 0, as they are read."""
        place = -1
        for record in self.records:
            if record.get("record") in TURN_KINDS:
                place += 1
                turn = turn_of(record) if place in places else None
                if turn is not None:
                    yield turn
                if place + 1 == self.tally.turns:
                    return  # what was recorded since then is not told of

    def others(self) -> Iterator[Record]:
        """Yield the records that are no turn, no start and no end."""
        if self.tally.others:
            known = ("started", "ended", *TURN_KINDS)
            yield from (one for one in self.records if one.get("record") not in known)

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
