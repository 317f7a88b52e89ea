"""Whose runs are, and when a run that is nobody's is given up (docs/wire.md, "Runs and connections")."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from carrunsd.config import Settings
from carrunsd.run import Owner, Run, Timer
from carrunsd.runs.endings import Endings
from carrunsd.store.history import OPEN
from carrunsd.store.tree import Tree

log = logging.getLogger("carrunsd.runs")

_SPACING = (
    200e-6  # seconds between the ends of runs that one connection leaves: others have their turn between them
)


class Loop(Protocol):
    """What is needed of the event loop."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer: ...


class Owners:
    """Lets connections own runs.  ``settings`` returns those that hold now."""

    def __init__(self, loop: Loop, tree: Tree, endings: Endings, settings: Callable[[], Settings]) -> None:
        self._loop = loop
        self._tree = tree
        self._endings = endings
        self._settings = settings

    def attach(self, owner: Owner, run: Run) -> None:
        """The run belongs to this connection too, and is not given up while it lasts."""
        if run.cancelling and owner not in run.owners:
            owner.tell(run.cancelling)
        run.owners.add(owner)
        run.owned_by = owner.name
        owner.runs.add(run)
        if not run.detached:
            run.cancel_timer()

    def detach_all(self, owner: Owner) -> None:
        """A connection is gone: runs that were its alone get their grace."""
        runs, owner.runs = owner.runs, set()
        for place, run in enumerate(runs):
            run.owners.discard(owner)
            if not run.owners and run.status is OPEN:
                self._leave_alone(run, later=_SPACING * place)

    def undone(self, run: Run) -> None:
        """An end that was not stored has not happened, and is tried again later."""
        if run.status is OPEN and not run.owners and run.timer is None:
            self.give_up_after(run, max(1, self._settings().disconnect_grace_secs), "disconnected")

    def _leave_alone(self, run: Run, *, later: float) -> None:
        settings = self._settings()
        if run.cancelling:
            self._endings.cancel(run)
        elif run.detached:
            self.give_up_after(run, settings.detached_idle_secs + later, "abandoned")
        else:
            self.give_up_after(run, settings.disconnect_grace_secs + later, "disconnected")

    def give_up_after(self, run: Run, seconds: float, reason: str) -> None:
        """Give the run up after ``seconds``, unless somebody comes for it."""
        run.cancel_timer()
        run.timer = self._loop.call_later(seconds, self._give_up, run, reason)

    def _give_up(self, run: Run, reason: str) -> None:
        run.timer = None
        if run.status is not OPEN or run.owners:
            return
        if run.detached:
            left = self._settings().detached_idle_secs - self.idle_seconds(run)
            if left > 0:
                self.give_up_after(run, left, reason)
                return
        log.info("run %s of %s: incomplete (%s)", run.run_id, run.agent_id, reason)
        self._endings.stop(run, reason)

    def idle_seconds(self, run: Run) -> float:
        """Return the seconds since the run's file was last written to, infinity if it is gone."""
        try:
            directory = self._tree.directory(run.path[0])
            changed = os.stat(run.path[1], dir_fd=directory, follow_symlinks=False).st_mtime
        except OSError:
            return float("inf")
        return max(0.0, time.time() - changed)

    def last_write(self, run: Run) -> float:
        """Return when the run's file was last written to, in seconds since the epoch."""
        return time.time() - min(self.idle_seconds(run), time.time())
