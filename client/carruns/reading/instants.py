"""Times of records as instants: nanoseconds since 1970 in UTC, as in ``carruns.protocol.times``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carruns.protocol import times
from carruns.protocol.records import TIMES

SECOND = 1_000_000_000


def instant(text: object) -> int | None:
    """Return a time of a record as an instant, ``None`` where it is none."""
    try:
        return times.parse(text) if isinstance(text, str) else None
    except ValueError:
        return None


def recorded_at(record: Mapping[str, Any]) -> int | None:
    """Return when a record of any kind was made, ``None`` where it does not say."""
    return instant(next((record[name] for name in TIMES if record.get(name)), None))


def within(at: int, since: int | None, until: int | None) -> bool:
    """Return whether an instant lies between two, both included, either of them open."""
    return (since is None or at >= since) and (until is None or at <= until)
