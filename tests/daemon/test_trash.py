"""``runs.remove`` and ``runs.restore``: a removed run can be had back, and what is gone for good is listed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import Daemon, Wire, wait_until


def removed_rows(daemon: Daemon) -> list[dict[str, Any]]:
    path = daemon.car_dir / "removed.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trash(daemon: Daemon) -> list[str]:
    return sorted(path.name for path in (daemon.car_dir / "trash").rglob("*.jsonl"))


def ended_run(wire: Wire, agent_id: str = "agent-a", **params: Any) -> str:
    run_id = wire.start(agent_id, **params)
    wire.turns(run_id, "a", "b")
    wire.complete(run_id)
    return run_id


def test_a_removed_run_is_gone_and_comes_back_whole(daemon: Daemon, wire: Wire) -> None:
    run_id = ended_run(wire)
    before = wire.call("runs.get_trace", run_id=run_id)["records"]
    result = wire.call("runs.remove", run_id=run_id)
    assert result["agent_id"] == "agent-a"
    assert result["bytes"] > 0
    assert wire.call("runs.get_trace", run_id=run_id) == {"run_id": run_id, "not_found": True}
    assert wire.call("runs.list")["runs"] == []
    assert [(row["run_id"], row["reason"]) for row in removed_rows(daemon)] == [(run_id, "user")]
    assert wire.call("runs.restore", run_id=run_id) == {"run_id": run_id, "agent_id": "agent-a"}
    assert wire.call("runs.get_trace", run_id=run_id)["records"] == before
    assert wire.summary(run_id)["turn_count"] == 2
    assert trash(daemon) == []


def test_a_run_in_progress_is_never_removed(daemon: Daemon, wire: Wire) -> None:
    run_id = wire.start()
    error = wire.error("runs.remove", run_id=run_id)
    assert error["data"]["kind"] == "conflict"
    assert "in progress" in error["message"]
    assert wire.turns(run_id, "still here")["ok"]
    assert trash(daemon) == []


def test_what_is_not_there_is_not_found(wire: Wire) -> None:
    run_id = ended_run(wire)
    for method in ("runs.remove", "runs.restore"):
        assert wire.error(method, run_id="nope")["data"]["kind"] == "run_not_found"
    assert wire.error("runs.remove", run_id=run_id, agent_id="another")["data"]["kind"] == "run_not_found"
    assert wire.summary(run_id)["status"] == "completed"


def test_nothing_in_the_trash_or_the_store_is_overwritten(daemon: Daemon, wire: Wire) -> None:
    for _ in range(2):
        ended_run(wire, idempotency_key="again")
        wire.call("runs.remove", run_id="again")
    assert trash(daemon) == ["again.2.jsonl", "again.jsonl"]
    ended_run(wire, idempotency_key="again")
    assert wire.error("runs.restore", run_id="again")["data"]["kind"] == "conflict"
    assert len(trash(daemon)) == 2


def test_modes_are_narrow(daemon: Daemon, wire: Wire) -> None:
    wire.call("runs.remove", run_id=ended_run(wire))
    for path in [daemon.car_dir / "trash", *(daemon.car_dir / "trash").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert (daemon.car_dir / "removed.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_trash_is_emptied_by_age(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(config="[carrunsd]\ntrash_max_age_days = 0\n").start()
    with Wire(daemon.socket) as wire:
        run_id = ended_run(wire)
        wire.call("runs.remove", run_id=run_id)
        ended_run(wire)  # a run's end has the house kept a moment later
        wait_until(lambda: len(removed_rows(daemon)) == 2)
    assert [row["reason"] for row in removed_rows(daemon)] == ["user", "trash_age"]
    assert trash(daemon) == []


def test_what_retention_removes_is_listed(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = 1\n").start()
    with Wire(daemon.socket) as wire:
        first = ended_run(wire, started_at="2026-01-01T00:00:00Z")
        ended_run(wire)
        wait_until(lambda: removed_rows(daemon))
    assert [(row["run_id"], row["reason"]) for row in removed_rows(daemon)] == [(first, "count")]


def test_a_link_for_a_trash_is_not_followed(daemon: Daemon, wire: Wire, tmp_path: Path) -> None:
    os.symlink(tmp_path, daemon.car_dir / "trash")
    run_id = ended_run(wire)
    assert wire.error("runs.remove", run_id=run_id)["data"]["kind"] == "storage"
    assert wire.summary(run_id)["status"] == "completed"
    assert list(tmp_path.iterdir()) == []
