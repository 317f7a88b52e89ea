"""Summaries of many runs: of those in memory as they are, of the others from their files, read in a thread."""

from __future__ import annotations

import anyio.to_thread

from carruns.protocol.records import RunSummary
from carrunsd.runs.catalog import Catalog, Entry
from carrunsd.runs.table import Table
from carrunsd.store import scan


class Summaries:
    """Asks the table and the catalog."""

    def __init__(self, catalog: Catalog, table: Table) -> None:
        self._catalog = catalog
        self._table = table

    async def glances(self, entries: list[Entry]) -> list[tuple[Entry, RunSummary]]:
        """Return summaries good enough for retention: a file not known yet is looked at from its ends only."""
        by_path = self._table.by_path
        unknown = [e for e in entries if not e.known and e.glance is None and e.path not in by_path]
        if unknown:
            await anyio.to_thread.run_sync(self._catalog.look_at, unknown, scan.glance)
        return self._known(entries, glances=True)

    async def of(self, entries: list[Entry]) -> list[tuple[Entry, RunSummary]]:
        """Return the summaries of ``entries``; those not known yet are read in a thread."""
        by_path = self._table.by_path
        known = [entry for entry in entries if entry.known and entry.path not in by_path]
        if known:
            await anyio.to_thread.run_sync(self._catalog.recheck, known)
        unknown = [entry for entry in entries if not entry.known and entry.path not in by_path]
        if unknown:
            await anyio.to_thread.run_sync(self._catalog.look_at, unknown, _whole)
        return self._known(entries, glances=False)

    def _known(self, entries: list[Entry], *, glances: bool) -> list[tuple[Entry, RunSummary]]:
        out = []
        for entry in entries:
            run = self._table.by_path.get(entry.path)
            if run is not None:
                summary = self._table.summary(run)
            else:
                summary = entry.summary or (entry.glance if glances else None)
            if summary is not None:
                out.append((entry, summary))
        return out


def _whole(fd: int) -> RunSummary | None:
    return scan.scan(fd).summary()
