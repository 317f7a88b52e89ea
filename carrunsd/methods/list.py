"""``runs.list`` and ``runs.agents``: summaries of many runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from carruns.protocol import errors, times
from carruns.protocol.records import RunStatus, RunSummary
from carrunsd.core import Core
from carrunsd.methods.checks import Client, one_at_a_time, page_of
from carrunsd.runs.catalog import Entry
from carrunsd.store import layout
from carrunsd.store.history import OPEN
from carrunsd.store.retention import started_ns
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket, answer

_encode = msgspec.json.encode


@one_at_a_time
async def list_runs(core: Core, peer: Client, params: requests.ListParams | None, ticket: Ticket | None) -> None:
    """``runs.list``: summaries, newest first."""
    asked = params or requests.ListParams()
    keep = _filter(asked)
    begin, limit = page_of(peer, "runs.list", asked.cursor, asked.limit)
    core.appender.flush()
    agent_dir = None if asked.agent_id is None else layout.sanitize(asked.agent_id)
    core.catalog.refresh(agent_dir)
    found = await core.summaries.of(core.catalog.entries(agent_dir))
    runs = sorted((run for _, run in found if keep(run)), key=started_ns, reverse=True)
    agent = {} if asked.agent_id is None else {"agent_id": asked.agent_id}
    page = runs[begin:] if limit is None else runs[begin : begin + limit]
    more = {"next_cursor": begin + len(page)} if begin + len(page) < len(runs) and (peer.pages or begin) else {}
    answer(ticket, {**agent, "runs": page, **more})


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


@one_at_a_time
async def agents(core: Core, peer: Client, params: Any, ticket: Ticket | None) -> None:
    """``runs.agents``: every agent with its runs, those in progress, bytes, and when it was last active."""
    core.appender.flush()
    core.catalog.refresh()
    by_agent: dict[str, dict[str, Any]] = {}
    for entry, run in await core.summaries.of(core.catalog.entries()):
        row = by_agent.setdefault(
            run.agent_id,
            {"agent_id": run.agent_id, "runs": 0, "in_progress": 0, "bytes": 0, "last_activity": ""},
        )
        row["runs"] += 1
        row["in_progress"] += run.status is RunStatus.IN_PROGRESS
        row["bytes"] += run.bytes
        row["last_activity"] = max(row["last_activity"], _last_activity(core, entry, run))
    answer(ticket, {"agents": sorted(by_agent.values(), key=lambda row: row["last_activity"], reverse=True)})


def _last_activity(core: Core, entry: Entry, run: RunSummary) -> str:
    live = core.table.by_path.get(entry.path)
    if live is not None and live.status is OPEN:
        return times.render(int(core.owners.last_write(live) * 1_000_000_000))
    try:
        return times.render(times.parse(run.ended_at or run.started_at))
    except ValueError:
        return times.render(entry.mtime_ns)
