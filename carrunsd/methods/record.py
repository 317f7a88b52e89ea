"""The methods that record turns, and ``runs.flush``; ``start``, ``end`` and ``append`` have the rest.

Each takes the core, the connection, the run (found already, ``None`` if there is none), the request's params and
a ticket (``None`` for a notification).
"""

from __future__ import annotations

from typing import Any

import msgspec

from carruns.protocol import errors
from carruns.protocol.records import Turn
from carrunsd.core import Core
from carrunsd.methods.checks import Client, fetchable, known
from carrunsd.run import OUT_OF_ORDER, RUN_TERMINAL, TURN_LIMIT, Run
from carrunsd.store.history import OPEN
from carrunsd.wire import cut, requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket
from carrunsd.writing.journal import encode_lines

_encode = msgspec.json.encode


def record_turns(
    core: Core, peer: Client, run: Run | None, params: Any, ticket: Ticket | None, *, big: bool = False
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
        core.owners.attach(peer, run)
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
    if cut.lines_within(lines, longest):
        return lines, 0
    truncated = 0
    end = -1
    for place, turn in enumerate(turns):
        begin, end = end + 1, lines.index(b"\n", end + 1)
        if end - begin <= longest:
            continue
        fitted = cut.fit_turn(turn, core.settings.max_string_bytes, core.settings.max_turn_bytes)
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
    core: Core, peer: Client, run: Run | None, params: requests.RecordModelTurnParams, ticket: Ticket | None
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
    fetchable(turn)
    batch = requests.RecordTurnsParams(params.run_id, [turn], params.writer, params.seq, params.durable)
    record_turns(core, peer, run, batch, ticket, big=True)


def flush(core: Core, peer: Client, run: Run | None, params: requests.FlushParams, ticket: Ticket | None) -> None:
    """``runs.flush``: what of a writer is stored; with ``durable`` once it is on the device."""
    run = known(run, params.run_id)
    writer = params.writer
    acked = None if writer is None else run.writers.get(writer)
    result = _encode({"run_id": run.run_id, "acked_seq": acked, "turn_count": run.turn_count})
    core.appender.put(run, (), ticket, result, durable=params.durable)
