"""A whole run as ``runs.append`` takes it."""

from __future__ import annotations

from typing import Any


def whole_run(agent: str, run: str) -> list[dict[str, Any]]:
    outcome = {"status": "done", "summary": "", "evidence": [], "metrics": {}, "timestamp": "2026-01-01T00:00:09Z"}
    return [
        {"record": "started", "run_id": run, "agent_id": agent, "intent": "i",
         "started_at": "2026-01-01T00:00:00.5Z"},
        {"record": "turn", "index": 3, "parameters": None, "verifier_verdict": "not_run", "x_unknown": 1},
        {"record": "checkpoint", "whatever": {"k": None}},
        {"record": "turn", "index": 7, "writer": "w", "seq": 4},
        {"record": "ended", "run_id": run, "agent_id": agent, "ended_at": "2026-01-01T00:00:09.25Z",
         "termination": {"kind": "outcome", "status": "done", "outcome": outcome}},
    ]  # fmt: skip
