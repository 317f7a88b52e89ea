"""Retention by itself and on demand."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

from tests.daemon.lives import config, last
from tests.support import Daemon, wait_until

Make = Callable[..., Daemon]


def test_gc_after_a_run_ends(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = 2\n").start()
    wire = daemon.wire()
    runs = [wire.start() for _ in range(4)]
    for run in runs[:3]:
        wire.complete(run)
    wait_until(lambda: not daemon.file("agent-a", runs[0]).exists(), message=daemon.log())
    assert [daemon.file("agent-a", run).exists() for run in runs] == [False, True, True, True]
    wait_until(lambda: f"removed run {runs[0]}" in daemon.log())
    assert {run["run_id"] for run in wire.call("runs.list")["runs"]} == set(runs[1:])


def test_gc_at_the_start_and_every_interval(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    wire = daemon.wire()
    run = wire.start()
    wire.complete(run)
    daemon.stop()
    old = daemon.file("agent-a", "old")
    shutil.copy(daemon.file("agent-a", run), daemon.base / "copy")
    text = (daemon.base / "copy").read_bytes().replace(run.encode(), b"old")
    text = re.sub(rb'"20\d\d-', b'"2001-', text)
    old.write_bytes(text)
    daemon.configure(config(gc_interval_secs=1))
    daemon.start()
    wait_until(lambda: not old.exists())
    old.write_bytes(text)
    wait_until(lambda: not old.exists(), message="not looked at again")
    assert daemon.file("agent-a", run).exists()


def test_gc_leaves_a_reopened_run_alone(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = 1\n").start()
    wire = daemon.wire()
    kept, gone, newest = wire.start(), wire.start(), wire.start()
    wire.call("runs.abandon", run_id=kept)
    wire.call("runs.resume", run_id=kept)
    wire.complete(gone)
    wire.complete(newest)
    wait_until(lambda: not daemon.file("agent-a", gone).exists())
    assert wire.turns(kept, "alive")["ok"]
    assert last(daemon, kept)["prompt"] == "alive"
