"""``runs.gc``, and what is seen of it.  A result has just the fields that are promised."""

from __future__ import annotations

import json
import time

from carruns.protocol import times
from tests.daemon.methods.records import whole_run
from tests.support import Daemon, Wire


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
