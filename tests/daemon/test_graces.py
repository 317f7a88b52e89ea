"""Runs that lose their agent, and runs that a restart finds (docs/files.md)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.daemon.lives import config, ended_by, last
from tests.support import Daemon, Wire, wait_until

Make = Callable[..., Daemon]


def test_a_run_without_its_connection_gets_its_grace_then_incomplete(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(disconnect_grace_secs=1)).start()
    with Wire(daemon.socket) as agent:
        run = agent.start()
        agent.turns(run, "a")
    left = time.monotonic()
    wire = daemon.wire()
    assert wire.summary(run)["status"] == "in_progress"
    wait_until(lambda: ended_by(daemon, run, "disconnected"))
    assert time.monotonic() - left >= 0.9
    assert wire.summary(run)["status"] == "incomplete"
    assert last(daemon, run)["termination"] == {"kind": "incomplete"}
    assert wire.call("runs.resume", run_id=run)["status"] == "in_progress"
    assert wire.turns(run, "back")["base_index"] == 1
    wire.complete(run)


@pytest.mark.parametrize("method", ["runs.resume", "runs.record_turns", "runs.start"])
def test_whoever_comes_back_in_time_keeps_the_run(make_daemon: Make, method: str) -> None:
    daemon = make_daemon(config=config(disconnect_grace_secs=1)).start()
    with Wire(daemon.socket) as agent:
        run = agent.start(idempotency_key="kept")
        lost = agent.start()
    wire = daemon.wire()
    wire.call(method, run_id=run, turns=[{}], agent_id="agent-a", intent="i", idempotency_key=run)
    wait_until(lambda: ended_by(daemon, lost, "disconnected"))
    assert wire.summary(run)["status"] == "in_progress"


def test_a_run_of_two_connections_lives_as_long_as_one(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(disconnect_grace_secs=0)).start()
    wire = daemon.wire()
    with Wire(daemon.socket) as agent:
        run = agent.start()
        lost = agent.start()
        wire.turns(run, "mine too")
    wait_until(lambda: ended_by(daemon, lost, "disconnected"))
    assert wire.summary(run)["status"] == "in_progress"


def test_a_detached_run_outlives_its_connection(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(disconnect_grace_secs=0, adopt_grace_secs=0)).start()
    with Wire(daemon.socket) as agent:
        detached = agent.start(detached=True)
        plain = agent.start()
    wait_until(lambda: ended_by(daemon, plain, "disconnected"))
    assert daemon.wire().summary(detached)["status"] == "in_progress"
    other = daemon.wire().start()
    daemon.kill()
    daemon.start()
    wait_until(lambda: ended_by(daemon, other, "daemon_restart"))
    wire = daemon.wire()
    assert wire.summary(detached)["status"] == "in_progress"
    assert wire.turns(detached, "from cron")["base_index"] == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_a_detached_run_that_nobody_writes_to_is_abandoned(make_daemon: Make, restarted: bool) -> None:
    daemon = make_daemon(config=config(detached_idle_secs=1, adopt_grace_secs=0)).start()
    with Wire(daemon.socket) as agent:
        run = agent.start(detached=True)
    if restarted:
        daemon.kill()
        daemon.start()
    assert daemon.wire().summary(run)["status"] == "in_progress"
    wait_until(lambda: ended_by(daemon, run, "abandoned"))


def test_orphans_get_their_grace_then_incomplete(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=2)).start()
    agent = daemon.wire()
    lost, resumed, written, done = (agent.start() for _ in range(4))
    for run in (lost, resumed, written, done):
        agent.turns(run, "a", writer="w", seq=0)
    agent.complete(done)
    daemon.kill()
    daemon.start()
    wire = daemon.wire()
    assert wire.call("runs.resume", run_id=resumed)["status"] == "in_progress"
    wire.notify("runs.record_turns", run_id=written, turns=[{}], writer="w", seq=1)
    assert wire.summary(lost)["status"] == "in_progress"
    wait_until(lambda: ended_by(daemon, lost, "daemon_restart"))
    assert wire.summary(lost)["status"] == "incomplete"
    assert wire.summary(resumed)["status"] == "in_progress"
    assert wire.summary(written)["status"] == "in_progress"
    assert wire.summary(done)["status"] == "completed"
    assert wire.call("runs.resume", run_id=lost, writer="w")["acked_seq"] == 0
    assert wire.turns(lost, "b", writer="w", seq=1)["base_index"] == 1


def test_an_orphan_that_comes_and_goes_gets_the_whole_grace_of_a_connection(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=1, disconnect_grace_secs=60)).start()
    agent = daemon.wire()
    lost, back = agent.start(), agent.start()
    daemon.kill()
    daemon.start()
    with Wire(daemon.socket) as again:
        again.call("runs.resume", run_id=back)
    wait_until(lambda: ended_by(daemon, lost, "daemon_restart"))
    assert daemon.wire().summary(back)["status"] == "in_progress"


def test_adopt_orphans_does_not_wait(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    agent = daemon.wire()
    lost, lost_too, kept = agent.start(), agent.start(), agent.start()
    daemon.kill()
    daemon.start()
    wire = daemon.wire()
    wire.call("runs.resume", run_id=kept)
    assert wire.call("runs.adopt_orphans") == {"adopted": 2}
    assert ended_by(daemon, lost, "daemon_restart")
    assert ended_by(daemon, lost_too, "daemon_restart")
    assert wire.summary(kept)["status"] == "in_progress"
    assert wire.call("runs.adopt_orphans") == {"adopted": 0}


def test_open_runs_of_an_earlier_daemon_are_watched_too(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    agent = daemon.wire()
    run, done = agent.start(), agent.start()
    agent.complete(done)
    daemon.kill()
    daemon.start()
    wire = daemon.wire()
    assert [summary["run_id"] for summary in wire.call("runs.watch")["runs"]] == [run]
    assert wire.call("server.stats")["open_runs"] == 1
    daemon.wire().turns(run, "seen")
    assert wire.event()["params"]["run_id"] == run


def test_a_file_two_agents_have_by_the_same_name(make_daemon: Make) -> None:
    """The seed's store takes one run id for two agents; adopting one must not take the other's place."""
    daemon = make_daemon(config=config(adopt_grace_secs=1, disconnect_grace_secs=60)).start()
    daemon.wire().start("agent-a", idempotency_key="same")
    daemon.kill()
    (daemon.car_dir / "runs/agent-b").mkdir(mode=0o700)
    text = daemon.file("agent-a", "same").read_bytes().replace(b"agent-a", b"agent-b")
    daemon.file("agent-b", "same").write_bytes(text)
    daemon.start()
    wire = daemon.wire()
    agent = wire.call("runs.resume", run_id="same")["agent_id"]
    other = {"agent-a": "agent-b", "agent-b": "agent-a"}[agent]
    wait_until(lambda: last(daemon, "same", other)["record"] == "ended")
    assert wire.turns("same", "mine")["ok"]
    assert last(daemon, "same", agent)["prompt"] == "mine"
    assert len(daemon.records(other, "same")) == 2
