"""Reading run files: blocks of whole lines, and the record that a line holds, if it holds one.

A bad line is skipped and counted and never hides the good ones around it.  Bad is what the seed's typed reader does
not take (``typed`` has its types); what we write ourselves is told by a quicker look (``plain``).  Files are read
in blocks, so memory does not grow with them.  Nothing is written here.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from carruns.protocol.records import Record
from carrunsd.store import plain, strict, typed

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 256 << 20  # a longer one is no record: nothing that is written is half as long
_STUB = b"\0\n"
_BOM = b"\xef\xbb\xbf"


class Line(Struct, gc=False):
    """What a scan wants of a record."""

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
    index: Any = -1  # for whoever has no line, but what was read of it elsewhere
    writer: Any = None
    seq: Any = None


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


def parse_line(text: bytes) -> Line | None:
    """Return what a scan wants of a line, ``None`` if it holds no record."""
    record = parse_record(text)
    return None if record is None else line_of(record)


def line_of(record: dict[str, Any]) -> Line:
    """Return what a scan wants of a record."""
    return Line(**{name: record[name] for name in _LINE_FIELDS if name in record})


_LINE_FIELDS = Line.__struct_fields__


def records(fd: int) -> tuple[list[Record], int]:
    """Return all records of a run file, and how many lines were skipped.  Raises ``OSError``."""
    out: list[Record] = []
    skipped = 0
    for _, block in read_blocks(fd):
        for lines in plain.chunks(block):
            if plain.turns(lines) is not None:
                out += map(Record, _objects.decode_lines(lines))
                continue
            whole = lines.endswith(b"\n")
            for text in lines.split(b"\n"):
                record = parse_record(text if whole else text.rstrip(b"\0"))
                if record is not None:
                    out.append(record)
                elif text.strip():
                    skipped += 1
    return out, skipped


def parse_record(text: bytes) -> Record | None:
    """Return the record that a line holds, or ``None`` if it holds none."""
    text = text.removeprefix(_BOM)
    try:
        value = _objects.decode(text)
    except BAD_LINE:
        return None
    return None if _fault(value, text) else Record(value)


def fault(text: bytes) -> str | None:
    """Say why a line is no record, naming the field where one is to blame; ``None`` for one that is."""
    text = text.removeprefix(_BOM)
    try:
        value = _objects.decode(text)
    except BAD_LINE as error:
        return f"not JSON, or no object: {error}" if str(error) else "not JSON"
    return _fault(value, text)


def is_object(text: bytes) -> bool:
    """Tell whether a line is a whole JSON object, a record or not: what was cut off in the middle is none."""
    try:
        _objects.decode(text.removeprefix(_BOM))
    except BAD_LINE:
        return False
    return True


def _fault(value: dict[str, Any], text: bytes) -> str | None:
    if strict.too_deep(text):
        return "it nests deeper than 127 levels"
    if strict.too_big_a_number(text):
        return "a number is beyond a double"
    return typed.fault(_closely(text) if _needs_a_closer_look(value, text) else value)


def _needs_a_closer_look(value: dict[str, Any], text: bytes) -> bool:
    """Tell whether a field may be given twice, or a whole number may be ``-0``, which is a float to serde.

    An end is always looked at, for the numbers and names further in.
    """
    kind = value.get("record")
    if kind == "ended" or _MAY_BE_A_NAME.search(text) is not None:
        return True
    if value.get("index") == 0 and b"-0" in text:
        return True
    names = typed.NAMES.get(kind, ()) if type(kind) is str else ()
    doubled = [name for name in _quoted(("record", *names)) if text.count(name) > 1]
    return bool(doubled) and not _all_inside(text, doubled)


def _all_inside(text: bytes, names: list[bytes]) -> bool:
    """Tell whether all but one of each of ``names``, which stand in the text more than once, are in values."""
    values = [bytes(value) for value in _raw.decode(text).values()]
    return all(text.count(name) == 1 + sum(value.count(name) for value in values) for name in names)


_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])


@functools.cache
def _quoted(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(f'"{name}"'.encode() for name in names)


#: An escape that stands for a letter of a field's name or for its ``_``.
_MAY_BE_A_NAME = re.compile(rb"\\u00[567]")


class _Object(dict[str, Any]):
    """A JSON object that knows which keys stood in it twice."""

    doubled: frozenset[str] = frozenset()


def _closely(text: bytes) -> dict[str, Any]:
    """Return an object, known to be JSON, with what msgspec does not tell: keys given twice, and ``-0``."""
    value: dict[str, Any] = json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = _Object(pairs)
    if len(out) < len(pairs):
        counted = Counter(name for name, _ in pairs)
        out.doubled = frozenset(name for name, count in counted.items() if count > 1)
    return out


def _whole(text: str) -> float:
    return float(text) if text.startswith("-0") or len(text) > _MAX_INT_DIGITS else int(text)


_MAX_INT_DIGITS = 300  # Python will not read a whole number of 5000


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
