"""A counterpart for each of the seed's own tests, under its name (``reference/run_store_seed.txt``, the end)."""

from __future__ import annotations

from pathlib import Path

from carrunsd.store import RetentionConfig, RunStatus, RunStore
from tests.store.making import (
    DAY,
    HOUR,
    MINUTE,
    ago,
    append_raw,
    ended,
    finished,
    incomplete,
    prompts,
    started,
    turn,
)


def test_completed_run_readable_after_restart(base: Path) -> None:
    first = RunStore(base / "runs")
    first.write_started(started("run-1", "agent-a"))
    first.append_turns("agent-a", "run-1", [turn(0, "first")])
    first.append_records("agent-a", "run-1", [ended("run-1", "agent-a")])
    trace = RunStore(base / "runs").get_run_trace("run-1")
    assert trace is not None
    assert [record.record for record in trace] == ["started", "turn", "ended"]
    assert trace[1] == {
        "record": "turn",
        "index": 0,
        "prompt": "first",
        "tool": "drive_cli",
        "parameters": {"prompt": "first"},
        "output": {"exit_code": 0},
        "verifier_verdict": "not_run",
    }


def test_runs_isolated_per_agent_and_run(base: Path) -> None:
    store = RunStore(base / "runs")
    for run_id, agent_id, prompt in (
        ("run-1", "agent-a", "a-first"),
        ("run-2", "agent-a", "a-second"),
        ("run-3", "agent-b", "b-first"),
    ):
        store.write_started(started(run_id, agent_id))
        store.append_turns(agent_id, run_id, [turn(0, prompt)])
    assert prompts(store.get_run_trace("run-1")) == ["a-first"]
    assert prompts(store.get_run_trace("run-2")) == ["a-second"]
    assert prompts(store.get_run_trace("run-3")) == ["b-first"]
    assert store.agent_for_run("run-1") == "agent-a"
    assert store.agent_for_run("run-3") == "agent-b"
    assert len(store.list_runs("agent-a")) == 2
    assert len(store.list_runs("agent-b")) == 1


def test_perms_are_0600_files_0700_dirs(base: Path) -> None:
    root = base / "runs"
    RunStore(root).write_started(started("run-1", "agent-a"))
    assert (root / "agent-a" / "run-1.jsonl").stat().st_mode & 0o7777 == 0o600
    assert (root / "agent-a").stat().st_mode & 0o7777 == 0o700
    assert root.stat().st_mode & 0o7777 == 0o700
    assert (root / ".nobackup").stat().st_mode & 0o7777 == 0o600


def test_orphan_run_status_distinguishes_inprogress_from_incomplete(base: Path) -> None:
    store = RunStore(base / "runs")
    store.write_started(started("run-1", "agent-a", ago(6 * HOUR)))
    store.append_turns("agent-a", "run-1", [turn(0, "first")])
    assert store.list_runs("agent-a")[0].status is RunStatus.IN_PROGRESS
    store.append_records("agent-a", "run-1", [incomplete("run-1", "agent-a")])
    assert store.list_runs("agent-a")[0].status is RunStatus.INCOMPLETE


def test_gc_evicts_beyond_per_agent_cap_but_never_in_progress(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=3, max_age_days=30))
    for number in range(5):
        finished(store, f"c{number}", "agent-a", begin=ago(DAY - number * MINUTE))
    store.write_started(started("live", "agent-a"))
    assert store.gc() == 2
    assert [run.run_id for run in store.list_runs("agent-a")] == ["live", "c4", "c3", "c2"]


def test_gc_evicts_runs_older_than_age_cap(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=50, max_age_days=30))
    finished(store, "old", "agent-a", begin=ago(40 * DAY), end=ago(40 * DAY))
    finished(store, "fresh", "agent-a", begin=ago(0))
    assert store.gc() == 1
    assert [run.run_id for run in store.list_runs("agent-a")] == ["fresh"]


def test_gc_never_evicts_stale_in_progress_run(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=1, max_age_days=1))
    store.write_started(started("stale-live", "agent-a", ago(40 * DAY)))
    assert store.gc() == 0
    assert [run.run_id for run in store.list_runs("agent-a")] == ["stale-live"]


def test_corrupt_trailing_line_loads_prior_records(base: Path) -> None:
    store = RunStore(base / "runs")
    store.write_started(started("run-1", "agent-a"))
    store.append_turns("agent-a", "run-1", [turn(0, "first"), turn(1, "second")])
    append_raw(base / "runs/agent-a/run-1.jsonl", b'{"record":"turn","index":2,"prom\n')
    trace = store.get_run_trace("run-1")
    assert prompts(trace) == ["first", "second"]
    assert trace is not None
    assert trace[0].record == "started"


def test_list_runs_empty_for_unknown_agent(base: Path) -> None:
    store = RunStore(base / "runs")
    assert store.list_runs("nobody") == []
    assert store.get_run_trace("nope") is None
    assert store.agent_for_run("nope") is None
    assert not (base / "runs").exists(), "asking made a directory"


def test_from_journal_dir_roots_at_car_runs() -> None:
    assert RunStore.from_journal_dir("/home/u/.car/journals").root == Path("/home/u/.car/runs")


def test_retention_config_reads_overrides(base: Path) -> None:
    (base / "config.toml").write_text("[runs]\nmax_per_agent = 10\n")
    assert RetentionConfig.from_car_dir(base) == RetentionConfig(max_per_agent=10, max_age_days=30)


def test_retention_config_defaults_on_missing_file(base: Path) -> None:
    assert RetentionConfig.from_car_dir(base) == RetentionConfig(max_per_agent=50, max_age_days=30)


def test_gc_age_cap_uses_terminal_time_not_start(base: Path) -> None:
    store = RunStore(base / "runs", RetentionConfig(max_per_agent=50, max_age_days=30))
    finished(store, "long", "agent-a", begin=ago(40 * DAY), end=ago(DAY))
    assert store.gc() == 0
    assert [run.run_id for run in store.list_runs("agent-a")] == ["long"]


def test_adopt_orphans_marks_crashed_inprogress_runs_incomplete(base: Path) -> None:
    before = RunStore(base / "runs")
    before.write_started(started("orphan", "agent-a"))
    before.append_turns("agent-a", "orphan", [turn(0, "first")])
    assert before.list_runs("agent-a")[0].status is RunStatus.IN_PROGRESS
    after = RunStore(base / "runs")
    assert after.adopt_orphans() == 1
    summary = after.list_runs("agent-a")[0]
    assert summary.status is RunStatus.INCOMPLETE
    assert summary.ended_at is not None
    assert after.adopt_orphans() == 0


def test_adopt_orphans_leaves_completed_runs_alone(base: Path) -> None:
    store = RunStore(base / "runs")
    finished(store, "done", "agent-a", begin=ago(0))
    assert store.adopt_orphans() == 0
    assert store.list_runs("agent-a")[0].status is RunStatus.COMPLETED


def test_torn_tail_does_not_drop_following_valid_record(base: Path) -> None:
    store = RunStore(base / "runs")
    store.write_started(started("run-1", "agent-a"))
    store.append_turns("agent-a", "run-1", [turn(0, "first")])
    append_raw(base / "runs/agent-a/run-1.jsonl", b'{"record":"turn","index":1,"prom')
    store.append_turns("agent-a", "run-1", [turn(2, "third")])
    assert prompts(store.get_run_trace("run-1")) == ["first", "third"]
