"""A terminal with keys taken as they are typed, given back as it was whatever ends or stops the program.

A signal does nothing where it comes: it is kept until the wait for a key sees it (at once), so that the screen is
taken down in order.  SIGKILL cannot be helped.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

#: What ends or stops a program that does not care.
_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


class Told(Exception):
    """A signal asked the program to end or, with SIGTSTP, to stop; ``number`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def keys() -> Iterator[Callable[[float], bytes]]:
    """Yield what waits a number of seconds for a key; it raises ``Told`` where a signal came."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)

    def keep(number: int, _: FrameType | None) -> None:
        os.write(theirs, bytes((number,)))

    typed = [0] if sys.stdin.isatty() else []

    def wait(seconds: float) -> bytes:
        ready = select.select([ours, *typed], [], [], seconds)[0]
        if ours in ready:
            raise Told(os.read(ours, 1)[0])
        return os.read(0, 1) if ready else b""

    before = {number: signal.signal(number, keep) for number in _CAUGHT}
    try:
        with _unbuffered() if typed else contextlib.nullcontext():
            yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(ours)
        os.close(theirs)


@contextlib.contextmanager
def _unbuffered() -> Iterator[None]:
    before: list[Any] = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, termios.error):  # it has hung up
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def stop() -> None:
    """Stop as Ctrl-Z stops a program; return when it is continued.  The terminal has told the rest of the pipeline.

    Not by SIGTSTP: the kernel ignores that where no shell could continue us, and the screen would be back at once.
    """
    os.kill(os.getpid(), signal.SIGSTOP)
