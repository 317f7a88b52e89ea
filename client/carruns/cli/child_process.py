r"""Run a command as if we were not there: its output passes through at once, signals reach it, its end is ours.

Theory of operation.  The child is in our process group, so the terminal's Ctrl-C, Ctrl-\ and hang-up reach it
without us; we only must not die of them.  What a process sends to us alone (``kill PID``) is passed on.  Signals
are blocked and taken by a thread with ``sigwaitinfo``, which tells the one from the other; the child gets the mask
that we were started with.  One ``poll`` waits for output, signals, the end, and the next look of ``stop_command``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from carruns.cli.output_capture import Capture
from carruns.cli.stop_command import Stopping
from carruns.results import CancelRequest

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
_SI_KERNEL = 0x80  # asm-generic/siginfo.h: the kernel sent it, the terminal's driver for one
_READ = 1 << 16
#: How long output may come after the command's end before what still holds it is left alone, seconds.
_GRACE = 0.3


@dataclass
class Ending:
    """How the command ended.  ``code`` is what the shell would report; ``signals`` came while it ran."""

    code: int = 0
    signal_number: int = 0
    duration_ms: int = 0
    signals: list[str] = field(default_factory=list)
    problem: str = ""
    cancelled: CancelRequest | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def outcome(self) -> dict[str, Any]:
        """Return it as ``cli_outcome``."""
        out: dict[str, Any] = {
            "exit_code": None if self.signal_number or self.problem else self.code,
            "signal": name_of(self.signal_number) if self.signal_number else None,
            "duration_ms": self.duration_ms,
            **self.counts,
        }
        return {**out, "signals_received": self.signals} if self.signals else out

    def summary(self) -> str:
        """Return it as a sentence."""
        if self.problem:
            return self.problem
        if self.cancelled is not None:
            return f"cancelled: {self.cancelled.reason}"
        if self.signal_number:
            return f"ended by {name_of(self.signal_number)}"
        return f"exit code {self.code}" + (f" after {', '.join(self.signals)}" if self.signals else "")


def name_of(number: int) -> str:
    """Return ``SIGTERM`` and the like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


class Child:
    """One command; :meth:`run` it once."""

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        record: Callable[..., None],
        limit: int,
        stopping: Stopping,
    ) -> None:
        """``record`` takes the fields of a turn; ``limit`` bounds the bytes of output that are recorded."""
        self._command, self._environment = list(command), environment
        self.capture = Capture(record, limit)
        self._ending = Ending()
        self._stopping = stopping
        self._open: dict[int, tuple[str, int]] = {}  # our end of a pipe: the stream's name, where it goes
        self._poll = select.poll()

    def run(self) -> Ending:
        """Run the command to its end.  Never raises for what the command or the record does."""
        began = time.monotonic()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process = self._start(before)
            if process is not None:
                self._serve(process)
                self._end(process.wait())
                self._ending.cancelled = self._stopping.request
        finally:
            self._ending.duration_ms = round((time.monotonic() - began) * 1000)
            self.capture.finish()
            self._ending.counts = self.capture.counts()
        return self._ending

    def _start(self, mask: set[signal.Signals] | set[int]) -> subprocess.Popen[bytes] | None:
        def in_child() -> None:  # no thread of ours runs yet, so this is safe
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        pipes = {name: os.pipe() for name in ("stdout", "stderr")}
        try:
            process = subprocess.Popen(
                self._command, env=self._environment, stdout=pipes["stdout"][1], stderr=pipes["stderr"][1],
                preexec_fn=in_child,  # noqa: PLW1509
            )  # fmt: skip
        except (OSError, ValueError) as error:
            self._not_started(error)
            return None
        finally:
            for _, theirs in pipes.values():
                os.close(theirs)
        for name, target in (("stdout", 1), ("stderr", 2)):
            self._open[pipes[name][0]] = (name, target)
            self._poll.register(pipes[name][0], select.POLLIN)
        return process

    def _not_started(self, error: Exception) -> None:
        """Say it as a shell would, with a shell's exit codes."""
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        self._ending.code = 127 if missing else 126
        name = os.fsencode(self._command[0]).decode("utf-8", "backslashreplace")
        why = "command not found" if missing else getattr(error, "strerror", None) or str(error)
        self._ending.problem = f"{name}: {why}"

    # --- while it runs --------------------------------------------------------------------------------------

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """Pass output and signals on until the command has ended and nothing more comes soon."""
        wake = _watch_signals(process)
        exited = _exit_descriptor(process)
        self._poll.register(wake, select.POLLIN)
        self._poll.register(exited, select.POLLIN)
        quiet_until = float("inf")
        while self._open or quiet_until == float("inf"):
            for fd, _ in self._poll.poll(self._timeout(quiet_until)):
                if fd == wake:
                    self._signal(process, os.read(wake, 2))
                elif fd == exited:
                    self._poll.unregister(exited)
                    quiet_until = time.monotonic() + _GRACE
                else:
                    self._pass_on(fd)
            now = time.monotonic()
            self.capture.tick(now)
            if now >= quiet_until:
                return
            if quiet_until == float("inf"):
                self._stopping.tick(process, now)

    def _timeout(self, quiet_until: float) -> float | None:
        due = min(quiet_until, self.capture.due)
        if quiet_until == float("inf"):  # while the command runs
            due = min(due, self._stopping.due)
        return None if due == float("inf") else max(0.0, due - time.monotonic()) * 1000 + 1

    def _pass_on(self, fd: int) -> None:
        name, target = self._open[fd]
        data = os.read(fd, _READ)
        if not data or not write_all(target, data):
            self._poll.unregister(fd)
            del self._open[fd]
            os.close(fd)  # where our reader is gone, the command gets its SIGPIPE as it would without us
        if data:
            self.capture.take(name, data, time.monotonic())

    def _signal(self, process: subprocess.Popen[bytes], told: bytes) -> None:
        number, from_terminal = told[0], told[1]
        self._ending.signals.append(name_of(number))
        if not from_terminal:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def _end(self, status: int) -> None:
        self._ending.signal_number = -status if status < 0 else 0
        self._ending.code = 128 - status if status < 0 else status

    # --- afterwards -----------------------------------------------------------------------------------------

    def leave_rest(self) -> None:
        """Where a process that the command left behind still holds its output, leave one behind that passes it on.

        Closing the pipes would kill it, waiting for it would keep the caller.
        """
        if not self._open or os.fork():
            return
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)  # as background jobs of a shell
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._pump()
        finally:
            os._exit(0)

    def _pump(self) -> None:
        poll = select.poll()
        for fd in self._open:
            poll.register(fd, select.POLLIN)
        while self._open:
            for fd, _ in poll.poll():
                data = os.read(fd, _READ)
                if not data or not write_all(self._open[fd][1], data):
                    poll.unregister(fd)
                    del self._open[fd]
                    os.close(fd)


def _watch_signals(process: subprocess.Popen[bytes]) -> int:
    """Return a descriptor that yields two bytes a signal: its number, and whether the terminal sent it to all."""
    ours, theirs = os.pipe()

    def wait() -> None:
        while True:
            number, terminal = _next_signal()
            os.write(theirs, bytes((number, terminal)))

    threading.Thread(target=wait, daemon=True, name="carruns-signals").start()
    return ours


def _next_signal() -> tuple[int, bool]:
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(_SIGNALS)
        return info.si_signo, info.si_code == _SI_KERNEL
    number = signal.sigwait(_SIGNALS)  # macOS: the foreground group of a terminal is taken to have got it as well
    return number, number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground()


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _exit_descriptor(process: subprocess.Popen[bytes]) -> int:
    """Return a descriptor that becomes readable when the process has ended."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(process.pid)
    ours, theirs = os.pipe()

    def wait() -> None:
        process.wait()
        os.write(theirs, b"x")

    threading.Thread(target=wait, daemon=True, name="carruns-exit").start()
    return ours


def write_all(fd: int, data: bytes) -> bool:
    """Write everything, however slow the reader; false if there is none any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError:
            return False
    return True
