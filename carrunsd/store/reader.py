"""Reading run files: records in pages, and one pass that says what a file holds.

A bad line is skipped and counted and never hides the good ones around it; a whole last line without its
newline counts, anything less is the torn tail.  Files are read in blocks, so memory does not grow with them.
Nothing is written here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from carruns.protocol.records import Record

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 256 << 20  # a longer one is no record: nothing that is written is half as long
_STUB = b"\0\n"
_BOM = b"\xef\xbb\xbf"


class Line(Struct, gc=False):
    """What a scan wants of a line; the rest is skipped over without being built."""

    record: str
    run_id: Any = None
    agent_id: Any = None
    intent: Any = None
    started_at: Any = None
    termination: Any = None
    ended_at: Any = None
    final: Any = None
    idempotency_key: Any = None
    reason: Any = None
    detached: Any = None
    agent_name: Any = None
    index: Any = None
    writer: Any = None
    seq: Any = None


_lines = msgspec.json.Decoder(Line)
decode_lines = _lines.decode_lines
_objects = msgspec.json.Decoder(dict[str, Any])
#: What msgspec raises for input that is no record; RecursionError and UnicodeDecodeError are no DecodeError.
BAD_LINE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_blocks(
    fd: int, offset: int = 0, end: int | None = None, *, size: int = BLOCK_BYTES
) -> Iterator[tuple[int, bytes]]:
    """Yield ``(offset, block)`` of whole lines from ``offset``; last comes what has no newline, if anything.

    A line longer than a block is handed over whole, one over ``MAX_LINE_BYTES`` as a stub that is no record and
    ends where it ends: no file needs more memory than that.
    """
    held: list[bytes] = []
    start = position = offset
    skipping = False
    while True:
        want = size if end is None else min(size, end - position)
        chunk = os.pread(fd, want, position) if want > 0 else b""
        if not chunk:
            break
        position += len(chunk)
        if position - start > MAX_LINE_BYTES and b"\n" not in chunk:
            held, skipping = [], True
        if skipping:
            at = chunk.find(b"\n") + 1
            if not at:
                continue
            start = position - len(chunk) + at
            yield start - len(_STUB), _STUB
            chunk, skipping = chunk[at:], False
        cut = chunk.rfind(b"\n") + 1
        if cut:
            block = b"".join((*held, chunk[:cut]))
            yield start, block
            start += len(block)
            held = [chunk[cut:]] if cut < len(chunk) else []
        elif chunk:
            held.append(chunk)
    if skipping:
        yield position - 1, _STUB[:1]
    elif held:
        yield start, b"".join(held)


def all_lines(block: bytes, texts: list[bytes]) -> list[Line] | None:
    """Decode a block, whose lines are ``texts``, in one call; ``None`` where each has to be looked at by itself.

    What a scan skips over, msgspec does not look into, so UTF-8 and escapes that may be lone surrogates are
    checked here.  It takes an object over two lines, too, and two on one line; but no object goes on with ``}``,
    newline, ``{``, so as many objects as lines that begin and end so are one object a line.
    """
    if not all(text.startswith(b"{") and text.endswith(b"}") for text in texts):
        return None
    try:
        if not block.isascii():
            block.decode()
        lines = decode_lines(block)
    except BAD_LINE:
        return None
    whole = len(lines) == len(texts) and _MAY_BE_SURROGATE.search(block) is None
    return lines if whole else None


_MAY_BE_SURROGATE = re.compile(rb"\\u[dD]")  # as a regular expression it takes a quarter of the time of two finds


def parse_line(text: bytes) -> Line | None:
    """Return what a scan wants of a line, ``None`` if it holds no record."""
    if parse_record(text) is None:
        return None
    try:
        return _lines.decode(_bare(text))
    except BAD_LINE:
        return None


def _bare(text: bytes) -> bytes:
    return text.removeprefix(_BOM).rstrip(b"\0")


def records(fd: int) -> tuple[list[Record], int]:
    """Return all records of a run file, and how many lines were skipped.  Raises ``OSError``."""
    out: list[Record] = []
    skipped = 0
    for _, block in read_blocks(fd):
        for text in block.split(b"\n"):
            record = parse_record(text)
            if record is not None:
                out.append(record)
            elif text.strip():
                skipped += 1
    return out, skipped


def parse_record(text: bytes) -> Record | None:
    """Return the record that a line holds, or ``None`` if it holds none."""
    try:
        value = _objects.decode(_bare(text))
    except BAD_LINE:
        return None
    return Record(value) if type(value.get("record")) is str else None


def last_line(fd: int, size: int) -> Line | None:
    """Return the last line of a file, ``None`` if it holds no record.  Reads a few KiB, however long the file."""
    text = _last_text(fd, size)
    return None if text is None else parse_line(text)


def last_record(fd: int, size: int) -> Record | None:
    """Return the record on the last line of a file, ``None`` if it holds none."""
    text = _last_text(fd, size)
    return None if text is None else parse_record(text)


def _last_text(fd: int, size: int) -> bytes | None:
    reach = 4096
    while True:
        start = max(0, size - reach)
        tail = os.pread(fd, size - start, start).rstrip(b"\n")
        cut = tail.rfind(b"\n")
        if cut >= 0 or start == 0:
            return tail[cut + 1 :]
        reach *= 8
        if reach > MAX_LINE_BYTES:
            return None
