"""Subscriptions and watches, as they are meant to be used.  A result has just the fields that are promised."""

from __future__ import annotations

from tests.support import Daemon, Wire, wait_until


def test_subscribe_then_events(shared: Daemon, wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    wire.turns(run, "a", "b")
    with Wire(shared.socket) as follower:
        snapshot = follower.call("runs.subscribe", run_id=run)
        turns = snapshot.pop("turns_so_far")
        assert [turn["prompt"] for turn in turns] == ["a", "b"]
        assert snapshot == {"run_id": run, "agent_id": agent, "cursor": 2, "line": 3, "status": "in_progress"}
        wire.turns(run, "c", "d")
        wire.complete(run, "failure")
        events = [follower.event() for _ in range(3)]
        assert {event["method"] for event in events} == {"runs.trace.event"}
        assert {event["jsonrpc"] for event in events} == {"2.0"}
        bodies = [event["params"] for event in events]
        assert [(body["cursor"], body["line"]) for body in bodies] == [(3, 4), (4, 5), (4, 6)]
        assert [body["record"] for body in bodies] == shared.records(agent, run)[3:]
        assert [body["status"] for body in bodies] == ["in_progress", "in_progress", "completed"]
        assert all(body["run_id"] == run and body["agent_id"] == agent for body in bodies)
        assert follower.call("runs.unsubscribe", run_id=run)["run_id"] == run


def test_subscribe_to_an_ended_run(wire: Wire, agent: str) -> None:
    run = wire.start(agent)
    wire.turns(run, "a")
    wire.complete(run)
    snapshot = wire.call("runs.subscribe", run_id=run)
    assert (snapshot["status"], snapshot["cursor"], len(snapshot["turns_so_far"])) == ("completed", 1, 1)
    assert snapshot["line"] == 3


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
    assert [(event["cursor"], event["line"]) for event in events] == [(0, 2), (1, 3)]
    assert [event["status"] for event in events] == ["incomplete", "in_progress"]


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
