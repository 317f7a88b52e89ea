# Made from ../aio/subscriptions.py by client/make_sync.py: change that, then `make sync`.
"""Following runs as they go, on a connection of its own."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from carruns.process import tell_after_fork
from carruns.protocol.records import Record
from carruns.results import Event
from carruns.subscriber import RunSubscriber, Subscriber, Watcher

from .driver import Driver


class _OwnConnection:
    """A connection of its own, read by whoever iterates."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._driver = Driver(subscriber.engine)
        tell_after_fork(self)

    def close(self) -> None:
        """End the subscription; iterating ends too, wherever it is."""
        with self._driver.lock:
            self._subscriber.close()

    def _after_fork(self) -> None:
        self._driver.renew()
        self._subscriber.engine.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if "_driver" in self.__dict__:  # __init__ may have raised
            self._subscriber.engine.forget()


class Subscription(_OwnConnection):
    """An iterator over the :class:`~carruns.Event` of one run."""

    _subscriber: RunSubscriber

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._driver.run(self._subscriber.next())
        if event is None:
            self.close()
            raise StopIteration
        return event


class Watch(_OwnConnection):
    """An iterator over what happens to runs; it ends when it is closed."""

    _subscriber: Watcher

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        event = self._driver.run(self._subscriber.next())
        if event is None:
            raise StopIteration
        return event
