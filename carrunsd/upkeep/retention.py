"""Removing what retention lets go, and what has been in the trash long enough."""

from __future__ import annotations

import logging
from typing import Any

from carruns.protocol.records import RunStatus, RunSummary
from carrunsd.core import Core
from carrunsd.store import retention

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
        found = await core.summaries.glances(core.catalog.entries(name))
        entries = {id(summary): entry for entry, summary in found}  # a copied file has the same run id
        for summary, why in retention.expired([s for _, s in found], core.retention, now_ns):
            entry = entries[id(summary)]
            run = core.table.by_path.get(entry.path)
            if run is not None and (run.status is RunStatus.IN_PROGRESS or not core.appender.is_idle(run)):
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
    gone(core, path)
    core.removals.note(path, summary, summary.bytes, why)
    log.info("removed run %s of %s (%s)", summary.run_id, summary.agent_id, why)
    return True


def gone(core: Core, path: tuple[str, str]) -> None:
    """A run's file is no longer in the runs directory."""
    run = core.table.by_path.get(path)
    if run is not None:
        core.table.forget(run)
    core.catalog.forget(path)
    core.offsets.forget(path)


def empty_trash(core: Core, now: float) -> None:
    """Remove for good what has been in the trash long enough."""
    for path, size in core.trash.expire(now, core.settings.trash_max_age_days):
        core.removals.note(path, None, size, "trash_age")
        log.info("removed %s/%s from the trash (age)", *path)
