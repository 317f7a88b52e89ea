"""Cutting what is too big: nothing over the limits is left, and what is missing is stated."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carruns.protocol.records import Turn
from carrunsd.wire.cut import cut, fit_turn

MARKER = re.compile(r"\.\.\. \[truncated: (\d+) bytes missing\]$")


@given(st.text(max_size=300), st.integers(64, 200))
def test_cut(text: str, limit: int) -> None:
    size = len(text.encode())
    short = cut(text, limit)
    if size <= limit:
        assert short == text
        return
    assert len(short.encode()) <= limit
    found = MARKER.search(short)
    assert found is not None
    kept = short[: found.start()]
    assert text.startswith(kept)
    assert len(kept.encode()) + int(found[1]) == size


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, JSON, st.booleans())
def test_fit_turn(parameters: Any, output: Any, loose: bool) -> None:
    turn: Any = Turn(prompt="p" * 100, parameters=parameters, output=output)
    if loose:
        turn = {**msgspec.to_builtins(turn), "x": 1}
    before = msgspec.json.encode(turn)
    fitted = fit_turn(turn, 64, 600)
    assert fitted is not None
    result, was_cut = fitted
    assert type(result) is type(turn)
    assert len(msgspec.json.encode(result)) <= 600
    assert was_cut == (msgspec.json.encode(result) != before)


@pytest.mark.parametrize("field", ["metadata", "error", "cli_outcome"])
def test_what_may_not_be_replaced_is_too_large(field: str) -> None:
    turn = msgspec.convert({"record": "turn", field: ["x" * 60] * 20, "output": ["y" * 60] * 20}, Turn)
    assert fit_turn(turn, 64, 600) is None


def test_the_largest_part_goes_first() -> None:
    turn = Turn(parameters=list(range(100)), output=list(range(200)), prompt="short")
    fitted = fit_turn(turn, 64, 600)
    assert fitted is not None
    assert fitted[0].parameters == list(range(100))
    assert re.fullmatch(r"\[truncated: \d+ bytes missing\]", fitted[0].output)
