"""One way to cut and to say so, for the daemon and the library."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carruns.protocol.cut import MARKER, cut, marker


@given(st.text(st.characters(), max_size=300), st.integers(64, 200))
def test_what_is_kept_and_what_is_missing_are_the_whole(text: str, limit: int) -> None:
    whole = text.encode(errors="replace")
    short = cut(text, limit)
    if len(whole) <= limit:
        assert short == text
        return
    found = MARKER.search(short)
    assert found is not None
    kept = short[: found.start()].encode()
    assert found.end() == len(short)
    assert len(short.encode()) <= limit
    assert whole.startswith(kept)
    assert len(kept) + int(found[1]) == len(whole)


def test_a_limit_that_holds_no_text_leaves_the_marker() -> None:
    assert cut("x" * 100, 20) == "... [truncated: 100 bytes missing]"


@pytest.mark.parametrize(
    "text", [marker(12), "begun... [truncated: 12 bytes missing]", "as it was[carruns: 12 bytes missing]"]
)
def test_every_marker_there_ever_was_is_found(text: str) -> None:
    found = MARKER.search(text)
    assert found is not None
    assert found[1] == "12"


@pytest.mark.parametrize(
    "text", ["", "[truncated]", "[truncated: many bytes missing]", "[carruns: a cycle, not followed]"]
)
def test_other_brackets_are_not(text: str) -> None:
    assert MARKER.search(text) is None
