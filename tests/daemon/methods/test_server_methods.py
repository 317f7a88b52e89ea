"""``server.*``, as it is meant to be used.  A result has just the fields that are promised."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support import Daemon, Wire


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
