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
        required_capabilities=["runs.resume.v1", "runs.cancel.v1", "runs.resume.v1"],
        optional_capabilities=["time_travel", "runs.pagination.v1"],
    )
    assert result["protocol_version"] == result["client_protocol_version"] == 3
    assert result["server"] == "carrunsd"
    assert re.fullmatch(r"\d+\.\d+\.\d+", result["version"])
    assert result["server_version"] == result["version"]
    assert result["client_version"] == "0.58.0"
    assert result["negotiated_capabilities"] == ["runs.cancel.v1", "runs.pagination.v1", "runs.resume.v1"]
    assert result["pid"] == shared.pid
    assert {"runs.record_turns", "runs.gc", "runs.cancel.v1", "durable"} <= set(result["capabilities"])
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
    assert wire.read()["result"]["negotiated_capabilities"] == []


@pytest.mark.parametrize("version", [2, 4, "3", 3.0, True, [3], {}])
def test_another_protocol_version_is_refused(wire: Wire, version: Any) -> None:
    error = wire.error("server.handshake", protocol_version=version, required_capabilities=["runs.pagination.v1"])
    assert (error["code"], error["data"]["kind"]) == (-32006, "protocol_version")
    assert "next_cursor" not in wire.call("runs.list")  # nothing was negotiated: no cursor is asked for


def test_a_capability_that_is_not_had_is_refused(wire: Wire) -> None:
    error = wire.error(
        "server.handshake", protocol_version=3, required_capabilities=["runs.resume.v1", "time_travel"]
    )
    assert (error["code"], error["data"]["kind"]) == (-32008, "capability")
    assert error["data"]["missing_capabilities"] == ["time_travel"]
    assert wire.call("server.handshake", protocol_version=3)["negotiated_capabilities"] == []


@pytest.mark.parametrize("field", ["required_capabilities", "optional_capabilities"])
@pytest.mark.parametrize("names", [[""], [1], "runs.resume.v1", [None]])
def test_lists_of_capabilities_hold_names(wire: Wire, field: str, names: Any) -> None:
    assert wire.error("server.handshake", protocol_version=3, **{field: names})["code"] == -32602


def test_a_long_client_version_is_echoed_in_part(wire: Wire) -> None:
    assert wire.call("server.handshake", client_version="v" * 200)["client_version"] == "v" * 64


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
