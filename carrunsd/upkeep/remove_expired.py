"""Putting what retention lets go into the trash, and removing for good what has been there long enough.

Which runs that are is ``store/retention``'s; whether the clock may be believed about it, ``store/age_clock``'s.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

from carruns.protocol import times
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
    by_age = _may_judge_age(core, now_ns)
    for name in list(core.catalog.dirs()):
        found = await core.summaries.glances(core.catalog.entries(name))
        entries = {id(summary): entry for entry, summary in found}  # a copied file has the same run id
        for summary, why in retention.expired([s for _, s in found], core.retention, now_ns):
            if why == "age" and not by_age:
                continue
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
        core.trash.put(core.tree.directory(path[0]), path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("run %s cannot be put into the trash: %s", summary.run_id, error)
        return False
    gone(core, path)
    core.removals.note(path, summary, summary.bytes, why)
    log.info("removed run %s of %s to the trash (%s)", summary.run_id, summary.agent_id, why)
    return True


def gone(core: Core, path: tuple[str, str]) -> None:
    """A run's file is no longer in the runs directory."""
    run = core.table.by_path.get(path)
    if run is not None:
        core.table.forget(run)
    core.catalog.forget(path)
    core.offsets.forget(path)


def empty_trash(core: Core, now_ns: int) -> None:
    """Remove for good what has been in the trash long enough."""
    if not _may_judge_age(core, now_ns):
        return
    for path, size in core.trash.expire(now_ns / 1e9, core.settings.trash_max_age_days):
        core.removals.note(path, None, size, "trash_age")
        log.info("removed %s/%s from the trash (age)", *path)


def remove_empty_dirs(core: Core) -> None:
    """Remove the directories of agents that have no run any more: a look for a run goes through all of them."""
    for name in core.catalog.empty_dirs():
        with contextlib.suppress(OSError):  # there is something in it after all
            core.tree.remove_dir(name)
            core.catalog.refresh()


def _may_judge_age(core: Core, now_ns: int) -> bool:
    may = core.age_clock.may_judge(now_ns, steady_seconds())
    if not may and not core.age_doubted:
        log.warning(
            "the clock says %s, which nothing explains: for now nothing is removed by age", times.render(now_ns)
        )
    core.age_doubted = not may
    return may


def steady_seconds() -> float:
    """Return seconds of a clock that nobody sets and that goes on in suspend, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
