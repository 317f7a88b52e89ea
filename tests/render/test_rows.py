"""Cells and sentences about runs: short ids, how long, what retention takes."""

from __future__ import annotations

from typing import Any

import pytest

from carruns.protocol.records import Record
from carruns.render.removed_table import removed_table
from carruns.render.retention_lines import retention_lines
from carruns.render.run_cells import duration_of, id_length, status_cell
from carruns.render.style import Style
from carruns.render.units import SECOND
from tests.render.runs import NOW


def test_ids_are_as_short_as_is_clear() -> None:
    assert id_length(["0123456789abcdef0", "0123456789abcdef1"], 80) == 17
    assert id_length(["abc", "xyz"], 80) == 13  # the whole time in a UUIDv7


def test_ids_are_told_from_all_that_they_are_looked_for_among() -> None:
    shown, other, beside = "0123456789abcdef0", "0123456789abcdef1", "9999999999999998"
    assert id_length([shown], 80, [shown, other]) == 17
    assert id_length([shown], 80, [shown, beside, beside + "9"]) == 13  # those two concern nobody here


def test_a_pipe_gets_whole_ids() -> None:
    assert "0123456789a"[: id_length(["0123456789a"], None)] == "0123456789a"


def test_how_long_a_run_took() -> None:
    run = Record(status="in_progress", started_at="2026-11-22T00:00:00Z")
    assert duration_of(run, NOW) == 60
    assert duration_of(Record({**run, "ended_at": "2026-11-22T00:00:05Z"}), NOW) == 5
    assert duration_of(Record({**run, "status": "completed"}), NOW) is None
    assert duration_of(Record({**run, "started_at": "long ago"}), NOW) is None


@pytest.mark.parametrize(
    ("run", "text"),
    [({"status": "in_progress"}, "open"), ({"status": "completed", "outcome_status": "partial_success"}, "partial"),
     ({"status": "incomplete"}, "incomplete"), ({"status": "completed", "outcome_status": "odd\n"}, "odd\\n")],
)  # fmt: skip
def test_how_a_run_stands(run: dict[str, Any], text: str) -> None:
    assert status_cell(Record(run)).text == text


def test_what_retention_takes_and_when() -> None:
    rules = {"max_per_agent": 2, "max_age_days": 30, "problems": []}
    due = {"run_id": "a", "bytes": 1024, "reason": "count", "due": True, "expires_at": "2026-11-22T00:00:00Z"}
    later = {**due, "run_id": "b", "reason": "age", "due": False, "expires_at": "2026-11-24T00:01:00Z"}
    assert retention_lines(rules, [due, later], NOW) == [
        "the newest 2 ended runs of an agent stay, for 30 days from their end",
        "the next collection removes 1 run, 1.0K (1 by count): carruns prune --dry-run",
        "after that, the first to go by age is b, in 2d",
    ]
    assert retention_lines({"max_per_agent": None, "problems": ["config.toml:1: bad"]}, [], NOW) == [
        "config.toml:1: bad"
    ]


def test_what_was_removed_and_why() -> None:
    row = Record(run_id="r", agent_id="a", removed_at="2026-11-22T00:00:00Z", reason="age", bytes=1, intent="x")
    _, line = removed_table(Style(), [row], NOW + 60 * SECOND)
    assert line.split() == ["r", "a", "2m", "age", "1B", "x"]
