"""Waiting for the asynchronous client: the same steps as the synchronous one's, through anyio.

Theory of operation.  Steps (see ``engine``) run between two awaits, so nothing else needs a lock.  Recording
a turn awaits only when the kernel's buffer is full or the daemon is away.  One task at a time waits for the
socket to be readable, one for it to be writable, the others to be told that something changed.  A cancelled
call leaves nothing half done: its steps are closed, which spools what was not sent.  Use one client in one
event loop at a time.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

import anyio

from carruns.cancelling import Listener
from carruns.engine import Engine, Steps, Wait
from carruns.sync.driver import Driver


class Leaving(Protocol):
    """What can be left as an ``async with`` block is."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


T = TypeVar("T")
R = TypeVar("R", bound=Leaving)

#: While there is something to send, look this often whether there is also something to read.
_WRITE_SLICE = 0.02


class AsyncDriver:
    """Runs steps for tasks that share an engine; see the module's text."""

    def __init__(self, engine: Engine, listener: Listener | None = None) -> None:
        """``listener`` has the callbacks that are to be called, ``None`` where nobody may be told anything."""
        self.engine = engine
        self._listener = listener
        self.renew()

    def renew(self) -> None:
        """In a forked child: nobody waits here."""
        #: Nobody contends for it: it stands where the synchronous client's text needs one, and costs 0.05 us.
        self.lock = threading.RLock()
        self._reading = self._writing = False
        self._changed: anyio.Event | None = None

    async def run(self, steps: Steps[T]) -> T:
        """Run the steps to their end, waiting where they wait, and return what they return.

        What goes wrong with the waiting itself is thrown into the steps, which know what is at stake.
        """
        failure: Exception | None = None
        try:
            while True:
                self.engine.may_read = not self._reading
                wait = next(steps) if failure is None else steps.throw(failure)
                failure = None
                if self._listener is not None and self._listener.due:
                    await self._call_back(self._listener)  # which may have changed anything: no wait before a look
                    continue
                try:
                    await self._wait(wait)
                except Exception as error:
                    failure = error
        except StopIteration as done:
            result = cast("T", done.value)
        finally:
            steps.close()
            self._tell()
        if self._listener is not None and self._listener.due:
            await self._call_back(self._listener)
        return result

    def look(self, steps: Steps[None]) -> None:
        """Take the steps that need no wait.  Callbacks may have to be awaited: the next call that waits does so."""
        self.engine.may_read = not self._reading
        next(steps, None)
        steps.close()
        self._tell()

    @staticmethod
    async def _call_back(listener: Listener) -> None:
        while listener.due:
            awaited = listener.call_next()
            if inspect.isawaitable(awaited):
                try:
                    await awaited
                except Exception as error:  # as in ``Listener.call_next``
                    listener.broken(error)

    def _tell(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def _wait(self, wait: Wait) -> None:
        seconds = wait.deadline - time.monotonic()
        link = self.engine.link
        if seconds <= 0:
            return
        if link is None or wait.look or (self._writing if wait.write else self._reading):
            await self._told(seconds)
        elif wait.write:
            self._writing = True
            try:
                with anyio.move_on_after(min(seconds, _WRITE_SLICE)):
                    await anyio.wait_writable(link.watch())
            finally:
                link.unwatch()
                self._writing = False
                self._tell()
        else:
            self._reading = True
            try:
                with anyio.move_on_after(seconds):
                    await anyio.wait_readable(link.watch())
            finally:
                link.unwatch()
                self._reading = False
                self._tell()

    async def _told(self, seconds: float) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    @staticmethod
    def shield(error: BaseException | None) -> anyio.CancelScope:
        """Return a scope for what is to be done though ``error`` may be a cancellation, which ends every wait."""
        return anyio.CancelScope(shield=isinstance(error, anyio.get_cancelled_exc_class()))

    def blocking(self) -> Driver:
        """Return a driver for when no loop runs any more."""
        return Driver(self.engine, self._listener)

    @staticmethod
    def begin(begin: Callable[[], Awaitable[R]]) -> Beginning[R]:
        """Return a run that begins later; see :class:`Beginning`."""
        return Beginning(begin)


class Beginning(Generic[R]):
    """A run that begins when this is awaited, or entered with ``async with``."""

    def __init__(self, begin: Callable[[], Awaitable[R]]) -> None:
        self._begin = begin
        self._run: R | None = None

    def __await__(self) -> Generator[Any, Any, R]:
        return self._begin().__await__()

    async def __aenter__(self) -> R:
        self._run = await self._begin()
        return self._run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            await self._run.__aexit__(kind, error, trace)
