"""Which end of a run counts: the same answer as the store's own fold of a file gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carruns.protocol.records import Record
from carruns.reading import run_files
from carruns.reading.endings import end_that_counts, outcome_of

TURN = Record(record="turn", index=0, parameters=None, verifier_verdict="not_run")
IDS = {"run_id": "r", "agent_id": "a"}
START = Record(record="started", run_id="r", agent_id="a", intent="x", started_at="2026-11-22T00:00:00Z")


def outcome(number: int, status: str = "done") -> Record:
    when = f"2026-11-22T00:00:{number:02d}Z"
    rest: dict[str, Any] = {"evidence": [], "metrics": {}, "timestamp": when}
    its = {"status": status, "summary": str(number), **rest}
    return Record(
        record="ended", **IDS, termination={"kind": "outcome", "status": status, "outcome": its}, ended_at=when
    )


def incomplete(number: int) -> Record:
    when = f"2026-11-22T00:00:{number:02d}Z"
    return Record(record="ended", **IDS, termination={"kind": "incomplete"}, ended_at=when)


@pytest.mark.parametrize(
    ("records", "counts"),
    [
        ([], None),
        ([TURN], None),
        ([outcome(1)], 0),
        ([incomplete(1)], 0),
        ([incomplete(1), TURN], None),
        ([incomplete(1), TURN, incomplete(2)], 2),
        ([incomplete(1), outcome(2)], 1),
        ([outcome(1), incomplete(2)], 0),
        ([outcome(1), TURN], 0),
        ([outcome(1), TURN, incomplete(2)], 0),
        ([outcome(1), outcome(2)], 1),
    ],
)
def test_the_end_that_counts(records: list[Record], counts: int | None) -> None:
    end = end_that_counts([START, *records])
    assert end is (None if counts is None else records[counts])


RECORDS = st.lists(
    st.one_of(st.just(TURN), st.builds(outcome, st.integers(0, 59)), st.builds(incomplete, st.integers(0, 59))),
    max_size=6,
)


@given(RECORDS)
def test_the_store_says_the_same(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    root = tmp_path_factory.mktemp("runs")
    (root / "a").mkdir()
    file = run_files.file_of(root, "r", "a")
    file.path.write_text("".join(json.dumps(record) + "\n" for record in (START, *records)))
    summary = run_files.summary(file)
    end = end_that_counts(records)
    assert summary is not None
    assert (summary.status == "in_progress") == (end is None)
    assert summary.get("ended_at") == (None if end is None else end.ended_at)
    assert summary.get("outcome_status") == (outcome_of(end).get("status") if end else None)


@pytest.mark.parametrize("termination", [{"Outcome": {"status": "Success"}}, {"type": "outcome", "status": "done"}])
def test_an_outcome_is_known_in_encodings_that_others_write(termination: dict[str, Any]) -> None:
    first = Record(record="ended", termination=termination)
    assert end_that_counts([first, incomplete(2)]) is first


def test_what_is_no_outcome_is_empty(tmp_path: Path) -> None:
    assert outcome_of(outcome(1))["summary"] == "1"
    assert [outcome_of(record) for record in (incomplete(1), TURN, Record(termination=[1]))] == [{}, {}, {}]
