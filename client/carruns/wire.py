"""The wire: JSON-RPC 2.0, one message a line, UTF-8 (SPEC section 4).  Bytes in, bytes out, no I/O.

:class:`LineFramer` cuts a stream into whole lines for the daemon and the client alike.  It hands lines over in
blocks, as many whole lines as came, because msgspec decodes a block in one call.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any, Union

import msgspec
from msgspec import UNSET, Struct, UnsetType

PROTOCOL_VERSION = 3
MAX_TURNS_PER_BATCH = 256
DEFAULT_MAX_LINE_BYTES = 16 << 20

#: serde_json refuses the 128th level of nesting (its ``remaining_depth`` starts there).
MAX_DEPTH = 127


class LineFramer:
    r"""Cut a byte stream into blocks of whole lines; a line over ``limit`` bytes is skipped, not held.

    Feed it what arrived.  It returns the whole lines so far as one block (``b""`` if there is none), each line
    with its ``\\n``.  ``overlong`` counts the lines dropped since it was last set to 0.
    """

    __slots__ = ("_held", "_parts", "_skipping", "limit", "overlong")

    def __init__(self, limit: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self.limit = limit
        self.overlong = 0
        self._parts: list[bytes] = []
        self._held = 0
        self._skipping = False

    def feed(self, data: bytes) -> bytes:
        """Take in ``data`` and return the block of whole lines that it completes."""
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._hold(data)
            return b""
        if cut == len(data) and not self._parts and not self._skipping:
            return data if cut <= self.limit else self._long_block(data)
        block = self._finish_line(data[:cut])
        if cut < len(data):
            self._hold(data[cut:])
        return block if len(block) <= self.limit else self._long_block(block)

    @property
    def held(self) -> int:
        """Bytes of the unfinished line."""
        return self._held

    def _hold(self, data: bytes) -> None:
        if self._skipping:
            return
        self._held += len(data)
        if self._held > self.limit:
            self._drop()
        else:
            self._parts.append(data)

    def skip_line(self) -> None:
        """Forget the unfinished line and skip the rest of it, without counting it as overlong."""
        if self._held:
            self._parts, self._held, self._skipping = [], 0, True

    def _drop(self) -> None:
        """Forget the line that is coming in: it is over the limit.  Counted once, at its start."""
        self._parts, self._held, self._skipping = [], 0, True
        self.overlong += 1

    def _finish_line(self, data: bytes) -> bytes:
        if self._skipping:
            self._skipping = False
            return data[data.index(b"\n") + 1 :]
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts, self._held = [], 0
        return data

    def _long_block(self, block: bytes) -> bytes:
        """A block longer than the limit may hold a line that is: keep those that are not."""
        lines = [line + b"\n" for line in block.split(b"\n")[:-1]]
        kept = [line for line in lines if len(line) <= self.limit]
        self.overlong += len(lines) - len(kept)
        return b"".join(kept)


class Response(Struct):
    """An answer, or what the daemon sends unasked (``method`` and ``params``, no ``id``)."""

    id: Union[int, str, float, UnsetType, None] = UNSET
    result: Any = UNSET
    error: Any = UNSET
    method: Union[str, UnsetType] = UNSET
    params: Any = UNSET


def request(method: str, params: Any, request_id: int | None = None) -> bytes:
    """Return a request line; without ``request_id`` a notification, which gets no answer."""
    message: dict[str, Any] = {"method": method, "params": params}
    if request_id is not None:
        message["id"] = request_id
    return msgspec.json.encode(message) + b"\n"


def turn_head(run_id: str, writer: str) -> bytes:
    """Return the constant start of a one-turn ``record_turns``; see :func:`turn_line`."""
    return (
        b'{"method":"runs.record_turns","params":{"run_id":'
        + msgspec.json.encode(run_id)
        + b',"writer":'
        + msgspec.json.encode(writer)
        + b',"seq":'
    )


def turn_line(head: bytes, seq: int, turn: bytes) -> bytes:
    """Return the line that records one encoded ``turn`` as number ``seq`` of its writer; no answer comes."""
    return b'%b%d,"turns":[%b]}}\n' % (head, seq, turn)


def occurrences(text: bytes, byte: bytes) -> int:
    """Return how often ``byte`` (one) stands in ``text``.

    ``bytes.count`` looks at each byte by itself; ``replace`` uses memchr, which takes a tenth of the time.
    """
    if len(text) <= _COUNTED_AT_ONCE:
        return len(text) - len(text.replace(byte, b""))
    parts = (text[start : start + _COUNTED_AT_ONCE] for start in range(0, len(text), _COUNTED_AT_ONCE))
    return len(text) - sum(len(part.replace(byte, b"")) for part in parts)


_COUNTED_AT_ONCE = 1 << 17  # so that the copies stay in the processor's cache


def may_be_too_deep(text: bytes) -> bool:
    """Tell whether JSON ``text`` has brackets enough to nest too deep; false is certain, true is not."""
    return occurrences(text, b"{") + occurrences(text, b"[") > MAX_DEPTH


def depth(text: bytes) -> int:
    """Return how deep valid JSON ``text`` nests; brackets in strings do not count."""
    return bracket_depth(without_strings(text).translate(None, _NOT_BRACKETS))


def without_strings(text: bytes) -> bytes:
    """Return valid JSON ``text`` without what stands in its strings."""
    return _STRING.sub(b"", text)


def bracket_depth(skeleton: bytes) -> int:
    """Return how deep a row of brackets nests, taking each closing one for the end of whatever is open."""
    rounds = 0
    while skeleton and rounds < _PEEL_ROUNDS and len(skeleton) < _PEEL_BYTES:
        rest = skeleton.replace(b"{}", b"").replace(b"[]", b"")
        if rest == skeleton:
            break
        skeleton = rest
        rounds += 1
    level = deepest = 0
    for start in range(0, len(skeleton), _PEEL_BYTES):
        steps = [1 if byte in b"{[" else -1 for byte in skeleton[start : start + _PEEL_BYTES]]
        *levels, level = accumulate(steps, initial=level)
        deepest = max(deepest, level, *levels)
        if deepest > MAX_DEPTH:
            break
    return rounds + deepest


_PEEL_BYTES = 1 << 16
_PEEL_ROUNDS = 12  # deeper than nearly everything; what is left is counted bracket by bracket
_STRING = re.compile(rb'"(?:[^"\\]+|\\.)*+"')
_NOT_BRACKETS = bytes(c for c in range(256) if c not in b"{}[]")
