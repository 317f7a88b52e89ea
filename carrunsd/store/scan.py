"""What stands in a run file: one pass over it, or a look at its ends.  What it comes to is ``history``'s."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from carruns.protocol import times
from carruns.protocol.framing import occurrences
from carruns.protocol.records import RunSummary
from carrunsd.store import reader
from carrunsd.store.history import History, usable_start
from carrunsd.store.reader import Line, all_lines, last_line, parse_line, read_blocks


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
        """Return the run's summary, or ``None`` for a file without a usable ``started``."""
        start = self.started
        if start is None:
            return None
        return RunSummary(
            run_id=start.run_id,
            agent_id=start.agent_id,
            intent=start.intent,
            started_at=start.started_at,
            status=self.status,
            ended_at=self.ended_at,
            turn_count=self.turn_count,
            bytes=self.size,
            outcome_status=self.outcome_status,
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
        _take_block(found, block)
    return found


def _take_block(found: Scan, block: bytes) -> None:
    texts = block.split(b"\n")[:-1]
    lines = all_lines(block, texts)
    if lines is None:
        lines = []
        for text in texts:
            line = parse_line(text)
            if line is not None:
                lines.append(line)
            elif text.strip():
                found.skipped += 1
    for line in lines:
        found.take(line)


def _take_tail(found: Scan, tail: bytes) -> None:
    """The last line has no newline: it counts if it is whole, else it is the torn tail."""
    line = parse_line(tail)
    if line is None:
        found.torn = tail
        found.skipped += bool(tail.strip())
        return
    found.unterminated = True
    found.good_bytes += len(tail.rstrip(b"\0"))
    found.lines += 1
    found.take(line)


def ends_open(fd: int, size: int) -> bool:
    """Tell from the end of a file alone whether its run may be in progress.

    ``False`` is certain (the last line is an ``ended``); ``True`` wants a :func:`scan` before anything is done
    about it.
    """
    line = last_line(fd, size)
    return line is None or line.record != "ended"


def first_started(fd: int) -> Line | None:
    """Return the ``started`` record at the beginning of a file, ``None`` if none of its first lines is one."""
    block = os.pread(fd, 65536, 0)
    if b"\n" not in block:
        return scan(fd).started
    lines = (parse_line(text) for text in block.split(b"\n")[:4])
    return next((line for line in lines if line and line.record == "started" and usable_start(line)), None)


def glance(fd: int) -> RunSummary | None:
    """Return an ended run's summary from the two ends of its file, without ``turn_count`` (it is -1).

    Where that does not do, the whole file is read.  Retention needs no more, and is spared gigabytes.
    """
    size = os.fstat(fd).st_size
    first, last = first_started(fd), last_line(fd, size)
    if first is None or last is None or last.record != "ended" or not usable_start(first):
        return scan(fd).summary()
    ends = Scan(size=size)
    ends.take(first)
    ends.take(last)
    ends.turn_count = -1
    return ends.summary()


def last_moment(fd: int) -> int:
    """Return when a file's last record happened, in nanoseconds since the epoch; 0 where it does not say.

    A turn says when it began, if that was before it was recorded.
    """
    record: dict[str, Any] = reader.last_record(fd, os.fstat(fd).st_size) or {}
    named = (record.get(name) for name in ("ended_at", "requested_at", "started_at", "recorded_at"))
    for moment in (value for value in named if isinstance(value, str)):
        with contextlib.suppress(ValueError):
            return times.parse(moment)
    return 0
