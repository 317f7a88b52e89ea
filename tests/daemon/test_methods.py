"""Every method of SPEC section 4 as it is meant to be used: its result has just the fields that are promised."""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

import pytest

from carruns import times
from tests.support import Daemon, Wire, wait_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def wire(shared_wire: Wire) -> Wire:
    return shared_wire


@pytest.fixture
def agent() -> str:
    """An agent that no other test has."""
    return f"agent-{uuid.uuid4()}"


# -- server ------------------------------------------------------------------------------------------------


def test_handshake(shared: Daemon, wire: Wire) -> None:
    result = wire.call(
        "server.handshake",
        client_version="0.58.0",
        protocol_version=3,
        required_capabilities=["runs.start", "time_travel"],
    )
    assert result["protocol_version"] == 3
    assert result["server"] == "carrunsd"
    assert re.fullmatch(r"\d+\.\d+\.\d+", result["version"])
    assert result["pid"] == shared.pid
    assert {"runs.record_turns", "runs.gc", "durable"} <= set(result["capabilities"])
    assert result["missing_capabilities"] == ["time_travel"]
    assert result["car_dir"] == str(shared.car_dir)
    assert result["limits"] == {
        "max_line_bytes": 16 << 20,
        "max_turn_bytes": 1 << 20,
        "max_string_bytes": 64 << 10,
        "max_turns_per_run": 100_000,
        "max_turns_per_batch": 256,
        "max_connections": 1024,
    }


@pytest.mark.parametrize(
    "params", [{}, {"params": None}, {"params": {}}, {"params": {"required_capabilities": None}}]
)
def test_handshake_with_nothing_asked(wire: Wire, params: dict[str, Any]) -> None:
    wire.send_json({"id": "h", "method": "server.handshake", **params})
    assert wire.read()["result"]["missing_capabilities"] == []


def test_ping(wire: Wire) -> None:
    assert wire.call("server.ping") == {}


def test_stats(wire: Wire, agent: str) -> None:
    before = wire.call("server.stats")
    run = wire.start(agent)
    wire.turns(run, "a", "b")
    wire.error("runs.flush", run_id="no such run")
    after = wire.call("server.stats")
    assert after["records"] == before["records"] + 3
    assert after["bytes"] > before["bytes"]
    assert after["batches"] >= before["batches"] + 2
    assert after["errors"] == before["errors"] + 1
    assert after["open_runs"] == before["open_runs"] + 1
    assert after["connections"] >= 1
    assert {"syncs", "queue", "uptime"} <= after.keys()


# -- start -------------------------------------------------------------------------------------------------


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
    assert (error["code"], error["data"]["kind"]) == (-32005, "conflict")
    assert not (shared.car_dir / "runs" / f"{agent}-2").exists()


def test_two_ids_that_meet_on_one_file_conflict(shared: Daemon, wire: Wire, agent: str) -> None:
    wire.start(agent, idempotency_key=f"{agent}/1")
    error = wire.error("runs.start", intent="i", agent_id=agent, idempotency_key=f"{agent}_1")
    assert (error["code"], error["data"]["kind"]) == (-32005, "conflict")
    assert f"{agent}_1" in error["message"]
    assert len(shared.records(agent, f"{agent}_1")) == 1
    assert wire.call("runs.agent_for_run", run_id=f"{agent}_1") is None
    assert wire.call("runs.get_trace", run_id=f"{agent}_1") == {"run_id": f"{agent}_1", "not_found": True}
    assert wire.call("runs.record_turns", run_id=f"{agent}_1", turns=[{}])["dropped"] == "run_not_found"


# -- turns -------------------------------------------------------------------------------------------------

TURN: dict[str, Any] = {
    "prompt": "p",
    "tool": "t",
    "parameters": {"a": [1, {"b": None}]},
    "output": {"exit_code": 0},
    "cli_outcome": {"x": 1},
    "verifier_verdict": "passed",
    "policy_rejected": {"rule": 3},
    "started_at": "2026-01-01T00:00:00Z",
    "duration_ms": 12.5,
    "tool_call_id": "c",
    "model": "m",
    "usage": {"input_tokens": 3, "cached": 1},
    "error": "boom",
    "metadata": [1],
}


def test_a_turn_with_everything_is_stored_as_it_came(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    result = wire.call("runs.record_turns", run_id=run, turns=[TURN, {**TURN, "x_unknown": {"y": [None]}}])
    assert result == {"run_id": run, "base_index": 0, "count": 2, "ok": True}
    first, second = shared.records(agent, run)[1:]
    assert TIME.fullmatch(first.pop("recorded_at"))
    second.pop("recorded_at")
    assert first == {"record": "turn", "index": 0, **TURN}
    assert second == {"record": "turn", "index": 1, **TURN, "x_unknown": {"y": [None]}}


@pytest.mark.parametrize("extra", [{}, {"x_unknown": 1}])
def test_an_empty_turn_gets_the_defaults_a_strict_reader_wants(
    shared: Daemon, wire: Wire, agent: str, extra: dict[str, Any]
) -> None:
    run = wire.start(agent)
    wire.call("runs.record_turns", run_id=run, turns=[extra])
    record = shared.records(agent, run)[1]
    record.pop("recorded_at")
    assert record == {"record": "turn", "index": 0, "parameters": None, "verifier_verdict": "not_run", **extra}


@pytest.mark.parametrize("extra", [{}, {"x_unknown": 1}])
def test_the_daemon_owns_index_stamp_writer_and_seq(
    shared: Daemon, wire: Wire, agent: str, extra: dict[str, Any]
) -> None:
    run = wire.start(agent)
    liar = {"index": 77, "recorded_at": "1999-01-01T00:00:00Z", "writer": "liar", "seq": 9, "record": "turn"}
    wire.call("runs.record_turns", run_id=run, turns=[{**liar, **extra}])
    wire.call("runs.record_turns", run_id=run, turns=[{**liar, **extra}], writer="w", seq=0)
    first, second = shared.records(agent, run)[1:]
    assert (first["index"], second["index"]) == (0, 1)
    assert "writer" not in first
    assert "seq" not in first
    assert (second["writer"], second["seq"]) == ("w", 0)
    assert not first["recorded_at"].startswith("1999")


def test_dropped_batches_say_why_and_leave_nothing(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    assert wire.call("runs.record_turns", run_id="nobody", turns=[{}]) == {
        "run_id": "nobody",
        "ok": False,
        "dropped": "run_not_found",
    }
    huge = {"metadata": ["x" * 60_000] * 20}
    result = wire.call("runs.record_turns", run_id=run, turns=[{"prompt": "fits"}, huge])
    assert result == {"run_id": run, "ok": False, "dropped": "turn_too_large"}
    result = wire.call("runs.record_turns", run_id=run, turns=[{}], writer="w", seq=1)
    assert result == {"run_id": run, "ok": False, "dropped": "out_of_order"}
    wire.complete(run)
    result = wire.call("runs.record_turns", run_id=run, turns=[{}])
    assert result == {"run_id": run, "ok": False, "dropped": "run_terminal"}
    assert [record["record"] for record in shared.records(agent, run)] == ["started", "ended"]


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"turns": []}, "turns"),
        ({"turns": [{}] * 257}, "turns"),
        ({"turns": "x"}, "turns"),
        ({"turns": [5]}, "turns"),
        ({}, "turns"),
        ({"turns": [{"prompt": 5}]}, "prompt"),
        ({"turns": [{"tool": ["x"], "x_unknown": 1}]}, "tool"),
        ({"turns": [{"record": "ended"}]}, "record|ended"),
        ({"turns": [{"record": "ended", "x_unknown": 1}]}, "record"),
        ({"turns": [{"usage": 5}]}, "usage"),
        ({"turns": [{}], "writer": "w"}, "seq"),
        ({"turns": [{}], "seq": 0}, "writer"),
        ({"turns": [{}], "writer": "", "seq": 0}, "writer"),
        ({"turns": [{}], "writer": "w", "seq": -1}, "seq"),
        ({"turns": [{}], "writer": "w", "seq": 1.5}, "seq"),
        ({"turns": [{}], "writer": 7, "seq": 0}, "writer"),
        ({"turns": [{}], "durable": "yes"}, "durable"),
        ({"turns": [{}], "run_id": 5}, "run_id"),
    ],
)
def test_wrong_turns_are_named(shared: Daemon, wire: Wire, agent: str, params: dict[str, Any], named: str) -> None:
    run = wire.start(agent)
    error = wire.error("runs.record_turns", **{"run_id": run, **params})
    assert (error["code"], error["data"]["kind"]) == (-32602, "invalid_params")
    assert re.search(named, error["message"]), error["message"]
    assert len(shared.records(agent, run)) == 1


def test_model_turn_is_stored_as_a_turn(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    calls = [{"id": "1", "tool": "x", "parameters": {}}]
    result = wire.call(
        "runs.record_model_turn",
        run_id=run,
        turn_index=4,
        assistant_text="hi",
        requested_tool_calls=calls,
        model_id="m",
        token_usage={"input_tokens": 1},
        duration_ms=3,
    )
    assert result == {"run_id": run, "base_index": 0, "count": 1, "ok": True}
    record = shared.records(agent, run)[1]
    assert record["record"] == "turn"
    assert record["index"] == 0
    assert record["output"] == {"assistant_text": "hi", "requested_tool_calls": calls}
    assert (record["model"], record["usage"], record["duration_ms"]) == ("m", {"input_tokens": 1}, 3)


def test_flush_says_what_is_stored(wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    assert wire.call("runs.flush", run_id=run) == {"run_id": run, "acked_seq": None, "turn_count": 0}
    for seq in range(5):
        wire.notify("runs.record_turns", run_id=run, turns=[{}], writer="w", seq=seq)
    assert wire.call("runs.flush", run_id=run, writer="w") == {"run_id": run, "acked_seq": 4, "turn_count": 5}
    assert wire.call("runs.flush", run_id=run, writer="v", durable=True)["acked_seq"] is None
    assert wire.error("runs.flush", run_id="nobody")["data"]["kind"] == "run_not_found"


# -- ends --------------------------------------------------------------------------------------------------

OUTCOME: dict[str, Any] = {
    "status": "partial_success",
    "summary": "3 flaky tests",
    "evidence": [{"kind": "log", "description": "d", "data": {"x": 1}, "x_unknown": 2}],
    "metrics": {"turns": 3, "duration_ms": 12.5, "x_unknown": 1},
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
    assert wire.call("runs.resume", run_id=run, writer="w") == {
        "run_id": run,
        "agent_id": agent,
        "status": "in_progress",
        "turn_count": 1,
        "acked_seq": 0,
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
    assert wire.call("runs.resume", run_id=run) == {
        "run_id": run,
        "agent_id": agent,
        "status": "in_progress",
        "turn_count": 0,
    }
    assert wire.call("runs.resume", run_id=run, writer="w")["acked_seq"] is None


@pytest.mark.parametrize("method", ["runs.complete", "runs.abandon", "runs.resume", "runs.flush", "runs.subscribe"])
@pytest.mark.parametrize("run_id", ["nobody", "", "../../etc/passwd", "x" * 300, "\0"])
def test_a_run_that_is_not_there(shared: Daemon, wire: Wire, method: str, run_id: str) -> None:
    before = shared.files()
    error = wire.error(method, run_id=run_id, outcome=OUTCOME)
    assert (error["code"], error["data"]["kind"]) == (-32001, "run_not_found")
    assert "there is no run" in error["message"]
    assert shared.files() == before


# -- append ------------------------------------------------------------------------------------------------


def whole_run(agent: str, run: str) -> list[dict[str, Any]]:
    outcome = {"status": "done", "summary": "", "evidence": [], "metrics": {}, "timestamp": "2026-01-01T00:00:09Z"}
    return [
        {"record": "started", "run_id": run, "agent_id": agent, "intent": "i",
         "started_at": "2026-01-01T00:00:00.5Z"},
        {"record": "turn", "index": 3, "parameters": None, "verifier_verdict": "not_run", "x_unknown": 1},
        {"record": "checkpoint", "whatever": {"k": None}},
        {"record": "turn", "index": 7, "writer": "w", "seq": 4},
        {"record": "ended", "run_id": run, "agent_id": agent, "ended_at": "2026-01-01T00:00:09.25Z",
         "termination": {"kind": "outcome", "status": "done", "outcome": outcome}},
    ]  # fmt: skip


def test_append_keeps_records_as_given(shared: Daemon, wire: Wire, agent: str) -> None:
    records = whole_run(agent, f"run-{agent}")
    result = wire.call("runs.append", agent_id=agent, run_id=f"run-{agent}", records=records)
    assert result == {"count": 5}
    assert shared.records(agent, f"run-{agent}") == records
    summary = wire.summary(f"run-{agent}")
    assert summary.pop("bytes") == shared.file(agent, f"run-{agent}").stat().st_size
    assert summary == {
        "run_id": f"run-{agent}",
        "agent_id": agent,
        "intent": "i",
        "started_at": "2026-01-01T00:00:00.5Z",
        "ended_at": "2026-01-01T00:00:09.25Z",
        "status": "completed",
        "outcome_status": "done",
        "turn_count": 2,
    }
    error = wire.error("runs.append", agent_id=agent, run_id=f"run-{agent}", records=records[1:2])
    assert error["data"]["kind"] == "run_terminal"


def test_append_in_parts_goes_on_where_turns_do(shared: Daemon, wire: Wire, agent: str) -> None:
    run = f"run-{agent}"
    records = whole_run(agent, run)
    for record in records[:4]:
        assert wire.call("runs.append", agent_id=agent, run_id=run, records=[record]) == {"count": 1}
    assert wire.turns(run, "next")["base_index"] == 8
    assert wire.turns(run, "again", writer="w", seq=4)["duplicates"] == 1
    assert wire.turns(run, "fifth", writer="w", seq=5)["base_index"] == 9
    wire.complete(run)
    assert [record.get("index") for record in shared.records(agent, run)] == [None, 3, None, 7, 8, 9, None]


def test_append_of_the_start_behind_a_turn(wire: Wire, agent: str) -> None:
    run = f"run-{agent}"
    start, turn, *_ = whole_run(agent, run)
    wire.call("runs.append", agent_id=agent, run_id=run, records=[turn])
    wire.call("runs.append", agent_id=agent, run_id=run, records=[start])
    assert wire.summary(run)["intent"] == "i"
    assert wire.summary(run)["started_at"] == "2026-01-01T00:00:00.5Z"


def test_append_of_two_ends_keeps_the_outcome(wire: Wire, agent: str) -> None:
    run = f"run-{agent}"
    records = whole_run(agent, run)
    records.append({**records[-1], "termination": {"kind": "incomplete"}})
    wire.call("runs.append", agent_id=agent, run_id=run, records=records)
    assert wire.summary(run)["status"] == "completed"
    assert wire.call("runs.record_turns", run_id=run, turns=[{}])["dropped"] == "run_terminal"


def test_append_of_nothing(shared: Daemon, wire: Wire, agent: str) -> None:
    assert wire.call("runs.append", agent_id=agent, run_id="r", records=[]) == {"count": 0}
    assert not (shared.car_dir / "runs" / agent).exists()


@pytest.mark.parametrize(
    "spoil",
    [
        {"record": None},
        {"record": 5},
        {"run_id": "other"},
        {"agent_id": "other"},
        {"started_at": "noon"},
        {"started_at": None},
        {"intent": None},
        {"record": "turn"},
        {"record": "turn", "index": -1},
        {"record": "turn", "index": "0"},
        {"record": "ended"},
    ],
)
def test_append_of_a_bad_record_stores_nothing(
    shared: Daemon, wire: Wire, agent: str, spoil: dict[str, Any]
) -> None:
    run = f"run-{agent}"
    start = whole_run(agent, run)[0]
    records = [start, {**start, **spoil}]
    error = wire.error("runs.append", agent_id=agent, run_id=run, records=records)
    assert error["data"]["kind"] == "invalid_params"
    assert "records[1]" in error["message"]
    assert not (shared.car_dir / "runs" / agent).exists()


@pytest.mark.parametrize(("agent_id", "run_id"), [("", "r"), ("a", "")])
def test_append_with_an_empty_id_is_refused(shared: Daemon, wire: Wire, agent_id: str, run_id: str) -> None:
    before = shared.files()
    error = wire.error("runs.append", agent_id=agent_id, run_id=run_id, records=[{"record": "note"}])
    assert error["data"]["kind"] == "invalid_params"
    assert shared.files() == before


# -- lists and traces --------------------------------------------------------------------------------------


def test_list_filters_and_sorts(wire: Wire, agent: str) -> None:
    ids = [wire.start(agent, started_at=f"2026-01-0{day}T00:00:00Z") for day in (1, 3, 2)]
    wire.complete(ids[0])
    wire.call("runs.abandon", run_id=ids[1])

    def listed(**params: Any) -> list[int]:
        result = wire.call("runs.list", agent_id=agent, **params)
        assert result["agent_id"] == agent
        return [ids.index(run["run_id"]) for run in result["runs"]]

    assert listed() == [1, 2, 0]
    assert listed(status="completed") == [0]
    assert listed(status="incomplete") == [1]
    assert listed(status="in_progress") == [2]
    assert listed(since="2026-01-02T00:00:00Z") == [1, 2]
    assert listed(until="2026-01-02T01:00:00+01:00") == [2, 0]
    assert listed(limit=1) == [1]
    assert listed(limit=1, status="completed") == [0]
    assert wire.call("runs.list", agent_id="nobody") == {"agent_id": "nobody", "runs": []}
    everything = wire.call("runs.list")
    assert everything.keys() == {"runs"}
    assert set(ids) <= {run["run_id"] for run in everything["runs"]}


@pytest.mark.parametrize(
    "params", [{"status": "odd"}, {"since": "noon"}, {"limit": 0}, {"limit": "x"}, {"agent_id": 5}]
)
def test_list_with_wrong_params(wire: Wire, params: dict[str, Any]) -> None:
    assert wire.error("runs.list", **params)["data"]["kind"] == "invalid_params"


def test_summary_fields(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent, started_at="2026-01-01T00:00:00Z")
    wire.turns(run, "a")
    assert wire.summary(run) == {
        "run_id": run,
        "agent_id": agent,
        "intent": "do the thing",
        "started_at": "2026-01-01T00:00:00Z",
        "status": "in_progress",
        "turn_count": 1,
        "bytes": shared.file(agent, run).stat().st_size,
    }


def test_agents(shared: Daemon, wire: Wire, agent: str) -> None:
    first, second = wire.start(agent), wire.start(agent)
    wire.complete(first)
    (row,) = [row for row in wire.call("runs.agents")["agents"] if row["agent_id"] == agent]
    assert TIME.fullmatch(row.pop("last_activity"))
    size = sum(shared.file(agent, run).stat().st_size for run in (first, second))
    assert row == {"agent_id": agent, "runs": 2, "in_progress": 1, "bytes": size}


def test_get_trace(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    wire.turns(run, "a", "b")
    result = wire.call("runs.get_trace", run_id=run)
    assert result == {
        "run_id": run,
        "agent_id": agent,
        "records": shared.records(agent, run),
        "cursor": 3,
        "skipped": 0,
    }
    assert wire.call("runs.get_trace", run_id=run, agent_id=agent) == result
    missing = {"run_id": run, "not_found": True}
    assert wire.call("runs.get_trace", run_id=run, agent_id="other") == missing
    assert wire.call("runs.get_trace", run_id="nobody") == {"run_id": "nobody", "not_found": True}
    assert wire.call("runs.get_trace", run_id="../../etc/passwd")["not_found"] is True


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_pages_of_a_trace_make_the_whole(wire: Wire, agent: str, limit: int) -> None:
    run = wire.start(agent)
    wire.turns(run, *"abcdefghijk")
    records: list[Any] = []
    cursor = 0
    while True:
        page = wire.call("runs.get_trace", run_id=run, cursor=cursor, limit=limit)
        assert len(page["records"]) <= limit
        records += page["records"]
        cursor = page["cursor"]
        if "next_cursor" not in page:
            break
        assert page["next_cursor"] == cursor
    assert records == wire.call("runs.get_trace", run_id=run)["records"]
    assert cursor == 12
    wire.turns(run, "later")
    tail = wire.call("runs.get_trace", run_id=run, cursor=cursor)
    assert [record["prompt"] for record in tail["records"]] == ["later"]
    assert wire.call("runs.get_trace", run_id=run, cursor=10_000)["records"] == []


def _whole_trace(wire: Wire, run: str, meanwhile: Any = None) -> tuple[list[Any], int]:
    """Read a trace page by page; return its records and how many lines were skipped."""
    records: list[Any] = []
    skipped = 0
    page = wire.call("runs.get_trace", run_id=run)
    while True:
        records += page["records"]
        skipped += page["skipped"]
        if "next_cursor" not in page:
            return records, skipped
        if meanwhile is not None:
            meanwhile()
        page = wire.call("runs.get_trace", run_id=run, cursor=page["next_cursor"])


def test_a_trace_of_many_pages_is_the_file_also_while_it_grows(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    for number in range(20):
        wire.turns(run, *(f"{number} {n} " + "x" * 1500 for n in range(64)))
    assert _whole_trace(wire, run) == (shared.records(agent, run), 0)
    grown = _whole_trace(wire, run, lambda: wire.turns(run, "later"))
    assert grown == (shared.records(agent, run), 0)
    assert len(grown[0]) > 20 * 64 + 2


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("then", ["nothing", "another turn", "the end"])
def test_a_line_that_someone_spoils_under_the_daemon_is_skipped(
    shared: Daemon, wire: Wire, agent: str, then: str, at_once: bool
) -> None:
    """Whether what the daemon itself has written is still what stands there."""
    run = wire.start(agent)
    wire.turns(run, "a", "spoil me", "c")
    assert _whole_trace(wire, run)[1] == 0
    path = shared.file(agent, run)
    text = path.read_bytes()
    if not at_once:  # then it has been seen to be good, and remembered
        wait_until(lambda: time.time_ns() - path.stat().st_ctime_ns > 30_000_000)
        assert _whole_trace(wire, run)[1] == 0
    with path.open("r+b") as file:
        file.write(text.replace(b'{"record":"turn","index":1', b'["record":"turn","index":1'))
    if then == "another turn":
        wire.turns(run, "d")
    elif then == "the end":
        wire.complete(run)
    for _ in range(2):
        records, skipped = _whole_trace(wire, run)
        assert skipped == 1
        assert [r["prompt"] for r in records if r["record"] == "turn"] == ["a", "c", "d"][
            : 2 + (then == "another turn")
        ]


def test_a_cursor_of_a_file_that_was_removed_is_not_taken_for_one_of_the_next(
    shared: Daemon, wire: Wire, agent: str
) -> None:
    run = wire.start(agent, idempotency_key=f"again-{agent}")
    wire.turns(run, *(f"{n}" * n for n in range(1, 40)))
    cursor = wire.call("runs.get_trace", run_id=run, limit=10)["next_cursor"]
    shared.file(agent, run).unlink()
    assert wire.request("runs.record_turns", run_id=run, turns=[{}])["error"]["data"]["errno"] == "ENOENT"
    wire.start(agent, idempotency_key=run)
    wire.turns(run, *(f"{n} " + "x" * 3 * n for n in range(50)))
    page = wire.call("runs.get_trace", run_id=run, cursor=cursor)
    assert page["records"] == shared.records(agent, run)[cursor:]


@pytest.mark.parametrize("params", [{"cursor": -1}, {"limit": 0}, {"cursor": "x"}, {"run_id": None}])
def test_get_trace_with_wrong_params(wire: Wire, params: dict[str, Any]) -> None:
    assert wire.error("runs.get_trace", **{"run_id": "r", **params})["data"]["kind"] == "invalid_params"


def test_agent_for_run(wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    assert wire.call("runs.agent_for_run", run_id=run) == agent
    assert wire.call("runs.agent_for_run", run_id="nobody") is None


# -- following ---------------------------------------------------------------------------------------------


def test_subscribe_then_events(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    wire.turns(run, "a", "b")
    with Wire(shared.socket) as follower:
        snapshot = follower.call("runs.subscribe", run_id=run)
        turns = snapshot.pop("turns_so_far")
        assert [turn["prompt"] for turn in turns] == ["a", "b"]
        assert snapshot == {"run_id": run, "agent_id": agent, "cursor": 3, "status": "in_progress"}
        wire.turns(run, "c", "d")
        wire.complete(run, "failure")
        events = [follower.event() for _ in range(3)]
        assert {event["method"] for event in events} == {"runs.trace.event"}
        assert {event["jsonrpc"] for event in events} == {"2.0"}
        bodies = [event["params"] for event in events]
        assert [body["cursor"] for body in bodies] == [4, 5, 6]
        assert [body["record"] for body in bodies] == shared.records(agent, run)[3:]
        assert [body["status"] for body in bodies] == ["in_progress", "in_progress", "completed"]
        assert all(body["run_id"] == run and body["agent_id"] == agent for body in bodies)
        assert follower.call("runs.unsubscribe", run_id=run)["run_id"] == run


def test_subscribe_to_an_ended_run(wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    wire.turns(run, "a")
    wire.complete(run)
    snapshot = wire.call("runs.subscribe", run_id=run)
    assert (snapshot["status"], snapshot["cursor"], len(snapshot["turns_so_far"])) == ("completed", 3, 1)


def test_unsubscribe(wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    assert wire.call("runs.unsubscribe", run_id=run) == {"run_id": run, "removed": False}
    wire.call("runs.subscribe", run_id=run)
    assert wire.call("runs.unsubscribe", run_id=run) == {"run_id": run, "removed": True}
    wire.turns(run, "unseen")
    assert wire.silent()
    assert wire.call("runs.unsubscribe", run_id="nobody") == {"run_id": "nobody", "removed": False}


def test_a_subscription_sees_the_abandoning_and_the_return(wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    wire.call("runs.subscribe", run_id=run)
    wire.call("runs.abandon", run_id=run)
    wire.call("runs.resume", run_id=run)
    wire.turns(run, "back")
    events = [wire.event()["params"] for _ in range(2)]
    assert [(event["cursor"], event["status"]) for event in events] == [(2, "incomplete"), (3, "in_progress")]


def test_watch(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    with Wire(shared.socket) as watcher:
        watching = watcher.call("runs.watch", agent_id=agent)
        assert [summary["run_id"] for summary in watching["runs"]] == [run]
        wire.turns(run, "a")
        other = wire.start(f"{agent}-other")
        second = wire.start(agent)
        wire.complete(second)
        events = [watcher.event() for _ in range(3)]
        assert {event["method"] for event in events} == {"runs.event"}
        seen = [(event["params"]["run_id"], event["params"]["record"]["record"]) for event in events]
        assert seen == [(run, "turn"), (second, "started"), (second, "ended")]
        assert events[2]["params"]["status"] == "completed"
        watcher.call("runs.unwatch", agent_id=agent)
        wire.turns(run, "unseen")
        wire.turns(other, "unseen")
        assert watcher.silent()


def test_watch_of_everyone(shared: Daemon, wire: Wire, agent: str) -> None:
    with Wire(shared.socket) as watcher:
        open_runs = watcher.call("runs.watch")["runs"]
        assert all(summary["status"] == "in_progress" for summary in open_runs)
        run = wire.start(agent)
        event = wait_until(lambda: next((e for e in [watcher.event()] if e["params"]["run_id"] == run), None))
        assert event["params"]["record"]["record"] == "started"


# -- keeping house -----------------------------------------------------------------------------------------


def test_gc_removes_and_tells(shared: Daemon, wire: Wire, agent: str) -> None:
    old = whole_run(agent, f"old-{agent}")
    fresh = wire.start(agent)
    wire.call("runs.append", agent_id=agent, run_id=f"old-{agent}", records=old)
    # All at once: a moment after a run has ended the daemon collects by itself.
    asked = [wire.post("runs.gc", dry_run=dry_run) for dry_run in (True, True, False)]
    answers = [wire.answer(number)["result"] for number in asked]
    size = sum(len(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()) + 1 for record in old)
    for answer in answers:
        (row,) = [row for row in answer["runs"] if row["agent_id"] == agent]
        assert (row["run_id"], row["bytes"]) == (f"old-{agent}", size)
        assert answer["removed"] == len(answer["runs"])
        assert answer["bytes"] == sum(row["bytes"] for row in answer["runs"])
    assert not shared.file(agent, f"old-{agent}").exists()
    assert shared.file(agent, fresh).exists()
    assert wire.call("runs.get_trace", run_id=f"old-{agent}")["not_found"] is True
    assert wire.call("runs.gc")["runs"] == []


def test_a_run_in_the_place_of_a_removed_one_has_its_own_pages(shared: Daemon, wire: Wire, agent: str) -> None:
    run = f"again-{agent}"
    wire.call("runs.append", agent_id=agent, run_id=run, records=whole_run(agent, run))
    page = wire.call("runs.get_trace", run_id=run, limit=2)
    wire.call("runs.gc")
    wire.start(agent, intent="i" * 1000, idempotency_key=run)
    wire.turns(run, "a", "b", "c")
    page = wire.call("runs.get_trace", run_id=run, cursor=page["next_cursor"])
    assert [record["prompt"] for record in page["records"]] == ["b", "c"]
    assert page["skipped"] == 0


def test_times_are_of_now(wire: Wire, agent: str, shared: Daemon) -> None:
    before = time.time_ns()
    run = wire.start(agent)
    wire.turns(run, "a")
    wire.complete(run)
    stamps = [
        record.get("started_at") or record.get("recorded_at") or record["ended_at"]
        for record in shared.records(agent, run)
    ]
    instants = [times.parse(stamp) for stamp in stamps]
    assert instants == sorted(instants)
    assert before - 1_000_000 <= instants[0]
    assert instants[-1] <= time.time_ns()


def test_append_goes_on_behind_a_restart_where_nothing_says_whose_file_it_is(daemon: Daemon) -> None:
    turn = {"record": "turn", "index": 0, "parameters": None, "verifier_verdict": "not_run"}
    with Wire(daemon.socket) as wire:
        assert wire.call("runs.append", agent_id="a", run_id="r", records=[turn]) == {"count": 1}
    daemon.stop()
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert wire.call("runs.append", agent_id="a", run_id="r", records=[turn | {"index": 1}]) == {"count": 1}
        assert [r["index"] for r in wire.call("runs.get_trace", run_id="r")["records"]] == [0, 1]


def test_append_refuses_an_index_that_no_reader_holds(wire: Wire, agent: str) -> None:
    turn = {"record": "turn", "index": 1 << 64, "parameters": None, "verifier_verdict": "not_run"}
    error = wire.error("runs.append", agent_id=agent, run_id=f"r-{agent}", records=[turn])
    assert error["data"]["kind"] == "invalid_params"
