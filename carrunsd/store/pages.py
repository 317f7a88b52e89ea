"""Serving a run's records from its file: raw lines in pages, decoded only to know that they are good.

A cursor is the number of lines of the file behind which to go on.  Where a page ended is remembered, so that the
next one starts there without reading what came before.
"""

from __future__ import annotations

import os

from carruns.protocol.framing import occurrences
from carrunsd.store import plain, reader
from carrunsd.store.history import is_final
from carrunsd.store.typed import TURN_KINDS

BLOCK_BYTES = 256 << 10  # that is read at once: what fits the processor's cache is copied fast
MAX_PAGE_BYTES = 384 << 10  # a page ends with the block, cut at a line's end, that reaches it: the second


class Page:
    """Lines of a file up to ``cursor``; ``records`` is their good ones, joined by commas.

    ``verbatim``: each line holds a record just as it stands, so the page is its lines joined by commas.
    """

    __slots__ = ("cursor", "more", "records", "skipped", "verbatim")

    def __init__(self) -> None:
        self.records = b""
        self.skipped = 0
        self.cursor = 0
        self.more = False
        self.verbatim = True


def seek(fd: int, cursor: int) -> tuple[int, int]:
    """Return the cursor and the byte offset behind ``cursor`` lines, or the file's end if it has fewer."""
    lines = 0
    for offset, block in reader.read_blocks(fd):
        count = occurrences(block, b"\n") or 1
        if lines + count >= cursor:
            at = -1
            for _ in range(cursor - lines):
                at = block.find(b"\n", at + 1)
                if at < 0:
                    return cursor, offset + len(block)
            return cursor, offset + at + 1
        lines += count
    return lines, os.fstat(fd).st_size


def read_page(
    fd: int,
    cursor: int,
    offset: int,
    limit: int | None,
    clean_to: int = 0,
    *,
    max_bytes: int = MAX_PAGE_BYTES,
) -> tuple[Page, int]:
    """Return the page behind ``cursor`` (at byte ``offset``) and the offset of its end.

    At most ``limit`` lines and about ``max_bytes``.  Up to byte ``clean_to`` every line is known to hold a record.
    """
    page = Page()
    page.cursor = cursor
    parts: list[bytes] = []
    taken = 0
    for start, whole in reader.read_blocks(fd, offset, size=BLOCK_BYTES):
        block = whole
        if limit is not None:
            block = _first_lines(block, limit - (page.cursor - cursor))
        if start + len(block) <= clean_to and block.endswith(b"\n"):
            parts.append(block.replace(b"\n", b",")[:-1])
        else:
            good, skipped, verbatim = _good(block)
            page.verbatim = page.verbatim and verbatim
            if not block.endswith(b"\n") and not reader.is_object(block.rstrip(b"\0")):
                page.skipped += skipped  # a torn tail is no line: it goes when the next record comes
                break
            parts += good
            page.skipped += skipped
        page.cursor += occurrences(block, b"\n") + (0 if block.endswith(b"\n") else 1)
        taken += len(block)
        offset = start + len(block)
        if len(block) < len(whole) or taken >= max_bytes or (limit and page.cursor - cursor >= limit):
            page.more = offset < os.fstat(fd).st_size
            break
    page.records = b",".join(parts)
    return page, offset


def _first_lines(block: bytes, count: int) -> bytes:
    if occurrences(block, b"\n") <= count:
        return block
    at = -1
    for _ in range(count):
        at = block.find(b"\n", at + 1)
    return block[: at + 1]


def turns(fd: int, lines: int) -> list[bytes]:
    """Return the turns among the first ``lines`` lines of a run file, each as it stands, of whichever kind."""
    out: list[bytes] = []
    for _, whole in reader.read_blocks(fd, size=BLOCK_BYTES):
        block = _first_lines(whole, lines)
        lines -= occurrences(block, b"\n") + (not block.endswith(b"\n"))
        for part in plain.chunks(block):
            if plain.turns(part) is not None:
                out += part.split(b"\n")[:-1]
            else:
                out += [text for text in _sifted(_texts(part))[0] if kind_of(text) == "turn"]
        if lines <= 0 or len(block) < len(whole):
            break
    return out


_TURN = b'{"record":"turn",'  # as every turn begins that a daemon has numbered


def kind_of(text: bytes) -> str:
    """Return what a line that holds a record is to its run.

    ``turn`` (of whichever kind), an end as the history's table calls it (``incomplete``, ``outcome``), else ``""``.
    """
    if text.startswith(_TURN):
        return "turn"
    line = reader.parse_line(text)
    if line is None:
        return ""
    if line.record in TURN_KINDS:
        return "turn"
    if line.record != "ended":
        return ""
    return "outcome" if is_final(line.termination, line.final) else "incomplete"


def _good(block: bytes) -> tuple[list[bytes], int, bool]:
    """Return the records in ``block``, some joined by commas, how many lines are bad, and more.

    The last says whether they are the block's lines, all of them and as they stand.
    """
    good: list[bytes] = []
    skipped, verbatim = 0, block.endswith(b"\n")
    for lines in plain.chunks(block):
        if plain.turns(lines) is not None:
            good.append(lines.replace(b"\n", b",")[:-1])
            continue
        texts = _texts(lines)
        some, bad = _sifted(texts)
        verbatim = verbatim and some == texts
        good += some
        skipped += bad
    return good, skipped, verbatim


def _texts(lines: bytes) -> list[bytes]:
    """Return lines without their ends; NULs behind the last one are no part of it if it has no newline."""
    texts = lines.split(b"\n")
    tail = texts.pop()
    return texts if not tail else [*texts, tail.rstrip(b"\0") or tail]


def _sifted(lines: list[bytes]) -> tuple[list[bytes], int]:
    good = []
    skipped = 0
    for line in lines:
        if reader.parse_record(line) is None:
            skipped += bool(line.strip())
        else:
            good.append(line.removeprefix(b"\xef\xbb\xbf"))
    return good, skipped
