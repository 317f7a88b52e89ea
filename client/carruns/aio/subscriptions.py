"""Following runs as they go, on a connection of its own."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from carruns.process import tell_after_fork
from carruns.protocol.records import Record
from carruns.results import Event
from carruns.subscriber import RunSubscriber, Subscriber, Watcher

from .driver import AsyncDriver


class _OwnConnection:
    """A connection of its own, read by whoever iterates."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._driver = AsyncDriver(subscriber.engine)
        tell_after_fork(self)

    async def close(self) -> None:
        """End the subscription; iterating ends too, wherever it is."""
        with self._driver.lock:
            self._subscriber.close()

    def _after_fork(self) -> None:
        self._driver.renew()
        self._subscriber.engine.forget()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if "_driver" in self.__dict__:  # __init__ may have raised
            self._subscriber.engine.forget()


class AsyncSubscription(_OwnConnection):
    """An iterator over the :class:`~carruns.Event` of one run."""

    _subscriber: RunSubscriber

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._driver.run(self._subscriber.next())
        if event is None:
            await self.close()
            raise StopAsyncIteration
        return event


class AsyncWatch(_OwnConnection):
    """An iterator over what happens to runs; it ends when it is closed."""

    _subscriber: Watcher

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        event = await self._driver.run(self._subscriber.next())
        if event is None:
            raise StopAsyncIteration
        return event
