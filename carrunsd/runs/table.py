"""The runs in memory, by id and by path: found, read from their files, let go of.

A run is in memory while it is open and somebody has touched it since the start, and for a while after its end.
Everything else is in the catalog.  Whose a run is and when it is given up is in ``owners``.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable

import anyio.to_thread

from carruns.protocol.records import RunSummary
from carrunsd.feed import Feed
from carrunsd.run import Run
from carrunsd.runs.catalog import Catalog, Entry
from carrunsd.runs.offsets import Offsets
from carrunsd.store import layout
from carrunsd.store.history import COMPLETED, OPEN
from carrunsd.store.scan import Scan, scan
from carrunsd.store.tree import Tree
from carrunsd.writing.appender import Appender

log = logging.getLogger("carrunsd.runs")

SMALL_FILE_BYTES = 4 << 20  # a run file up to here is read on the loop, a larger one in a thread
MAX_RETIRED = 512  # ended runs kept in memory for late answers
_REFRESH_SECS = 0.1  # how often an unknown id may make the daemon list directories again
_REFRESH_REST = 50  # times as long as listing took, it rests: 20,000 agents' directories take a while


class Table:
    """The runs in memory.  ``by_id`` and ``by_path`` are for reading; only methods here change them."""

    def __init__(self, tree: Tree, catalog: Catalog, appender: Appender, offsets: Offsets, feed: Feed) -> None:
        self.by_id: dict[str, Run] = {}
        self.by_path: dict[tuple[str, str], Run] = {}
        self._tree = tree
        self._catalog = catalog
        self._appender = appender
        self._offsets = offsets
        self._feed = feed
        self._retired: OrderedDict[Run, None] = OrderedDict()
        self._next_refresh = 0.0

    # -- finding -------------------------------------------------------------------------------------------

    def find(self, run_id: str) -> Run | Awaitable[Run | None] | None:
        """Return the run, read from its file if it is not in memory; awaitable where the file is large."""
        run = self.by_id.get(run_id)
        if run is not None:
            return run
        entries = self._entries(run_id)
        if not entries:
            return None
        if sum(max(0, self._size(entry)) for entry in entries) > SMALL_FILE_BYTES:
            return self._load_in_thread(run_id, entries)
        return self._loaded(run_id, [(entry, self.read(entry)) for entry in entries])

    def open_runs(self) -> list[Run]:
        """Return the open runs in memory."""
        return [run for run in self.by_id.values() if run.status is OPEN]

    def _entries(self, run_id: str) -> list[Entry]:
        entries = self._catalog.find(run_id)
        began = time.monotonic()
        if not entries and began > self._next_refresh:
            self._catalog.refresh()
            now = time.monotonic()
            self._next_refresh = now + max(_REFRESH_SECS, _REFRESH_REST * (now - began))
            entries = self._catalog.find(run_id)
        return entries

    def _size(self, entry: Entry) -> int:
        try:
            directory = self._tree.directory(entry.path[0])
            return os.stat(entry.path[1], dir_fd=directory, follow_symlinks=False).st_size
        except OSError:
            return 0

    async def _load_in_thread(self, run_id: str, entries: list[Entry]) -> Run | None:
        found = [(entry, await anyio.to_thread.run_sync(self.read, entry)) for entry in entries]
        return self.by_id.get(run_id) or self._loaded(run_id, found)

    def _loaded(self, run_id: str, found: list[tuple[Entry, Scan | None]]) -> Run | None:
        for entry, what in found:
            if what is None:
                self._catalog.forget(entry.path)
            elif what.started is not None and what.started.run_id == run_id:
                return self.admit(entry, what)
        return None

    def find_nameless(self, path: tuple[str, str], agent_id: str, run_id: str) -> Run | None:
        """Return the run of a file in which no ``started`` says whose it is, as ``runs.append`` can make one."""
        if path in self.by_path:
            return None
        entry = self._catalog.note(path)
        found = self.read(entry)
        if found is None or not found.lines or found.started is not None:
            if found is None:
                self._catalog.forget(path)
            return None
        return self.admit(entry, found, Run(run_id, agent_id, "", "", path))

    # -- reading -------------------------------------------------------------------------------------------

    def read(self, entry: Entry) -> Scan | None:
        """Return what stands in a run's file, ``None`` if it is gone or cannot be read (the log says why)."""
        try:
            with layout.opened(self._tree.root, entry.path) as fd:
                return scan(fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s/%s cannot be read: %s", *entry.path, error)
            return None

    def admit(self, entry: Entry, found: Scan, run: Run | None = None) -> Run:
        """Bring a run that was read from its file into memory."""
        if run is None:
            start = found.started
            assert start is not None
            run = Run(start.run_id, start.agent_id, "", "", entry.path)
        run.become(found)
        run.lines = found.lines
        if found.torn:  # healing cuts it, so it is no line of the file
            log.warning("run %s: %d bytes of a torn tail", run.run_id, len(found.torn))
        # An earlier daemon wrote it, and may not have synced it.
        self.enter(run, fresh=False, unsynced_bytes=found.good_bytes)
        if run.status is not OPEN:
            self.retire(run)
        return run

    def enter(self, run: Run, *, fresh: bool, unsynced_bytes: int = 0) -> None:
        """Take a run into memory.  One that is there by this id already (another agent's, a copy) stays.

        ``fresh``: its file is yet to be made.
        """
        self._appender.write_for(run, fresh=fresh, unsynced_bytes=unsynced_bytes)
        self.by_id.setdefault(run.run_id, run)
        self.by_path[run.path] = run
        run.watched = self._feed.is_watched(run.path)
        self._catalog.note(run.path).known = False

    # -- letting go ----------------------------------------------------------------------------------------

    def lost(self, run: Run) -> None:
        """The run's file never came to be, or is gone: another may come in its place."""
        self._offsets.forget(run.path)
        self.forget(run)

    def forget(self, run: Run) -> None:
        """Drop a run from memory: its file never came to be, or is gone, or nobody needs it any more."""
        run.cancel_timer()
        run.disown()
        self._retired.pop(run, None)
        if self.by_id.get(run.run_id) is run:
            del self.by_id[run.run_id]
        if self.by_path.get(run.path) is run:
            del self.by_path[run.path]
        if self._appender.is_fresh(run):
            self._appender.let_go(run)
            self._catalog.forget(run.path)
            return
        self._appender.let_go(run)
        entry = self._catalog.note(run.path)
        entry.maybe_open = run.status is OPEN
        entry.summary = self.summary(run)
        entry.known = entry.summary is not None and self._is_as_written(entry, entry.summary.bytes)

    def _is_as_written(self, entry: Entry, size: int) -> bool:
        """Tell whether a file is as long as it was written, and note when it was."""
        try:
            directory = self._tree.directory(entry.path[0])
            status = os.stat(entry.path[1], dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        entry.size, entry.mtime_ns = status.st_size, status.st_mtime_ns
        return 0 < size == status.st_size

    def retire(self, run: Run) -> None:
        """An ended run stays for late answers, until enough others have ended."""
        self._retired[run] = None
        self._retired.move_to_end(run)
        if len(self._retired) > MAX_RETIRED:
            self.let_retired_go(run)

    def let_retired_go(self, keep: Run | None = None) -> None:
        """Drop the longest ended runs that are too many, but none that is written to, or watched, or ``keep``.

        ``keep`` was asked for just now: whoever asked goes on with it.
        """
        surplus = len(self._retired) - MAX_RETIRED
        if surplus > 0:
            may_go = (old for old in self._retired if old is not keep and not self._feed.is_watched(old.path))
            idle = filter(self._appender.is_idle, may_go)
            for old in list(itertools.islice(idle, surplus)):
                self.forget(old)

    def reopened(self, run: Run) -> None:
        """An ended run goes on."""
        self._retired.pop(run, None)

    # -- summaries -----------------------------------------------------------------------------------------

    def summary(self, run: Run) -> RunSummary | None:
        """Return the summary of a run in memory; ``None`` where no ``started`` says what it is."""
        if not run.started_at:
            return None
        size = self._appender.size(run)
        return RunSummary(
            run_id=run.run_id,
            agent_id=run.agent_id,
            intent=run.intent,
            started_at=run.started_at,
            status=run.status,
            turn_count=run.turn_count,
            bytes=self._size(self._catalog.note(run.path)) if size is None else size,
            ended_at=run.ended_at if run.status is not OPEN else None,
            outcome_status=run.outcome_status if run.status is COMPLETED else None,
        )
