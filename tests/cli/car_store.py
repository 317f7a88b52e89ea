"""A car directory as CAR leaves it: model turns, cancellations, ends of its own, and files beside the runs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec

Json = dict[str, Any]
AGENT = "car:fixer"
#: An hour ago: nothing of it is old enough for retention.
BEGAN = datetime.now(timezone.utc) - timedelta(hours=1)
USAGE = {
    "prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020, "context_window": 8192,
    "cache_read_input_tokens": 700, "cache_creation_input_tokens": 30,
}  # fmt: skip


def at(second: int) -> str:
    """Return a time as CAR writes it: with nanoseconds."""
    return (BEGAN + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.%f123Z")


def started(run: str, second: int) -> Json:
    return {"record": "started", "run_id": run, "agent_id": AGENT, "intent": f"fix {run}", "started_at": at(second)}


def model_turn(index: int, text: str, second: int) -> Json:
    calls = [{"id": f"a{index}", "name": "edit", "arguments": {"file": f"src/{index}.rs"}}]
    return {
        "record": "model_turn", "index": index, "recorded_at": at(second), "turn_index": index + 1,
        "assistant_text": text, "requested_tool_calls": calls, "model_id": "qwen/q3", "duration_ms": 40,
        "token_usage": USAGE,
    }  # fmt: skip


def turn(index: int) -> Json:
    return {
        "record": "turn", "index": index, "prompt": None, "tool": "edit", "parameters": {"file": "src/0.rs"},
        "output": {"edited": True}, "cli_outcome": None, "verifier_verdict": "not_run", "policy_rejected": None,
    }  # fmt: skip


def ended(run: str, termination: Json, second: int) -> Json:
    return {
        "record": "ended", "run_id": run, "agent_id": AGENT, "termination": termination, "ended_at": at(second)
    }  # fmt: skip


def cancellation(run: str) -> list[Json]:
    asked = {"idempotency_key": "key-1", "reason_sha256": "0" * 64, "principal": "host:me"}
    return [
        {"record": "cancellation_requested", "run_id": run, **asked, "requested_at": at(20)},
        {"record": "cancellation_result", "run_id": run, "status": "cancelled_confirmed", "recorded_at": at(21)},
    ]


_OUTCOME = {"status": "success", "summary": "fixed", "evidence": [], "metrics": {"turns": 3}, "timestamp": at(9)}

#: Each run by its id, the one that began last at the end.
RUNS: dict[str, list[Json]] = {
    "run-success": [
        started("run-success", 0), model_turn(0, "I read the panic first", 1), turn(1),
        model_turn(2, "and mend the borrow", 3),
        ended("run-success", {"kind": "outcome", "status": "success", "outcome": _OUTCOME}, 9),
    ],
    "run-cancelled": [
        started("run-cancelled", 10), model_turn(0, "this takes long", 11), *cancellation("run-cancelled"),
        ended("run-cancelled", {"kind": "cancelled", "reason": "not needed"}, 22),
    ],
    "run-failed": [
        started("run-failed", 30), model_turn(0, "out of memory", 31),
        ended("run-failed", {"kind": "failed", "reason": "the model is gone"}, 32),
    ],
    "run-incomplete": [
        started("run-incomplete", 40), model_turn(0, "and then", 41),
        ended("run-incomplete", {"kind": "incomplete"}, 42),
    ],
}  # fmt: skip
#: Files that are no runs, and what is in them: they stay as they are.
BESIDE = {
    "runs/index.json": b'{"runs":4}',
    "runs/car_fixer.summary": b"CARS\x00\x01",
    f"runs/{AGENT}/run-success.summary.json": b'{"turn_count":3}',
    f"runs/{AGENT}/.index.db": b"SQLite format 3\x00",
    "external-agents.jsonl": b'{"ts":"2026-11-01T00:00:00Z","adapter_id":"claude-code","task":"t","result":{}}\n',
}


def leave(car_dir: Path) -> None:
    """Write it all."""
    home = car_dir / "runs" / AGENT
    home.mkdir(parents=True)
    for directory in (car_dir, home.parent, home):
        directory.chmod(0o700)
    for run, records in RUNS.items():
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        _write(home / f"{run}.jsonl", lines)
    for name, data in BESIDE.items():
        _write(car_dir / name, data)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)
