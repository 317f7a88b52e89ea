"""The turns that every contestant records: the same ones, in the same order."""

from __future__ import annotations

from typing import Any

import msgspec

BATCH = 256
_LINE = "tests/net/test_sockets.py::test_half_close PASSED [ 41%] in 0.02s\n"

Turn = dict[str, Any]


def _turn(number: int, stdout: str) -> Turn:
    return {
        "prompt": f"find the flaky tests of suite {number % 89} and say which of them fail, and why",
        "tool": "pytest",
        "parameters": {"k": "net", "maxfail": 3, "path": f"tests/net/test_sockets_{number % 97}.py"},
        "output": {"exit_code": number % 2, "stdout": stdout, "seconds": 2.25 + number % 7},
        "duration_ms": 2310 + number % 1000,
        "model": "large-2026-10",
    }


def small() -> list[Turn]:
    """Return a batch of turns of about 400 bytes each."""
    return [_turn(number, (_LINE * 3)[:150]) for number in range(BATCH)]


def mixed() -> list[Turn]:
    """Return a batch in which of 16 turns 12 are small, 3 have an output of 4 KB and one has one of 64 KB."""
    sizes = [150, 150, 150, 4_000, 150, 150, 150, 4_000, 150, 150, 150, 4_000, 150, 150, 150, 64_000]
    text = _LINE * 1000
    return [_turn(number, text[: sizes[number % 16]]) for number in range(BATCH)]


MIXES = {"400 B": small, "mix": mixed}

encode = msgspec.json.encode


def mean_bytes(turns: list[Turn]) -> int:
    """Return the mean size of a turn as JSON."""
    return sum(len(encode(turn)) for turn in turns) // len(turns)
