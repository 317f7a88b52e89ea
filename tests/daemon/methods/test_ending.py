"""Ends and resumes, as they are meant to be used.  A result has just the fields that are promised."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support import Daemon, Wire

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


OUTCOME: dict[str, Any] = {
    "status": "partial_success",
    "summary": "3 flaky tests",
    "evidence": [{"kind": "log", "description": "d", "data": {"x": 1}, "x_unknown": 2}],
    "metrics": {"turns": 3, "duration_ms": 12, "x_unknown": 1.5},
    "timestamp": "2026-01-01T00:00:00.123456789Z",
    "x_unknown": {"y": None},
}


def test_complete_keeps_the_outcome(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    assert wire.call("runs.complete", run_id=run, outcome=OUTCOME) == {"run_id": run, "ok": True}
    record = shared.records(agent, run)[1]
    assert TIME.fullmatch(record.pop("ended_at"))
    assert record == {
        "record": "ended",
        "run_id": run,
        "agent_id": agent,
        "termination": {"kind": "outcome", "status": "partial_success", "outcome": OUTCOME},
    }


def test_complete_twice(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    outcome = {"status": "done"}
    for _ in range(2):
        assert wire.call("runs.complete", run_id=run, outcome=outcome) == {"run_id": run, "ok": True}
    for other in ({"status": "failure"}, {"status": "done", "summary": "more"}, {"status": "done", "x": 1}):
        error = wire.error("runs.complete", run_id=run, outcome=other)
        assert (error["code"], error["data"]["kind"]) == (-32002, "run_terminal")
        assert "final" in error["message"]
    assert len(shared.records(agent, run)) == 2


@pytest.mark.parametrize("status", ["success", "partial_success", "done", "give_up", "timeout", "failure"])
def test_each_status_is_taken_and_listed(wire: Wire, agent: str, status: str) -> None:
    run = wire.start(agent)
    wire.complete(run, status)
    assert wire.summary(run)["outcome_status"] == status


@pytest.mark.parametrize(
    ("outcome", "named"),
    [
        ({}, "status"),
        ({"status": "great"}, "status"),
        ({"status": None}, "status"),
        ({"status": ["done"]}, "status"),
        ({"status": "done", "summary": 5}, "summary"),
        ({"status": "done", "evidence": {}}, "evidence"),
        ({"status": "done", "metrics": []}, "metrics"),
        *(
            ({"status": "done", "metrics": {"duration_ms": n}}, "metrics.duration_ms")
            for n in (12.7, -1, None, "3")
        ),
        ({"status": "done", "metrics": {"actions_failed": 1 << 64}}, "metrics.actions_failed"),
        ({"status": "done", "timestamp": "now"}, "timestamp"),
        ({"status": "done", "timestamp": "9999-12-31T23:59:59-10:00"}, "timestamp"),
        ("done", "outcome"),
        (None, "outcome"),
    ],
)
def test_a_wrong_outcome_is_named(wire: Wire, agent: str, outcome: Any, named: str) -> None:
    run = wire.start(agent)
    error = wire.error("runs.complete", run_id=run, outcome=outcome)
    assert (error["code"], error["data"]["kind"]) == (-32602, "invalid_params")
    assert named in error["message"]
    assert wire.summary(run)["status"] == "in_progress"


def test_abandon_and_resume(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    wire.turns(run, "one", writer="w", seq=0)
    assert wire.call("runs.abandon", run_id=run, reason="bored") == {"run_id": run, "ok": True}
    assert wire.call("runs.abandon", run_id=run) == {"run_id": run, "ok": True}
    record = shared.records(agent, run)[2]
    assert (record["termination"], record["reason"]) == ({"kind": "incomplete"}, "bored")
    assert len(shared.records(agent, run)) == 3
    assert wire.summary(run)["status"] == "incomplete"
    assert wire.call("runs.record_turns", run_id=run, turns=[{}])["dropped"] == "run_terminal"
    assert wire.error("runs.complete", run_id=run, outcome=OUTCOME)["data"]["kind"] == "run_terminal"
    resumed = wire.call("runs.resume", run_id=run, writer="w")
    assert resumed["client_id"] == resumed["resumed_from_client_id"]
    assert {**resumed, "client_id": 0, "resumed_from_client_id": 0} == {
        "run_id": run,
        "agent_id": agent,
        "status": "in_progress",
        "turn_count": 1,
        "acked_seq": 0,
        "client_id": 0,
        "resumed_from_client_id": 0,
    }
    assert wire.summary(run)["status"] == "in_progress"
    assert wire.turns(run, "two", writer="w", seq=1)["base_index"] == 1
    wire.complete(run)
    assert wire.error("runs.resume", run_id=run)["data"]["kind"] == "run_terminal"
    assert wire.error("runs.abandon", run_id=run)["data"]["kind"] == "run_terminal"


def test_abandon_without_a_reason_says_abandoned(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    wire.call("runs.abandon", run_id=run)
    assert shared.records(agent, run)[1]["reason"] == "abandoned"


def test_resume_of_an_open_run(wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    resumed = wire.call("runs.resume", run_id=run)
    assert resumed.pop("client_id") == resumed.pop("resumed_from_client_id")
    assert resumed == {"run_id": run, "agent_id": agent, "status": "in_progress", "turn_count": 0}
    assert wire.call("runs.resume", run_id=run, writer="w")["acked_seq"] is None


@pytest.mark.parametrize("method", ["runs.complete", "runs.abandon", "runs.resume", "runs.flush", "runs.subscribe"])
@pytest.mark.parametrize("run_id", ["nobody", "", "../../etc/passwd", "x" * 300, "\0"])
def test_a_run_that_is_not_there(shared: Daemon, wire: Wire, method: str, run_id: str) -> None:
    before = shared.files()
    error = wire.error(method, run_id=run_id, outcome=OUTCOME)
    assert (error["code"], error["data"]["kind"]) == (-32001, "run_not_found")
    assert "there is no run" in error["message"]
    assert shared.files() == before
