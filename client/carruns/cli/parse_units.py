"""Times, durations and sizes as people write them on a command line.  Pure: the caller brings the clock.

Instants are nanoseconds since 1970 in UTC, as in ``carruns.protocol.times``.  Showing them is ``render/units.py``.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from carruns.protocol import times
from carruns.render.units import SECOND

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31557600}
_WORDS = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "day": "d", "days": "d", "week": "w", "weeks": "w",
    "year": "y", "years": "y",
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_LOCAL_FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


def parse_duration(text: str) -> float:
    """Return seconds for ``90``, ``2h``, ``1h30m``, ``3 days``.  Raises ``ValueError``."""
    bare = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", bare):
        return float(bare)
    total, at = 0.0, 0
    while match := _PART.match(bare, at):
        unit = _WORDS.get(match[2], match[2])
        if unit not in _UNITS:
            break
        total += float(match[1]) * _UNITS[unit]
        at = match.end()
    if at == 0 or at != len(bare):
        raise ValueError(f"{text!r} is no duration; write it like 90s, 15m, 2h, 1h30m or 3d")
    return total


def parse_instant(text: str, now_ns: int) -> int:
    """Return the instant for ``2h`` (ago), ``yesterday``, ``today``, ``2026-11-22``, ``14:30`` or RFC 3339.

    Dates and times of day without an offset are local; a time of day is the last one, today's or yesterday's: what
    is looked for has happened.  Raises ``ValueError``.
    """
    bare = text.strip()
    low = bare.lower().removesuffix(" ago")
    now = datetime.fromtimestamp(now_ns / SECOND).astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    words = {"now": None, "today": 0, "yesterday": 1}
    if low in words:
        return now_ns if low == "now" else _local(midnight - timedelta(days=words[low] or 0))
    if match := re.fullmatch(r"(\d\d?):(\d\d)(?::(\d\d))?", low):
        hour, minute, second = (int(part or 0) for part in match.groups())
        if hour > 23 or minute > 59 or second > 59:
            raise ValueError(f"{text!r} is no time of day")
        return _last_time(midnight, timedelta(hours=hour, minutes=minute, seconds=second), now_ns)
    for form in _LOCAL_FORMATS:
        try:
            return _local(datetime.strptime(bare, form))  # noqa: DTZ007  # local, on purpose
        except ValueError:
            continue
    try:
        return times.parse(bare)
    except ValueError:
        pass
    try:
        return now_ns - round(parse_duration(low) * SECOND)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write it like 2h, 3d, yesterday, 14:30, 2026-11-22 or 2026-11-22T14:30:00Z"
        ) from None


def _last_time(midnight: datetime, of_day: timedelta, now_ns: int) -> int:
    today = _local(midnight + of_day)
    return today if today <= now_ns else _local(midnight - timedelta(days=1) + of_day)


def _local(naive: datetime) -> int:
    return round(naive.astimezone().timestamp() * 1000) * 1_000_000


def parse_size(text: str) -> int:
    """Return bytes for ``4096``, ``64K``, ``4M``, ``1G``.  Raises ``ValueError``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no size; write it like 4096, 64K or 4M")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " "))
