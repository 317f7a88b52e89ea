"""Pagination as CAR negotiates it: cursor and limit are required then, and ``next_cursor`` leads on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Daemon, Json, Wire


@pytest.fixture
def paged(shared: Daemon, wire: Wire) -> Wire:
    wire.call("server.handshake", protocol_version=3, required_capabilities=["runs.pagination.v1"])
    return wire


def pages(wire: Wire, method: str, what: str, limit: int, **params: Any) -> list[list[Json]]:
    out: list[list[Json]] = []
    cursor: int | None = 0
    while cursor is not None:
        answer = wire.call(method, cursor=cursor, limit=limit, **params)
        out.append(answer[what])
        cursor = answer.get("next_cursor")
    return out


def test_lists_in_pages(paged: Wire, agent: str) -> None:
    runs = [paged.start(agent) for _ in range(7)]
    found = pages(paged, "runs.list", "runs", 3, agent_id=agent)
    assert [len(page) for page in found] == [3, 3, 1]
    assert {run["run_id"] for page in found for run in page} == set(runs)


def test_traces_in_pages(paged: Wire, shared: Daemon, agent: str) -> None:
    run = paged.start(agent)
    paged.turns(run, *"abcdefg")
    found = pages(paged, "runs.get_trace", "records", 3, run_id=run)
    assert [len(page) for page in found] == [3, 3, 2]
    assert [record for page in found for record in page] == shared.records(agent, run)
    second = paged.call("runs.get_trace", run_id=run, cursor=3, limit=3)
    assert (second["cursor"], second["next_cursor"], second["line"]) == (3, 6, 6)


def test_snapshots_in_pages_count_turns(paged: Wire, agent: str) -> None:
    run = paged.start(agent)
    paged.turns(run, *"abcde")
    found = pages(paged, "runs.subscribe", "turns_so_far", 2, run_id=run)
    assert [[turn["prompt"] for turn in page] for page in found] == [["a", "b"], ["c", "d"], ["e"]]
    last = paged.call("runs.subscribe", run_id=run, cursor=4, limit=500)
    assert (last["cursor"], last["line"]) == (5, 6)
    paged.turns(run, "f")
    assert paged.event()["params"]["cursor"] == 6


@pytest.mark.parametrize("params", [{}, {"cursor": 0}, {"limit": 5}, {"cursor": 0, "limit": 501}])
def test_both_are_required_once_negotiated(paged: Wire, agent: str, params: Json) -> None:
    run = paged.start(agent)
    for method in ("runs.list", "runs.get_trace", "runs.subscribe"):
        place = {} if method == "runs.list" else {"run_id": run}
        assert paged.error(method, **place, **params)["code"] == -32602


def test_without_negotiation_all_is_answered_at_once(wire: Wire, agent: str) -> None:
    for _ in range(3):
        wire.start(agent)
    assert len(wire.call("runs.list", agent_id=agent)["runs"]) == 3
    assert "next_cursor" not in wire.call("runs.list", agent_id=agent, limit=2)
