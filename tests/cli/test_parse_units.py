"""Times, durations and sizes as people write them."""

from __future__ import annotations

import pytest

from carruns.cli import parse_units
from carruns.render.units import SECOND

NOW = 1_795_000_000 * SECOND


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("2h", 7200), ("1h30m", 5400), ("3 days", 259200), ("1.5h", 5400), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2x", "2h!", "-1h", "one hour"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_units.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds_ago"),
    [("now", 0), ("2h", 7200), ("2h ago", 7200), ("1d12h", 129600), ("3 weeks ago", 1814400)],
)
def test_instants_ago(text: str, seconds_ago: int) -> None:
    assert parse_units.parse_instant(text, NOW) == NOW - seconds_ago * SECOND


def test_instants_of_the_calendar() -> None:
    today, yesterday = parse_units.parse_instant("today", NOW), parse_units.parse_instant("yesterday", NOW)
    assert today <= NOW
    assert 23 * 3600 <= (today - yesterday) // SECOND <= 25 * 3600  # a day may be changed by summer time
    assert parse_units.parse_instant("00:00", NOW) == today
    assert parse_units.parse_instant("2026-11-22T10:00:00Z", NOW) == parse_units.parse_instant(
        "2026-11-22T11:00:00+01:00", NOW
    )
    assert parse_units.parse_instant("2026-11-22", NOW) == parse_units.parse_instant("2026-11-22 00:00", NOW)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2026-13-01", "12:60"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        parse_units.parse_instant(text, NOW)


def test_sizes() -> None:
    assert [parse_units.parse_size(text) for text in ("7", "64K", "1.5M", "2GiB")] == [7, 65536, 1572864, 2 << 30]
    with pytest.raises(ValueError, match="no size"):
        parse_units.parse_size("lots")
