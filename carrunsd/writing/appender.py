"""The one writer: what methods have put down becomes one write for each run file.

Theory of operation.  Methods change a run and leave records and answers in its :class:`Journal`.  When they are
written is decided here alone.  A connection says where a block of requests that it has read begins and ends:
``end_block`` flushes, so that all requests of a block become one write a run; what comes of a timer is flushed in
the next turn of the loop.  Where one connection alone sends much to many runs and waits for nothing, the flush is
put off for ``PUT_OFF_SECS`` at most, so that several blocks become one write a run.

A flush answers at once or, by policy, hands the answers to the :class:`~carrunsd.writing.syncer.Syncer`, which
answers once the data is on the device.  A write that fails is cut back, its run goes back to its last good state,
and everyone who waited is told the errno.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from carruns.protocol import times
from carruns.protocol.framing import occurrences
from carrunsd.feed import Feed
from carrunsd.run import Run
from carrunsd.stats import Stats
from carrunsd.store.history import OPEN
from carrunsd.store.layout import StoreError
from carrunsd.store.runfile import RunFile
from carrunsd.store.tree import Tree
from carrunsd.wire.replies import Ticket
from carrunsd.writing.journal import Acks, Journal, errno_name, refuse
from carrunsd.writing.syncer import Syncer

log = logging.getLogger("carrunsd.appender")

SMALL_WRITE_BYTES = 4 << 10  # a write of less costs mostly what any write costs
MAX_PUT_OFF_BYTES = 2 << 20  # of input whose writes wait for more of it
PUT_OFF_SECS = 0.02  # that writes wait at most


class Appender:
    """Writes journals.

    ``schedule`` takes a callback for the next turn of the loop (``loop.call_soon``), ``later`` one for in some
    seconds (``loop.call_later``).  ``on_lost`` is called with a run whose file never came to be, or is gone;
    ``on_undone`` with one that is back in its last good state.
    """

    def __init__(
        self,
        tree: Tree,
        syncer: Syncer,
        feed: Feed,
        stats: Stats,
        *,
        schedule: Callable[[Callable[[], None]], object],
        later: Callable[[float, Callable[[], None]], object],
        on_lost: Callable[[Run], None],
        on_undone: Callable[[Run], None],
        max_open_files: int,
    ) -> None:
        self._tree = tree
        self._syncer = syncer
        self._feed = feed
        self._stats = stats
        self._schedule = schedule
        self._later = later
        self._on_lost = on_lost
        self._on_undone = on_undone
        self._max_open = max_open_files
        self._journals: dict[Run, Journal] = {}
        self._dirty: list[Journal] = []
        self._scheduled = False
        self._in_block = False  # its end will flush, in this very turn of the loop
        self._source: object = None  # of the last block
        self._put_off_bytes = 0  # of input whose writes are put off
        self._guarded = False  # that what is put off is flushed in time
        self._stamp = ""
        self._open: OrderedDict[Journal, None] = OrderedDict()

    # -- for which runs ------------------------------------------------------------------------------------

    def write_for(self, run: Run, *, fresh: bool, unsynced_bytes: int = 0) -> None:
        """Be ready to write for a run.

        ``fresh``: its file is yet to be made.  ``unsynced_bytes`` of it may not be on the device.
        """
        self._journals[run] = Journal(run, fresh=fresh, unsynced_bytes=unsynced_bytes)

    def let_go(self, run: Run) -> None:
        """Nobody will write to the run any more; should somebody, its file is opened again."""
        journal = self._journals.pop(run, None)
        if journal is not None:
            self.close(journal)

    def is_fresh(self, run: Run) -> bool:
        """Tell whether nothing was written for a new run yet."""
        journal = self._journals.get(run)
        return journal is not None and journal.fresh

    def is_idle(self, run: Run) -> bool:
        """Tell whether all that was written for the run is on the device, and nobody waits."""
        journal = self._journals.get(run)
        return journal is None or journal.idle

    def size(self, run: Run) -> int | None:
        """Return the bytes of the run's file, ``None`` where it is not open."""
        journal = self._journals.get(run)
        return journal.file.size if journal is not None and journal.file is not None else None

    # -- what is to be written -----------------------------------------------------------------------------

    @property
    def queue(self) -> int:
        """How many runs have something to write."""
        return len(self._dirty)

    @property
    def stamp(self) -> str:
        """The time of this flush's records, RFC 3339 in UTC with microseconds."""
        if not self._stamp:
            self._stamp = times.render(time.time_ns())
            self._wake()
        return self._stamp

    def put(
        self,
        run: Run,
        records: Sequence[Any] | bytes,
        ticket: Ticket | None,
        result: bytes,
        *,
        durable: bool = False,
    ) -> None:
        """Take ``records`` (or lines encoded already), and answer ``ticket`` with ``result`` once they are stored.

        The run's state has moved on already, and was marked before.  With ``durable`` the answer waits until
        they are on the device, and all that the run has put down before.
        """
        journal = self._journals.get(run)
        if journal is None:
            self.write_for(run, fresh=False)
            journal = self._journals[run]
        if not journal.queued:
            journal.queued = True
            self._dirty.append(journal)
            self._wake()
        if type(records) is bytes:
            journal.put_lines(records)
        else:
            journal.pending += records
        if durable:
            journal.durable = True
        if ticket is not None:
            journal.acks.append((ticket, result))

    # -- when ----------------------------------------------------------------------------------------------

    def begin_block(self, source: object) -> None:
        """Someone's block of requests is about to be carried out.

        What another's block has put off is written first: nobody is to see less than was carried out.
        """
        if self._put_off_bytes and source is not self._source:
            self.flush()
        self._source = source
        self._in_block = True

    def end_block(self, size: int, *, more_follows: bool) -> None:
        """A block of ``size`` bytes was carried out: write it, or put that off if it saves writes.

        ``more_follows``: its sender alone sends, much, and waits for nothing.  Turns to many runs in turn are a
        small write each, unless several to a run come together.
        """
        self._put_off_bytes += size
        room = min(MAX_PUT_OFF_BYTES, SMALL_WRITE_BYTES * len(self._dirty))
        if not more_follows or self._put_off_bytes >= room:
            self.flush()
            return
        self._in_block = False
        self._stamp = ""
        if not self._guarded:
            self._guarded = True
            self._later(PUT_OFF_SECS, self._flush_at_last)

    def _wake(self) -> None:
        if not self._scheduled and not self._in_block:
            self._scheduled = True
            self._schedule(self.flush)

    def _flush_at_last(self) -> None:
        self._guarded = False
        self.flush()

    def flush(self) -> None:
        """Write everything that was put down."""
        self._scheduled = self._in_block = False
        self._put_off_bytes = 0
        self._stamp = ""
        dirty, self._dirty = self._dirty, []
        for journal in dirty:
            self._flush_one(journal)

    def _flush_one(self, journal: Journal) -> None:
        data, acks, durable = journal.take()
        if data:
            try:
                self._write(journal, data)
            except OSError as error:
                self._failed(journal, acks, error)
                return
            except Exception:  # a defect, but the other runs of this flush must not wait for ever
                log.exception("run %s: cannot write", journal.run.run_id)
                self._failed(journal, acks, OSError(errno.EIO, "a defect in the daemon; its log says more"))
                return
            run = journal.run
            run.settle()
            if run.watched or self._feed.watching:
                self._feed.publish(run, data)
        if self._syncer.needed(journal, durable=durable):
            self._syncer.sync(journal, acks)
        else:
            for ticket, result in acks:
                ticket.done(result)

    def _write(self, journal: Journal, data: bytes) -> None:
        self._syncer.check(journal)
        self._file(journal).append(data)
        journal.fresh = False
        self._syncer.written(journal, data)
        stats = self._stats
        stats.records += occurrences(data, b"\n")
        stats.bytes += len(data)
        stats.batches += 1

    def _failed(self, journal: Journal, acks: Acks, error: OSError) -> None:
        self._stats.errors += 1
        run = journal.run
        run.undo()
        log.error("run %s: cannot write: %s", run.run_id, describe(error))
        gone = error.errno in (errno.ENOENT, errno.ESTALE)
        if gone or journal.fresh:
            self.close(journal)
            if journal.fresh and not gone:
                self._remove_empty(journal)
            self._on_lost(run)
        else:
            self._on_undone(run)
        refuse(acks, error)

    def _remove_empty(self, journal: Journal) -> None:
        """The first write failed: do not leave an empty file where no run is."""
        with contextlib.suppress(OSError):
            file = self._tree.open(journal.path, create=False)
            size = file.size
            file.close()
            if not size:
                self._tree.remove(journal.path)

    # -- files ---------------------------------------------------------------------------------------------

    def _file(self, journal: Journal) -> RunFile:
        """Return the journal's open file, checked to be the one that its path leads to."""
        file = journal.file
        if file is not None:
            self._tree.check(journal.path, file)
            return file
        if len(self._open) >= self._max_open:
            self._close_idle()
        try:
            file = self._tree.open(journal.path, create=journal.fresh)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._close_idle()
            file = self._tree.open(journal.path, create=journal.fresh)
        if file.healed:
            log.warning("run %s: cut %d bytes of a torn tail", journal.run.run_id, file.healed)
        if journal.closed_size not in (-1, file.size):
            file.close()
            raise StoreError(errno.ESTALE, f"{journal.path[1]!r} was changed by someone else while it was closed")
        journal.file = file
        self._open[journal] = None
        return file

    def _close_idle(self) -> None:
        """Close the files that were opened longest ago, best those that have nothing to sync; they open again."""
        idle = [journal for journal in self._open if journal.idle]
        rest = idle or [j for j in self._open if not (j.syncing or j.failure or (j.file and j.file.broken))]
        for journal in rest[: max(1, self._max_open // 8)]:
            self.close(journal)

    def idle(self, journal: Journal) -> None:
        """Nothing of the journal is left to sync: the file of an ended run is closed."""
        if journal.close_after_sync or journal.run.status is not OPEN:
            journal.close_after_sync = False
            self.close(journal)

    def close(self, journal: Journal) -> None:
        """Close the journal's file, unless a sync of it is under way (the syncer closes it then)."""
        if journal.syncing:
            journal.close_after_sync = True
        elif journal.file is not None:
            self._open.pop(journal, None)
            journal.close()

    def close_all(self) -> None:
        """Close every file.  What is unsynced should have been synced before."""
        for journal in list(self._open):
            self.close(journal)


def describe(error: OSError) -> str:
    """Return an error as a person reads it, its errno's name last."""
    return f"{error.strerror or error} ({errno_name(error)})"
