"""``runs.subscribe`` and ``runs.watch``: what there is, then what comes."""

from __future__ import annotations

import os

import msgspec

from carruns.protocol import errors
from carruns.protocol.records import RunStatus
from carrunsd.core import Core
from carrunsd.methods.checks import Client, known, one_at_a_time, page_of
from carrunsd.methods.trace import inline_or_thread, open_entry
from carrunsd.run import Run
from carrunsd.store import pages
from carrunsd.store.history import COMPLETED
from carrunsd.store.retention import started_ns
from carrunsd.upkeep import orphans
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket, answer

_encode = msgspec.json.encode
MAX_WATCHED = 1024  # agents that one connection watches by name
MAX_SNAPSHOT_BYTES = 64 << 20  # of a run file that runs.subscribe answers with in one piece


@one_at_a_time
async def subscribe(
    core: Core, peer: Client, run: Run | None, params: requests.SubscribeParams, ticket: Ticket | None
) -> None:
    """``runs.subscribe``: the turns so far, then ``runs.trace.event``.

    The run is subscribed to before its file is read, and the file is read up to where it was then; the events
    that come meanwhile go out behind this answer.  So no turn is missing and none comes twice.
    """
    run = known(run, params.run_id)
    begin, limit = page_of(peer, "runs.subscribe", params.cursor, params.limit)
    core.appender.flush()
    line, count, status = run.lines, run.turn_count, run.status
    entry = core.catalog.note(run.path)
    fd = open_entry(core, entry)
    if fd is not None and os.fstat(fd).st_size > MAX_SNAPSHOT_BYTES:
        os.close(fd)
        message = f"run {run.run_id!r} is too large for one answer: read it with runs.get_trace and use runs.watch"
        raise RequestError(errors.TOO_LARGE, message, max_bytes=MAX_SNAPSHOT_BYTES)
    if fd is None:
        raise RequestError(errors.RUN_NOT_FOUND, f"the file of run {run.run_id!r} is gone")
    if status is not COMPLETED:
        core.feed.subscribe(peer.events, run)
    try:
        size = os.fstat(fd).st_size
        turns = await inline_or_thread(size, pages.turns, fd, line)
    finally:
        os.close(fd)
    if ticket is not None:
        ticket.done(
            _snapshot(run, turns, begin, limit),
            b',"cursor":%d,"line":%d,"status":"%b"}' % (count, line, status.value.encode()),
        )


def _snapshot(run: Run, turns: list[bytes], begin: int, limit: int | None) -> bytes:
    shown = turns[begin:] if limit is None else turns[begin : begin + limit]
    end = begin + len(shown)
    more = b',"next_cursor":%d' % end if end < len(turns) else b""
    head = (_encode(run.run_id), _encode(run.agent_id), b",".join(shown), more)
    return b'{"run_id":%b,"agent_id":%b,"turns_so_far":[%b]%b' % head


def unsubscribe(
    core: Core, peer: Client, run: Run | None, params: requests.RunParams, ticket: Ticket | None
) -> None:
    """``runs.unsubscribe``."""
    removed = run is not None and core.feed.unsubscribe(peer.events, run)
    answer(ticket, {"run_id": params.run_id, "removed": removed})


@one_at_a_time
async def watch(core: Core, peer: Client, params: requests.WatchParams | None, ticket: Ticket | None) -> None:
    """``runs.watch``: the open runs, then ``runs.event`` for every record of every run (of an agent)."""
    agent_id = params.agent_id if params else None
    core.appender.flush()
    if core.feed.watched(peer.events) >= MAX_WATCHED:
        raise RequestError(
            errors.BUSY, f"a connection watches {MAX_WATCHED} agents at most; watch all with none named"
        )
    core.feed.watch(peer.events, agent_id)
    found = [summary for run in core.table.open_runs() if (summary := core.table.summary(run)) is not None]
    found += [summary for _, summary in await core.summaries.of(orphans.untouched(core))]
    open_runs = {run.run_id: run for run in found if run.status is RunStatus.IN_PROGRESS}
    runs = [run for run in open_runs.values() if agent_id in (None, run.agent_id)]
    agent = {} if agent_id is None else {"agent_id": agent_id}
    answer(ticket, {**agent, "runs": sorted(runs, key=started_ns, reverse=True)})


def unwatch(core: Core, peer: Client, params: requests.WatchParams | None, ticket: Ticket | None) -> None:
    """``runs.unwatch``."""
    agent_id = params.agent_id if params else None
    agent = {} if agent_id is None else {"agent_id": agent_id}
    answer(ticket, {**agent, "removed": core.feed.unwatch(peer.events, agent_id)})
