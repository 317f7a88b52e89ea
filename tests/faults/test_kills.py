"""SIGKILL of the daemon and of agents at random instants: short versions of ``make faults``."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faults import kills
from tests.faults.agent import text_of
from tests.faults.evidence import check, data_of, ends, read_notes
from tests.support import Daemon, wait_until


def test_the_daemon_is_killed_under_load() -> None:
    figures = kills.daemon_kills(11, 8)
    assert figures["checked"] > 100
    assert not any(figures[name] for name in ("lost", "doubled", "disordered", "damaged")), figures


def test_the_daemon_is_killed_under_load_where_every_answer_waits_for_the_device() -> None:
    figures = kills.daemon_kills(12, 5, fsync="always")
    assert figures["checked"] > 50
    assert not any(figures[name] for name in ("lost", "doubled", "disordered", "damaged")), figures


def test_agents_are_killed_and_each_turn_that_returned_is_stored() -> None:
    figures = kills.agent_kills(13, 9, at_once=3)
    assert figures["incomplete_disconnected"] == 9
    assert not any(figures[name] for name in ("lost", "doubled", "disordered", "damaged")), figures


def test_a_successor_goes_on_with_the_run_of_a_killed_agent(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(config="[carrunsd]\ndisconnect_grace_secs = 1\n").start()
    plan = kills.plan_for(daemon, "one", seed=5)
    agent = kills.spawn(daemon, plan)
    try:
        wait_until(lambda: read_notes(plan.notes).returned > 20)
    finally:
        kills.end_all([agent])
    returned = read_notes(plan.notes).returned
    wait_until(lambda: ends(data_of(daemon.car_dir, plan)))
    wire = daemon.wire()
    found = wire.call("runs.resume", run_id=plan.run_id, writer=f"w-{plan.run_id}")
    assert found["status"] == "in_progress"
    assert found["acked_seq"] >= returned
    number = found["acked_seq"] + 1
    turns = [{"prompt": text_of(plan.agent_id, number, plan.seed, plan.biggest)}]
    wire.call("runs.record_turns", run_id=plan.run_id, writer=f"w-{plan.run_id}", seq=number, turns=turns)
    wire.complete(plan.run_id)
    data = data_of(daemon.car_dir, plan)
    assert check(plan, data, number).clean
    assert [end["termination"]["kind"] for end in ends(data)] == ["incomplete", "outcome"]
    assert ends(data)[0]["reason"] == "disconnected"


def test_the_last_turns_of_many_short_lives_are_read_to_the_end(daemon: Daemon) -> None:
    """Agents that connect, record and are gone before the daemon has so much as accepted them."""
    daemon.wire().start(idempotency_key="run-x")
    for number in range(50):
        wire = daemon.wire()
        wire.notify(
            "runs.record_turns", run_id="run-x", turns=[{"prompt": str(number)}], writer=f"w{number}", seq=0
        )
        wire.close()
    deadline = time.monotonic() + 20
    while len(records := daemon.records("agent-a", "run-x")) < 51 and time.monotonic() < deadline:
        daemon.wire().call("server.ping")
    assert sorted(int(record["prompt"]) for record in records[1:]) == list(range(50))
