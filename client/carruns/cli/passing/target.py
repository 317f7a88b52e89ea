"""Where output goes on: a descriptor that others share with us, written to without ever waiting.

``O_NONBLOCK`` belongs to the open file, which the shell and the programs beside us share: it is never set there.  A
pipe or terminal is opened once more, so that we have an open file of our own; a socket knows a flag for each call.
Where neither can be had, poll(2) is asked before each write, which is small enough not to wait then.
"""

from __future__ import annotations

import os
import select
import socket
import stat

#: With so little a pipe of which poll(2) says that it can be written never waits.
_SMALL = min(512, select.PIPE_BUF)


class Target:
    """One of our own standard descriptors as an output.  ``fd`` is what to poll for room."""

    def __init__(self, given: int, *, ours: bool = False) -> None:
        """``ours``: its open file is nobody else's, and does not block."""
        self._socket: socket.socket | None = None
        self._careful = False
        self.fd = given if ours else self._opened(given)

    def _opened(self, given: int) -> int:
        mode = os.fstat(given).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(given))
            return self._socket.fileno()
        if not stat.S_ISFIFO(mode) and not os.isatty(given):
            return given  # a file takes what it gets
        try:
            again = f"/proc/self/fd/{given}"
            return os.open(again, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:  # no /proc, another user's pipe, or no reader any more
            self._careful = True
            return given

    def write(self, data: memoryview) -> int:
        """Write what there is room for.  Raises ``BlockingIOError`` if there is none, ``OSError`` if no reader."""
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        if self._careful:
            if not _has_room(self.fd):
                raise BlockingIOError
            data = data[:_SMALL]
        return os.write(self.fd, data)


def _has_room(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))
