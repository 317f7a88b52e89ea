r"""Run a command as if we were not there: its output passes through at once, signals reach it, its end is ours.

Theory of operation.  Where a terminal is shared the command stays in our process group: Ctrl-C, Ctrl-\ and hang-up
reach it without us, and we only must not die of them; everything else is passed on to it.  Where none is, it gets a
group of its own: whatever reaches us, sent to us alone (``kill PID``) or to our group (``timeout``, systemd), is
passed on to that group, once.  With ``pty`` it has a session and a terminal of its own.  One poll
(``passing.loop``) waits for output, for room where output goes, for signals and for the end.
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
from functools import partial
from typing import Any

from carruns.cli.output_capture import Capture
from carruns.cli.passing import signals, start, terminals
from carruns.cli.passing.loop import Loop
from carruns.cli.passing.signals import name_of
from carruns.cli.passing.stream import Stream
from carruns.cli.passing.target import Target
from carruns.cli.stop_command import Stopping
from carruns.results import CancelRequest

#: How long output may come after the command's end before what still holds it is left alone, seconds.
_GRACE = 0.3
_FOREVER = float("inf")
#: The terminal sends them to all who share it.
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


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


class Child:
    """One command; :meth:`run` it once.  ``loop`` takes further descriptors to wait for meanwhile."""

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        record: Callable[..., None],
        limit: int,
        stopping: Stopping,
        *,
        pty: bool = False,
    ) -> None:
        """``record`` takes the fields of a turn; ``limit`` bounds the bytes of output that are recorded."""
        self._command, self._environment = list(command), environment
        self.loop = Loop()
        self.capture = Capture(record, limit)
        self._pty = terminals.Pty() if pty else None
        self._shared = self._pty is None and terminals.is_shared()
        self._taken = signals.taken(shared=self._shared)
        self._ending = Ending()
        self._stopping = stopping
        self._streams: list[Stream] = []
        self._typing: Stream | None = None  # what a person types into ``pty``
        self._wake = -1
        self._quiet_until = _FOREVER

    def run(self) -> Ending:
        """Run the command to its end.  Never raises for what the command or the record does."""
        began = time.monotonic()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)
        try:
            process = self._start(before)
            if process is not None:
                self._serve(process)
                self._end(process.wait())
                self._ending.cancelled = self._stopping.request
        finally:
            if self._pty is not None:
                self._pty.restore()
            self._ending.duration_ms = round((time.monotonic() - began) * 1000)
            self.capture.finish()
            self._ending.counts = self.capture.counts()
        return self._ending

    # --- starting -------------------------------------------------------------------------------------------

    def _start(self, mask: set[signal.Signals] | set[int]) -> subprocess.Popen[bytes] | None:
        begin = start.Start(self._command, self._environment, mask, own_group=not self._shared)
        try:
            process = self._on_pipes(begin) if self._pty is None else self._on_pty(begin, self._pty)
        except (OSError, ValueError) as error:
            self._not_started(error)
            return None
        start.let_go_of_inherited()
        return process

    def _on_pipes(self, begin: start.Start) -> subprocess.Popen[bytes]:
        pipes = {name: os.pipe() for name in ("stdout", "stderr")}
        try:
            process = begin(pipes["stdout"][1], pipes["stderr"][1])
        finally:
            for _, theirs in pipes.values():
                os.close(theirs)
        for name, target in (("stdout", 1), ("stderr", 2)):
            self._pass(name, pipes[name][0], target)
        start.let_go_of_input()
        return process

    def _on_pty(self, begin: start.Start, pty: terminals.Pty) -> subprocess.Popen[bytes]:
        begin.own_group, begin.own_session, begin.first = False, True, pty.adopt
        begin.stdin = pty.slave if pty.typed else None  # what is no terminal is handed on as it is
        try:
            process = begin(pty.slave, pty.slave)
        finally:
            os.close(pty.slave)
        if pty.typed:
            pty.raw()
            typed = os.dup(pty.master)
            self._typing = Stream(self.loop, os.dup(0), Target(typed, ours=True), lambda _: None)
        else:
            start.let_go_of_input()
        self._pass("stdout", pty.master, 1)
        return process

    def _pass(self, name: str, source: int, target: int) -> None:
        def seen(data: bytes) -> None:
            self.capture.take(name, data, time.monotonic())

        self._streams.append(Stream(self.loop, source, Target(target), seen))

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
        self._wake = signals.watch(self._taken)
        self.loop.watch(self._wake, select.POLLIN, partial(self._signalled, process))
        exited = _exit_descriptor(process)
        self.loop.watch(exited, select.POLLIN, partial(self._exited, exited))
        while self._quiet_until == _FOREVER or any(stream.open for stream in self._streams):
            self.loop.wait(self._patience())
            now = time.monotonic()
            self.capture.tick(now)
            if now >= self._quiet_until:
                break
            if self._quiet_until == _FOREVER:  # while the command runs
                self._stopping.tick(process, now)
        self.loop.forget(self._wake)

    def _patience(self) -> float | None:
        due = min(self._quiet_until, self.capture.due)
        if self._quiet_until == _FOREVER:
            due = min(due, self._stopping.due)
        return None if due == _FOREVER else due - time.monotonic()

    def _exited(self, exited: int, _: int) -> None:
        self.loop.forget(exited)
        self._quiet_until = time.monotonic() + _GRACE
        if self._typing is not None:
            self._typing.close()
        for stream in self._streams:
            stream.last()

    def _signalled(self, process: subprocess.Popen[bytes], _: int) -> None:
        number, kernel = os.read(self._wake, 2)
        if number not in signals.JOB:
            self._ending.signals.append(name_of(number))
        if number == signal.SIGWINCH and self._pty is not None:
            self._pty.resize()
        elif not self._shared:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
        elif not kernel and number not in _FROM_TERMINAL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                process.send_signal(number)
        if number == signal.SIGTSTP:
            self._stop()

    def _stop(self) -> None:
        """Stop with the command and leave the terminal as it was; whoever continues us continues the command."""
        if self._pty is not None:
            self._pty.restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._pty is not None:
            self._pty.raw()
            self._pty.resize()

    def _end(self, status: int) -> None:
        self._ending.signal_number = -status if status < 0 else 0
        self._ending.code = 128 - status if status < 0 else status

    # --- afterwards -----------------------------------------------------------------------------------------

    def leave_rest(self) -> None:
        """Where a process that the command left behind still holds its output, leave one behind that passes it on.

        Closing the pipes would kill it, waiting for it would keep the caller.  The same for a reader that does not
        read: what the command has written before its end is for it.
        """
        if not any(stream.open for stream in self._streams) or os.fork():
            return
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._taken)
            for number in _FROM_TERMINAL:
                signal.signal(number, signal.SIG_IGN)  # as background jobs of a shell
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            while any(stream.open for stream in self._streams):
                self.loop.wait(None)
        finally:
            os._exit(0)


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
