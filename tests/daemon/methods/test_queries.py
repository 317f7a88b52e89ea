"""Lists and traces, as they are meant to be used.  A result has just the fields that are promised."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.support import Daemon, Wire, wait_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


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
        "cursor": 0,
        "line": 3,
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
        assert page["cursor"] == cursor
        cursor = page["line"]
        if "next_cursor" not in page:
            break
        assert page["next_cursor"] == cursor
    assert records == wire.call("runs.get_trace", run_id=run)["records"]
    assert cursor == 12
    wire.turns(run, "later")
    tail = wire.call("runs.get_trace", run_id=run, cursor=cursor)
    assert [record["prompt"] for record in tail["records"]] == ["later"]
    beyond = wire.call("runs.get_trace", run_id=run, cursor=10_000)
    assert (beyond["records"], beyond["cursor"], beyond["line"]) == ([], 10_000, 13)


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
