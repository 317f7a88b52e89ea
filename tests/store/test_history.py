"""The table of what becomes of a run, row by row, as the reader of a file and the daemon go by it."""

from __future__ import annotations

import msgspec
import pytest

from carruns.protocol.records import RunStatus
from carrunsd.run import MAY, Run
from carrunsd.store import reader
from carrunsd.store.history import AFTER, COMPLETED, INCOMPLETE, OPEN, History
from tests.store.making import ended, incomplete, started, turn

RECORDS = {"turn": turn(0, "p"), "incomplete": incomplete("r", "a"), "outcome": ended("r", "a")}
WAY_TO: dict[RunStatus, list[str]] = {OPEN: [], INCOMPLETE: ["incomplete"], COMPLETED: ["outcome"]}


def fold(*events: str) -> History:
    history = History(writers={})
    for record in (started("r", "a"), *(RECORDS[event] for event in events)):
        line = reader.parse_line(msgspec.json.encode(record))
        assert line is not None
        history.take(line)
    return history


@pytest.mark.parametrize(("row", "after"), [pair for pair in AFTER.items() if pair[0][1] in RECORDS])
def test_what_a_record_makes_of_a_run(row: tuple[RunStatus, str], after: RunStatus) -> None:
    before, event = row
    assert fold(*WAY_TO[before]).status is before
    assert fold(*WAY_TO[before], event).status is after


@pytest.mark.parametrize("row", AFTER)
def test_what_may_be_asked_for(row: tuple[RunStatus, str]) -> None:
    before, event = row
    run = Run("r", "a", "", "", ("a", "r.jsonl"))
    run.become(fold(*WAY_TO[before]))
    assert run.can(event) is (row in MAY)
    if row in MAY:
        run.move(event)
        assert run.status is AFTER[row]
    else:
        with pytest.raises(KeyError):
            run.move(event)
        assert run.status is before


def test_every_record_has_a_row_and_an_outcome_is_final() -> None:
    assert set(AFTER) >= {(status, event) for status in RunStatus for event in RECORDS}
    assert {after for (before, _), after in AFTER.items() if before is COMPLETED} == {COMPLETED}
    assert set(AFTER) >= MAY


def test_an_incomplete_behind_an_outcome_does_not_count() -> None:
    history = fold("outcome", "incomplete")
    assert (history.status, history.outcome_status) == (COMPLETED, "success")
    assert history.ended is not None
    assert history.ended.termination["kind"] == "outcome"


def test_a_turn_reopens_what_was_incomplete() -> None:
    history = fold("incomplete", "turn")
    assert (history.status, history.ended_at, history.turn_count) == (OPEN, None, 1)
