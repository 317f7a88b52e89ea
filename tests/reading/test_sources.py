"""The daemon and the files tell the same of the same runs; which run is meant; who holds the lock."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from carruns import Client
from carruns.protocol.records import Record
from carruns.reading.errors import AmbiguousRun, NoSuchRun
from carruns.reading.file_source import FileSource
from carruns.reading.find_run import find_run
from carruns.reading.probe import lock_holder
from carruns.reading.source import Source, open_source
from carruns.reading.trash import find_in_trash, in_trash, removed
from carrunsd.store import lock
from tests.support import Daemon


def record(daemon: Daemon, agent: str, turns: int) -> str:
    with Client(daemon.car_dir, autostart=False) as client, client.run(agent, intent="x") as run:
        for number in range(turns):
            run.turn(tool=f"t{number}")
        run.succeed("fine")
        return run.id


def told(source: Source, run: Record) -> list[object]:
    records = list(source.trace(run.run_id, run.agent_id))
    return [source.runs(), source.agents(), source.runs("a", "completed"), records,
            source.last(run.run_id, run.agent_id, 2)]  # fmt: skip


def test_the_files_tell_what_the_daemon_tells(daemon: Daemon) -> None:
    record(daemon, "a", 3)
    record(daemon, "b", 300)
    said: list[str] = []
    live = open_source(daemon.car_dir, daemon.socket, said.append)
    run = live.runs()[0]
    before = told(live, run)
    assert (live.live, said) == (True, [])
    daemon.stop()
    files = open_source(daemon.car_dir, daemon.socket, said.append)
    assert told(files, run) == before
    assert not files.live
    assert "no daemon is running" in said[0]
    assert str(daemon.car_dir / "runs") in said[0]


def store_of(root: Path, *runs: tuple[str, str]) -> FileSource:
    for run_id, agent in runs:
        (root / agent).mkdir(exist_ok=True)
        start = {"record": "started", "run_id": run_id, "agent_id": agent, "intent": "x"}
        line = json.dumps({**start, "started_at": f"2026-11-22T00:00:{len(run_id):02d}Z"})
        (root / agent / f"{run_id}.jsonl").write_text(line + "\n")
    return FileSource(root)


def test_a_run_is_meant_by_its_id_or_its_beginning(tmp_path: Path) -> None:
    source = store_of(tmp_path, ("abc", "a"), ("abcd", "a"), ("xyz-long", "b"))
    assert find_run(source, "abc").run_id == "abc"
    assert find_run(source, "abcd").run_id == "abcd"
    assert find_run(source, "x").run_id == "xyz-long"
    assert find_run(source, "last").run_id == "xyz-long"
    with pytest.raises(NoSuchRun) as none:
        find_run(source, "q")
    assert (none.value.wanted, none.value.where) == ("q", "store")
    with pytest.raises(AmbiguousRun) as several:
        find_run(source, "ab")
    assert {run.run_id for run in several.value.found} == {"abc", "abcd"}


def test_agents_may_have_runs_of_one_id(tmp_path: Path) -> None:
    source = store_of(tmp_path, ("same", "a"), ("same", "b"))
    with pytest.raises(AmbiguousRun):
        find_run(source, "same")
    assert find_run(source, "same", "b").agent_id == "b"


def test_the_trash_and_what_was_removed(daemon: Daemon) -> None:
    gone, other = record(daemon, "a", 1), record(daemon, "a", 1)
    with Client(daemon.car_dir, autostart=False) as client:
        for run_id in (gone, other):
            client.call("runs.remove", {"run_id": run_id, "agent_id": "a"})
    assert [item.summary.run_id for item in in_trash(daemon.car_dir)] == [other, gone]
    assert find_in_trash(daemon.car_dir, gone, None).run_id == gone
    with pytest.raises(AmbiguousRun) as several:
        find_in_trash(daemon.car_dir, "0", "a")
    assert several.value.where == "trash"
    with pytest.raises(NoSuchRun):
        find_in_trash(daemon.car_dir, gone, "nobody")
    assert [row.run_id for row in removed(daemon.car_dir, "a", None, None)] == [other, gone]
    assert list(removed(daemon.car_dir, None, None, 1)) == []


def test_who_holds_the_lock(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    path = tmp_path / "carrunsd.lock"
    held = lock.take(str(path))
    assert lock_holder(tmp_path) == os.getpid()
    path.write_text("")
    assert lock_holder(tmp_path) == 0
    os.close(held)
    assert lock_holder(tmp_path) is None
