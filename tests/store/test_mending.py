"""What earlier versions let through: ``doctor`` names the field, and ``--repair`` makes it readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carrunsd.store import RunStatus, RunStore, reader
from carrunsd.store.doctor import mend
from carrunsd.store.doctor.examine import Examined, Finding, examine
from carrunsd.store.doctor.repair import repair
from tests.store.test_checking import END, IDS, OUTCOME, START, TURN, ended

FLOAT_END = ended(metrics={"duration_ms": 12.7, "turns": -3, "retries": "2", "cost": 0.5})


def write(base: Path, *records: Any) -> Path:
    path = base / "runs" / "a" / "r.jsonl"
    path.parent.mkdir(parents=True, mode=0o700)
    path.parent.parent.chmod(0o700)
    texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(f"{text}\n" for text in texts))
    path.chmod(0o600)
    return path


def mended(base: Path) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Repair the store; return what was found, and the records that stand there then, each of them readable."""
    found = list(examine(str(base / "runs"), Examined()))
    list(repair(str(base), found))
    assert not [one for one in examine(str(base / "runs"), Examined()) if one.mendable]
    lines = (base / "runs/a/r.jsonl").read_bytes().splitlines()
    records = [record for line in lines if (record := reader.parse_record(line)) is not None]
    assert len(records) == len(lines)
    return found, [dict(record) for record in records]


def test_an_end_with_a_float_and_the_incomplete_a_seed_put_behind_it(base: Path) -> None:
    path = write(base, START, {**TURN, "prompt": "p"}, FLOAT_END, END)
    original = path.read_bytes()
    assert RunStore(base / "runs").list_runs("a")[0].status is RunStatus.INCOMPLETE
    found, records = mended(base)
    (bad,) = (one for one in found if one.kind == "bad_record")
    assert (bad.line, bad.mendable) == (3, True)
    assert "termination.outcome.metrics" in bad.text
    (outcome,) = (record["termination"]["outcome"] for record in records if record["record"] == "ended")
    assert outcome["metrics"] == {"duration_ms": 13, "turns_as_given": -3, "retries_as_given": "2", "cost": 0.5}
    summary = RunStore(base / "runs").list_runs("a")[0]
    assert (summary.status, summary.turn_count) == (RunStatus.COMPLETED, 1)
    assert path.with_name("r.jsonl.orig").read_bytes() == original


def test_an_incomplete_behind_a_good_end_hides_it_from_the_seed_and_goes(base: Path) -> None:
    write(base, START, ended(), END)
    found, records = mended(base)
    assert [one.kind for one in found] == ["adopted"]
    assert [record["record"] for record in records] == ["started", "ended"]


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({**START, "started_at": "2026-01-01t00:00:00z"}, "started_at", "2026-01-01T00:00:00.000000000Z"),
        ({**START, "outcome_description": 3}, "outcome_description", "3"),
        ({**START, "intent": None}, "intent", "null"),
        ({"record": "turn", "prompt": "p"}, "index", 4),
        ({**TURN, "index": 2.0}, "index", 2),
        ({**TURN, "index": -1}, "index", 4),
        ({**TURN, "prompt": {"a": 1}}, "prompt", '{"a": 1}'),
        ({**TURN, "duration_ms": 10**400}, "duration_ms", str(10**400)),
        ('{"record":"turn","index":1,"output":1e999}', "output", "1e999"),
        ('{"record":"turn","index":1,"index":1}', "index", 1),
        ('{"record":"turn","index":1,"prompt":"\\ud800x"}', "prompt", "?x"),
        ('{"record":"turn","index":1,"output":' + "[" * 200 + "]" * 200 + "}", "output", "[" * 200 + "]" * 200),
        ({"record": "model_turn", "assistant_text": "x"}, "index", 4),
        ({**END, "ended_at": None}, "ended_at", "2026-05-05T00:00:00Z"),
        ({**END, "run_id": None}, "run_id", "r"),
        ({**END, "termination": None}, "termination", {"kind": "incomplete"}),
        ({**END, "termination": {"kind": "outcome", "status": "done"}}, "termination", None),
        (ended(status="great"), "termination", None),
        (ended(summary=None, evidence={"a": 1}, metrics=None, timestamp="noon"), "termination", None),
    ],
)
def test_each_field_is_made_readable(given: Any, field: str, value: Any) -> None:
    known = mend.Known("r", "a", "2026-05-05T00:00:00Z", 4)
    text = (given if isinstance(given, str) else json.dumps(given)).encode()
    assert reader.parse_record(text) is None
    line = mend.mended(text, known)
    assert line is not None
    record = reader.parse_record(line)
    assert record is not None
    assert value is None or record[field] == value


@pytest.mark.parametrize("text", [b"{torn", b"[]", b"null", b'{"record":5}', b"\xff", b'{"index":1}'])
def test_what_is_no_record_at_all_is_left_out(text: bytes) -> None:
    assert mend.mended(text, mend.Known("r", "a", "2026-05-05T00:00:00Z")) is None


def test_a_run_of_many_faults_is_whole_afterwards(base: Path) -> None:
    start = {**START, "started_at": "2026-01-01t00:00:00Z"}
    turns = [{"record": "turn", "prompt": "zero"}, TURN | {"index": 1.0}, TURN | {"index": 1}, TURN | {"tool": 5}]
    write(base, start, *turns, {**END, **IDS, "termination": {"kind": "outcome", "outcome": OUTCOME}})
    assert RunStore(base / "runs").list_runs("a") == []
    found, records = mended(base)
    assert [one.line for one in found if one.kind == "bad_record"] == [1, 2, 3, 5, 6]
    assert {one.kind for one in found} == {"bad_record", "index"}  # one is doubled: both stay, the seed counts both
    assert [record["index"] for record in records if record["record"] == "turn"] == [0, 1, 1, 0]
    summary = RunStore(base / "runs").list_runs("a")[0]
    assert (summary.turn_count, summary.outcome_status) == (4, "done")
