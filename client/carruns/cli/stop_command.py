"""Stopping the command of ``carruns exec`` once its run is to be cancelled: look now and then, ask, then kill."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable

from carruns.results import CancelRequest

#: How often is looked whether the run is to be cancelled, seconds; looking waits for nothing.
LOOK_SECS = 0.5
#: From SIGTERM to SIGKILL, seconds: the daemon waits twice as long (``cancel_grace_secs``) for the run's end.
KILL_SECS = 5.0
_NEVER = float("inf")


class Stopping:
    """Watches over one command; ``request`` is what stopped it, ``None`` while nothing did."""

    def __init__(self, requested: Callable[[], CancelRequest | None]) -> None:
        """``requested`` tells whether somebody wants the run cancelled (``run.cancel_requested``)."""
        self._requested = requested
        self.request: CancelRequest | None = None
        #: When :meth:`tick` has something to do, on the caller's clock.
        self.due = 0.0

    def tick(self, process: subprocess.Popen[bytes], now: float) -> None:
        """Do what is due: look, or ask the command to end, or end it."""
        if now < self.due:
            return
        if self.request is not None:
            self._send(process, signal.SIGKILL)
            self.due = _NEVER
            return
        self.request = self._requested()
        self.due = now + (LOOK_SECS if self.request is None else KILL_SECS)
        if self.request is not None:
            self._send(process, signal.SIGTERM)

    @staticmethod
    def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            process.send_signal(number)
