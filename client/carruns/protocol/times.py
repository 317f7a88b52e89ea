"""RFC 3339 times in UTC, to the nanosecond.  Pure: the caller brings the clock.

``datetime`` knows microseconds only and the Rust side writes nanoseconds, so an instant is an ``int`` of
nanoseconds since 1970-01-01T00:00:00Z here, and a time that came as text is kept as text.
"""

from __future__ import annotations

import functools
import re
from datetime import datetime, timedelta, timezone

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECOND = 1_000_000_000


def parse(text: str) -> int:
    """Return the nanoseconds since the epoch that an RFC 3339 time stands for.

    Raises ``ValueError`` for anything else, a time without an offset included: it names no instant.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time with an offset: {text[:60]!r}")
    *parts, fraction, offset = match.groups()
    year, month, day, hour, minute, second = map(int, parts)
    leap = second == 60  # RFC 3339 allows it, datetime does not
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone.utc)
    whole = (moment - _EPOCH) // timedelta(seconds=1) + leap - _offset_seconds(offset)
    return whole * _SECOND + int((fraction or "0").ljust(9, "0"))


def _offset_seconds(offset: str) -> int:
    if offset in "Zz":
        return 0
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(f"not an offset: {offset!r}")
    return (-1 if offset[0] == "-" else 1) * (hours * 3600 + minutes * 60)


def render(nanoseconds: int, digits: int = 6) -> str:
    """Return the instant as RFC 3339 with ``Z`` and ``digits`` (1 to 9) of fraction.

    Raises ``ValueError`` before the year 1 and after 9999.
    """
    whole, fraction = divmod(nanoseconds, _SECOND)
    return f"{_second(whole)}.{fraction:09d}"[: 20 + digits] + "Z"


@functools.lru_cache(16)  # stamps come many a second
def _second(whole: int) -> str:
    try:
        return (_EPOCH + timedelta(seconds=whole)).isoformat()[:19]  # strftime's %Y has no leading zeros
    except OverflowError:
        raise ValueError("a time before the year 1 or after 9999 in UTC") from None


def in_utc(text: str) -> str:
    """Return the time with ``Z``: as it came if it is in UTC already, else moved there, no digit lost.

    Raises ``ValueError`` as :func:`parse` does.
    """
    nanoseconds = parse(text)
    if text.endswith("Z") and text[10] == "T":  # RFC 3339 takes a small `t`, Rust's chrono does not
        return text
    return render(nanoseconds, 9)
