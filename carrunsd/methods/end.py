"""How runs end, and go on: ``runs.complete``, ``runs.abandon``, ``runs.resume``."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from carruns.protocol import errors, times
from carruns.protocol.records import OUTCOME_STATUSES
from carrunsd.core import Core
from carrunsd.methods.checks import Client, fetchable, known
from carrunsd.run import Run
from carrunsd.store import layout, scan, typed
from carrunsd.store.history import COMPLETED, INCOMPLETE, OPEN
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket

_encode = msgspec.json.encode


def complete(
    core: Core, peer: Client, run: Run | None, params: requests.CompleteParams, ticket: Ticket | None
) -> None:
    """``runs.complete``: the outcome, which is final.  The same once more is fine, another is an error."""
    run = known(run, params.run_id)
    result = _encode({"run_id": run.run_id, "ok": True})
    outcome = _outcome(params.outcome, core.appender.stamp)
    fetchable([[outcome]])  # where it stands in its record
    if run.status is COMPLETED:
        if not _same_outcome(params.outcome, run.outcome):
            message = f"run {run.run_id!r} has ended as {run.outcome_status}; an outcome is final"
            raise RequestError(errors.RUN_TERMINAL, message, status=str(run.status))
        core.appender.put(run, (), ticket, result, durable=core.endings.durable)
        return
    if run.status is INCOMPLETE:
        message = f"run {run.run_id!r} is incomplete; runs.resume reopens it"
        raise RequestError(errors.RUN_TERMINAL, message, status=str(run.status))
    ended_at = _ended_at(core, run, params.ended_at)
    run.mark()
    run.end(ended_at, outcome)
    record = {
        "record": "ended", "run_id": run.run_id, "agent_id": run.agent_id,
        "termination": {"kind": "outcome", "status": outcome["status"], "outcome": outcome},
        "ended_at": run.ended_at,
    }  # fmt: skip
    core.endings.ended(run, record, ticket, result)


def _ended_at(core: Core, run: Run, given: str | None) -> str:
    """Return when a run ended: as is said, if that lies between its last record and now, else now."""
    now = core.appender.stamp
    if given is None:
        return now
    try:
        at = times.parse(given)
    except ValueError as error:
        raise RequestError(errors.INVALID_PARAMS, f"ended_at: {error}") from None
    core.appender.flush()
    with contextlib.suppress(OSError), layout.opened(core.tree.root, run.path) as fd:
        if scan.last_moment(fd) <= at <= times.parse(now):
            return times.in_utc(given)
    return now


def _outcome(given: dict[str, Any], now: str) -> dict[str, Any]:
    """Return the outcome as it is written: what came, and defaults for what a strict reader wants."""
    wrong = _outcome_fault(given)
    if wrong:
        raise RequestError(errors.INVALID_PARAMS, f"runs.complete: {wrong}")
    out = {"status": given["status"], "summary": "", "evidence": [], "metrics": {}, "timestamp": now}
    out.update((key, value) for key, value in given.items() if value is not None or key not in out)
    out["timestamp"] = times.in_utc(out["timestamp"])
    wrong = typed.outcome_fault(out)
    if wrong:
        raise RequestError(errors.INVALID_PARAMS, f"runs.complete: {wrong}")
    return out


def _outcome_fault(given: dict[str, Any]) -> str | None:
    if given.get("status") not in OUTCOME_STATUSES:
        return f"outcome.status must be one of {', '.join(OUTCOME_STATUSES)}"
    for name, kind in (("summary", str), ("evidence", list), ("metrics", dict), ("timestamp", str)):
        if given.get(name) is not None and not isinstance(given[name], kind):
            return f"outcome.{name} has the wrong type"
    if given.get("timestamp") is not None:
        try:
            times.in_utc(given["timestamp"])
        except ValueError as error:
            return f"outcome.timestamp: {error}"
    return None


def _same_outcome(given: dict[str, Any], stored: dict[str, Any] | None) -> bool:
    if stored is None:
        return False
    again = _outcome(given, stored.get("timestamp", ""))
    return again == stored


def abandon(
    core: Core, peer: Client, run: Run | None, params: requests.AbandonParams, ticket: Ticket | None
) -> None:
    """``runs.abandon``: the run ends as incomplete, which ``runs.resume`` can undo."""
    run = known(run, params.run_id)
    if run.status is COMPLETED:
        message = f"run {run.run_id!r} has ended as {run.outcome_status}; an outcome is final"
        raise RequestError(errors.RUN_TERMINAL, message, status=str(run.status))
    result = _encode({"run_id": run.run_id, "ok": True})
    if run.status is OPEN:
        ended_at = None if params.ended_at is None else _ended_at(core, run, params.ended_at)
        core.endings.stop(run, params.reason or "abandoned", ticket, result, ended_at)
    else:
        core.appender.put(run, (), ticket, result, durable=core.endings.durable)


def resume(core: Core, peer: Client, run: Run | None, params: requests.ResumeParams, ticket: Ticket | None) -> None:
    """``runs.resume``: the run goes on under this connection; an incomplete one is reopened."""
    run = known(run, params.run_id)
    acked = {} if params.writer is None else {"acked_seq": run.writers.get(params.writer)}
    if not run.can("resume"):
        message = f"run {run.run_id!r} has ended as {run.outcome_status}; an outcome is final: start another run"
        raise RequestError(errors.RUN_TERMINAL, message, status=str(run.status), turn_count=run.turn_count, **acked)
    before = run.owned_by
    run.move("resume")
    core.table.reopened(run)
    core.owners.attach(peer, run)
    result = {
        "run_id": run.run_id, "agent_id": run.agent_id, "status": str(run.status),
        "turn_count": run.turn_count, **acked, "client_id": peer.name, "resumed_from_client_id": before,
    }  # fmt: skip
    core.appender.put(run, (), ticket, _encode(result))
