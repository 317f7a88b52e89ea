"""``runs.append``, as it is meant to be used.  A result has just the fields that are promised."""

from __future__ import annotations

from typing import Any

import pytest

from tests.daemon.methods.records import whole_run
from tests.support import Daemon, Wire


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


def test_append_of_two_ends_is_one_end_or_an_error(shared: Daemon, wire: Wire, agent: str) -> None:
    run = f"run-{agent}"
    records = whole_run(agent, run)
    end = records[-1]
    for other in ({**end, "termination": {"kind": "incomplete"}}, {**end, "ended_at": "2026-01-01T00:00:09Z"}):
        for both in ([other, end], [end, other]):
            error = wire.error("runs.append", agent_id=agent, run_id=run, records=[*records[:-1], *both])
            assert (error["code"], "two different ends" in error["message"]) == (-32602, True)
    assert not shared.file(agent, run).exists()
    wire.call("runs.append", agent_id=agent, run_id=run, records=[*records, end])
    assert len(shared.records(agent, run)) == len(records)
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
