"""Any JSON value as a few harmless lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carruns.render import cells, harmless, value_lines
from tests.render.values import JSON


@given(JSON, st.integers(16, 80), st.integers(1, 5))
def test_any_value_folds_to_harmless_lines_of_that_width(value: Any, width: int, most: int) -> None:
    lines, _ = value_lines.value_lines(value, width, most)
    assert len(lines) <= most
    for line in lines:
        assert harmless.line(line) == line
        assert cells.width(line) <= width


def test_a_huge_value_is_not_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    lines = harmless.lines

    def watched(text: object) -> list[str]:
        seen.append(len(str(text)))
        return lines(text)

    monkeypatch.setattr(harmless, "lines", watched)
    value_lines.value_lines("x" * 10_000_000, 80, 3)
    assert sum(seen) < 2000
