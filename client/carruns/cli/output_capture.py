"""What of a command's output is recorded: pieces as they come, bounded, the end of what was left out.  Pure.

A piece becomes a turn when it has 16 KiB or is a fifth of a second old, so that someone who watches sees it; the
longer a command runs, the older a piece may get, so that a day of dripping output is no hundred thousand turns.
After ``limit`` bytes of both streams only the last 32 KiB of each are kept, and recorded at the end with the number
of bytes left out before them.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

PIECE = 16 << 10  # four characters for a byte that is no UTF-8 still are under the daemon's 64 KiB a string
TAIL = 32 << 10
_FRESH = 0.2
_TURNS_A_STEP = 500
_OLDEST = 60.0
_NEVER = float("inf")


class _Stream:
    def __init__(self) -> None:
        self.held = bytearray()
        self.since = _NEVER
        self.decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.bytes = 0
        self.omitted = 0
        self.tail = bytearray()


class Capture:
    """Takes output, records turns ``{"tool": "exec", "output": {"stream", "text", ...}}``."""

    def __init__(self, record: Callable[..., None], limit: int) -> None:
        self._record = record
        self._left = limit
        self._streams = {"stdout": _Stream(), "stderr": _Stream()}
        self._turns = 0

    @property
    def due(self) -> float:
        """When :meth:`tick` has something to do, on the caller's clock; infinity if nothing waits."""
        return min(stream.since for stream in self._streams.values()) + self._patience

    @property
    def _patience(self) -> float:
        return float(min(_OLDEST, _FRESH * 2 ** (self._turns // _TURNS_A_STEP)))

    def take(self, name: str, data: bytes, now: float) -> None:
        """Take output of a stream."""
        stream = self._streams[name]
        stream.bytes += len(data)
        kept = data[: self._left]
        self._left -= len(kept)
        if kept:
            stream.held += kept
            stream.since = min(stream.since, now)
        if len(kept) < len(data):
            stream.tail += data[len(kept) :]
            self._cut_tail(stream)
        while len(stream.held) >= PIECE:
            self._piece(name, PIECE)

    @staticmethod
    def _cut_tail(stream: _Stream) -> None:
        over = len(stream.tail) - TAIL
        if over > 0:
            del stream.tail[:over]
            stream.omitted += over

    def tick(self, now: float) -> None:
        """Record what has waited long enough."""
        for name, stream in self._streams.items():
            if stream.held and now >= stream.since + self._patience:
                self._piece(name, len(stream.held))

    def _piece(self, name: str, size: int) -> None:
        stream = self._streams[name]
        newline = stream.held.rfind(b"\n", 0, size) + 1
        size = newline if newline > size // 2 else size
        data = bytes(stream.held[:size])
        del stream.held[:size]
        if not stream.held:
            stream.since = _NEVER
        text = stream.decoder.decode(data)
        if text:
            self._turn({"stream": name, "text": text})

    def _turn(self, output: dict[str, object]) -> None:
        self._turns += 1
        self._record(tool="exec", output=output)

    def finish(self) -> None:
        """Record what is held, and the end of what was left out."""
        for name, stream in self._streams.items():
            if stream.held:
                self._piece_all(name, stream)
            rest = stream.decoder.decode(b"", final=True)
            if rest:
                self._turn({"stream": name, "text": rest})
            if stream.tail:
                self._tail(name, stream)

    def _piece_all(self, name: str, stream: _Stream) -> None:
        while stream.held:
            self._piece(name, min(PIECE, len(stream.held)))

    def _tail(self, name: str, stream: _Stream) -> None:
        data = bytes(stream.tail)
        for at in range(0, len(data), PIECE):
            text = data[at : at + PIECE].decode("utf-8", "backslashreplace")
            omitted = {"omitted_bytes": stream.omitted} if at == 0 and stream.omitted else {}
            self._turn({"stream": name, "text": text, **omitted})

    def counts(self) -> dict[str, int]:
        """Return how much came, and how much of it is not in the record."""
        out = {f"{name}_bytes": stream.bytes for name, stream in self._streams.items()}
        omitted = sum(stream.omitted for stream in self._streams.values())
        return {**out, "omitted_bytes": omitted} if omitted else out
