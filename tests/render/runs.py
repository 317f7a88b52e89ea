"""Records of a made-up run, for tests of what is drawn of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from carruns.protocol.records import Record
from carruns.render.tally import Tally
from carruns.render.units import SECOND
from carruns.render.whole_run import WholeRun

#: 2026-11-22T00:01:00Z: a minute after the run began.
NOW = (1_795_305_600 + 60) * SECOND
STARTED = Record(record="started", run_id="run-1", agent_id="a", intent="do it", started_at="2026-11-22T00:00:00Z")


def turn(index: int, **fields: Any) -> Record:
    return Record(record="turn", index=index, recorded_at=f"2026-11-22T00:00:{index + 1:02d}Z", **fields)


def ended(summary: str = "", *, status: str | None = "success", reason: str | None = None) -> Record:
    outcome: dict[str, Any] = {"status": status, "summary": summary, "evidence": [], "metrics": {}}
    termination = {"kind": "outcome", "status": status, "outcome": outcome} if status else {"kind": "incomplete"}
    extra = {"reason": reason} if reason else {}
    return Record(record="ended", termination=termination, ended_at="2026-11-22T00:00:30Z", **extra)


def whole(turns: Sequence[Record], end: Record | None, *others: Record, skipped: int = 0) -> WholeRun:
    status: dict[str, Any] = {"status": "in_progress"}
    if end is not None:
        said = end.termination.get("status")
        status = {"status": "completed" if said else "incomplete", "ended_at": end.ended_at}
        status |= {"outcome_status": said} if said else {}
    summary = Record({**STARTED, **status, "turn_count": len(turns), "bytes": 2048})
    ends = [] if end is None else [end]
    records, tally = [STARTED, *turns, *ends, *others], Tally()
    for record in records:
        tally.take(record)
    return WholeRun(summary, records, tally, skipped, end, NOW)
