"""Times: RFC 3339, to the nanosecond, in UTC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carruns.protocol import times


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01t00:00:01.123456789123z", 1_123_456_789),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T19:30:00-04:30", 0),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
    ],
)
def test_parse(text: str, nanoseconds: int) -> None:
    assert times.parse(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:61Z", "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+00:60", "2026-01-01T00:00:00.Z", "0000-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n",
        "\u0662026-01-01T00:00:00Z", "2026-01-01T00:00:00+0000",
    ],
)  # fmt: skip
def test_what_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        times.parse(text)


@given(st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9))
def test_render_and_parse_are_inverse(nanoseconds: int) -> None:
    text = times.render(nanoseconds, 9)
    assert len(text) == len("2026-01-01T00:00:00.000000000Z")
    assert times.parse(text) == nanoseconds


@given(st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds")), st.integers(0, 10**9 - 1))
def test_utc_stays_as_it_came(second: str, fraction: int) -> None:
    text = f"{second}.{fraction:09d}Z"
    assert times.in_utc(text) == text


@pytest.mark.parametrize(
    ("given_text", "utc"),
    [
        ("2026-01-01T01:00:00.000000001+02:00", "2025-12-31T23:00:00.000000001Z"),
        ("0500-01-01T00:00:00+01:00", "0499-12-31T23:00:00.000000000Z"),
        ("2026-01-01T00:00:00z", "2026-01-01T00:00:00.000000000Z"),
        ("2026-01-01T00:00:00.12-00:00", "2026-01-01T00:00:00.120000000Z"),
    ],
)
def test_in_utc(given_text: str, utc: str) -> None:
    assert times.in_utc(given_text) == utc


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01"])
def test_beyond_the_calendar(text: str) -> None:
    with pytest.raises(ValueError, match="year"):
        times.in_utc(text)


@pytest.mark.parametrize("digits", range(1, 10))
def test_digits(digits: int) -> None:
    assert times.render(123_456_789, digits) == f"1970-01-01T00:00:00.{'123456789'[:digits]}Z"
