"""Keeping house: retention, the trash, and the commands for it.

What goes is logged and listed in ``removed.jsonl``, one line a run.  A run in progress never goes.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from carruns import errors
from carruns.records import RunStatus, RunSummary
from carrunsd.core import Core
from carrunsd.ledger import Run
from carrunsd.refusals import RequestError
from carrunsd.requests import RemoveParams
from carrunsd.store import layout, retention
from carrunsd.tickets import Ticket

log = logging.getLogger("carrunsd.gc")


async def collect(core: Core, now_ns: int, *, dry_run: bool) -> list[dict[str, Any]] | None:
    """Remove expired runs and return what was (or, with ``dry_run``, would be) removed.

    Returns ``None`` where the configuration is broken: then nothing is removed.
    """
    if core.retention is None:
        return None
    core.catalog.refresh()
    removed = []
    for name in list(core.catalog.dirs()):
        found = await core.glances(core.catalog.entries(name))
        entries = {id(summary): entry for entry, summary in found}  # a copied file has the same run id
        for summary, why in retention.expired([s for _, s in found], core.retention, now_ns):
            entry = entries[id(summary)]
            run = core.by_path.get(entry.path)
            if run is not None and (run.status is RunStatus.IN_PROGRESS or not run.journal.idle):
                continue
            if dry_run or _remove(core, entry.path, summary, why):
                removed.append(
                    {
                        "run_id": summary.run_id,
                        "agent_id": summary.agent_id,
                        "bytes": summary.bytes,
                        "started_at": summary.started_at,
                        "ended_at": summary.ended_at,
                        "reason": why,
                    }
                )
    return removed


def _remove(core: Core, path: tuple[str, str], summary: RunSummary, why: str) -> bool:
    try:
        core.tree.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("run %s cannot be removed: %s", summary.run_id, error)
        return False
    _gone(core, path)
    core.removals.note(path, summary, summary.bytes, why)
    log.info("removed run %s of %s (%s)", summary.run_id, summary.agent_id, why)
    return True


def _gone(core: Core, path: tuple[str, str]) -> None:
    """A run's file is no longer in the runs directory."""
    run = core.by_path.get(path)
    if run is not None:
        core.forget(run)
    core.catalog.forget(path)
    core.offsets.forget(path)


def empty_trash(core: Core, now: float) -> None:
    """Remove for good what has been in the trash long enough."""
    for path, size in core.trash.expire(now, core.settings.trash_max_age_days):
        core.removals.note(path, None, size, "trash_age")
        log.info("removed %s/%s from the trash (age)", *path)


def remove(core: Core, peer: Any, run: Run | None, params: RemoveParams, ticket: Ticket | None) -> None:
    """``runs.remove``: an ended run's file goes to the trash."""
    if run is None or params.agent_id not in (None, run.agent_id):
        raise RequestError(errors.RUN_NOT_FOUND, f"there is no run {params.run_id[:80]!r}")
    if run.status is RunStatus.IN_PROGRESS:
        message = f"run {run.run_id!r} is in progress; end it first (runs.complete or runs.abandon)"
        raise RequestError(errors.CONFLICT, message)
    core.appender.flush()
    path, summary = run.journal.path, core.summary(run)
    core.trash.put(core.tree.directory(path[0]), path)
    size = summary.bytes if summary is not None else 0
    _gone(core, path)
    core.removals.note(path, summary, size, "user")
    log.info("moved run %s of %s to the trash", run.run_id, run.agent_id)
    if ticket is not None:
        ticket.done(msgspec.json.encode({"run_id": run.run_id, "agent_id": run.agent_id, "bytes": size}))


def restore(core: Core, peer: Any, params: RemoveParams, ticket: Ticket | None) -> None:
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
