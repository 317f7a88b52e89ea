"""Runs in progress that nobody owns: which they are, and how they end (docs/files.md)."""

from __future__ import annotations

import logging

import anyio
import anyio.to_thread

from carrunsd.core import Core
from carrunsd.runs.catalog import Entry
from carrunsd.store.history import OPEN

log = logging.getLogger("carrunsd.orphans")

_AT_ONCE, _PAUSE = 50, 0.01  # so many ends, so many seconds: others have their turn between them


async def adopt(core: Core, entries: list[Entry], *, found_at_start: bool) -> int:
    """End the runs in progress among ``entries`` that nobody owns; return how many were ended."""
    adopted = 0
    for entry in entries:
        run = core.table.by_path.get(entry.path)
        if run is None:
            scan = await anyio.to_thread.run_sync(core.table.read, entry)
            run = core.table.by_path.get(entry.path)
            if run is None and scan is not None and scan.started is not None:
                run = core.table.admit(entry, scan)
        entry.maybe_open = False
        if run is None or run.status is not OPEN or run.owners:
            continue
        if found_at_start and run.timer is not None:
            continue  # its agent came back and went: that has a grace of its own
        if run.detached:
            if run.timer is None:
                idle = core.settings.detached_idle_secs - core.owners.idle_seconds(run)
                core.owners.give_up_after(run, max(0.0, idle), "abandoned")
            continue
        if run.cancelling:
            core.endings.cancel(run)
        else:
            core.endings.stop(run, "daemon_restart")
        adopted += 1
        if adopted % _AT_ONCE == 0:
            await anyio.sleep(_PAUSE)
    if adopted:
        when = "found at start-up" if found_at_start else "asked to"
        log.info("%d runs in progress that nobody came back for are incomplete (%s)", adopted, when)
    return adopted


def untouched(core: Core) -> list[Entry]:
    """Return the entries that may be in progress and that nobody asked for since the start."""
    return [entry for entry in found(core) if entry.path not in core.table.by_path]


def found(core: Core) -> list[Entry]:
    """Return the entries that may be in progress and are nobody's."""
    return [
        entry
        for entry in core.catalog.entries()
        if ((run := core.table.by_path.get(entry.path)) is None and entry.maybe_open)
        or (run is not None and run.status is OPEN and not run.owners)
    ]
