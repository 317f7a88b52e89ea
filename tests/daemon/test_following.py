"""Following: nothing missing, nothing double, while others write; a slow reader is dropped, not waited for."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.support import Daemon, Wire, wait_until


def write(daemon: Daemon, run: str, writer: str, count: int, size: int = 1) -> None:
    with Wire(daemon.socket) as wire:
        for seq in range(0, count, size):
            wire.notify("runs.record_turns", run_id=run, writer=writer, seq=seq, turns=[{}] * size)
        assert wire.call("runs.flush", run_id=run, writer=writer)["acked_seq"] == count - 1


def test_snapshot_and_events_are_seamless_while_many_write(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    counts = {"u": 1500, "v": 1500, "w": 1500}
    writers = [threading.Thread(target=write, args=(daemon, run, w, n, 3)) for w, n in counts.items()]
    for thread in writers:
        thread.start()
    followers = []
    for _ in range(20):
        follower = daemon.wire()
        followers.append((follower, follower.call("runs.subscribe", run_id=run)))
    for thread in writers:
        thread.join()
    wire.complete(run)
    records = daemon.records("agent-a", run)
    for follower, snapshot in followers:
        seen, line = list(snapshot["turns_so_far"]), snapshot["line"]
        assert len(seen) == snapshot["cursor"] == line - 1
        while line < len(records):
            event = follower.event()["params"]
            seen.append(event["record"])
            is_turn = event["record"]["record"] == "turn"
            assert (event["line"], event["cursor"]) == (line + 1, len(seen) if is_turn else len(seen) - 1)
            line = event["line"]
        assert seen == records[1:]


def test_a_slow_reader_loses_events_and_nobody_waits(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    slow, quick = daemon.wire(), daemon.wire()
    slow.call("runs.subscribe", run_id=run)
    quick.call("runs.subscribe", run_id=run)
    heard: list[int] = []
    end = 1 + 400 * 20

    def listen() -> None:
        while not heard or heard[-1] < end:
            heard.append(quick.event()["params"]["line"])

    listener = threading.Thread(target=listen)
    listener.start()
    text = "x" * 4000
    written = 0

    def keeps_up() -> bool:
        return bool(heard) and heard[-1] >= written

    for batch in range(1, 401):
        wire.notify("runs.record_turns", run_id=run, turns=[{"prompt": text}] * 20)
        if batch % 20 == 0:  # the quick one keeps up, the slow one is left megabytes behind
            written = 1 + batch * 20
            wait_until(keeps_up)
    assert wire.call("runs.flush", run_id=run)["turn_count"] == 8000
    listener.join(20)
    assert heard == list(range(2, end + 1)), "the quick reader missed something"
    lines = [slow.event()["params"]["line"]]
    wire.turns(run, "the last")
    while lines[-1] < end + 1:
        lines.append(slow.event()["params"]["line"])
        if len(lines) % 200 == 0:
            wire.turns(run, "another")
            end += 1
    assert lines == sorted(set(lines)), "out of order or double"
    assert len(lines) < lines[-1] - 1, "nothing was dropped: the reader was not slow"
    again = slow.call("runs.subscribe", run_id=run)
    assert again["cursor"] == len(again["turns_so_far"]) == again["line"] - 1


def test_a_reader_that_goes_away_is_forgotten(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    for method, params in (("runs.subscribe", {"run_id": run}), ("runs.watch", {})):
        other = daemon.wire()
        other.call(method, **params)
        other.close()
    wait_until(lambda: wire.call("server.stats")["connections"] == 1)
    assert wire.turns(run, "fine")["ok"]


def test_subscribing_twice_gives_each_event_once(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    wire.call("runs.subscribe", run_id=run)
    wire.call("runs.subscribe", run_id=run)
    wire.turns(run, "a")
    assert wire.event()["params"]["cursor"] == 1
    assert wire.silent()


def test_one_connection_may_follow_and_watch_and_write(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    wire.call("runs.subscribe", run_id=run)
    wire.call("runs.watch")
    wire.turns(run, "a")
    assert {wire.event()["method"] for _ in range(2)} == {"runs.trace.event", "runs.event"}


@pytest.mark.parametrize("unknown", [{}, {"x_unknown": {"deep": [None, "ü"]}}])
def test_an_event_brings_the_record_as_it_stands_in_the_file(daemon: Daemon, wire: Wire, unknown: Any) -> None:
    run = wire.start()
    wire.call("runs.subscribe", run_id=run)
    wire.call("runs.record_turns", run_id=run, turns=[{"prompt": "p", **unknown}])
    assert wire.event()["params"]["record"] == daemon.records("agent-a", run)[1]
