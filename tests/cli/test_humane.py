"""Times, durations and sizes as people write and read them; text made harmless; tables that fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carruns.cli.screen import Screen
from carruns.render import clean, fold, humane
from carruns.render.table import Cell, Column, render

NOW = 1_795_000_000 * humane.SECOND


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("2h", 7200), ("1h30m", 5400), ("3 days", 259200), ("1.5h", 5400), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert humane.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2x", "2h!", "-1h", "one hour"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        humane.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds_ago"),
    [("now", 0), ("2h", 7200), ("2h ago", 7200), ("1d12h", 129600), ("3 weeks ago", 1814400)],
)
def test_instants_ago(text: str, seconds_ago: int) -> None:
    assert humane.parse_instant(text, NOW) == NOW - seconds_ago * humane.SECOND


def test_instants_of_the_calendar() -> None:
    today, yesterday = humane.parse_instant("today", NOW), humane.parse_instant("yesterday", NOW)
    assert today <= NOW
    assert 23 * 3600 <= (today - yesterday) // humane.SECOND <= 25 * 3600  # a day may be changed by summer time
    assert humane.parse_instant("00:00", NOW) == today
    assert humane.parse_instant("2026-11-22T10:00:00Z", NOW) == humane.parse_instant(
        "2026-11-22T11:00:00+01:00", NOW
    )
    assert humane.parse_instant("2026-11-22", NOW) == humane.parse_instant("2026-11-22 00:00", NOW)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2026-13-01", "12:60"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        humane.parse_instant(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.34, "340ms"), (0.9999, "1.0s"), (12.34, "12.3s"), (59.96, "1m00s"), (245, "4m05s"),
     (7620, "2h07m"), (273600, "3d4h")],
)  # fmt: skip
def test_durations_are_shown_in_two_units(seconds: float, text: str) -> None:
    assert humane.duration(seconds) == text


def test_sizes() -> None:
    assert [humane.size(n) for n in (0, 1023, 1024, 12_600, 5 << 20)] == ["0B", "1023B", "1.0K", "12.3K", "5.0M"]
    assert [humane.parse_size(text) for text in ("7", "64K", "1.5M", "2GiB")] == [7, 65536, 1572864, 2 << 30]
    with pytest.raises(ValueError, match="no size"):
        humane.parse_size("lots")


# --- harmless text ------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(), max_size=60)


@given(ANY_TEXT)
def test_a_line_is_one_line_of_printable_text(text: str) -> None:
    line = clean.line(text)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000 for char in line)
    assert not set(line) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\u2029")


def test_plain_text_stays_as_it_is() -> None:
    text = "caf\u00e9 \u4f60\u597d \U0001f468\u200d\U0001f469 \u0639\u0631\u0628\u064a"
    assert clean.line(text) == text
    assert clean.lines("a\tb\r\nc\n") == ["a   b", "c", ""]


@given(ANY_TEXT, st.integers(0, 30))
def test_what_is_fitted_fits(text: str, cells: int) -> None:
    assert clean.width(clean.fit(clean.line(text), cells)) <= cells


@given(ANY_TEXT, st.integers(2, 30))
def test_what_is_wrapped_is_whole(text: str, cells: int) -> None:
    line = clean.line(text)
    pieces = clean.wrap(line, cells)
    assert "".join(pieces) == line
    assert all(clean.width(piece) <= cells for piece in pieces)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, st.integers(16, 80), st.integers(1, 5))
def test_any_value_folds_to_harmless_lines_of_that_width(value: Any, width: int, most: int) -> None:
    lines, _ = fold.value_lines(value, width, most)
    assert len(lines) <= most
    for line in lines:
        assert clean.line(line) == line
        assert clean.width(line) <= width


def test_a_huge_value_is_not_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    lines = clean.lines

    def watched(text: object) -> list[str]:
        seen.append(len(str(text)))
        return lines(text)

    monkeypatch.setattr(clean, "lines", watched)
    fold.value_lines("x" * 10_000_000, 80, 3)
    assert sum(seen) < 2000


# --- tables -------------------------------------------------------------------------------------------------


class Fixed(Screen):
    def __init__(self, width: int | None) -> None:
        super().__init__(color=False)
        self._cells = width

    @property
    def width(self) -> int | None:
        return self._cells


COLUMNS = (
    Column("ID"),
    Column("NAME", flexible=True),
    Column("N", right=True, drop=1),
    Column("TEXT", flexible=True),
)
ROWS = [
    [Cell("abc"), Cell("n" * 30), Cell("12345"), Cell("\u4f60" * 30)],
    [Cell("d"), Cell(""), Cell("1"), Cell("")],
]


@pytest.mark.parametrize("width", [20, 30, 50, 80, 200])
def test_a_table_fits(width: int) -> None:
    assert all(clean.width(line) <= width for line in render(Fixed(width), COLUMNS, ROWS))


def test_a_table_in_a_pipe_is_whole() -> None:
    text = "\n".join(render(Fixed(None), COLUMNS, ROWS))
    assert "n" * 30 in text
    assert "\u4f60" * 30 in text


def test_columns_go_before_text_becomes_too_short() -> None:
    assert "12345" not in "\n".join(render(Fixed(24), COLUMNS, ROWS))
    assert "12345" in "\n".join(render(Fixed(40), COLUMNS, ROWS))
