"""Signals that are sent to ``carruns exec``, taken by a thread and told through a pipe.

So one poll waits for all.  They are blocked while the command runs: nothing may end us before the record is stored.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn

_SI_KERNEL = 0x80  # asm-generic/siginfo.h: the kernel sent it, the terminal's driver for one
_NAMES = ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "XCPU", "IO", "PWR")
#: What stops and goes on, and a window's size: the terminal sends them to all whom they concern.
JOB = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)


def taken(*, shared: bool) -> tuple[int, ...]:
    """Return the signals that are passed on; a ``shared`` terminal does so itself with those of jobs."""
    numbers = [int(getattr(signal, f"SIG{name}")) for name in _NAMES if hasattr(signal, f"SIG{name}")]
    if hasattr(signal, "SIGRTMIN"):
        numbers += range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
    return (*numbers, *(() if shared else map(int, JOB)))


def name_of(number: int) -> str:
    """Return ``SIGTERM`` and the like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def watch(numbers: tuple[int, ...]) -> int:
    """Return a descriptor that yields two bytes a signal: its number, and whether the kernel sent it.

    They are blocked already.
    """
    ours, theirs = os.pipe()

    def wait() -> None:
        while True:
            number, kernel = _next(numbers)
            os.write(theirs, bytes((number, kernel)))

    threading.Thread(target=wait, daemon=True, name="carruns-signals").start()
    return ours


def _next(numbers: tuple[int, ...]) -> tuple[int, bool]:
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(numbers)
        return info.si_signo, info.si_code == _SI_KERNEL
    return signal.sigwait(numbers), False  # macOS does not say


def end_like(number: int) -> NoReturn:
    """End by a signal, as the command did or as Ctrl-C ends a program: a shell looks at that to end a loop.

    What is registered for the end of the program is run.  Leaves no core of ours beside the command's.
    """
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    _die_of(number)
    os._exit(128 + number)  # it could not end us: we are the first process of a container, for one


def _die_of(number: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
