"""Cutting a stream into lines: JSON-RPC 2.0, one message a line, UTF-8.  Bytes in, bytes out, no I/O.

:class:`LineFramer` does it for the daemon and the client alike.  It hands lines over in blocks, as many whole
lines as came, because msgspec decodes a block in one call.
"""

from __future__ import annotations

DEFAULT_MAX_LINE_BYTES = 16 << 20


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


def occurrences(text: bytes, byte: bytes) -> int:
    """Return how often ``byte`` (one) stands in ``text``.

    ``bytes.count`` looks at each byte by itself; ``replace`` uses memchr, which takes a tenth of the time.
    """
    if len(text) <= _COUNTED_AT_ONCE:
        return len(text) - len(text.replace(byte, b""))
    parts = (text[start : start + _COUNTED_AT_ONCE] for start in range(0, len(text), _COUNTED_AT_ONCE))
    return len(text) - sum(len(part.replace(byte, b"")) for part in parts)


_COUNTED_AT_ONCE = 1 << 17  # so that the copies stay in the processor's cache
