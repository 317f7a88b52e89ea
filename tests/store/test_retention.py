"""Retention: what the configuration may say, which runs go, and which never do."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from carrunsd.store import RetentionConfig, RunStatus, RunStore, RunSummary, layout, scan
from carrunsd.store.retention import MAX_DAYS, expired
from tests.store.making import DAY, ago, append_raw, finished, incomplete, started

DEFAULT = RetentionConfig(max_per_agent=50, max_age_days=30)


@pytest.mark.parametrize(
    "text",
    [
        "[runs",
        "[runs]\nmax_per_agent = -1\n",
        '[runs]\nmax_per_agent = "10"\n',
        "[runs]\nmax_per_agent = 1.5\n",
        "[runs]\nmax_per_agent = true\n",
        "[runs]\nmax_age_days = -1\n",
        f"[runs]\nmax_age_days = {MAX_DAYS + 1}\n",
        "[runs]\nmax_per_agent = 99999999999999999999\n",
        "runs = 5\n",
        "[[runs]]\nmax_per_agent = 3\n",
        "[runs]\nmax_per_agent = 3\nmax_per_agent = 4\n",
        "[runs]\nmax_per_agent = 7\nmax_age_days = -3\n",
        "\0",
    ],
)
def test_a_bad_configuration_gives_the_defaults(base: Path, text: str) -> None:
    (base / "config.toml").write_text(text)
    assert RetentionConfig.from_car_dir(base) == DEFAULT


def test_a_configuration_that_cannot_be_read_gives_the_defaults(base: Path) -> None:
    (base / "config.toml").mkdir()
    assert RetentionConfig.from_car_dir(base) == DEFAULT
    (base / "config.toml").rmdir()
    (base / "config.toml").write_bytes(b"[runs]\nmax_per_agent = 3 # \xff\n")
    assert RetentionConfig.from_car_dir(base) == DEFAULT


@pytest.mark.parametrize(("count", "days"), [(0, 0), (1, 1), ((1 << 63) - 1, MAX_DAYS)])
def test_the_ends_of_the_ranges_hold(base: Path, count: int, days: int) -> None:
    (base / "config.toml").write_text(f"[runs]\nmax_per_agent = {count}\nmax_age_days = {days}\n[other]\nx = 1\n")
    config = RetentionConfig.from_car_dir(base)
    assert config == RetentionConfig(max_per_agent=count, max_age_days=days)
    store = RunStore(base / "runs", config)
    finished(store, "r", "a", begin=ago(5), end=ago(5))
    assert store.gc() == (1 if count == 0 or days == 0 else 0)


def test_from_journal_dir_reads_the_configuration_beside_it(base: Path) -> None:
    (base / "config.toml").write_text("[runs]\nmax_per_agent = 0\n")
    store = RunStore.from_journal_dir(base / "journals")
    finished(store, "r", "a", begin=ago(5))
    assert store.root == base / "runs"
    assert store.gc() == 1


def test_incomplete_runs_count_and_go_like_completed_ones(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=1, max_age_days=30))
    store.append_records("a", "old", [started("old", "a", ago(DAY)), incomplete("old", "a")])
    finished(store, "new", "a", begin=ago(5))
    assert store.gc() == 1
    assert [run.run_id for run in store.list_runs("a")] == ["new"]


def test_a_reopened_run_is_in_progress_for_the_daemon_and_incomplete_for_the_seed(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=0, max_age_days=0))
    record = {"record": "turn", "index": 0}
    store.append_records("a", "r", [started("r", "a", ago(90 * DAY)), incomplete("r", "a"), record])
    with layout.opened(store.root, ("a", "r.jsonl")) as fd:
        ours = scan.glance(fd)
    assert ours is not None
    assert ours.status is RunStatus.IN_PROGRESS
    assert expired([ours], RetentionConfig(0, 0), time.time_ns()) == []
    assert store.list_runs("a")[0].status is RunStatus.INCOMPLETE
    assert store.gc() == 1


def test_each_agent_has_its_own_count(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=1, max_age_days=30))
    for agent in ("a", "b"):
        finished(store, f"{agent}1", agent, begin=ago(20))
        finished(store, f"{agent}2", agent, begin=ago(10))
    assert store.gc() == 2
    assert [run.run_id for agent in "ab" for run in store.list_runs(agent)] == ["a2", "b2"]


def test_agents_that_share_a_directory_do_not_share_a_count(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=1, max_age_days=30))
    finished(store, "r1", "x/y", begin=ago(20))
    finished(store, "r2", "x_y", begin=ago(10))
    assert store.gc() == 0


def test_a_copy_of_a_run_never_makes_the_wrong_file_go(base: Path) -> None:
    """Two files with the same run in them: the completed one goes, the one in progress stays."""
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=0, max_age_days=30))
    store.write_started(started("r", "a"))
    for name in ("0-copy.jsonl", "zz-copy.jsonl"):
        shutil.copy(base / "runs/a/r.jsonl", base / "runs/a" / name)
    finished(store, "done", "a", begin=ago(5))
    done = (base / "runs/a/done.jsonl").read_bytes().replace(b'"done","agent', b'"r","agent')
    (base / "runs/a/done.jsonl").write_bytes(done)
    assert store.gc() == 1
    left = sorted(path.name for path in (base / "runs/a").iterdir())
    assert left == ["0-copy.jsonl", "r.jsonl", "zz-copy.jsonl"]


def test_adopting_ends_each_file_that_is_in_progress(base: Path) -> None:
    store = RunStore(base / "runs")
    store.write_started(started("r", "a"))
    shutil.copy(base / "runs/a/r.jsonl", base / "runs/a/copy.jsonl")
    assert store.adopt_orphans() == 2
    assert store.adopt_orphans() == 0
    assert [run.status for run in store.list_runs("a")] == [RunStatus.INCOMPLETE] * 2


def test_a_run_whose_time_nobody_can_read_is_none_and_breaks_nothing(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=1, max_age_days=30))
    finished(store, "good", "a", begin=ago(5))
    finished(store, "odd", "a", begin=ago(5))
    text = (base / "runs/a/odd.jsonl").read_bytes()
    begin = text.index(b'"started_at":"') + len(b'"started_at":"')
    (base / "runs/a/odd.jsonl").write_bytes(text[:begin] + b"yesterday" + text[text.index(b'"', begin) :])
    assert store.gc() == 0
    assert [run.run_id for run in store.list_runs("a")] == ["good"]


def test_files_without_a_start_are_left_alone(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=0, max_age_days=0))
    store.append_records("a", "r", [{"record": "turn", "index": 0}])
    append_raw(base / "runs/a/empty.jsonl", b"")
    assert store.gc() == 0
    assert len(list((base / "runs/a").iterdir())) == 2


def summary(run_id: str, start: str, end: str | None, status: RunStatus = RunStatus.COMPLETED) -> RunSummary:
    return RunSummary(
        run_id=run_id,
        agent_id="a",
        intent="i",
        started_at=start,
        ended_at=end,
        status=status,
        turn_count=0,
        bytes=1,
    )


def test_age_counts_to_the_nanosecond() -> None:
    now = 31 * 86_400 * 10**9
    runs = [summary("on", "1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z")]
    runs.append(summary("over", "1970-01-01T00:00:00Z", "1970-01-01T23:59:59.999999999Z"))
    assert [(run.run_id, why) for run, why in expired(runs, DEFAULT, now)] == [("over", "age")]


def test_offsets_are_understood_when_sorting() -> None:
    runs = [
        summary("older", "2026-01-01T10:00:00+02:00", "2026-01-01T11:00:00+02:00"),
        summary("newer", "2026-01-01T09:00:00Z", "2026-01-01T10:00:00Z"),
    ]
    gone = expired(runs, RetentionConfig(max_per_agent=1, max_age_days=30), 1_767_300_000 * 10**9)
    assert [run.run_id for run, _ in gone] == ["older"]
