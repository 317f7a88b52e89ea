"""Fuzzing, short: ``make faults`` tries a hundred times as many cases."""

from __future__ import annotations

import pytest

from tests.faults import fuzz


@pytest.mark.parametrize(
    ("kind", "count"), [("wire in process", 1500), ("wire over the socket", 1500), ("reader", 1500)]
)
def test_cases(kind: str, count: int) -> None:
    assert fuzz.KINDS[kind](1, count) >= count
