"""How a run ended, and which of its ends counts: the one place that every view of a run asks.

The rule itself is the store's (``carrunsd/store/history.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carruns.protocol.records import Record


def end_that_counts(records: Sequence[Record]) -> Record | None:
    """Return the ``ended`` record that says how the run ended, ``None`` while it goes on.

    An outcome is final, and the last one counts; ``incomplete`` behind an outcome changes nothing.  Without an
    outcome the last ``ended`` counts, unless turns follow it: then the run was taken up again.
    """
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
