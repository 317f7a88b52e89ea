"""``runs.remove`` and ``runs.restore`` (the trash), ``runs.gc``, ``runs.adopt_orphans``."""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec

from carruns.protocol import errors
from carruns.protocol.records import RunStatus
from carrunsd.core import Core
from carrunsd.methods.checks import Client, one_at_a_time
from carrunsd.run import Run
from carrunsd.store import layout
from carrunsd.upkeep import orphans, remove_expired
from carrunsd.upkeep.remove_expired import gone
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket, answer
from carrunsd.wire.requests import RemoveParams

log = logging.getLogger("carrunsd.gc")


def remove(core: Core, peer: Client, run: Run | None, params: RemoveParams, ticket: Ticket | None) -> None:
    """``runs.remove``: an ended run's file goes to the trash."""
    core.appender.flush()  # an end that cannot be stored has not happened
    if run is None or params.agent_id not in (None, run.agent_id):
        raise RequestError(errors.RUN_NOT_FOUND, f"there is no run {params.run_id[:80]!r}")
    if run.status is RunStatus.IN_PROGRESS:
        message = f"run {run.run_id!r} is in progress; end it first (runs.complete or runs.abandon)"
        raise RequestError(errors.CONFLICT, message)
    path, summary = run.path, core.table.summary(run)
    core.trash.put(core.tree.directory(path[0]), path)
    size = summary.bytes if summary is not None else 0
    gone(core, path)
    core.removals.note(path, summary, size, "user")
    log.info("moved run %s of %s to the trash", run.run_id, run.agent_id)
    if ticket is not None:
        ticket.done(msgspec.json.encode({"run_id": run.run_id, "agent_id": run.agent_id, "bytes": size}))


def restore(core: Core, peer: Client, params: RemoveParams, ticket: Ticket | None) -> None:
    """``runs.restore``: an ended run's file comes back from the trash."""
    name = layout.run_file_name(params.run_id)
    agents = core.trash.agents() if params.agent_id is None else [layout.agent_dir_name(params.agent_id)]
    path = next(((agent, name) for agent in agents if core.trash.holds((agent, name))), None)
    if path is None:
        raise RequestError(errors.RUN_NOT_FOUND, f"there is no run {params.run_id[:80]!r} in the trash")
    try:
        core.trash.take(core.tree.directory(path[0], create=True), path)
    except FileExistsError:
        raise RequestError(errors.CONFLICT, f"run {params.run_id!r} stands in the store again") from None
    entry = core.catalog.note(path)
    started = core.catalog.first_started(entry)
    agent_id = started.agent_id if started is not None else path[0]
    log.info("restored run %s of %s from the trash", params.run_id, agent_id)
    if ticket is not None:
        ticket.done(msgspec.json.encode({"run_id": params.run_id, "agent_id": agent_id}))


_encode = msgspec.json.encode


@one_at_a_time
async def gc(core: Core, peer: Client, params: requests.GcParams | None, ticket: Ticket | None) -> None:
    """``runs.gc``: remove what retention lets go; with ``dry_run`` only say what that is."""
    dry_run = params.dry_run if params else False
    removed = await remove_expired.collect(core, time.time_ns(), dry_run=dry_run)
    if removed is None:
        message = "config.toml cannot be read or is wrong; nothing is removed until it is mended"
        raise RequestError(errors.STORAGE, message, errno="EINVAL")
    answer(ticket, {"removed": len(removed), "bytes": sum(row["bytes"] for row in removed), "runs": removed})


async def adopt_orphans(core: Core, peer: Client, params: Any, ticket: Ticket | None) -> None:
    """``runs.adopt_orphans``: end runs in progress that are nobody's, at once."""
    core.catalog.refresh()
    adopted = await orphans.adopt(core, orphans.found(core), found_at_start=False)
    core.appender.flush()
    answer(ticket, {"adopted": adopted})
