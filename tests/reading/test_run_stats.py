"""Counting runs: the end that counts says whether one succeeded, and how long it took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from carruns.reading.run_stats import RunStats, percentile

START = {"record": "started", "run_id": "r", "agent_id": "a", "intent": "x", "started_at": "2026-11-22T00:00:00Z"}


def ended(second: int, status: str | None = None) -> dict[str, Any]:
    outcome = {"kind": "outcome", "status": status, "outcome": {"status": status}}
    at = f"2026-11-22T00:00:{second:02d}Z"
    return {"record": "ended", "termination": outcome if status else {"kind": "incomplete"}, "ended_at": at}


def counted(root: Path, *records: dict[str, Any]) -> dict[str, Any]:
    directory = root / "a"
    directory.mkdir()
    (directory / "r.jsonl").write_text("".join(json.dumps(record) + "\n" for record in (START, *records)))
    stats = RunStats()
    stats.read(root, None, None, None)
    (row,) = stats.agent_rows()
    return row


def test_an_incomplete_behind_an_outcome_changes_nothing(tmp_path: Path) -> None:
    row = counted(tmp_path, ended(2, "success"), ended(9))
    assert (row["succeeded"], row["in_progress"], row["median_ms"]) == (1, 0, 2000)


def test_a_run_taken_up_again_is_in_progress(tmp_path: Path) -> None:
    row = counted(tmp_path, ended(2), {"record": "turn", "index": 0})
    assert (row["in_progress"], row["success_rate"], row["turns"]) == (1, None, 1)


def test_percentile() -> None:
    assert percentile([], 50) is None
    assert percentile([1.0], 95) == 1
    assert percentile([float(n) for n in range(1, 101)], 95) == 95


def test_a_models_turn_counts_with_its_tokens(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cache_read_input_tokens": 900}
    row = counted(tmp_path, {"record": "turn", "index": 0, "usage": {"input_tokens": 1}},
                  {"record": "model_turn", "index": 1, "token_usage": usage}, ended(2, "success"))  # fmt: skip
    assert (row["turns"], row["tokens"], row["cached_tokens"]) == (2, 106, 900)


def test_a_cancelled_run_has_ended(tmp_path: Path) -> None:
    cancelled = {**ended(3), "reason": "cancelled", "final": True}
    row = counted(tmp_path, cancelled, {"record": "turn", "index": 0})
    assert (row["in_progress"], row["success_rate"], row["median_ms"]) == (0, 0, 3000)
