"""What stands in a run file: one pass over it, or a look at its ends.  What it comes to is ``history``'s."""

from __future__ import annotations

import os
from typing import Any

from carruns.protocol.framing import occurrences
from carruns.protocol.records import RunStatus, RunSummary
from carrunsd.store import chrono, plain, reader
from carrunsd.store.history import COMPLETED, INCOMPLETE, OPEN, History, is_final, outcome_status, status_of
from carrunsd.store.reader import Line, is_object, last_line, parse_line, read_blocks


class Scan(History):
    """The history of one run file, and its lines.

    ``lines`` counts whole lines, bad ones included (it is the cursor of the file's end); ``good_bytes`` is the
    offset behind the last of them, ``torn`` what stands behind that.
    """

    lines: int = 0
    skipped: int = 0
    size: int = 0
    good_bytes: int = 0
    torn: bytes = b""
    unterminated: bool = False

    def summary(self) -> RunSummary | None:
        """Return the run's summary, or ``None`` for a file without a ``started``."""
        if self.started is None:
            return None
        return self._summary(self.started, self.status, self.ended_at, self.outcome_status)

    def seed_summary(self) -> RunSummary | None:
        """Return the run's summary as the seed has it: the last ``started`` and the last end count.

        (Nothing reopens.  But an ``incomplete`` behind a final end changes nothing, and ends that the seed does not
        know count.)
        """
        end = self.ended
        if self.last_started is None:
            return None
        if end is None:
            return self._summary(self.last_started, OPEN, None, None)
        status = INCOMPLETE if outcome_status(end.termination) is None else COMPLETED
        return self._summary(self.last_started, status, end.ended_at, status_of(end))

    def _summary(self, start: Line, status: RunStatus, ended_at: str | None, outcome: str | None) -> RunSummary:
        return RunSummary(
            run_id=start.run_id,
            agent_id=start.agent_id,
            intent=start.intent,
            started_at=start.started_at,
            status=status,
            ended_at=ended_at,
            turn_count=self.turn_count,
            bytes=self.size,
            outcome_status=outcome,
        )


def scan(fd: int) -> Scan:
    """Read a run file once, from its beginning, and return what it holds.  Raises ``OSError``."""
    found = Scan(writers={})
    for offset, block in read_blocks(fd):
        found.size = offset + len(block)
        if not block.endswith(b"\n"):
            _take_tail(found, block)
            break
        found.good_bytes = found.size
        found.lines += occurrences(block, b"\n")
        for lines in plain.chunks(block):
            _take_lines(found, lines)
    return found


def _take_lines(found: Scan, lines: bytes) -> None:
    turns = plain.turns(lines)
    if turns is not None:
        found.take_turns(turns)
        return
    for text in lines.split(b"\n")[:-1]:
        line = parse_line(text)
        if line is not None:
            found.take(line)
        elif text.strip():
            found.skipped += 1


def _take_tail(found: Scan, tail: bytes) -> None:
    """The last line has no newline: it is a line if it is whole, a record or not, else it is the torn tail."""
    whole = tail.rstrip(b"\0")
    if not is_object(whole):
        found.torn = tail
        found.skipped += bool(tail.strip())
        return
    found.unterminated = True
    found.good_bytes += len(whole)
    found.lines += 1
    line = parse_line(whole)
    if line is None:
        found.skipped += 1
    else:
        found.take(line)


def ends_open(fd: int, size: int) -> bool:
    """Tell from the end of a file alone whether its run may be in progress.

    ``False`` is certain (the last line is an ``ended``); ``True`` wants a :func:`scan` before anything is done
    about it.
    """
    line = last_line(fd, size)
    return line is None or line.record != "ended"


_LOOK_BEHIND = 64 << 10


def first_started(fd: int) -> Line | None:
    """Return the ``started`` record at the beginning of a file, ``None`` if none of its first lines is one."""
    block = os.pread(fd, 65536, 0)
    if b"\n" not in block:
        return scan(fd).started
    lines = (parse_line(text) for text in block.split(b"\n")[:4])
    return next((line for line in lines if line and line.record == "started"), None)


def glance(fd: int) -> RunSummary | None:
    """Return an ended run's summary from the two ends of its file, without ``turn_count`` (it is -1).

    Where that does not do, the whole file is read.  Retention needs no more, and is spared gigabytes.
    """
    size = os.fstat(fd).st_size
    first, last = first_started(fd), last_line(fd, size)
    if first is None or last is None or last.record != "ended" or not _counts(fd, size, last):
        return scan(fd).summary()
    ends = Scan(size=size, writers={})
    ends.take(first)
    ends.take(last)
    ends.turn_count = -1
    return ends.summary()


def _counts(fd: int, size: int, last: Line) -> bool:
    """Tell whether the last ``ended`` is surely the one that counts: another may stand close before it.

    A seed adopts what it cannot read: then there is an ``incomplete`` right behind an end that is final.
    """
    if is_final(last.termination):
        return True
    start = max(0, size - _LOOK_BEHIND)
    return os.pread(fd, size - start, start).count(b'"ended"') == 1


def last_moment(fd: int) -> int:
    """Return when a file's last record happened, in nanoseconds since the epoch; 0 where it does not say.

    A turn says when it began, if that was before it was recorded.
    """
    record: dict[str, Any] = reader.last_record(fd, os.fstat(fd).st_size) or {}
    named = (record.get(name) for name in ("ended_at", "requested_at", "started_at", "recorded_at"))
    moments = (chrono.instant(value) for value in named if isinstance(value, str))
    return next((moment for moment in moments if moment is not None), 0)
