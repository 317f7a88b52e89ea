"""The commands that record: start, turns, flush, complete, abandon, resume, append.  One function a method.

Each takes the core, the connection, the request's params and a ticket (``None`` for a notification).  Those on
a run get the run, found already, ``None`` if there is none.
"""

from __future__ import annotations

import os
import stat
from typing import Any

import msgspec

from carruns import errors, ids, times, wire
from carruns.records import OUTCOME_STATUSES, Turn, agent_slug
from carrunsd import limits, requests
from carrunsd.core import Core
from carrunsd.journal import Journal, encode_lines
from carrunsd.ledger import COMPLETED, INCOMPLETE, OPEN, OUT_OF_ORDER, RUN_TERMINAL, TURN_LIMIT, Run
from carrunsd.store import layout, reader, strict
from carrunsd.tickets import Ticket
from carrunsd.triage import RequestError

_encode = msgspec.json.encode
_START_FIELDS = requests.StartParams.__struct_fields__
_STARTED_ORDER = (
    "outcome_description", "agent_name", "parent_run_id", "session_id", "cwd", "detached", "metadata",
)  # fmt: skip
_RESERVED = frozenset((*_START_FIELDS, "record", "run_id", "agent_id", "started_at"))


# -- start -------------------------------------------------------------------------------------------------


def start(core: Core, peer: Any, params: dict[str, Any], ticket: Ticket | None) -> None:
    """``runs.start``: a new run, or the one that the idempotency key names."""
    try:
        asked = msgspec.convert({k: params[k] for k in _START_FIELDS if k in params}, requests.StartParams)
        agent_id = asked.agent_id or agent_slug(asked.agent_name or "")
    except msgspec.ValidationError as error:
        raise RequestError(errors.INVALID_PARAMS, f"runs.start: {error}") from None
    except ValueError as error:
        text = str(error) if asked.agent_id or asked.agent_name else "give agent_id or agent_name"
        raise RequestError(errors.INVALID_PARAMS, f"runs.start: {text}") from None
    try:
        started_at = times.in_utc(asked.started_at) if asked.started_at else core.appender.stamp
    except ValueError as error:
        raise RequestError(errors.INVALID_PARAMS, f"runs.start: started_at: {error}") from None
    if asked.idempotency_key == "":
        raise RequestError(errors.INVALID_PARAMS, "runs.start: idempotency_key must not be empty")
    run_id = asked.idempotency_key or ids.uuid7()
    run = core.runs.get(run_id)
    if run is None:
        run = _new_run(core, run_id, agent_id, started_at, params, asked)
        records = [_fetchable(_started(run, params, asked))]
        core.enter(run, Journal(run, _path(agent_id, run_id), fresh=True))
        run.mark()
        run.lines = 1
    elif run.agent_id != agent_id:
        raise RequestError(errors.CONFLICT, f"run {run_id!r} is of agent {run.agent_id!r}; choose another key")
    else:
        records = []
    core.attach(peer, run)
    core.appender.put(run, records, ticket, _encode({"run_id": run_id, "agent_id": agent_id}))


def _path(agent_id: str, run_id: str) -> tuple[str, str]:
    return layout.agent_dir_name(agent_id), layout.run_file_name(run_id)


def _new_run(
    core: Core,
    run_id: str,
    agent_id: str,
    started_at: str,
    params: dict[str, Any],
    asked: requests.StartParams,
) -> Run:
    path = _path(agent_id, run_id)
    other = core.by_path.get(path)
    taken = other.run_id if other else _file_of(core, path)
    if taken is not None:
        raise RequestError(
            errors.CONFLICT,
            f"run {run_id!r} of {agent_id!r} would share the file {path[1]!r} with {taken}; choose another id",
        )
    run = Run(run_id, agent_id, asked.intent, started_at)
    run.detached = asked.detached is True
    return run


def _file_of(core: Core, path: tuple[str, str]) -> str | None:
    """Return a word for what stands at ``path`` already; an empty file is nothing."""
    try:
        directory = core.tree.directory(path[0])
        status = os.stat(path[1], dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return "another run" if status.st_size or not stat.S_ISREG(status.st_mode) else None


def _started(run: Run, params: dict[str, Any], asked: requests.StartParams) -> dict[str, Any]:
    """Return the ``started`` record: fields not given are left out, fields nobody knows are kept."""
    record: dict[str, Any] = {
        "record": "started", "run_id": run.run_id, "agent_id": run.agent_id, "intent": run.intent,
    }  # fmt: skip
    if asked.outcome_description is not None:
        record["outcome_description"] = asked.outcome_description
    record["started_at"] = run.started_at
    for name in _STARTED_ORDER:
        value = getattr(asked, name)
        if value is not None and value is not False:
            record.setdefault(name, value)
    record.update((key, value) for key, value in params.items() if key not in _RESERVED)
    return record


def _fetchable(record: Any) -> Any:
    """Return ``record``, or raise if a strict reader could not read the answer that brings it."""
    if strict.too_deep_to_fetch(record):
        message = f"it nests too deep: in an answer of runs.get_trace it has over {wire.MAX_DEPTH} levels; flatten"
        raise RequestError(errors.UNREADABLE, message)
    return record


# -- turns -------------------------------------------------------------------------------------------------


def record_turns(
    core: Core, peer: Any, run: Run | None, params: Any, ticket: Ticket | None, *, big: bool = False
) -> None:
    """``runs.record_turns``: all of a batch or nothing.  ``big`` says that something may be over the limits."""
    turns: list[Any] = params.turns
    writer, seq = params.writer, params.seq
    if (writer is None) is not (seq is None):
        raise RequestError(errors.INVALID_PARAMS, "writer and seq go together: give both or neither")
    if run is None:
        return _dropped(core, params.run_id, ticket, "run_not_found")
    duplicates = run.order(writer, seq, len(turns))
    if duplicates < 0:
        return _dropped(core, run.run_id, ticket, OUT_OF_ORDER)
    if duplicates:
        turns = turns[duplicates:]
        seq += duplicates
    if turns and run.status is not OPEN:
        return _dropped(core, run.run_id, ticket, RUN_TERMINAL)
    count = len(turns)
    if run.turn_count + count > core.settings.max_turns_per_run:
        return _dropped(core, run.run_id, ticket, TURN_LIMIT)
    truncated = 0
    base = run.next_index
    records: Any = turns
    if count:
        run.mark()
        if big:
            fitted = _take_fitted(core, run, turns, writer, seq)
            if fitted is None:
                return _dropped(core, run.run_id, ticket, "turn_too_large")
            records, truncated = fitted
        else:
            records = run.take(turns, writer, seq, core.appender.stamp)
    if peer not in run.owners:
        core.attach(peer, run)
    result = b"" if ticket is None else _recorded(run, base, count, truncated, duplicates)
    core.appender.put(run, records, ticket, result, durable=params.durable)
    return None


def _recorded(run: Run, base: int, count: int, truncated: int, duplicates: int) -> bytes:
    result: dict[str, Any] = {"run_id": run.run_id, "base_index": base, "count": count, "ok": True}
    if truncated:
        result["truncated"] = truncated
    if duplicates:
        result["duplicates"] = duplicates
    return _encode(result)


def _take_fitted(
    core: Core, run: Run, turns: list[Any], writer: str | None, seq: int | None
) -> tuple[bytes, int] | None:
    """Take turns of a long line: cut what is over the limits; ``None`` if a turn cannot be made to fit.

    Encodes first, since that is to be done anyway: mostly no single turn is too long, only the batch is.
    """
    before = run.next_index, run.turn_count, run.lines
    acked = None if writer is None else run.writers.get(writer)
    turns = run.take(turns, writer, seq, core.appender.stamp)
    lines = encode_lines(turns)
    longest = min(core.settings.max_string_bytes, core.settings.max_turn_bytes)
    if limits.lines_within(lines, longest):
        return lines, 0
    truncated = 0
    end = -1
    for place, turn in enumerate(turns):
        begin, end = end + 1, lines.index(b"\n", end + 1)
        if end - begin <= longest:
            continue
        fitted = limits.fit_turn(turn, core.settings.max_string_bytes, core.settings.max_turn_bytes)
        if fitted is None:
            run.untake(before, writer, acked)
            return None
        turns[place] = fitted[0]
        truncated += fitted[1]
    if not truncated:
        return lines, 0
    return encode_lines(turns), truncated


def _dropped(core: Core, run_id: str, ticket: Ticket | None, why: str) -> None:
    core.stats.dropped += 1
    if ticket is not None:
        ticket.done(_encode({"run_id": run_id, "ok": False, "dropped": why}))


def record_model_turn(
    core: Core, peer: Any, run: Run | None, params: requests.RecordModelTurnParams, ticket: Ticket | None
) -> None:
    """``runs.record_model_turn``: one inference, stored as a turn."""
    output = {
        "assistant_text": params.assistant_text or "",
        "requested_tool_calls": params.requested_tool_calls or [],
    }
    turn = Turn(output=output)
    if params.model_id is not None:
        turn.model = params.model_id
    if params.token_usage is not None:
        turn.usage = params.token_usage
    if params.duration_ms is not None:
        turn.duration_ms = params.duration_ms
    if params.turn_index is not None:
        turn.metadata = {"turn_index": params.turn_index}
    _fetchable(turn)
    batch = requests.RecordTurnsParams(params.run_id, [turn], params.writer, params.seq, params.durable)
    record_turns(core, peer, run, batch, ticket, big=True)


def flush(core: Core, peer: Any, run: Run | None, params: requests.FlushParams, ticket: Ticket | None) -> None:
    """``runs.flush``: what of a writer is stored; with ``durable`` once it is on the device."""
    run = _known(run, params.run_id)
    writer = params.writer
    acked = None if writer is None else run.writers.get(writer)
    result = _encode({"run_id": run.run_id, "acked_seq": acked, "turn_count": run.turn_count})
    core.appender.put(run, (), ticket, result, durable=params.durable)


def _known(run: Run | None, run_id: str) -> Run:
    if run is None:
        message = f"there is no run {run_id[:80]!r}; runs.start makes one, runs.list shows what there is"
        raise RequestError(errors.RUN_NOT_FOUND, message)
    return run


# -- ends --------------------------------------------------------------------------------------------------


def complete(
    core: Core, peer: Any, run: Run | None, params: requests.CompleteParams, ticket: Ticket | None
) -> None:
    """``runs.complete``: the outcome, which is final.  The same once more is fine, another is an error."""
    run = _known(run, params.run_id)
    result = _encode({"run_id": run.run_id, "ok": True})
    outcome = _outcome(params.outcome, core.appender.stamp)
    _fetchable([[outcome]])  # where it stands in its record
    if run.status is COMPLETED:
        if not _same_outcome(params.outcome, run.outcome):
            message = f"run {run.run_id!r} has ended as {run.outcome_status}; an outcome is final"
            raise RequestError(errors.RUN_TERMINAL, message, status=str(run.status))
        core.appender.put(run, (), ticket, result, durable=core.settings.fsync != "no")
        return
    if run.status is INCOMPLETE:
        message = f"run {run.run_id!r} is incomplete; runs.resume reopens it"
        raise RequestError(errors.RUN_TERMINAL, message, status=str(run.status))
    run.mark()
    run.move("complete")
    run.outcome, run.outcome_status = outcome, outcome["status"]
    run.ended_at = core.appender.stamp
    run.lines += 1
    record = {
        "record": "ended", "run_id": run.run_id, "agent_id": run.agent_id,
        "termination": {"kind": "outcome", "status": outcome["status"], "outcome": outcome},
        "ended_at": run.ended_at,
    }  # fmt: skip
    core.ended(run, record, ticket, result)


def _outcome(given: dict[str, Any], now: str) -> dict[str, Any]:
    """Return the outcome as it is written: what came, and defaults for what a strict reader wants."""
    wrong = _outcome_fault(given)
    if wrong:
        raise RequestError(errors.INVALID_PARAMS, f"runs.complete: {wrong}")
    out = {"status": given["status"], "summary": "", "evidence": [], "metrics": {}, "timestamp": now}
    out.update((key, value) for key, value in given.items() if value is not None or key not in out)
    out["timestamp"] = times.in_utc(out["timestamp"])
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


def abandon(core: Core, peer: Any, run: Run | None, params: requests.AbandonParams, ticket: Ticket | None) -> None:
    """``runs.abandon``: the run ends as incomplete, which ``runs.resume`` can undo."""
    run = _known(run, params.run_id)
    if run.status is COMPLETED:
        message = f"run {run.run_id!r} has ended as {run.outcome_status}; an outcome is final"
        raise RequestError(errors.RUN_TERMINAL, message, status=str(run.status))
    result = _encode({"run_id": run.run_id, "ok": True})
    if run.status is OPEN:
        core.stop(run, params.reason or "abandoned", ticket, result)
    else:
        core.appender.put(run, (), ticket, result)


def resume(core: Core, peer: Any, run: Run | None, params: requests.ResumeParams, ticket: Ticket | None) -> None:
    """``runs.resume``: the run goes on under this connection; an incomplete one is reopened."""
    run = _known(run, params.run_id)
    acked = {} if params.writer is None else {"acked_seq": run.writers.get(params.writer)}
    if not run.can("resume"):
        message = f"run {run.run_id!r} has ended as {run.outcome_status}; an outcome is final: start another run"
        raise RequestError(errors.RUN_TERMINAL, message, status=str(run.status), turn_count=run.turn_count, **acked)
    run.move("resume")
    core.reopened(run)
    core.attach(peer, run)
    result = {
        "run_id": run.run_id, "agent_id": run.agent_id, "status": str(run.status),
        "turn_count": run.turn_count, **acked,
    }  # fmt: skip
    core.appender.put(run, (), ticket, _encode(result))


# -- append ------------------------------------------------------------------------------------------------


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
    nameless = core.find_nameless(_path(params.agent_id, params.run_id), params.agent_id, params.run_id)
    if nameless is not None:
        return nameless
    first = params.records[0]
    asked = requests.StartParams(intent=str(first.get("intent", "")))
    started_at = first.get("started_at", "") if first["record"] == "started" else ""
    run = _new_run(core, params.run_id, params.agent_id, started_at, {}, asked)
    run.detached = first.get("detached") is True
    core.enter(run, Journal(run, _path(params.agent_id, params.run_id), fresh=True))
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
        status = reader.outcome_status(record["termination"])
        if run.status is COMPLETED and status is None:
            return  # an outcome is final
        run.status = INCOMPLETE if status is None else COMPLETED
        run.outcome_status = status
        run.ended_at = record["ended_at"]
        termination = record["termination"]
        if isinstance(termination, dict) and isinstance(termination.get("outcome"), dict):
            run.outcome = termination["outcome"]
