"""Times as the Rust side reads them: what ``chrono`` takes for a ``DateTime<Utc>``, and what we write.  Pure.

``DateTime::from_str`` (chrono 0.4, ``format/parse.rs``) takes more than RFC 3339 (blanks, months of one digit,
``UTC``, years with a sign) and less (no lower-case ``t``).  What is written must be both.
"""

from __future__ import annotations

import calendar
import functools
import re

_MONTH_DAYS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SECOND = 1_000_000_000
_DAY_SECONDS = 86_400
_MIN_YEAR, _MAX_YEAR = -262_144, 262_143  # NaiveDate's range
_BLANKS = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # what Rust calls whitespace

_READ = re.compile(
    r"~([+-]0*[0-9]{1,6}|[0-9]{1,4})~-~([0-9]{1,2})~-~([0-9]{1,2})[T ]"
    r"~([0-9]{1,2})~:~([0-9]{1,2})~:~([0-9]{1,2})(?:\.([0-9]{1,9})[0-9]*)?"
    r"~(?:[zZ]|[uU][tT][cC]|([+-])([0-9]{2})[:BLANKS]*([0-5][0-9]))~".replace("~", "[BLANKS]*").replace(
        "BLANKS", _BLANKS
    )
)
_WRITTEN = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[zZ]|[+-][0-9]{2}:[0-9]{2})"
)


@functools.lru_cache(4096)  # a run's records repeat a few
def instant(text: str) -> int | None:
    """Return the nanoseconds since the epoch that ``chrono`` reads in ``text``, ``None`` where it reads none."""
    match = _READ.fullmatch(text)
    if match is None:
        return None
    *parts, fraction, sign, hours, minutes = match.groups()
    year, month, day, hour, minute, second = map(int, parts)
    if not (_is_date(year, month, day) and hour < 24 and minute < 60 and second <= 60):
        return None
    offset = int(hours or 0) * 3600 + int(minutes or 0) * 60
    if offset >= _DAY_SECONDS:
        return None
    seconds = _days(year, month, day) * _DAY_SECONDS + hour * 3600 + minute * 60 + second
    seconds -= -offset if sign == "-" else offset
    return seconds * _SECOND + int((fraction or "0").ljust(9, "0"))


def may_be_written(text: str) -> bool:
    """Tell whether ``text`` is an RFC 3339 time with an offset that ``chrono`` reads, too."""
    return _WRITTEN.fullmatch(text) is not None and instant(text) is not None


def _is_date(year: int, month: int, day: int) -> bool:
    if not (_MIN_YEAR <= year <= _MAX_YEAR and 1 <= month <= 12):
        return False
    return 1 <= day <= _MONTH_DAYS[month] + (month == 2 and calendar.isleap(year))


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01 of a date in the Gregorian calendar, before the year 1 too.

    As https://howardhinnant.github.io/date_algorithms.html#days_from_civil counts them.
    """
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
