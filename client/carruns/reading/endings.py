"""How a run ended, and which of its ends counts: the one place that every view of a run asks.

The daemon folds a run's file by the same rule (``carrunsd/store/scan.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

R = TypeVar("R", bound=Mapping[str, Any])


def end_that_counts(records: Iterable[R]) -> R | None:
    """Return the ``ended`` record that says how the run ended, ``None`` while it goes on.

    An outcome is final, and the last one counts; ``incomplete`` behind an outcome changes nothing.  Without an
    outcome the last ``ended`` counts, unless turns follow it: then the run was taken up again.
    """
    end: R | None = None
    final = False
    for record in records:
        kind = record.get("record")
        if kind == "turn" and not final:
            end = None
        elif kind == "ended":
            has_outcome = _is_outcome(record.get("termination"))
            if has_outcome or not final:
                end, final = record, has_outcome or final
    return end


def _is_outcome(termination: Any) -> bool:
    """Tell an outcome from ``incomplete`` in every encoding that the store reads; ours is told without it."""
    kind = termination.get("kind") if isinstance(termination, dict) else None
    if kind in ("outcome", "incomplete"):
        return bool(kind == "outcome")
    from carrunsd.store.scan import outcome_status

    return outcome_status(termination) is not None


def outcome_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome in an ``ended`` record, empty if it has none (``incomplete``)."""
    termination = record.get("termination")
    outcome = termination.get("outcome") if isinstance(termination, dict) else None
    return outcome if isinstance(outcome, dict) else {}
