"""Times, durations and sizes as people read them.  Pure: the caller brings the clock.

Instants are nanoseconds since 1970 in UTC, as in ``carruns.protocol.times``.  Reading what people write is
``cli/parse_units.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from carruns.protocol import times

SECOND = 1_000_000_000


def instant(text: object) -> int | None:
    """Return a time of a record as an instant, ``None`` where it is none."""
    try:
        return times.parse(text) if isinstance(text, str) else None
    except ValueError:
        return None


def turn_times(turn: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return when a turn began and when it was recorded, as instants; ``None`` where it does not say."""
    recorded = instant(turn.get("recorded_at"))
    began = instant(turn.get("started_at"))
    took = turn.get("duration_ms")
    if began is None and recorded is not None and isinstance(took, int | float) and took >= 0:
        began = recorded - round(took * 1_000_000)
    return began, recorded if recorded is not None else began


def duration(seconds: float) -> str:
    """Return seconds in at most two units: ``340ms``, ``12.3s``, ``4m05s``, ``2h07m``, ``3d4h``."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 0.9995:
        return f"{round(seconds * 1000)}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def age(seconds: float) -> str:
    """Return how long ago something was, in one unit: ``now``, ``42s``, ``5m``, ``3h``, ``12d``, ``2y``."""
    for unit, size in (("y", 31557600), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s" if seconds >= 1 else "now"


def size(count: float) -> str:
    """Return bytes as ``734B``, ``12.3K``, ``4.0M`` (powers of 1024)."""
    if count < 1024:
        return f"{round(count)}B"
    for unit in "KMGT":
        count /= 1024
        if count < 999.95 or unit == "T":
            return f"{count:.1f}{unit}"
    raise AssertionError


def count(number: float) -> str:
    """Return a whole number with separators: ``12,345``."""
    return f"{number:,.0f}"


def counted(number: int, what: str) -> str:
    """Return ``1 run``, ``2 runs``, ``12,345 runs``."""
    return f"{count(number)} {what}" + ("" if number == 1 else "s")


def local(instant_ns: int) -> str:
    """Return an instant as local date and time with its offset, for people."""
    moment = datetime.fromtimestamp(instant_ns / SECOND).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S%z}"
