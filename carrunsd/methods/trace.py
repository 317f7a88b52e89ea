"""``runs.get_trace``, in pages, and ``runs.agent_for_run``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import msgspec

from carruns.protocol import errors
from carrunsd.core import Core
from carrunsd.methods.checks import Client, one_at_a_time, page_of
from carrunsd.run import Run
from carrunsd.runs import offsets
from carrunsd.runs.catalog import Entry
from carrunsd.runs.table import SMALL_FILE_BYTES
from carrunsd.store import pages
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket, answer

_encode = msgspec.json.encode


@one_at_a_time
async def get_trace(core: Core, peer: Client, params: requests.GetTraceParams, ticket: Ticket | None) -> None:
    """``runs.get_trace``: records as they stand in the file, in pages.

    ``cursor`` is the index of the first record, as CAR has it, and is echoed; ``line`` is the number of lines up to
    and with the last one, behind which to go on.
    """
    asked, limit = page_of(peer, "runs.get_trace", params.cursor, params.limit)
    core.appender.flush()
    entry, agent_id = await _trace_entry(core, params.run_id, params.agent_id)
    fd = open_entry(core, entry) if entry is not None else None
    if entry is None or fd is None:
        return answer(ticket, {"run_id": params.run_id, "not_found": True})
    try:
        cursor, offset = await _position(core, fd, entry, asked)
        status = os.fstat(fd)
        page, end = await _page(core, fd, entry, (cursor, offset), limit, status)
        core.offsets.seen(entry.path, status, offset, page, end)
    finally:
        os.close(fd)
    core.offsets.note(entry.path, status, page.cursor, end)
    core.tidier.later()
    if ticket is not None:
        more = b',"next_cursor":%d' % page.cursor if page.more else b""
        head = (_encode(params.run_id), _encode(agent_id))
        ticket.done(
            b'{"run_id":%b,"agent_id":%b,"records":[' % head,
            page.records,
            b'],"cursor":%d,"line":%d%b,"skipped":%d}' % (asked, page.cursor, more, page.skipped),
        )
    if page.more and asked and limit is None:  # someone reads on and on
        core.loop.call_soon(_read_ahead, core, entry, (page.cursor, end))  # behind the sending of this page
    return None


async def _page(
    core: Core, fd: int, entry: Entry, place: tuple[int, int], limit: int | None, status: os.stat_result
) -> tuple[pages.Page, int]:
    """Return the page at ``place`` (cursor and offset) and the offset of its end."""
    kept = core.ahead.take(_key(entry, place, status)) if limit is None else None
    if kept is not None:
        return kept
    clean_to = core.offsets.clean_to(entry.path, status)
    unsure = status.st_size - max(clean_to, place[1])  # bytes that have to be looked at closely
    found: tuple[pages.Page, int] = await inline_or_thread(unsure, pages.read_page, fd, *place, limit, clean_to)
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
        if min(place[1] + pages.MAX_PAGE_BYTES, status.st_size) <= clean_to:
            core.ahead.put(_key(entry, place, status), pages.read_page(fd, *place, None, clean_to))
    except OSError:
        return
    finally:
        os.close(fd)


def _key(entry: Entry, place: tuple[int, int], status: os.stat_result) -> Any:
    return entry.path, place, offsets.state(status)


async def _trace_entry(core: Core, run_id: str, agent_id: str | None) -> tuple[Entry | None, str]:
    """Return the run's entry and its agent's id, without reading a long file for it."""
    run = core.table.by_id.get(run_id)
    if run is not None and agent_id in (None, run.agent_id):
        return core.catalog.note(run.path), run.agent_id
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


def open_entry(core: Core, entry: Entry) -> int | None:
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
    found: tuple[int, int] = await inline_or_thread(os.fstat(fd).st_size, pages.seek, fd, cursor)
    return found


async def inline_or_thread(size: int, function: Callable[..., Any], *args: Any) -> Any:
    if size <= SMALL_FILE_BYTES:
        return function(*args)
    return await anyio.to_thread.run_sync(function, *args)


def agent_for_run(
    core: Core, peer: Client, run: Run | None, params: requests.RunParams, ticket: Ticket | None
) -> None:
    """``runs.agent_for_run``: whose run it is, or ``null``."""
    answer(ticket, None if run is None else run.agent_id)
