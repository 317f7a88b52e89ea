"""``runs.append``: records kept as they are given, as the seed's ``append_records`` does."""

from __future__ import annotations

from typing import Any

import msgspec

from carruns.protocol import errors
from carrunsd.core import Core
from carrunsd.methods.checks import Client, storable
from carrunsd.methods.start import check_free, path_of
from carrunsd.run import Run
from carrunsd.store import reader, strict
from carrunsd.store.history import COMPLETED, OPEN
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket
from carrunsd.writing.journal import encode_lines

_encode = msgspec.json.encode


def append(core: Core, peer: Client, run: Run | None, params: requests.AppendParams, ticket: Ticket | None) -> None:
    """``runs.append``: the seed's ``append_records``; records are kept as given, their indexes too."""
    records = _checked(params)
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
    for record in records:
        history.take(reader.line_of(record))
    run.become(history)
    run.lines += len(records)
    core.owners.attach(peer, run)
    ended = any(record["record"] == "ended" for record in records)
    result = _encode({"count": len(params.records)})
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


def _checked(params: requests.AppendParams) -> list[dict[str, Any]]:
    """Return the records as they are put down, or raise naming the field that is wrong."""
    for number, record in enumerate(params.records):
        where = f"runs.append: records[{number}]"
        storable(record, where)
        for name in ("run_id", "agent_id") if record["record"] in ("started", "ended") else ():
            if record[name] != getattr(params, name):
                raise RequestError(errors.INVALID_PARAMS, f"{where}: {name} is not the {name} of the request")
    try:
        return strict.one_end(params.records)
    except strict.UnreadableError as error:
        raise RequestError(errors.INVALID_PARAMS, f"runs.append: {error}") from None
