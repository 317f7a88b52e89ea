"""Waiting for the synchronous client: a lock, ``poll``, and nothing running in the background.

Theory of operation.  The engine's and the deliverer's steps (see ``engine``) run under one lock, and wait without
it; one waiting thread at a time polls the socket for reading, the others wait to be told that something changed, so
that no answer wakes the wrong thread only.  Whoever reads hands every answer to its owner.  The lock is re-entrant:
a signal handler that records a turn in the middle of one must not hang.

An exception may come out of a signal handler (Ctrl-C) between any two instructions, in a ``finally`` too.  So
nothing that others depend on is undone by instructions: the lock, and the reader's place, are held by ``with``
alone, which the interpreter leaves in one piece.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar, cast

from carruns.cancelling import Listener
from carruns.connection import HasFileno, Transport
from carruns.engine import Engine, Steps

T = TypeVar("T")

_LONGEST_POLL = 3600.0
#: Who waits for the reader looks this often whether there is still one: it may have left without a word.
_LOOK_AFTER_READER = 0.5
_LOOK_SECS = 60e-6
_SKIPS = 15  # waits that sleep at once after one where looking was in vain


class _Place(NamedTuple):
    """Who polls for reading: the thread, as long as it holds ``held``."""

    thread: int
    held: threading.Lock

    def __bool__(self) -> bool:
        return self.held.locked()


class _Waiting(NamedTuple):
    """How to wait: to be ``told``, or for ``events`` on a link's socket; ``outer`` read before this thread did."""

    seconds: float
    link: Transport | None = None
    sock: HasFileno | None = None
    events: int = 0
    outer: _Place | None = None
    told: threading.Lock | None = None


class Poll(Protocol):
    """``select.poll`` as far as it is used here."""

    def register(self, fd: HasFileno, eventmask: int, /) -> None: ...
    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]: ...


class _Select:
    """``poll`` by ``select.select``, which is all that a host may have (eventlet takes poll away)."""

    def register(self, fd: HasFileno, eventmask: int, /) -> None:
        self._reads = [fd] if eventmask & _IN else []
        self._writes = [fd] if eventmask & _OUT else []

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        seconds = None if timeout is None else timeout / 1000
        readable, writable, _ = select.select(self._reads, self._writes, [], seconds)
        return [(0, _IN)] * len(readable) + [(0, _OUT)] * len(writable)


_IN, _OUT = 1, 4  # POLLIN, POLLOUT of poll(2)


def _new_poll() -> Poll:
    make = getattr(select, "poll", None)
    return _Select() if make is None else cast("Poll", make())


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
        self._told: list[threading.Lock] = []  # one of each thread that waits to be told, locked until it is
        self._reader: _Place | None = None
        self._stepping = 0  # the thread that takes a step

    def run(self, steps: Steps[T]) -> T:
        """Run the steps to their end, waiting where they wait, and return what they return.

        What goes wrong with the waiting itself is thrown into the steps, which know what is at stake.
        """
        failure: Exception | None = None
        nested = self._stepping == threading.get_ident()  # in a signal handler that came in the middle of a step
        try:
            while True:
                place = threading.Lock()
                with place:  # nobody knows it yet: it is free
                    waiting = self._step(steps, place, failure, nested=nested)
                    failure = None
                    try:
                        self._wait(waiting)
                    except Exception as error:
                        failure = error
                self._call_back()
        except StopIteration as done:
            result = cast("T", done.value)
        finally:
            with self.lock:
                steps.close()
                self._stepping = threading.get_ident() if nested else 0
                self._tell()
        self._call_back()
        return result

    def look(self, steps: Steps[None]) -> None:
        """Take the steps that need no wait, and call back."""
        self.run(steps)

    def _call_back(self) -> None:
        """Call what is due, without the lock: a callback may take long, and record."""
        while self._listener is not None and self._listener.due:
            try:
                self._listener.call_next()
            except IndexError:  # another thread was faster
                return

    def _step(
        self, steps: Steps[T], place: threading.Lock, failure: Exception | None, *, nested: bool
    ) -> _Waiting | None:
        """Take the next step, and return how to wait for the one after.  ``place`` is taken by who reads."""
        me = threading.get_ident()
        with self.lock:
            outer = self._reader or None  # this thread's own, where a signal handler waits on top of its wait
            reads = outer is None or outer.thread == me
            self.engine.may_read, self._stepping = reads, me
            wait = next(steps) if failure is None else steps.throw(failure)
            self._stepping = me if nested else 0
            seconds = min(_LONGEST_POLL, wait.deadline - time.monotonic())
            link = self.engine.link
            if seconds <= 0 or (self._listener is not None and self._listener.due):
                return None  # a callback may change anything: no wait before another look
            if link is None or wait.look or not (reads or wait.write):
                seconds = seconds if reads else min(seconds, _LOOK_AFTER_READER)
                if not nested:
                    return _Waiting(seconds, told=self._to_be_told())
                self._changed.wait(seconds)  # who reads needs the lock, which the step outside holds as well
                return None
            events = (_IN if reads else 0) | (_OUT if wait.write else 0)
            waiting = _Waiting(seconds, link, link.watch(), events, outer)
            if reads:
                self._reader = _Place(me, place)
            return waiting

    def _wait(self, waiting: _Waiting | None) -> None:
        if waiting is None:
            return
        if waiting.told is not None:
            waiting.told.acquire(timeout=waiting.seconds)
        elif waiting.link is not None and waiting.sock is not None:
            try:
                poll = _new_poll()
                poll.register(waiting.sock, waiting.events)
                if not self._look(poll):
                    poll.poll(waiting.seconds * 1000)
            finally:
                with self.lock:
                    waiting.link.unwatch()
                    if waiting.events & _IN:
                        self._reader = waiting.outer
                        self._tell()

    def _to_be_told(self) -> threading.Lock:
        told = threading.Lock()
        told.acquire()
        self._told.append(told)
        return told

    def _tell(self) -> None:
        """Wake who waits for a change.  With the lock held."""
        waiting, self._told = self._told, []
        for told in waiting:
            told.release()
        self._changed.notify_all()

    def _look(self, poll: Poll) -> bool:
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
