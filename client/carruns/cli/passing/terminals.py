"""Terminals of ``carruns exec``: the one that we share, and the one made for the command (``--pty``)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
import tty
from typing import Any

_DEFAULT_SIZE = struct.pack("HHHH", 24, 80, 0, 0)


def is_shared() -> bool:
    """Whether Ctrl-C would reach us: then the command stays in our process group, which the terminal speaks to."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp() or os.isatty(0)
    except OSError:
        return False
    finally:
        os.close(fd)


class Pty:
    """A terminal for the command.  The person's own one, if there is one, is raw meanwhile."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)  # ours alone
        self._outer = next((fd for fd in (0, 1, 2) if os.isatty(fd)), None)
        self._before: list[Any] | None = None
        if self._outer is not None:
            termios.tcsetattr(self.slave, termios.TCSANOW, termios.tcgetattr(self._outer))
        self.resize()

    @property
    def typed(self) -> bool:
        """Whether a person types: our standard input is a terminal."""
        return os.isatty(0)

    def resize(self) -> None:
        """Make it as large as the person's; the kernel tells the command."""
        size = _DEFAULT_SIZE
        if self._outer is not None:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self._outer, termios.TIOCGWINSZ, _DEFAULT_SIZE)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def adopt(self) -> None:
        """Make it the controlling terminal of this process, which has a session of its own."""
        fcntl.ioctl(1, termios.TIOCSCTTY, 0)

    def raw(self) -> None:
        """Let every key through, Ctrl-C too: the command's terminal makes of it what the command wants."""
        if self.typed:
            with contextlib.suppress(OSError, termios.error):
                self._before = termios.tcgetattr(0)
                tty.setraw(0, termios.TCSADRAIN)

    def restore(self) -> None:
        """Leave the person's terminal as it was."""
        before, self._before = self._before, None
        if before is None:
            return
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # from the background, too
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
