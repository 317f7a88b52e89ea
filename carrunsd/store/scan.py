"""What the records of a run file come to: one pass over it, or a look at its ends."""

from __future__ import annotations

import os
from typing import Any, Union

from msgspec import Struct

from carruns.protocol.framing import occurrences
from carruns.protocol.records import RunStatus, RunSummary
from carrunsd.store.reader import Line, all_lines, last_line, parse_line, read_blocks


class Scan(Struct):
    """What one pass over a run file found.

    ``lines`` counts whole lines, bad ones included (it is the cursor of the file's end); ``good_bytes`` is the
    offset behind the last of them, ``torn`` what stands behind that.  ``writers`` maps each writer to its
    highest ``seq``.
    """

    started: Union[Line, None] = None
    ended: Union[Line, None] = None
    reopened: bool = False
    turn_count: int = 0
    next_index: int = 0
    lines: int = 0
    skipped: int = 0
    size: int = 0
    good_bytes: int = 0
    torn: bytes = b""
    unterminated: bool = False
    writers: dict[str, int] = {}

    @property
    def status(self) -> RunStatus:
        """In progress until an ``ended`` that nothing was recorded after; an outcome stays an outcome."""
        if self.ended is None or self.reopened:
            return RunStatus.IN_PROGRESS
        return RunStatus.INCOMPLETE if outcome_status(self.ended.termination) is None else RunStatus.COMPLETED

    @property
    def ended_at(self) -> str | None:
        """When the run ended, if the file says so in words."""
        at = self.ended.ended_at if self.ended is not None else None
        return at if type(at) is str else None

    def summary(self) -> RunSummary | None:
        """Return the run's summary, or ``None`` for a file without a usable ``started``."""
        start = self.started
        if start is None:
            return None
        over = self.status is not RunStatus.IN_PROGRESS
        return RunSummary(
            run_id=start.run_id,
            agent_id=start.agent_id,
            intent=start.intent,
            started_at=start.started_at,
            status=self.status,
            ended_at=self.ended_at if over else None,
            turn_count=self.turn_count,
            bytes=self.size,
            outcome_status=outcome_status(self.ended.termination) if over and self.ended else None,
        )

    def take(self, line: Line) -> None:
        """Account for one good line."""
        kind = line.record
        if kind == "turn":
            self.turn_count += 1
            if self.ended is not None:
                self.reopened = outcome_status(self.ended.termination) is None
            index = line.index if type(line.index) is int else self.next_index
            if index >= self.next_index:
                self.next_index = index + 1
            writer, seq = line.writer, line.seq
            if type(writer) is str and type(seq) is int and seq > self.writers.get(writer, -1):
                self.writers[writer] = seq
        elif kind == "started":
            if self.started is None and _usable_start(line):
                self.started = line
        elif kind == "ended":
            final = self.ended is not None and outcome_status(self.ended.termination) is not None
            if not final or outcome_status(line.termination) is not None:
                self.ended = line
            self.reopened = False


def _usable_start(line: Line) -> bool:
    return all(type(v) is str for v in (line.run_id, line.agent_id, line.intent, line.started_at))


def outcome_status(termination: Any) -> str | None:
    """Return the outcome's status a ``termination`` holds, ``None`` if it is incomplete.

    Reads every encoding serde has for the enum: internally tagged (the one we write), externally tagged,
    adjacently tagged, untagged (https://serde.rs/enum-representations.html), in snake case or as Rust names it.
    """
    if not isinstance(termination, dict):
        return None
    body: Any = termination
    tag = next((termination[k] for k in ("kind", "type", "tag", "t") if type(termination.get(k)) is str), None)
    if tag is None and len(termination) == 1:
        tag, inner = next(iter(termination.items()))
        body = inner if isinstance(inner, dict) else {}
    elif tag is not None:
        inner = next((termination[k] for k in ("content", "data", "value", "c") if k in termination), None)
        body = inner if isinstance(inner, dict) else termination
    if tag is not None and tag.lower() not in ("outcome", "status"):
        return None
    status = body.get("status", termination.get("status"))
    if status is None and isinstance(body.get("outcome"), dict):
        status = body["outcome"].get("status")
    return _snake(status) if isinstance(status, str) else ("done" if tag else None)


def _snake(name: str) -> str:
    return "".join(("_" if i and c.isupper() else "") + c.lower() for i, c in enumerate(name))


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
    return next((line for line in lines if line and line.record == "started" and _usable_start(line)), None)


def glance(fd: int) -> RunSummary | None:
    """Return an ended run's summary from the two ends of its file, without ``turn_count`` (it is -1).

    Where that does not do, the whole file is read.  Retention needs no more, and is spared gigabytes.
    """
    size = os.fstat(fd).st_size
    first, last = first_started(fd), last_line(fd, size)
    if first is None or last is None or last.record != "ended" or not _usable_start(first):
        return scan(fd).summary()
    return Scan(started=first, ended=last, turn_count=-1, size=size).summary()
