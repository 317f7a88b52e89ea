"""One way from a descriptor of ours to a target, through a bounded buffer.

A target that takes nothing stops the reading of its own source when the buffer is full, as a full pipe would, and
nothing else: signals and the other streams go on.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from carruns.cli.passing.loop import Loop
from carruns.cli.passing.target import Target

_READ = 1 << 16
_BOUND = 1 << 16
#: What a pipe can still hold when its writer has ended (fs.pipe-max-size), so that all of it is read and recorded.
_LAST = 1 << 20
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Stream:
    """``seen`` gets all that is read; :attr:`open` as long as something can come or waits to be taken."""

    def __init__(self, loop: Loop, source: int, target: Target, seen: Callable[[bytes], None]) -> None:
        """``source`` is ours alone and is closed at its end."""
        self._loop, self._source, self._target, self._seen = loop, source, target, seen
        self._reading = True
        self._buffer = bytearray()
        self._bound = _BOUND
        self._watch()

    @property
    def open(self) -> bool:
        """Whether something can come or waits to be taken."""
        return self._reading or bool(self._buffer)

    def last(self) -> None:
        """Nobody that is waited for writes any more: take in all that the pipe holds."""
        self._bound = _BOUND + _LAST
        self._watch()

    def _watch(self) -> None:
        """Wait for what can happen next.

        A full buffer's source is left alone altogether: poll(2) would tell of its end again and again.
        """
        if self._reading and len(self._buffer) < self._bound:
            self._loop.watch(self._source, select.POLLIN, self._readable)
        else:
            self._loop.forget(self._source)
        if self.open:
            self._loop.watch(self._target.fd, select.POLLOUT if self._buffer else 0, self._writable)
        else:
            self._loop.forget(self._target.fd)

    def _readable(self, _: int) -> None:
        try:
            data = os.read(self._source, _READ)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if data:
            self._seen(data)
            self._buffer += data
            self._write()
        else:
            self.close()
        self._watch()

    def _writable(self, events: int) -> None:
        if self._buffer:
            self._write()
        elif events & _GONE:
            self.close()
        self._watch()

    def _write(self) -> None:
        try:
            with memoryview(self._buffer) as view:
                done = self._target.write(view)
            del self._buffer[:done]
        except BlockingIOError:
            pass
        except OSError:
            self._buffer.clear()
            self.close()

    def close(self) -> None:
        """Read no more.  Where our reader is gone, the command gets its SIGPIPE as it would without us."""
        if self._reading:
            self._reading = False
            self._loop.forget(self._source)
            os.close(self._source)
