"""Keeping house: removing what retention lets go.  Logged, one line a run; never a run in progress."""

from __future__ import annotations

import logging
from typing import Any

from carruns.records import RunStatus
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
        found = await core.glances(core.catalog.entries(name))
        entries = {id(summary): entry for entry, summary in found}  # a copied file has the same run id
        for summary, why in retention.expired([s for _, s in found], core.retention, now_ns):
            entry = entries[id(summary)]
            run = core.by_path.get(entry.path)
            if run is not None and (run.status is RunStatus.IN_PROGRESS or not run.journal.idle):
                continue
            if dry_run or _remove(core, entry.path, summary.run_id, why):
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


def _remove(core: Core, path: tuple[str, str], run_id: str, why: str) -> bool:
    try:
        core.tree.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("run %s cannot be removed: %s", run_id, error)
        return False
    run = core.by_path.get(path)
    if run is not None:
        core.forget(run)
    core.catalog.forget(path)
    core.offsets.forget(path)
    log.info("removed run %s of %s (%s)", run_id, path[0], why)
    return True
