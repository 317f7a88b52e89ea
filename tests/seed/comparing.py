"""What the seed's program and ours say, in one form: known fields, instants for times, floats about the same."""

from __future__ import annotations

import math
from typing import Any

from carrunsd.store import RunSummary, chrono

Json = dict[str, Any]

_STARTED = ("run_id", "agent_id", "intent", "outcome_description")
_OPTIONAL = ("prompt", "tool", "output", "cli_outcome", "policy_rejected")
_METRICS = ("turns", "tool_calls", "duration_ms", "retries", "actions_succeeded", "actions_failed")


def record(given: Json) -> Json:
    """Return a record as the seed would write it, its times as instants."""
    kind = given["record"]
    if kind == "started":
        out = {name: given[name] for name in _STARTED if given.get(name) is not None}
        return {"record": kind, **out, "started_at": instant(given["started_at"])}
    if kind == "turn":
        out = {name: given[name] for name in _OPTIONAL if given.get(name) is not None}
        out["parameters"], out["verifier_verdict"] = given.get("parameters"), given.get("verifier_verdict")
        return {"record": kind, "index": given["index"], **out}
    termination = given["termination"]
    if termination["kind"] == "outcome":
        termination = {**termination, "outcome": _outcome(termination["outcome"])}
        termination = {name: termination[name] for name in ("kind", "status", "outcome")}
    else:
        termination = {"kind": termination["kind"]}
    ids = {name: given[name] for name in ("run_id", "agent_id")}
    return {"record": kind, **ids, "termination": termination, "ended_at": instant(given["ended_at"])}


def _outcome(outcome: Json) -> Json:
    metrics = outcome.get("metrics", {})
    return {
        "status": outcome["status"],
        "summary": outcome["summary"],
        "evidence": outcome.get("evidence", []),
        "metrics": {name: metrics.get(name, 0) for name in _METRICS},
        "timestamp": instant(outcome["timestamp"]),
    }


def summary(given: Json | RunSummary) -> Json:
    """Return a summary of either as fields."""
    if isinstance(given, RunSummary):
        ended_at, status = given.ended_at, str(given.status)
        given = {
            name: getattr(given, name) for name in ("run_id", "agent_id", "intent", "started_at", "turn_count")
        }
        given |= {"status": status, "ended_at": ended_at}
    out = {name: given[name] for name in ("run_id", "agent_id", "intent", "status", "turn_count")}
    ended = given.get("ended_at")
    return {**out, "started_at": instant(given["started_at"]), "ended_at": ended and instant(ended)}


def instant(text: str) -> int:
    """Return a time as nanoseconds."""
    found = chrono.instant(text)
    assert found is not None, text
    return found


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; serde_json reads floats, and long whole numbers as such."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other))
        return numbers and math.isclose(one, other, rel_tol=1e-12)
    return type(one) is type(other) and bool(one == other)
