"""``runs.start``, as it is meant to be used.  A result has just the fields that are promised."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from tests.support import Daemon, Wire

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_start_mints_a_uuid7(shared: Daemon, wire: Wire, agent: str) -> None:
    result = wire.call("runs.start", intent="find flaky tests", agent_id=agent)
    assert result.keys() == {"run_id", "agent_id"}
    assert result["agent_id"] == agent
    run = uuid.UUID(result["run_id"])
    assert run.version == 7
    assert run.variant == uuid.RFC_4122
    (record,) = shared.records(agent, result["run_id"])
    assert TIME.fullmatch(record.pop("started_at"))
    assert record == {"record": "started", "run_id": str(run), "agent_id": agent, "intent": "find flaky tests"}


def test_start_keeps_everything_it_is_given(shared: Daemon, wire: Wire, agent: str) -> None:
    given = {
        "intent": "i",
        "agent_id": agent,
        "agent_name": "The Agent",
        "outcome_description": "all green",
        "started_at": "2026-01-02T03:04:05.123456789Z",
        "parent_run_id": "p",
        "session_id": "s",
        "cwd": "/tmp",
        "detached": True,
        "metadata": {"k": [1, None]},
        "x_unknown": {"deep": ["ü", None, 1.5]},
    }
    run = wire.call("runs.start", **given)["run_id"]
    (record,) = shared.records(agent, run)
    assert record == {"record": "started", "run_id": run, **given}


def test_start_with_a_name_only(wire: Wire) -> None:
    result = wire.call("runs.start", intent="i", agent_name="  The Big_Agent (v2)! ")
    assert result["agent_id"] == "name:the-big-agent-v2"


def test_started_at_is_moved_to_utc_without_losing_digits(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent, started_at="2026-01-01T01:00:00.000000001+02:00")
    assert shared.records(agent, run)[0]["started_at"] == "2025-12-31T23:00:00.000000001Z"


@pytest.mark.parametrize(
    "params",
    [
        {"intent": "i"},
        {"intent": "i", "agent_id": ""},
        {"intent": "i", "agent_name": "?!"},
        {"intent": "i", "agent_id": "", "agent_name": ""},
        {"agent_id": "a"},
        {"intent": 5, "agent_id": "a"},
        {"intent": "i", "agent_id": 5},
        {"intent": "i", "agent_id": "a", "idempotency_key": ""},
        {"intent": "i", "agent_id": "a", "detached": "yes"},
        {"intent": "i", "agent_id": "a", "started_at": "yesterday"},
        {"intent": "i", "agent_id": "a", "started_at": "2026-01-01T00:00:00"},
        {"intent": "i", "agent_id": "a", "started_at": "9999-12-31T23:59:59-23:00"},
        {"intent": "i", "agent_id": "a", "started_at": "0001-01-01T00:00:00+23:00"},
    ],
)
def test_start_with_wrong_params_says_which(shared: Daemon, wire: Wire, params: dict[str, Any]) -> None:
    before = shared.files()
    error = wire.error("runs.start", **params)
    assert error["code"] == -32602
    assert error["data"]["kind"] == "invalid_params"
    assert re.search("intent|agent_id|agent_name|idempotency_key|detached|started_at", error["message"])
    assert shared.files() == before


def test_start_twice_with_one_key_is_one_run(shared: Daemon, wire: Wire, agent: str) -> None:
    key = f"key-{agent}"
    first = wire.call("runs.start", intent="i", agent_id=agent, idempotency_key=key)
    assert first == {"run_id": key, "agent_id": agent}
    wire.turns(key, "one")
    assert wire.call("runs.start", intent="other", agent_id=agent, idempotency_key=key) == first
    assert [record["record"] for record in shared.records(agent, key)] == ["started", "turn"]
    wire.complete(key)
    assert wire.call("runs.start", intent="i", agent_id=agent, idempotency_key=key) == first
    assert len(shared.records(agent, key)) == 3


def test_start_twice_in_one_piece_is_one_run(shared: Daemon, wire: Wire, agent: str) -> None:
    params = {"intent": "i", "agent_id": agent, "idempotency_key": f"key-{agent}"}
    wire.send_json(*({"id": n, "method": "runs.start", "params": params} for n in range(20)))
    assert [wire.read()["result"]["run_id"] for _ in range(20)] == [f"key-{agent}"] * 20
    assert len(shared.records(agent, f"key-{agent}")) == 1


def test_one_key_of_two_agents_conflicts(shared: Daemon, wire: Wire, agent: str) -> None:
    wire.start(agent, idempotency_key=f"key-{agent}")
    error = wire.error("runs.start", intent="i", agent_id=f"{agent}-2", idempotency_key=f"key-{agent}")
    assert (error["code"], error["data"]["kind"]) == (-32011, "conflict")
    assert not (shared.car_dir / "runs" / f"{agent}-2").exists()


def test_two_ids_that_meet_on_one_file_conflict(shared: Daemon, wire: Wire, agent: str) -> None:
    wire.start(agent, idempotency_key=f"{agent}/1")
    error = wire.error("runs.start", intent="i", agent_id=agent, idempotency_key=f"{agent}_1")
    assert (error["code"], error["data"]["kind"]) == (-32011, "conflict")
    assert f"{agent}_1" in error["message"]
    assert len(shared.records(agent, f"{agent}_1")) == 1
    assert wire.call("runs.agent_for_run", run_id=f"{agent}_1") is None
    assert wire.call("runs.get_trace", run_id=f"{agent}_1") == {"run_id": f"{agent}_1", "not_found": True}
    assert wire.call("runs.record_turns", run_id=f"{agent}_1", turns=[{}])["dropped"] == "run_not_found"
