"""Text that agents wrote is made harmless, and fits."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from carruns.render import cells, harmless
from tests.render.values import JSON

ANY_TEXT = st.text(st.characters(), max_size=60)


@given(ANY_TEXT)
def test_a_line_is_one_line_of_printable_text(text: str) -> None:
    line = harmless.line(text)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000 for char in line)
    assert not set(line) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\u2029")


def test_plain_text_stays_as_it_is() -> None:
    text = "caf\u00e9 \u4f60\u597d \U0001f468\u200d\U0001f469 \u0639\u0631\u0628\u064a"
    assert harmless.line(text) == text
    assert harmless.lines("a\tb\r\nc\n") == ["a   b", "c", ""]


@given(ANY_TEXT, st.integers(0, 30))
def test_what_is_fitted_fits(text: str, room: int) -> None:
    assert cells.width(cells.fit(harmless.line(text), room)) <= room


@given(ANY_TEXT, st.integers(2, 30))
def test_what_is_wrapped_is_whole(text: str, room: int) -> None:
    line = harmless.line(text)
    pieces = cells.wrap(line, room)
    assert "".join(pieces) == line
    assert all(cells.width(piece) <= room for piece in pieces)


@given(JSON)
def test_json_reads_back_the_same_and_is_harmless(value: Any) -> None:
    text = harmless.json_text(value)
    assert json.loads(text) == value
    assert harmless.line(text) == text


def test_json_escapes_what_json_itself_leaves() -> None:
    assert harmless.json_text("\x7f\x9b\u202e\U000e0001\u00e9") == r'"\u007f\u009b\u202e\udb40\udc01é"'
