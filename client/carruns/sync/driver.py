"""Waiting for the synchronous client: a lock, ``poll``, and nothing running in the background.

Theory of operation.  The engine's and the deliverer's steps (see ``engine``) run under one lock.  Where they wait,
the lock is let go; one waiting thread at a time polls the socket for reading, the others wait to be told that
something changed, so that no answer wakes the wrong thread only.  Whoever reads hands every answer to its
owner.  The lock is re-entrant: a signal handler that records a turn in the middle of one must not hang.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TypeVar, cast

from carruns.cancelling import Listener
from carruns.engine import Engine, Steps, Wait

T = TypeVar("T")

_LONGEST_POLL = 3600.0
_LOOK_SECS = 60e-6
_SKIPS = 15  # waits that sleep at once after one where looking was in vain


class Driver:
    """Runs steps for threads that share an engine; see the module's text."""

    def __init__(self, engine: Engine, listener: Listener | None = None) -> None:
        """``listener`` has the callbacks that are to be called, ``None`` where nobody may be told anything."""
        self.engine = engine
        self._listener = listener
        self._skips = 0
        self.renew()

    def renew(self) -> None:
        """Make the locks anew: in a forked child they may be held by threads that are not there."""
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._reader = 0  # the thread that polls for reading

    def run(self, steps: Steps[T]) -> T:
        """Run the steps to their end, waiting where they wait, and return what they return."""
        with self.lock:
            try:
                while True:
                    self.engine.may_read = self._reader in (0, threading.get_ident())
                    wait = next(steps)
                    if self._listener is not None and self._listener.due:
                        self._call_back(self._listener)  # which may have changed anything: no wait before a look
                    else:
                        self._wait(wait)
            except StopIteration as done:
                result = cast("T", done.value)
            finally:
                steps.close()
                self._changed.notify_all()
            if self._listener is not None and self._listener.due:
                self._call_back(self._listener)
            return result

    def look(self, steps: Steps[None]) -> None:
        """Take the steps that need no wait, and call back."""
        self.run(steps)

    def _call_back(self, listener: Listener) -> None:
        """Call what is due, with the lock let go: a callback may take long, and record."""
        self.lock.release()
        try:
            while listener.due:
                try:
                    listener.call_next()
                except IndexError:  # another thread was faster
                    return
        finally:
            self.lock.acquire()

    def _wait(self, wait: Wait) -> None:
        seconds = min(_LONGEST_POLL, wait.deadline - time.monotonic())
        link = self.engine.link
        if seconds <= 0:
            return
        # A signal handler may wait on top of its own thread's wait, which then reads nothing until it returns.
        me = threading.get_ident()
        outer = self._reader
        reads = outer in (0, me)
        if link is None or wait.look or not (reads or wait.write):
            self._changed.wait(seconds)
            return
        poll = select.poll()
        poll.register(link.watch(), (select.POLLIN if reads else 0) | (select.POLLOUT if wait.write else 0))
        if reads:
            self._reader = me
        lock = self.lock
        lock.release()
        try:
            if not self._look(poll):
                poll.poll(seconds * 1000)
        finally:
            lock.acquire()
            link.unwatch()
            if reads:
                self._reader = outer
                self._changed.notify_all()

    def _look(self, poll: select.poll) -> bool:
        """Look for an answer a few times before sleeping, where answers have come that fast; tell if one is there.

        To wake a sleeping process costs 10 to 40 us on a virtual machine: as long as the daemon takes to answer.
        """
        if self._skips:
            self._skips -= 1
            return False
        until = time.monotonic() + _LOOK_SECS
        while not poll.poll(0):
            os.sched_yield()
            if time.monotonic() > until:
                self._skips = _SKIPS
                return False
        return True

    @staticmethod
    def shield(_error: BaseException | None) -> contextlib.AbstractContextManager[None]:
        """Return a context for what is to be done whatever the error was; here nothing could end a wait."""
        return contextlib.nullcontext()

    def blocking(self) -> Driver:
        """Return a driver that blocks: this one does."""
        return self

    @staticmethod
    def begin(begin: Callable[[], T]) -> T:
        """Begin a run, now."""
        return begin()
