"""``runs.append``: records kept as they are given, as the seed's ``append_records`` does."""

from __future__ import annotations

from typing import Any

import msgspec

from carruns.protocol import errors, times
from carrunsd.core import Core
from carrunsd.methods.checks import Client
from carrunsd.methods.start import check_free, path_of
from carrunsd.run import Run
from carrunsd.store import reader
from carrunsd.store.history import COMPLETED, OPEN
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket
from carrunsd.writing.journal import encode_lines

_encode = msgspec.json.encode


def append(core: Core, peer: Client, run: Run | None, params: requests.AppendParams, ticket: Ticket | None) -> None:
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
    lines = encode_lines(records)
    history = run.history()
    for text in lines.split(b"\n")[:-1]:
        line = reader.parse_line(text)
        if line is not None:
            history.take(line)
    run.become(history)
    run.lines += len(records)
    core.owners.attach(peer, run)
    ended = any(record["record"] == "ended" for record in records)
    result = _encode({"count": len(records)})
    core.appender.put(run, lines, ticket, result, durable=ended and core.endings.durable)
    if run.status is OPEN:
        core.table.reopened(run)
    elif ended:
        core.endings.over(run)


def _appended_run(core: Core, params: requests.AppendParams) -> Run:
    path = path_of(params.agent_id, params.run_id)
    nameless = core.table.find_nameless(path, params.agent_id, params.run_id)
    if nameless is not None:
        return nameless
    check_free(core, params.run_id, params.agent_id, path)
    run = Run(params.run_id, params.agent_id, "", "", path)
    core.table.enter(run, fresh=True)
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
