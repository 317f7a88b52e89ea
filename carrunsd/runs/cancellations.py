"""Cancelling a run: its owners are asked; where there are none, or they take too long, the daemon ends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from carrunsd.config import Settings
from carrunsd.run import Run, Timer, cancel_notice
from carrunsd.runs.endings import Endings
from carrunsd.store import receipt
from carrunsd.store.history import OPEN
from carrunsd.wire.replies import Ticket
from carrunsd.writing.appender import Appender


class Loop(Protocol):
    """What is needed of the event loop."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer: ...


class Cancellations:
    """The cancellations that wait for a run's end.  ``settings`` returns those that hold now."""

    def __init__(self, loop: Loop, appender: Appender, endings: Endings, settings: Callable[[], Settings]) -> None:
        self._loop = loop
        self._appender = appender
        self._endings = endings
        self._settings = settings
        self._waiting: dict[Run, list[Callable[[], None]]] = {}
        self._timers: dict[Run, Timer] = {}
        endings.on_over = self._over

    def ask(self, run: Run, key: str, reason: str) -> None:
        """Put the request down behind the run's records, and tell its owners."""
        asked = receipt.request(run.run_id, key, reason, f"uid:{os.geteuid()}", self._appender.stamp)
        run.mark()
        run.lines += 1
        run.cancelling = run.cancelling or cancel_notice(run.run_id, key, reason)
        self._appender.put(run, [asked], None, b"")
        for owner in tuple(run.owners):
            owner.tell(cancel_notice(run.run_id, key, reason))

    def wait(self, run: Run, then: Callable[[], None]) -> None:
        """Call ``then`` once the run has ended for good, and that is stored; see to it that it does."""
        self._waiting.setdefault(run, []).append(then)
        if run.status is not OPEN or run.detached or not run.owners:
            self._endings.cancel(run)
        elif run not in self._timers:
            self._timers[run] = self._loop.call_later(self._settings().cancel_grace_secs, self._too_long, run)

    def _too_long(self, run: Run) -> None:
        self._timers.pop(run, None)
        if run.may_be_cancelled:
            self._endings.cancel(run)

    def _over(self, run: Run) -> None:
        """The run's last record was put down: whoever waits is told when it is stored."""
        timer = self._timers.pop(run, None)
        if timer is not None:
            timer.cancel()
        for then in self._waiting.pop(run, ()):
            self._appender.put(run, (), Afterwards(then), b"", durable=self._endings.durable)


class Afterwards(Ticket):
    """Not the place of an answer: calls ``then`` when what was put down before is stored, or could not be."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self.request_id = None
        self.text = b""

    def done(self, *result: bytes) -> None:
        """It is stored."""
        self._then()

    def fail(self, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        """It is not; what stands in the file tells."""
        self._then()
