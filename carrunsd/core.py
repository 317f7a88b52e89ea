"""The daemon's mind: which runs are in memory, who they belong to, when they are given up.  No sockets.

A run is in memory while it is open and somebody has touched it since the start, and for a while after its end.
Everything else is in the catalog.  Commands work on this object from the event loop only.
"""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio.to_thread

from carruns.protocol import times
from carruns.protocol.records import RunStatus, RunSummary
from carrunsd.config import Config
from carrunsd.feed import Feed
from carrunsd.host import descriptors, memory
from carrunsd.run import OPEN, Run
from carrunsd.runs.catalog import Catalog, Entry
from carrunsd.runs.offsets import Ahead, Offsets
from carrunsd.stats import Stats
from carrunsd.store import layout, runstore
from carrunsd.store.scan import Scan, glance, outcome_status, scan
from carrunsd.store.trash import Removals, Trash
from carrunsd.store.tree import Tree
from carrunsd.turnstile import Turnstile
from carrunsd.writing.appender import Appender
from carrunsd.writing.journal import Journal
from carrunsd.writing.syncer import Syncer

log = logging.getLogger("carrunsd.core")

SMALL_FILE_BYTES = 4 << 20  # a run file up to here is read on the loop, a larger one in a thread
MAX_RETIRED = 512  # ended runs kept in memory for late answers
_REFRESH_SECS = 0.1  # how often an unknown id may make the daemon list directories again


class Owner(Protocol):
    """A connection, as far as owning runs goes."""

    runs: set[Run]


class Core:
    """Everything the commands work with.  ``loop`` is the running asyncio event loop."""

    def __init__(self, car_dir: str, config: Config, loop: Any) -> None:
        self.car_dir = car_dir
        self.settings = config.settings
        self.retention = config.retention
        self.loop = loop
        self.stats = Stats()
        self.feed = Feed(self.stats, loop.call_later)
        self.tree = Tree(os.path.join(car_dir, "runs"))
        self.catalog = Catalog(self.tree)
        self.syncer = Syncer(loop, self.tree, self.stats, config.settings.fsync, self._journal_idle)
        self.appender = Appender(
            self.tree,
            self.syncer,
            self.feed,
            self.stats,
            schedule=loop.call_soon,
            later=loop.call_later,
            on_lost=self._lost,
            on_undone=self._undone,
            max_open_files=descriptors.most_open_files(),
        )
        self.runs: dict[str, Run] = {}
        self.by_path: dict[tuple[str, str], Run] = {}
        self._retired: OrderedDict[Run, None] = OrderedDict()
        self._last_refresh = 0.0
        self.offsets = Offsets()
        self.ahead = Ahead()
        self.turnstile = Turnstile()
        self.trash = Trash(car_dir)
        self.removals = Removals(car_dir)
        self._tidying: Any = None
        self.on_end: Callable[[], None] = _nothing
        self.on_peer: Callable[[], None] = _nothing

    def apply(self, config: Config) -> None:
        """Take over another configuration (SIGHUP)."""
        self.settings = config.settings
        self.retention = config.retention
        self.syncer.policy = config.settings.fsync

    # -- finding runs --------------------------------------------------------------------------------------

    def find(self, run_id: str) -> Run | Awaitable[Run | None] | None:
        """Return the run, read from its file if it is not in memory; awaitable where the file is large."""
        run = self.runs.get(run_id)
        if run is not None:
            return run
        entries = self._entries(run_id)
        if not entries:
            return None
        if sum(max(0, self._size(entry)) for entry in entries) > SMALL_FILE_BYTES:
            return self._load_in_thread(run_id, entries)
        return self._loaded(run_id, [(entry, self.read(entry)) for entry in entries])

    def _entries(self, run_id: str) -> list[Entry]:
        entries = self.catalog.find(run_id)
        now = time.monotonic()
        if not entries and now - self._last_refresh > _REFRESH_SECS:
            self._last_refresh = now
            self.catalog.refresh()
            entries = self.catalog.find(run_id)
        return entries

    def _size(self, entry: Entry) -> int:
        try:
            directory = self.tree.directory(entry.path[0])
            return os.stat(entry.path[1], dir_fd=directory, follow_symlinks=False).st_size
        except OSError:
            return 0

    def read(self, entry: Entry) -> Scan | None:
        """Return what stands in a run's file, ``None`` if it is gone or cannot be read (the log says why)."""
        path = os.path.join(self.tree.root, entry.path[0])
        try:
            directory = layout.open_dir(path)
            try:
                fd = layout.open_for_reading(entry.path[1], directory)
            finally:
                os.close(directory)
            try:
                return scan(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s/%s cannot be read: %s", *entry.path, error)
            return None

    async def _load_in_thread(self, run_id: str, entries: list[Entry]) -> Run | None:
        scans = [(entry, await anyio.to_thread.run_sync(self.read, entry)) for entry in entries]
        return self.runs.get(run_id) or self._loaded(run_id, scans)

    def _loaded(self, run_id: str, scans: list[tuple[Entry, Scan | None]]) -> Run | None:
        for entry, found in scans:
            if found is None:
                self.catalog.forget(entry.path)
            elif found.started is not None and found.started.run_id == run_id:
                return self.admit(entry, found)
        return None

    def find_nameless(self, path: tuple[str, str], agent_id: str, run_id: str) -> Run | None:
        """Return the run of a file in which no ``started`` says whose it is, as ``runs.append`` can make one."""
        if path in self.by_path:
            return None
        entry = self.catalog.note(path)
        found = self.read(entry)
        if found is None or not found.lines or found.started is not None:
            if found is None:
                self.catalog.forget(path)
            return None
        return self.admit(entry, found, Run(run_id, agent_id, "", ""))

    def admit(self, entry: Entry, found: Scan, run: Run | None = None) -> Run:
        """Bring a run that was read from its file into memory."""
        start = found.started
        if run is None:
            assert start is not None
            run = Run(start.run_id, start.agent_id, start.intent, start.started_at)
            run.detached = start.detached is True
        run.turn_count, run.next_index, run.lines = found.turn_count, found.next_index, found.lines
        run.writers = found.writers
        run.status = found.status
        if found.ended is not None and run.status is not OPEN:
            run.ended_at = found.ended_at
            run.outcome_status = outcome_status(found.ended.termination)
            termination = found.ended.termination
            if isinstance(termination, dict) and isinstance(termination.get("outcome"), dict):
                run.outcome = termination["outcome"]
        journal = Journal(run, entry.path, fresh=False)
        if found.torn:  # healing cuts it, so it is no line of the file
            log.warning("run %s: %d bytes of a torn tail", run.run_id, len(found.torn))
        journal.unsynced_bytes = found.good_bytes  # an earlier daemon wrote it, and may not have synced it
        self.enter(run, journal)
        if run.status is not OPEN:
            self._retire(run)
        return run

    def enter(self, run: Run, journal: Journal) -> None:
        """Take a run into memory.  One that is there by this id already (another agent's, a copy) stays."""
        run.journal = journal
        self.runs.setdefault(run.run_id, run)
        self.by_path[journal.path] = run
        entry = self.catalog.note(journal.path)
        entry.known = False

    def _lost(self, run: Run) -> None:
        """The run's file never came to be, or is gone: another may come in its place."""
        self.offsets.forget(run.journal.path)
        self.forget(run)

    def forget(self, run: Run) -> None:
        """Drop a run from memory: its file never came to be, or is gone, or nobody needs it any more."""
        if run.timer is not None:
            run.timer.cancel()
            run.timer = None
        for owner in run.owners:
            owner.runs.discard(run)
        run.owners.clear()
        self._retired.pop(run, None)
        if self.runs.get(run.run_id) is run:
            del self.runs[run.run_id]
        if self.by_path.get(run.journal.path) is run:
            del self.by_path[run.journal.path]
        self.appender.close(run.journal)
        if run.journal.fresh:
            self.catalog.forget(run.journal.path)
            return
        entry = self.catalog.note(run.journal.path)
        entry.maybe_open = run.status is OPEN
        entry.summary = self.summary(run)
        entry.known = entry.summary is not None and entry.summary.bytes > 0

    def _undone(self, run: Run) -> None:
        """A write failed: an end that was not stored has not happened, and is tried again later."""
        if run.status is OPEN:
            self._retired.pop(run, None)
            if not run.owners and run.timer is None:
                self.arm(run, max(1, self.settings.disconnect_grace_secs), "disconnected")

    def _retire(self, run: Run) -> None:
        """An ended run stays for late answers, until enough others have ended."""
        self._retired[run] = None
        self._retired.move_to_end(run)
        if len(self._retired) > MAX_RETIRED:
            for old in self._retired:
                if old.journal.idle and not old.watched:
                    self.forget(old)
                    break

    def _journal_idle(self, journal: Journal) -> None:
        """A sync is over and nothing is left to sync: the file of an ended run is closed."""
        self.tidy_later()
        if journal.close_after_sync or journal.run.status is not OPEN:
            journal.close_after_sync = False
            self.appender.close(journal)

    # -- owners and timers ---------------------------------------------------------------------------------

    def attach(self, owner: Owner, run: Run) -> None:
        """The run belongs to this connection too, and is not given up while it lasts."""
        run.owners.add(owner)
        owner.runs.add(run)
        if run.timer is not None and not run.detached:
            run.timer.cancel()
            run.timer = None

    def detach_all(self, owner: Owner) -> None:
        """A connection is gone: runs that were its alone get their grace."""
        for run in owner.runs:
            run.owners.discard(owner)
            if not run.owners and run.status is OPEN:
                self._leave_alone(run)
        owner.runs = set()

    def _leave_alone(self, run: Run) -> None:
        if run.detached:
            self.arm(run, self.settings.detached_idle_secs, "abandoned")
        else:
            self.arm(run, self.settings.disconnect_grace_secs, "disconnected")

    def arm(self, run: Run, seconds: float, reason: str) -> None:
        """Give the run up after ``seconds``, unless somebody comes for it."""
        if run.timer is not None:
            run.timer.cancel()
        run.timer = self.loop.call_later(seconds, self._give_up, run, reason)

    def _give_up(self, run: Run, reason: str) -> None:
        run.timer = None
        if run.status is not OPEN or run.owners:
            return
        if run.detached:
            left = self.settings.detached_idle_secs - self.idle_seconds(run)
            if left > 0:
                self.arm(run, left, reason)
                return
        log.info("run %s of %s: incomplete (%s)", run.run_id, run.agent_id, reason)
        self.stop(run, reason)

    def idle_seconds(self, run: Run) -> float:
        """Return the seconds since the run's file was last written to, infinity if it is gone."""
        try:
            directory = self.tree.directory(run.journal.path[0])
            changed = os.stat(run.journal.path[1], dir_fd=directory, follow_symlinks=False).st_mtime
        except OSError:
            return float("inf")
        return max(0.0, time.time() - changed)

    def last_write(self, run: Run) -> float:
        """Return when the run's file was last written to, in seconds since the epoch."""
        return time.time() - min(self.idle_seconds(run), time.time())

    def stop(self, run: Run, reason: str, ticket: Any = None, result: bytes = b"") -> None:
        """End an open run as incomplete."""
        run.mark()
        run.move("stop")
        run.ended_at = times.render(time.time_ns())
        run.outcome_status = None
        run.lines += 1
        record = runstore.incomplete(run.agent_id, run.run_id, reason, run.ended_at)
        self.ended(run, record, ticket, result)

    def ended(self, run: Run, record: Any, ticket: Any, result: bytes) -> None:
        """Put down the ``ended`` record of a run that has just moved on to its end."""
        self.appender.put(run, [record], ticket, result, durable=self.settings.fsync != "no")
        self.over(run)

    def over(self, run: Run) -> None:
        """A run has ended: it waits for nobody, and retention may have something to do."""
        if run.timer is not None:
            run.timer.cancel()
            run.timer = None
        self._retire(run)
        self.on_end()

    def reopened(self, run: Run) -> None:
        """An incomplete run goes on."""
        self._retired.pop(run, None)

    # -- summaries -----------------------------------------------------------------------------------------

    def summary(self, run: Run) -> RunSummary | None:
        """Return the summary of a run in memory."""
        if not run.started_at:
            return None
        journal: Journal = run.journal
        size = journal.file.size if journal.file is not None else self._size(self.catalog.note(journal.path))
        return RunSummary(
            run_id=run.run_id,
            agent_id=run.agent_id,
            intent=run.intent,
            started_at=run.started_at,
            status=run.status,
            turn_count=run.turn_count,
            bytes=size,
            ended_at=run.ended_at if run.status is not OPEN else None,
            outcome_status=run.outcome_status if run.status is RunStatus.COMPLETED else None,
        )

    async def glances(self, entries: list[Entry]) -> list[tuple[Entry, RunSummary]]:
        """Return summaries good enough for retention: a file not known yet is looked at from its ends only."""
        unknown = [e for e in entries if not e.known and e.glance is None and e.path not in self.by_path]
        if unknown:
            await anyio.to_thread.run_sync(self.catalog.look_at, unknown, glance)
        return self._known(entries, glances=True)

    async def summaries(self, entries: list[Entry]) -> list[tuple[Entry, RunSummary]]:
        """Return the summaries of ``entries``; those not known yet are read in a thread."""
        unknown = [entry for entry in entries if not entry.known and entry.path not in self.by_path]
        if unknown:
            await anyio.to_thread.run_sync(self.catalog.look_at, unknown, _whole)
        return self._known(entries, glances=False)

    def _known(self, entries: list[Entry], *, glances: bool) -> list[tuple[Entry, RunSummary]]:
        out = []
        for entry in entries:
            run = self.by_path.get(entry.path)
            summary = entry.summary or (entry.glance if glances else None) if run is None else self.summary(run)
            if summary is not None:
                out.append((entry, summary))
        return out

    def tidy_later(self) -> None:
        """There was work that took memory: give it back in a while."""
        if self._tidying is None:
            self._tidying = self.loop.call_later(memory.TIDY_DELAY, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        self.ahead.clear()
        memory.give_back()

    def open_runs(self) -> list[Run]:
        """Return the open runs in memory."""
        return [run for run in self.runs.values() if run.status is OPEN]


def _whole(fd: int) -> RunSummary | None:
    return scan(fd).summary()


def _nothing() -> None:
    return
