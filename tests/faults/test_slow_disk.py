"""A disk whose syncs take long: who waits for one does not wait for those of hundreds of other files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.inject import STRACE, Injection
from tests.support import Daemon, wait_until

FILES = 100
pytestmark = [pytest.mark.root, pytest.mark.skipif(STRACE is None, reason="needs strace")]


def threads(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/task"))


def test_a_durable_turn_overtakes_what_is_only_due(make_daemon: Callable[..., Daemon], base: Path) -> None:
    daemon = make_daemon().start()
    none = threads(daemon)  # that sync: a loaded machine may start some of them already for what comes now
    wire = daemon.wire()
    mine = wire.start(agent_id="mine")
    runs = [wire.start(agent_id="others") for _ in range(FILES)]
    for run in (mine, *runs):
        wire.call("runs.flush", run_id=run, durable=True)
    log = base / "log"
    with Injection(daemon.pid, (), ["fdatasync:delay_enter=600000"], log):  # us
        for run in runs:
            wire.notify("runs.record_turns", run_id=run, turns=[{"prompt": "a turn"}])
        wait_until(lambda: "fdatasync" in log.read_text())  # the others are due, and take 600 ms each
        before = wire.call("server.stats")["syncs"]
        assert wire.turns(mine, "a turn", durable=True)["ok"]
        assert wire.call("server.stats")["syncs"] - before == 1
        wait_until(lambda: threads(daemon) >= none + 12)  # what is not done soon goes by all of them
    wait_until(lambda: wire.call("server.stats")["syncs"] - before == FILES + 1)
    wait_until(lambda: wire.call("server.stats")["unsynced_bytes"] == 0)


def test_a_run_that_is_being_synced_is_synced_again(make_daemon: Callable[..., Daemon], base: Path) -> None:
    daemon = make_daemon().start()
    wire = daemon.wire()
    run = wire.start()
    wire.call("runs.flush", run_id=run, durable=True)
    log = base / "log"
    with Injection(daemon.pid, (), ["fdatasync:delay_enter=1000000"], log):
        wire.turns(run, "is due")
        wait_until(lambda: "fdatasync" in log.read_text())
        before = wire.call("server.stats")["syncs"]
        assert wire.turns(run, "came while it was synced", durable=True)["ok"]
        assert wire.call("server.stats")["syncs"] - before == 2
        assert wire.call("server.stats")["unsynced_bytes"] == 0
