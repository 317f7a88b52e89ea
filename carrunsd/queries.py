"""The commands that ask: handshake, stats, list, agents, traces, subscriptions; and gc and adoption.

As in ``recording``; those that may have to read much return something to await.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
import msgspec

import carrunsd
from carruns import errors, times
from carruns.records import RunStatus, RunSummary
from carruns.wire import MAX_TURNS_PER_BATCH, PROTOCOL_VERSION
from carrunsd import keeping, orphans, requests, traces
from carrunsd.catalog import Entry
from carrunsd.core import SMALL_FILE_BYTES, Core
from carrunsd.ledger import COMPLETED, OPEN, Run
from carrunsd.refusals import RequestError, known
from carrunsd.store import layout
from carrunsd.store.retention import started_ns
from carrunsd.tickets import Ticket

_encode = msgspec.json.encode

MAX_WATCHED = 1024  # agents that one connection watches by name
MAX_SNAPSHOT_BYTES = 64 << 20  # of a run file that runs.subscribe answers with in one piece

CAPABILITIES = (
    *requests.METHODS,
    "batch", "detached", "durable", "exactly_once", "idempotent_start", "spool", "truncation",
)  # fmt: skip


def _answer(ticket: Ticket | None, result: Any) -> None:
    if ticket is not None:
        ticket.done(_encode(result))


_Command = Callable[..., Awaitable[None]]


def _one_at_a_time(command: _Command) -> _Command:
    """Let a command that may take long wait for its turn; whoever has gone by then is passed over."""

    @functools.wraps(command)
    async def queued(core: Core, peer: Any, *given: Any) -> None:
        async with core.turnstile:
            if not peer.vanished:
                await command(core, peer, *given)
            elif (ticket := given[-1]) is not None:
                ticket.done(b"null")

    return queued


# -- the server itself -------------------------------------------------------------------------------------


def handshake(core: Core, peer: Any, params: requests.HandshakeParams | None, ticket: Ticket | None) -> None:
    """``server.handshake``: who is here, what it can do, what its limits are."""
    wanted = (params.required_capabilities if params else None) or []
    settings = core.settings
    _answer(
        ticket,
        {
            "protocol_version": PROTOCOL_VERSION,
            "server": "carrunsd",
            "version": carrunsd.__version__,
            "pid": os.getpid(),
            "capabilities": CAPABILITIES,
            "missing_capabilities": [name for name in wanted if name not in CAPABILITIES],
            "car_dir": core.car_dir,
            "limits": {
                "max_line_bytes": settings.max_line_bytes,
                "max_turn_bytes": settings.max_turn_bytes,
                "max_string_bytes": settings.max_string_bytes,
                "max_turns_per_run": settings.max_turns_per_run,
                "max_turns_per_batch": MAX_TURNS_PER_BATCH,
                "max_connections": settings.max_connections,
            },
        },
    )


def ping(core: Core, peer: Any, params: Any, ticket: Ticket | None) -> None:
    """``server.ping``."""
    if ticket is not None:
        ticket.done(b"{}")


def stats(core: Core, peer: Any, params: Any, ticket: Ticket | None) -> None:
    """``server.stats``: counters since the start, gauges as of now."""
    core.appender.flush()
    report = core.stats.report()
    report["open_runs"] = len(core.open_runs()) + len(orphans.untouched(core))
    report["runs_in_memory"] = len(core.runs)
    report["queue"] = core.appender.queue
    report["unsynced_bytes"] = core.syncer.kept_bytes
    _answer(ticket, {**report, "pid": os.getpid(), "fsync": core.settings.fsync})


# -- lists -------------------------------------------------------------------------------------------------


@_one_at_a_time
async def list_runs(core: Core, peer: Any, params: requests.ListParams | None, ticket: Ticket | None) -> None:
    """``runs.list``: summaries, newest first."""
    asked = params or requests.ListParams()
    keep = _filter(asked)
    core.appender.flush()
    agent_dir = None if asked.agent_id is None else layout.sanitize(asked.agent_id)
    core.catalog.refresh(agent_dir)
    found = await core.summaries(core.catalog.entries(agent_dir))
    runs = sorted((run for _, run in found if keep(run)), key=started_ns, reverse=True)
    agent = {} if asked.agent_id is None else {"agent_id": asked.agent_id}
    _answer(ticket, {**agent, "runs": runs[: asked.limit]})


def _filter(asked: requests.ListParams) -> Callable[[RunSummary], bool]:
    if asked.status is not None and asked.status not in {status.value for status in RunStatus}:
        names = ", ".join(status.value for status in RunStatus)
        raise RequestError(errors.INVALID_PARAMS, f"runs.list: status must be one of {names}")
    try:
        since = times.parse(asked.since) if asked.since is not None else None
        until = times.parse(asked.until) if asked.until is not None else None
    except ValueError as error:
        raise RequestError(errors.INVALID_PARAMS, f"runs.list: since/until: {error}") from None

    def keep(run: RunSummary) -> bool:
        if asked.agent_id is not None and run.agent_id != asked.agent_id:
            return False
        if asked.status is not None and run.status.value != asked.status:
            return False
        if since is None and until is None:
            return True
        at = started_ns(run)
        return (since is None or at >= since) and (until is None or at <= until)

    return keep


@_one_at_a_time
async def agents(core: Core, peer: Any, params: Any, ticket: Ticket | None) -> None:
    """``runs.agents``: every agent with its runs, those in progress, bytes, and when it was last active."""
    core.appender.flush()
    core.catalog.refresh()
    by_agent: dict[str, dict[str, Any]] = {}
    for entry, run in await core.summaries(core.catalog.entries()):
        row = by_agent.setdefault(
            run.agent_id,
            {"agent_id": run.agent_id, "runs": 0, "in_progress": 0, "bytes": 0, "last_activity": ""},
        )
        row["runs"] += 1
        row["in_progress"] += run.status is RunStatus.IN_PROGRESS
        row["bytes"] += run.bytes
        row["last_activity"] = max(row["last_activity"], _last_activity(core, entry, run))
    _answer(ticket, {"agents": sorted(by_agent.values(), key=lambda row: row["last_activity"], reverse=True)})


def _last_activity(core: Core, entry: Entry, run: RunSummary) -> str:
    live = core.by_path.get(entry.path)
    if live is not None and live.status is OPEN:
        return times.render(int(core.last_write(live) * 1_000_000_000))
    try:
        return times.render(times.parse(run.ended_at or run.started_at))
    except ValueError:
        return times.render(entry.mtime_ns)


# -- traces ------------------------------------------------------------------------------------------------


@_one_at_a_time
async def get_trace(core: Core, peer: Any, params: requests.GetTraceParams, ticket: Ticket | None) -> None:
    """``runs.get_trace``: records as they stand in the file, in pages."""
    core.appender.flush()
    entry, agent_id = await _trace_entry(core, params.run_id, params.agent_id)
    fd = _open(core, entry) if entry is not None else None
    if entry is None or fd is None:
        return _answer(ticket, {"run_id": params.run_id, "not_found": True})
    try:
        cursor, offset = await _position(core, fd, entry, params.cursor or 0)
        status = os.fstat(fd)
        page, end = await _page(core, fd, entry, (cursor, offset), params.limit, status)
        core.offsets.seen(entry.path, status, offset, page, end)
    finally:
        os.close(fd)
    core.offsets.note(entry.path, status, page.cursor, end)
    core.tidy_later()
    if ticket is not None:
        more = b',"next_cursor":%d' % page.cursor if page.more else b""
        head = (_encode(params.run_id), _encode(agent_id))
        ticket.done(
            b'{"run_id":%b,"agent_id":%b,"records":[' % head,
            page.records,
            b'],"cursor":%d%b,"skipped":%d}' % (page.cursor, more, page.skipped),
        )
    if page.more and params.cursor and params.limit is None:  # someone reads on and on
        core.loop.call_soon(_read_ahead, core, entry, (page.cursor, end))  # behind the sending of this page
    return None


async def _page(
    core: Core, fd: int, entry: Entry, place: tuple[int, int], limit: int | None, status: os.stat_result
) -> tuple[traces.Page, int]:
    """Return the page at ``place`` (cursor and offset) and the offset of its end."""
    kept = core.ahead.take(_key(entry, place, status)) if limit is None else None
    if kept is not None:
        return kept
    clean_to = core.offsets.clean_to(entry.path, status)
    unsure = status.st_size - max(clean_to, place[1])  # bytes that have to be looked at closely
    found: tuple[traces.Page, int] = await _inline_or_thread(unsure, traces.read_page, fd, *place, limit, clean_to)
    return found


def _read_ahead(core: Core, entry: Entry, place: tuple[int, int]) -> None:
    """Make the next page while its reader is busy with this one, where that is quick."""
    try:
        fd = core.tree.read(entry.path)
    except OSError:
        return
    try:
        status = os.fstat(fd)
        clean_to = core.offsets.clean_to(entry.path, status)
        if min(place[1] + traces.MAX_PAGE_BYTES, status.st_size) <= clean_to:
            core.ahead.put(_key(entry, place, status), traces.read_page(fd, *place, None, clean_to))
    except OSError:
        return
    finally:
        os.close(fd)


def _key(entry: Entry, place: tuple[int, int], status: os.stat_result) -> Any:
    return entry.path, place, traces.state(status)


async def _trace_entry(core: Core, run_id: str, agent_id: str | None) -> tuple[Entry | None, str]:
    """Return the run's entry and its agent's id, without reading a long file for it."""
    run = core.runs.get(run_id)
    if run is not None and agent_id in (None, run.agent_id):
        return core.catalog.note(run.journal.path), run.agent_id
    entries = core.catalog.find(run_id, agent_id)
    if not entries:
        core.catalog.refresh()
        entries = core.catalog.find(run_id, agent_id)
    for entry in entries:
        first = core.catalog.first_started(entry)
        if first is None:
            return entry, agent_id if agent_id is not None else entry.path[0]
        if first.run_id == run_id and agent_id in (None, first.agent_id):
            return entry, first.agent_id
    return None, ""


def _open(core: Core, entry: Entry) -> int | None:
    try:
        return core.tree.read(entry.path)
    except FileNotFoundError:
        core.catalog.forget(entry.path)
        return None
    except OSError as error:
        raise RequestError(errors.STORAGE, f"the run's file cannot be read: {error}") from None


async def _position(core: Core, fd: int, entry: Entry, cursor: int) -> tuple[int, int]:
    known = core.offsets.get(entry.path, os.fstat(fd), cursor)
    if known == 0 or (known is not None and os.pread(fd, 1, known - 1) == b"\n"):
        return cursor, known
    found: tuple[int, int] = await _inline_or_thread(os.fstat(fd).st_size, traces.seek, fd, cursor)
    return found


async def _inline_or_thread(size: int, function: Callable[..., Any], *args: Any) -> Any:
    if size <= SMALL_FILE_BYTES:
        return function(*args)
    return await anyio.to_thread.run_sync(function, *args)


def agent_for_run(
    core: Core, peer: Any, run: Run | None, params: requests.RunParams, ticket: Ticket | None
) -> None:
    """``runs.agent_for_run``: whose run it is, or ``null``."""
    _answer(ticket, None if run is None else run.agent_id)


# -- subscriptions -----------------------------------------------------------------------------------------


@_one_at_a_time
async def subscribe(
    core: Core, peer: Any, run: Run | None, params: requests.RunParams, ticket: Ticket | None
) -> None:
    """``runs.subscribe``: the turns so far, then ``runs.trace.event``.

    The run is subscribed to before its file is read, and the file is read up to where it was then; the events
    that come meanwhile go out behind this answer.  So no turn is missing and none comes twice.
    """
    run = known(run, params.run_id)
    core.appender.flush()
    cursor, status = run.lines, run.status
    entry = core.catalog.note(run.journal.path)
    fd = _open(core, entry)
    if fd is not None and os.fstat(fd).st_size > MAX_SNAPSHOT_BYTES:
        os.close(fd)
        message = f"run {run.run_id!r} is too large for one answer: read it with runs.get_trace and use runs.watch"
        raise RequestError(errors.TOO_LARGE, message, max_bytes=MAX_SNAPSHOT_BYTES)
    if fd is None:
        raise RequestError(errors.RUN_NOT_FOUND, f"the file of run {run.run_id!r} is gone")
    if status is not COMPLETED:
        core.feed.subscribe(peer, run)
    try:
        size = os.fstat(fd).st_size
        page, _ = await _inline_or_thread(size, _turns, fd, cursor)
    finally:
        os.close(fd)
    if ticket is not None:
        ticket.done(
            b'{"run_id":%b,"agent_id":%b,"turns_so_far":[%b],"cursor":%d,"status":"%b"}'
            % (_encode(run.run_id), _encode(run.agent_id), page.records, cursor, status.value.encode())
        )


def _turns(fd: int, cursor: int) -> tuple[traces.Page, int]:
    return traces.read_page(fd, 0, 0, max(cursor, 1), max_bytes=1 << 62, kind="turn")


def unsubscribe(core: Core, peer: Any, run: Run | None, params: requests.RunParams, ticket: Ticket | None) -> None:
    """``runs.unsubscribe``."""
    removed = run is not None and core.feed.unsubscribe(peer, run)
    _answer(ticket, {"run_id": params.run_id, "removed": removed})


@_one_at_a_time
async def watch(core: Core, peer: Any, params: requests.WatchParams | None, ticket: Ticket | None) -> None:
    """``runs.watch``: the open runs, then ``runs.event`` for every record of every run (of an agent)."""
    agent_id = params.agent_id if params else None
    core.appender.flush()
    if core.feed.watched(peer) >= MAX_WATCHED:
        raise RequestError(
            errors.BUSY, f"a connection watches {MAX_WATCHED} agents at most; watch all with none named"
        )
    core.feed.watch(peer, agent_id)
    found = [summary for run in core.open_runs() if (summary := core.summary(run)) is not None]
    found += [summary for _, summary in await core.summaries(orphans.untouched(core))]
    open_runs = {run.run_id: run for run in found if run.status is RunStatus.IN_PROGRESS}
    runs = [run for run in open_runs.values() if agent_id in (None, run.agent_id)]
    agent = {} if agent_id is None else {"agent_id": agent_id}
    _answer(ticket, {**agent, "runs": sorted(runs, key=started_ns, reverse=True)})


def unwatch(core: Core, peer: Any, params: requests.WatchParams | None, ticket: Ticket | None) -> None:
    """``runs.unwatch``."""
    agent_id = params.agent_id if params else None
    agent = {} if agent_id is None else {"agent_id": agent_id}
    _answer(ticket, {**agent, "removed": core.feed.unwatch(peer, agent_id)})


# -- keeping house -----------------------------------------------------------------------------------------


@_one_at_a_time
async def gc(core: Core, peer: Any, params: requests.GcParams | None, ticket: Ticket | None) -> None:
    """``runs.gc``: remove what retention lets go; with ``dry_run`` only say what that is."""
    dry_run = params.dry_run if params else False
    removed = await keeping.collect(core, time.time_ns(), dry_run=dry_run)
    if removed is None:
        message = "config.toml cannot be read or is wrong; nothing is removed until it is mended"
        raise RequestError(errors.STORAGE, message, errno="EINVAL")
    _answer(ticket, {"removed": len(removed), "bytes": sum(row["bytes"] for row in removed), "runs": removed})


async def adopt_orphans(core: Core, peer: Any, params: Any, ticket: Ticket | None) -> None:
    """``runs.adopt_orphans``: end runs in progress that are nobody's, at once."""
    core.catalog.refresh()
    adopted = await orphans.adopt(core, orphans.found(core), found_at_start=False)
    core.appender.flush()
    _answer(ticket, {"adopted": adopted})
