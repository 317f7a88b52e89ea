"""Turns and ``runs.flush``, as they are meant to be used.  A result has just the fields that are promised."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support import Daemon, Wire

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


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
