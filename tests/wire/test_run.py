"""A run as the daemon knows it: what is stored of each writer, how it moves on, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from carruns.protocol.records import Turn
from carrunsd.run import MAY, Run
from carrunsd.store.history import COMPLETED, INCOMPLETE, OPEN


@pytest.fixture
def run() -> Run:
    return Run("r", "a", "i", "2026-01-01T00:00:00Z", ("a", "r.jsonl"))


def take(run: Run, count: int, writer: str | None = None, seq: int | None = None) -> list[Any]:
    return run.take([Turn() for _ in range(count)], writer, seq, "now")


@pytest.mark.parametrize(
    ("stored", "seq", "count", "answer"),
    [
        (0, 0, 1, 0), (0, 1, 1, -1), (3, 3, 2, 0), (3, 2, 2, 1), (3, 0, 3, 3), (3, 0, 2, 2), (3, 4, 1, -1),
        (3, 0, 256, 3), (3, 2, 1, 1),
    ],
)  # fmt: skip
def test_order(run: Run, stored: int, seq: int, count: int, answer: int) -> None:
    if stored:
        take(run, stored, "w", 0)
    assert run.order("w", seq, count) == answer
    assert run.order(None, None, count) == 0


def test_take_numbers_and_stamps(run: Run) -> None:
    first = take(run, 2, "w", 0)
    (loose,) = run.take([{"index": 99, "writer": "liar", "x": 1}], "w", 2, "later")
    assert [(t.index, t.seq, t.recorded_at) for t in first] == [(0, 0, "now"), (1, 1, "now")]
    assert (loose["index"], loose["writer"], loose["seq"], loose["x"]) == (2, "w", 2, 1)
    assert (run.turn_count, run.next_index, run.writers) == (3, 3, {"w": 2})


def test_undo_goes_back_to_the_last_good_write(run: Run) -> None:
    take(run, 2, "w", 0)
    run.settle()
    run.mark()
    take(run, 3, "w", 2)
    take(run, 1, "v", 0)
    run.move("outcome")
    run.mark()
    run.undo()
    assert (run.turn_count, run.next_index, run.writers, run.status) == (2, 2, {"w": 1}, OPEN)
    assert run.order("w", 2, 1) == 0
    run.undo()
    assert run.turn_count == 2


def test_an_outcome_is_final_and_incomplete_is_not(run: Run) -> None:
    assert {event for status, event in MAY if status is COMPLETED} == set()
    run.move("incomplete")
    assert run.status is INCOMPLETE
    assert run.can("resume")
    run.move("resume")
    run.move("outcome")
    assert not run.can("resume")
    with pytest.raises(KeyError):
        run.move("incomplete")
