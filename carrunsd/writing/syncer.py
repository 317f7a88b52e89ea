"""Syncing: when, of what, and what a failed sync means.

Theory of operation.  Syncs go in rounds, in threads; whoever comes while one runs is in the next, so writes that
arrive together share one sync.  There are two tracks, each with one round at a time.  What somebody waits for is
synced at once, by all threads.  What is due, half a second after its first unsynced write, goes in small rounds
by few threads, since each sync that ends takes the interpreter's lock from the loop for a moment; what is left of
it after ``CALM_SECS`` goes by all threads, so that under ``everysec`` no more than a second is ever at stake.

A failed sync is never repeated as if nothing had happened: the kernel marks the pages clean and the next sync
says "ok" (the PostgreSQL "fsyncgate" of 2018).  Whoever waited gets the error; the run refuses writes until
what was written since the last good sync is written anew, through a new descriptor, and that is synced.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

from carrunsd.stats import Stats
from carrunsd.store.tree import Tree
from carrunsd.writing.journal import Acks, Journal, errno_name, refuse
from carrunsd.writing.rounds import Job, Round, Track

log = logging.getLogger("carrunsd.syncer")

EVERYSEC_DELAY = 0.5  # seconds from the first unsynced write, or a failure, to a sync
WORKERS = 16  # threads; concurrent syncs of several files share one commit of the file system's journal
FEW_WORKERS = 2
AT_ONCE = 64  # files of a round that nobody waits for
CALM_SECS = 0.1  # that such rounds may go on
MAX_KEPT_BYTES = 32 << 20  # of written, unsynced data in memory; beyond it a sync starts at once


class Loop(Protocol):
    """What is needed of the event loop."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any: ...
    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> Any: ...


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
        self._rounds: SimpleQueue[Round | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._dirty: dict[Journal, None] = {}
        self._awaited = Track()
        self._due = Track()
        self._hurried = False
        self._calm: Any = None  # the timer that ends it
        self.kept_bytes = 0
        self._timer: Any = None
        self._idle_callbacks: list[Callable[[], None]] = []

    # -- what the appender says ----------------------------------------------------------------------------

    def check(self, journal: Journal) -> None:
        """Raise the error of the journal's failed sync, and have it mended, if there was one."""
        if journal.failure is not None:
            self._kick(journal, self._awaited)
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
            self._kick(journal, self._due)
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
        self._kick(journal, self._awaited)
        if journal.syncing and self._due.round is not None:
            self._hurry()  # it may be at the end of it

    # -- rounds --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        self._due.journals.update(self._dirty)
        self._start_rounds()

    def _kick(self, journal: Journal, track: Track) -> None:
        if track is self._awaited:
            self._due.journals.pop(journal, None)
        elif journal in self._awaited.journals:
            return
        track.journals[journal] = None
        self._start_rounds()

    def _hurry(self) -> None:
        """Let all threads at what is due."""
        self._hurried = True
        if self._due.round is not None:
            self._enlist(self._due.round, WORKERS)

    def _start_rounds(self) -> None:
        self._start_round(self._awaited, None, WORKERS)
        if self._hurried:
            self._start_round(self._due, None, WORKERS)
        else:
            self._start_round(self._due, AT_ONCE, FEW_WORKERS)
        if self._dirty and self._timer is None:
            self._timer = self._loop.call_later(EVERYSEC_DELAY, self._tick)
        if self._due.round is None:
            self._nothing_due()

    def _nothing_due(self) -> None:
        self._hurried = False
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None
        if self._awaited.round is None:
            callbacks, self._idle_callbacks = self._idle_callbacks, []
            for callback in callbacks:
                callback()

    def _start_round(self, track: Track, most: int | None, threads: int) -> None:
        """Start a round, unless one runs."""
        while track.round is None and (chosen := track.choose(most)):
            this_round, held_up = self._collect(chosen, track)
            if this_round.jobs:
                track.round = this_round
                self._enlist(this_round, threads)
                if track is self._due and self._calm is None and not self._hurried:
                    self._calm = self._loop.call_later(CALM_SECS, self._hurry)
            else:
                this_round.close()
                if held_up:
                    return  # until the other track's round is over

    def _collect(self, journals: list[Journal], track: Track) -> tuple[Round, bool]:
        """Return a round of ``journals``, and whether some have to wait for the descriptors of another."""
        this_round = Round(self._tree, track)
        held_up = False
        for journal in journals:
            self._dirty.pop(journal, None)
            if not (journal.unsynced_bytes or journal.failure or journal.entry_unsynced):
                self._answer(journal)  # the last round has done it
                continue
            try:
                this_round.add(journal)
            except OSError as error:
                others = this_round.jobs or self._awaited.round or self._due.round
                if others and error.errno in (errno.EMFILE, errno.ENFILE):
                    track.journals[journal] = None
                    held_up = True
                else:
                    self._not_begun(journal, error)
        return this_round, held_up

    def _enlist(self, this_round: Round, threads: int) -> None:
        """Have up to ``threads`` threads work at a round."""
        more = min(threads, len(this_round.jobs)) - this_round.threads
        if more <= 0:
            return
        this_round.threads += more
        wanted = sum(track.round.threads for track in (self._awaited, self._due) if track.round is not None)
        for _ in range(wanted - len(self._threads)):
            thread = threading.Thread(target=self._work, name="carrunsd-sync", daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(more):
            self._rounds.put(this_round)

    def _work(self) -> None:
        """In a thread: sync what there is of a round; who does the last file of it reports to the loop."""
        while (this_round := self._rounds.get()) is not None:
            while (job := this_round.take()) is not None:
                try:
                    job.run()
                except Exception as error:  # memory, most likely: not synced; the others must not wait for ever
                    log.exception("run %s: a sync failed", job.journal.run.run_id)
                    job.error = OSError(errno.EIO, f"the sync failed: {type(error).__name__}")
                if this_round.one_is_done():
                    this_round.close()
                    self._loop.call_soon_threadsafe(self._done, this_round)

    def _done(self, this_round: Round) -> None:
        this_round.track.round = None
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

    # -- the end -------------------------------------------------------------------------------------------

    def drain(self, then: Callable[[], None]) -> None:
        """Sync everything that is not, and call ``then`` when that was tried."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.journals.update(self._dirty)
        self._idle_callbacks.append(then)
        self._hurry()
        self._start_rounds()

    def close(self) -> None:
        """End the threads."""
        if self._timer is not None:
            self._timer.cancel()
        for _ in self._threads:
            self._rounds.put(None)
        for thread in self._threads:
            thread.join()
