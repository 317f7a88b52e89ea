"""Times, durations and sizes as people read them."""

from __future__ import annotations

import pytest

from carruns.render import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.34, "340ms"), (0.9999, "1.0s"), (12.34, "12.3s"), (59.96, "1m00s"), (245, "4m05s"),
     (7620, "2h07m"), (273600, "3d4h")],
)  # fmt: skip
def test_durations_are_shown_in_two_units(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


def test_sizes() -> None:
    assert [units.size(n) for n in (0, 1023, 1024, 12_600, 5 << 20)] == ["0B", "1023B", "1.0K", "12.3K", "5.0M"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "now"), (42, "42s"), (3599, "59m"), (7200, "2h"), (86400, "1d"), (4e7, "1y")]
)
def test_ages_have_one_unit(seconds: float, text: str) -> None:
    assert units.age(seconds) == text


def test_what_is_no_time_has_no_instant() -> None:
    assert units.instant("2026-11-22T10:00:00Z") == units.instant("2026-11-22T11:00:00+01:00")
    assert [units.instant(value) for value in (None, 7, "soon", "2026-11-22T10:00:00")] == [None] * 4
