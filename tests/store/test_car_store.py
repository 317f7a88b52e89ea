"""A store as CAR of autumn 2026 leaves it: model turns, cancellations, ends of its own, files beside the runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carrunsd.store import RetentionConfig, RunStatus, RunStore, layout, pages, scan
from carrunsd.store.doctor.examine import Examined, examine
from tests.store.making import DAY, ago

USAGE = {
    "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "context_window": 200_000,
    "cache_read_input_tokens": 8, "cache_creation_input_tokens": 0,
}  # fmt: skip


def model_turn(index: int) -> dict[str, Any]:
    call = {"id": "c1", "name": "shell", "arguments": {"command": "ls"}}
    return {
        "record": "model_turn", "index": index, "recorded_at": ago(0), "turn_index": index + 1, "model_id": "m-1",
        "assistant_text": "let me look", "requested_tool_calls": [call], "duration_ms": 812, "token_usage": USAGE,
    }  # fmt: skip


def tool_turn(index: int) -> dict[str, Any]:
    return {"record": "turn", "index": index, "tool": "shell", "parameters": {}, "verifier_verdict": "not_run"}


def run(run_id: str, termination: Any, *, age: float = 0.0, cancelled: bool = False) -> list[dict[str, Any]]:
    ids, at = {"run_id": run_id, "agent_id": "name:loop"}, ago(age)
    records = [{"record": "started", **ids, "intent": "i", "started_at": at}]
    records += [model_turn(0), tool_turn(1), model_turn(2)]
    if cancelled:
        records.append(
            {"record": "cancellation_requested", **ids, "idempotency_key": "k", "reason_digest": "0" * 64}
        )
    if termination is not None:
        records.append({"record": "ended", **ids, "termination": termination, "ended_at": at})
    if cancelled:
        records.append(
            {"record": "cancellation_result", **ids, "idempotency_key": "k", "status": "cancelled_confirmed"}
        )
    return records


RUNS: dict[str, tuple[list[dict[str, Any]], RunStatus, str | None]] = {
    "open": (run("open", None), RunStatus.IN_PROGRESS, None),
    "gone": (run("gone", {"kind": "incomplete"}, age=2), RunStatus.INCOMPLETE, None),
    "stopped": (run("stopped", {"kind": "cancelled"}, age=4, cancelled=True), RunStatus.COMPLETED, "cancelled"),
    "broken": (run("broken", {"kind": "failed", "error": "boom"}, age=60 * DAY), RunStatus.COMPLETED, "failed"),
}


@pytest.fixture
def car(base: Path) -> Path:
    """A car directory of CAR's own making."""
    agent = base / "runs" / "name:loop"
    agent.mkdir(parents=True, mode=0o700)
    agent.parent.chmod(0o700)
    for name, (records, _, _) in RUNS.items():
        path = agent / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))
        path.chmod(0o600)
        (agent / f"{name}.summary.json").write_text("{}")
    (base / "runs" / "index.json").write_text("{}")
    (base / "external-agents.jsonl").write_text('{"ts":"2026-11-25T10:00:00Z","adapter_id":"claude-code"}\n')
    return base


def test_lists_and_traces(car: Path) -> None:
    store = RunStore(car / "runs")
    listed = {one.run_id: one for one in store.list_runs("name:loop")}
    assert listed.keys() == RUNS.keys()
    for name, (records, status, outcome_status) in RUNS.items():
        assert (listed[name].status, listed[name].outcome_status) == (status, outcome_status)
        assert listed[name].turn_count == 3
        assert store.get_run_trace(name) == records
        assert store.agent_for_run(name) == "name:loop"


def test_an_index_is_not_given_out_a_second_time_and_snapshots_hold_all_turns(car: Path) -> None:
    for name in RUNS:
        with layout.opened(car / "runs", ("name:loop", f"{name}.jsonl")) as fd:
            found = scan.scan(fd)
            assert (found.next_index, found.turn_count, found.skipped) == (3, 3, 0)
            assert len(pages.turns(fd, found.lines)) == 3
            glance, whole = scan.glance(fd), found.summary()
            assert glance is not None
            assert whole is not None
            assert (glance.status, glance.ended_at) == (whole.status, whole.ended_at)


def test_gc_and_adoption_leave_the_files_beside_alone(car: Path) -> None:
    store = RunStore(car / "runs", RetentionConfig(max_per_agent=50, max_age_days=30))
    assert store.gc() == 1  # `broken` is final, and old
    assert store.adopt_orphans() == 1
    assert store.adopt_orphans() == 0
    assert {one.run_id: str(one.status) for one in store.list_runs("name:loop")} == {
        "open": "incomplete", "gone": "incomplete", "stopped": "completed",
    }  # fmt: skip
    assert len(list((car / "runs").rglob("*.json"))) == len(RUNS) + 1
    assert RunStore(car / "runs", RetentionConfig(0, 30)).gc() == 3


def test_doctor_finds_nothing_wrong(car: Path) -> None:
    assert [finding for finding in examine(str(car / "runs"), Examined()) if finding.level != "info"] == []
