"""Syncing: when, of what, and what a failed sync means.

Theory of operation.  Syncs go in rounds, in a few threads; whoever comes while one runs is in the next, so writes
that arrive together share one sync.  There are two tracks, each with one round at a time: what somebody waits
for, with all threads; and what is due, in small rounds with few, so that it holds nobody up.  Under ``everysec``
a file is due half a second after its first unsynced write, so that no more than a second of turns is ever at
stake; ``always`` and ``durable`` wait, and are answered when the round is over.

A failed sync is never repeated as if nothing had happened: the kernel marks the pages clean and the next sync
says "ok" (the PostgreSQL "fsyncgate" of 2018).  Whoever waited gets the error; the run refuses writes until
what was written since the last good sync is written anew, through a new descriptor, and that is synced.
"""

from __future__ import annotations

import errno
import itertools
import logging
import math
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any, Protocol

from carrunsd.journal import Acks, Journal, errno_name, refuse
from carrunsd.rounds import Job, Round
from carrunsd.stats import Stats
from carrunsd.store.tree import Tree

log = logging.getLogger("carrunsd.syncer")

EVERYSEC_DELAY = 0.5  # seconds from the first unsynced write to the start of its sync
RETRY_DELAY = 1.0  # seconds until a failed run is tried again by itself
WORKERS = 16  # threads; concurrent syncs of several files share one commit of the file system's journal
LEAST_WORKERS = 2
AT_ONCE = 64  # files of a round that nobody waits for
CATCH_UP_SECS = 0.2  # that rounds which nobody waits for should take together; with the delay, less than a second
MAX_KEPT_BYTES = 32 << 20  # of written, unsynced data in memory; beyond it a sync starts at once


class Loop(Protocol):
    """What is needed of the event loop."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any: ...
    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> Any: ...


class _Track:
    """What is to be synced for one reason, and how many threads are at its round."""

    __slots__ = ("journals", "running")

    def __init__(self) -> None:
        self.journals: dict[Journal, None] = {}
        self.running = 0

    def choose(self, most: int | None) -> list[Journal]:
        """Take out the first ``most``; those that a round of the other track has come after it."""
        free = (journal for journal in self.journals if not journal.syncing)
        chosen = list(itertools.islice(free, most))
        for journal in chosen:
            del self.journals[journal]
        return chosen


class Syncer:
    """Keeps run files synced by ``policy``: ``"always"``, ``"everysec"`` or ``"no"``."""

    def __init__(
        self, loop: Loop, tree: Tree, stats: Stats, policy: str, on_idle: Callable[[Journal], None]
    ) -> None:
        self.policy = policy
        self._loop = loop
        self._tree = tree
        self._stats = stats
        self._on_idle = on_idle
        self._lanes: SimpleQueue[tuple[list[Job], Round, _Track] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._dirty: dict[Journal, None] = {}
        self._awaited = _Track()
        self._due = _Track()
        self.kept_bytes = 0
        self._timer: Any = None
        self._pace = 0.001  # seconds that a sync took in the last round
        self._idle_callbacks: list[Callable[[], None]] = []

    # -- what the appender says ----------------------------------------------------------------------------

    def check(self, journal: Journal) -> None:
        """Raise the error of the journal's failed sync, and have it mended, if there was one."""
        if journal.failure is not None:
            self._kick(journal)
            raise OSError(journal.failure.errno, f"a sync failed: {journal.failure.strerror}")

    def written(self, journal: Journal, data: bytes) -> None:
        """``data`` was written at the end of the journal's file."""
        size = journal.file.size if journal.file else 0
        if not journal.unsynced_bytes:
            journal.synced_bytes = size - len(data)
        journal.unsynced_bytes = size - journal.synced_bytes
        if self.policy == "no":
            return
        self._dirty[journal] = None
        if self.kept_bytes < 2 * MAX_KEPT_BYTES:  # a sync is that far behind: trust the page cache, not more memory
            journal.unsynced.append(data)
            self.kept_bytes += len(data)
        if self.kept_bytes > MAX_KEPT_BYTES:
            self._kick(journal)
        elif self._timer is None:
            self._timer = self._loop.call_later(EVERYSEC_DELAY, self._tick)

    def needed(self, journal: Journal, *, durable: bool) -> bool:
        """Tell whether an answer must wait for a sync.

        Under ``always`` every answer says what is stored, not only that to the write itself: a resent batch that
        is there already, ``acked_seq`` of a flush or a resume.
        """
        if not durable and self.policy != "always":
            return False
        return bool(journal.unsynced_bytes or journal.syncing or journal.failure)

    def sync(self, journal: Journal, acks: Acks) -> None:
        """Have the journal synced at once and answer ``acks`` then."""
        journal.sync_acks += acks
        self._kick(journal)

    # -- rounds --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        self._due.journals.update(self._dirty)
        self._start_rounds()

    def _kick(self, journal: Journal) -> None:
        self._ask_for(journal)
        self._start_rounds()

    def _ask_for(self, journal: Journal) -> None:
        if journal.sync_acks:
            self._due.journals.pop(journal, None)
            self._awaited.journals[journal] = None
        elif journal not in self._awaited.journals:
            self._due.journals[journal] = None

    def _start_rounds(self) -> None:
        """Start a round of what is waited for and one of what is due, unless one of its kind runs."""
        self._start_round(self._awaited, None)
        self._start_round(self._due, AT_ONCE)
        if not (self._awaited.running or self._due.running):
            self._rest()

    def _start_round(self, track: _Track, most: int | None) -> None:
        while not track.running and (chosen := track.choose(most)):
            this_round = self._collect(chosen)
            if this_round.jobs:
                self._begin(this_round, track)
            else:
                this_round.close()

    def _collect(self, journals: list[Journal]) -> Round:
        this_round = Round(self._tree)
        for journal in journals:
            self._dirty.pop(journal, None)
            if not (journal.unsynced_bytes or journal.failure or journal.entry_unsynced):
                self._answer(journal)  # the last round has done it
                continue
            try:
                this_round.add(journal)
            except OSError as error:
                if this_round.jobs and error.errno in (errno.EMFILE, errno.ENFILE):
                    self._ask_for(journal)  # in the next round, with the descriptors of this one
                else:
                    self._not_begun(journal, error)
        return this_round

    def _begin(self, this_round: Round, track: _Track) -> None:
        jobs = this_round.jobs
        count = min(len(jobs), WORKERS if track is self._awaited else self._few_lanes(len(jobs)))
        track.running = this_round.lanes_left = count
        for _ in range(self._awaited.running + self._due.running - len(self._threads)):
            thread = threading.Thread(target=self._work, name="carrunsd-sync", daemon=True)
            self._threads.append(thread)
            thread.start()
        for lane in range(count):
            self._lanes.put((jobs[lane::count], this_round, track))

    def _few_lanes(self, count: int) -> int:
        """Return how few threads will be done in time with ``count`` jobs that nobody waits for, and what is due.

        Each sync that ends takes the interpreter's lock from the loop for a moment.
        """
        seconds = (count + len(self._due.journals)) * self._pace
        return max(LEAST_WORKERS, min(WORKERS, math.ceil(seconds / CATCH_UP_SECS)))

    def _work(self) -> None:
        """In a thread: sync each file of a lane; the last lane of a round reports to the loop."""
        while (work := self._lanes.get()) is not None:
            jobs, this_round, track = work
            began = monotonic()
            for job in jobs:
                try:
                    job.run()
                except Exception as error:  # memory, most likely: not synced; the others must not wait for ever
                    log.exception("run %s: a sync failed", job.journal.run.run_id)
                    job.error = OSError(errno.EIO, f"the sync failed: {type(error).__name__}")
            if this_round.one_is_done(monotonic() - began):
                this_round.close()
                self._loop.call_soon_threadsafe(self._done, this_round, track)

    def _done(self, this_round: Round, track: _Track) -> None:
        track.running = 0
        self._pace = this_round.seconds / len(this_round.jobs)
        for job in this_round.jobs:
            self._settle(job)
        self._start_rounds()

    def _settle(self, job: Job) -> None:
        journal, error = job.journal, job.error
        journal.syncing = False
        self._stats.syncs += 1
        if error is None:
            self._synced(job)
        else:
            self._failed(journal, job.acks, error)
        if journal.close_after_sync or journal.idle:
            self._on_idle(journal)

    def _synced(self, job: Job) -> None:
        journal = job.journal
        if journal.failure is not None:
            log.warning("run %s: written anew and synced; it takes turns again", journal.run.run_id)
            journal.failure = None
        journal.entry_unsynced = False
        self.kept_bytes -= job.bytes
        del journal.unsynced[: job.count]
        journal.unsynced_bytes -= job.end - journal.synced_bytes
        journal.synced_bytes = job.end
        for ticket, result in job.acks:
            ticket.done(result)

    def _failed(self, journal: Journal, acks: Acks, error: OSError) -> None:
        self._stats.sync_errors += 1
        if journal.failure is None:
            log.error(
                "run %s: sync failed: %s (%s); it refuses writes until what was not synced is written anew",
                journal.run.run_id, error.strerror, errno_name(error),
            )  # fmt: skip
        journal.failure = error
        refuse(acks, error, written=True)
        self._dirty[journal] = None

    def _answer(self, journal: Journal) -> None:
        acks, journal.sync_acks = journal.sync_acks, []
        for ticket, result in acks:
            ticket.done(result)
        if journal.close_after_sync or journal.idle:
            self._on_idle(journal)

    def _not_begun(self, journal: Journal, error: OSError) -> None:
        """The file cannot be opened: say so to whoever waits.  Unless it is gone, it is tried again."""
        acks, journal.sync_acks = journal.sync_acks, []
        if error.errno in (errno.ENOENT, errno.ESTALE):
            self.kept_bytes -= sum(map(len, journal.unsynced))
            journal.unsynced, journal.unsynced_bytes, journal.failure = [], 0, None
        else:
            self._dirty[journal] = None
        if acks:
            refuse(acks, error, written=True)

    def _rest(self) -> None:
        """Nothing is due: wait for what is dirty to become so."""
        if self._dirty and self._timer is None:
            delay = RETRY_DELAY if any(j.failure for j in self._dirty) else EVERYSEC_DELAY
            self._timer = self._loop.call_later(delay, self._tick)
        callbacks, self._idle_callbacks = self._idle_callbacks, []
        for callback in callbacks:
            callback()

    # -- the end -------------------------------------------------------------------------------------------

    def drain(self, then: Callable[[], None]) -> None:
        """Sync everything that is not, and call ``then`` when that was tried."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.journals.update(self._dirty)
        self._idle_callbacks.append(then)
        self._start_rounds()

    def close(self) -> None:
        """End the threads."""
        if self._timer is not None:
            self._timer.cancel()
        for _ in self._threads:
            self._lanes.put(None)
        for thread in self._threads:
            thread.join()
