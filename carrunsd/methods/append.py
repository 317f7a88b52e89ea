"""``runs.append``: records kept as they are given, as the seed's ``append_records`` does."""

from __future__ import annotations

from typing import Any

import msgspec

from carruns.protocol import errors, times
from carrunsd.core import Core
from carrunsd.methods.start import new_run, path_of
from carrunsd.run import COMPLETED, INCOMPLETE, OPEN, Run
from carrunsd.store import scan
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket
from carrunsd.writing.journal import Journal

_encode = msgspec.json.encode


def append(core: Core, peer: Any, run: Run | None, params: requests.AppendParams, ticket: Ticket | None) -> None:
    """``runs.append``: the seed's ``append_records``; records are kept as given, their indexes too."""
    records = params.records
    for number, record in enumerate(records):
        _check_record(record, f"records[{number}]", params)
    if not records:
        if ticket is not None:
            ticket.done(_encode({"count": 0}))
        return
    if run is None:
        run = _appended_run(core, params)
    elif run.agent_id != params.agent_id:
        raise RequestError(errors.CONFLICT, f"run {run.run_id!r} is of agent {run.agent_id!r}")
    if run.status is COMPLETED:
        raise RequestError(errors.RUN_TERMINAL, f"run {run.run_id!r} has ended; an outcome is final")
    run.mark()
    for record in records:
        _account(run, record)
    core.attach(peer, run)
    ended = any(record["record"] == "ended" for record in records)
    result = _encode({"count": len(records)})
    durable = ended and core.settings.fsync != "no"
    core.appender.put(run, records, ticket, result, durable=durable)
    if run.status is OPEN:
        core.reopened(run)
    elif ended:
        core.over(run)


def _appended_run(core: Core, params: requests.AppendParams) -> Run:
    nameless = core.find_nameless(path_of(params.agent_id, params.run_id), params.agent_id, params.run_id)
    if nameless is not None:
        return nameless
    first = params.records[0]
    asked = requests.StartParams(intent=str(first.get("intent", "")))
    started_at = first.get("started_at", "") if first["record"] == "started" else ""
    run = new_run(core, params.run_id, params.agent_id, started_at, {}, asked)
    run.detached = first.get("detached") is True
    core.enter(run, Journal(run, path_of(params.agent_id, params.run_id), fresh=True))
    return run


def _check_record(record: dict[str, Any], where: str, params: requests.AppendParams) -> None:
    kind = record.get("record")
    fault = None
    if not isinstance(kind, str):
        fault = "a record needs a string `record` that names its kind"
    elif kind in ("started", "ended"):
        for name in ("run_id", "agent_id"):
            if record.get(name) != getattr(params, name):
                fault = f"{name} is not the {name} of the request"
        if kind == "ended" and "termination" not in record:
            fault = "an `ended` record needs `termination`"
        fault = fault or _time_fault(record, "started_at" if kind == "started" else "ended_at")
        if kind == "started" and not isinstance(record.get("intent"), str):
            fault = fault or "a `started` record needs a string `intent`"
    elif kind == "turn" and (type(record.get("index")) is not int or not 0 <= record["index"] < 1 << 63):
        fault = "a turn needs an `index` from 0"
    if fault:
        raise RequestError(errors.INVALID_PARAMS, f"runs.append: {where}: {fault}")


def _time_fault(record: dict[str, Any], name: str) -> str | None:
    try:
        times.parse(record[name])
    except (KeyError, TypeError, ValueError):
        return f"`{name}` must be an RFC 3339 time"
    return None


def _account(run: Run, record: dict[str, Any]) -> None:
    """Let a record that was given whole change the run's state as reading it back would."""
    run.lines += 1
    kind = record["record"]
    if kind == "turn":
        run.turn_count += 1
        run.next_index = max(run.next_index, record["index"] + 1)
        writer, seq = record.get("writer"), record.get("seq")
        if isinstance(writer, str) and type(seq) is int:
            run.writers[writer] = max(seq, run.writers.get(writer, -1))
        if run.status is INCOMPLETE:
            run.status = OPEN
    elif kind == "started" and not run.started_at:
        run.intent, run.started_at = record["intent"], record["started_at"]
        run.detached = record.get("detached") is True
    elif kind == "ended":
        status = scan.outcome_status(record["termination"])
        if run.status is COMPLETED and status is None:
            return  # an outcome is final
        run.status = INCOMPLETE if status is None else COMPLETED
        run.outcome_status = status
        run.ended_at = record["ended_at"]
        termination = record["termination"]
        if isinstance(termination, dict) and isinstance(termination.get("outcome"), dict):
            run.outcome = termination["outcome"]
