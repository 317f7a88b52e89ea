"""Which lines of a block may hold a match, told from the raw bytes.  Pure.

Every match of an expression holds one of a few plain texts (``regex_literals``): ``bytes.find`` looks for them at
memory speed.  Where there are none, every line may match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from carruns.reading.search.regex_literals import required_literals

#: Takes a buffer and how many of its bytes count; yields where the lines begin and end that may match, in order.
Find = Callable[[bytearray, int], Iterator[tuple[int, int]]]


def finder(expression: re.Pattern[str]) -> Find:
    """Return what finds the lines in the first ``end`` bytes of a buffer that may hold a match, in order."""
    wanted = required_literals(expression)
    if wanted is None:
        return _all_lines
    if expression.flags & re.IGNORECASE:
        return lambda buffer, end: _lines_with(buffer[:end].lower(), end, wanted)
    return lambda buffer, end: _lines_with(buffer, end, wanted)


def _all_lines(buffer: bytearray, end: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < end:
        stop = buffer.find(b"\n", start, end)
        stop = end if stop < 0 else stop
        yield start, stop
        start = stop + 1


def _lines_with(buffer: bytearray, end: int, wanted: list[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the lines that hold one of the texts; each line once."""
    spans: dict[int, int] = {}
    for text in wanted:
        at = buffer.find(text, 0, end)
        while at >= 0:
            stop = buffer.find(b"\n", at, end)
            stop = end if stop < 0 else stop
            spans[buffer.rfind(b"\n", 0, at) + 1] = stop
            at = buffer.find(text, stop, end)
    yield from sorted(spans.items())
