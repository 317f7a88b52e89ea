"""How a run ended, and which of its ends counts: the one place that every view of a run asks.

The rule itself is the store's (``carrunsd/store/history.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from carruns.protocol.records import Record


class Ends:
    """Takes the records of a run one after another; keeps those that say how it ended, and what came between."""

    def __init__(self) -> None:
        self._kept: list[Record] = []

    def take(self, record: Record) -> None:
        """Account for one record."""
        kind = str(record.get("record"))
        if kind == "ended":
            self._kept.append(record)
        elif not self._kept or self._kept[-1].get("record") != kind:
            self._kept.append(Record(record=kind))  # a thousand turns in a row say no more of it than one

    def that_counts(self) -> Record | None:
        """Return the ``ended`` record that says how the run ended, ``None`` while it goes on.

        An outcome is final, and the last one counts; ``incomplete`` behind an outcome changes nothing.  Without an
        outcome the last ``ended`` counts, unless turns follow it: then the run was taken up again.
        """
        return _that_counts(self._kept)


def end_that_counts(records: Iterable[Record]) -> Record | None:
    """Return what ``Ends`` makes of all the records of a run."""
    ends = Ends()
    for record in records:
        ends.take(record)
    return ends.that_counts()


def _that_counts(records: Sequence[Record]) -> Record | None:
    ends = [record for record in records if record.get("record") == "ended"]
    if not ends:
        return None
    if len(ends) == 1 and records[-1] is ends[0]:
        return ends[0]  # nothing to fold, as for nearly every run: the store need not be loaded for it
    return _folded(records)


def _folded(records: Sequence[Record]) -> Record | None:
    from carrunsd.store.history import OPEN, History
    from carrunsd.store.reader import line_of

    history, end = History(writers={}), None
    for record in records:
        line = line_of(record)
        history.take(line)
        if history.ended is line:
            end = record
    return None if history.status is OPEN else end


def outcome_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome in an ``ended`` record, empty if it has none (``incomplete``)."""
    termination = record.get("termination")
    outcome = termination.get("outcome") if isinstance(termination, dict) else None
    return outcome if isinstance(outcome, dict) else {}
