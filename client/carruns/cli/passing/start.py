"""Starting the command as a shell would: with the descriptors, the mask and the environment that we were given."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class Start:
    """What to start and how.  ``own`` is what the command's process group is to be: one of its own, or ours."""

    command: Sequence[str]
    environment: dict[str, str]
    mask: Iterable[int]
    own_group: bool = False
    own_session: bool = False
    stdin: int | None = None
    first: Callable[[], None] = field(default=lambda: None)

    def __call__(self, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        """Start it.  Raises ``OSError`` and ``ValueError`` as ``subprocess`` does."""
        try:
            return self._popen(self.command, stdout, stderr)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
        # A script without `#!`: what execvp(3) and every shell do with it.
        path = shutil.which(self.command[0], path=self.environment.get("PATH")) or self.command[0]
        return self._popen(["/bin/sh", path, *self.command[1:]], stdout, stderr)

    def _popen(self, command: Sequence[str], stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(command), env=self.environment, stdin=self.stdin, stdout=stdout, stderr=stderr,
            close_fds=False,  # those of ours close by themselves at exec(2), the others were meant for the command
            process_group=0 if self.own_group else None, start_new_session=self.own_session,
            preexec_fn=self._in_child(command),  # noqa: PLW1509 - no thread of ours runs yet
        )  # fmt: skip

    def _in_child(self, command: Sequence[str]) -> Callable[[], None]:
        die_with_us = _death_signal() if self.own_group or self.own_session else None
        listens = self.environment.get("LISTEN_PID") == str(os.getpid())

        def environment(pid: int) -> dict[str, str]:
            return {**self.environment, "LISTEN_PID": str(pid)}

        def prepare() -> None:
            self.first()
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            if die_with_us is not None:
                die_with_us()
            if listens:  # sockets of systemd are for the process of that number
                with contextlib.suppress(OSError):
                    os.execvpe(command[0], list(command), environment(os.getpid()))  # noqa: S606

        return prepare


def _death_signal() -> Callable[[], None] | None:
    """Return what makes the command go with us where SIGKILL to our group does not reach its group.  Linux only."""
    import ctypes

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return None if prctl is None else lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def let_go_of_inherited() -> None:
    """Close what was meant for the command alone: while we hold a pipe's end, its other end waits for us."""
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        fd = int(name)
        with contextlib.suppress(OSError):
            if fd > 2 and os.get_inheritable(fd):
                os.close(fd)


def let_go_of_input() -> None:
    """Read from nothing ourselves: whoever writes to the command learns when the command reads no more."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.close(null)
