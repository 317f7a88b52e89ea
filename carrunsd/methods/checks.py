"""What many methods share: who asks, and the checks before anything is done."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from carruns.protocol import errors, nesting
from carrunsd import feed
from carrunsd.core import Core
from carrunsd.run import Run
from carrunsd.store import strict
from carrunsd.wire.errors import RequestError


class Client(Protocol):
    """Whoever sends requests, as methods see it: a connection, or a spool file.

    ``events`` takes what it subscribes to; ``vanished`` tells that nobody is there any more to read an answer;
    ``pages`` that it has negotiated pagination.
    """

    name: str
    pages: bool
    runs: set[Run]

    def tell(self, line: bytes) -> None:
        """Send a notification."""

    @property
    def events(self) -> feed.Reader: ...
    @property
    def vanished(self) -> bool: ...


MAX_PAGE = 500


def page_of(peer: Client, method: str, cursor: int | None, limit: int | None) -> tuple[int, int | None]:
    """Return where to begin and how many to answer with at most, ``None`` for no bound but our own.

    A connection that has negotiated pagination must say both (CAR's ``runs.pagination.v1``).
    """
    if peer.pages and (cursor is None or limit is None or limit > MAX_PAGE):
        message = f"{method}: with pagination negotiated, cursor (from 0) and limit (1 to {MAX_PAGE}) are required"
        raise RequestError(errors.INVALID_PARAMS, message)
    return cursor or 0, limit


def known(run: Run | None, run_id: str) -> Run:
    """Return the run, or raise if there is none."""
    if run is None:
        message = f"there is no run {run_id[:80]!r}; runs.start makes one, runs.list shows what there is"
        raise RequestError(errors.RUN_NOT_FOUND, message)
    return run


def fetchable(record: Any) -> Any:
    """Return ``record``, or raise if a strict reader could not read the answer that brings it."""
    if strict.too_deep_to_fetch(record):
        message = (
            f"it nests too deep: in an answer of runs.get_trace it has over {nesting.MAX_DEPTH} levels; flatten"
        )
        raise RequestError(errors.UNREADABLE, message)
    return record


def storable(record: Any, where: str) -> Any:
    """Return ``record`` as it may be put down, or raise naming the field that the seed's reader would refuse."""
    try:
        strict.check_record(record)
    except strict.WrongTypeError as error:
        raise RequestError(errors.INVALID_PARAMS, f"{where}: {error}") from None
    except strict.UnreadableError as error:
        raise RequestError(errors.UNREADABLE, f"{where}: {error}") from None
    return fetchable(record)


_Method = Callable[..., Awaitable[None]]


def one_at_a_time(method: _Method) -> _Method:
    """Let a method that may take long wait for its turn; whoever has gone by then is passed over."""

    @functools.wraps(method)
    async def queued(core: Core, peer: Client, *given: Any) -> None:
        async with core.long_questions:
            if not peer.vanished:
                await method(core, peer, *given)
            elif (ticket := given[-1]) is not None:
                ticket.done(b"null")

    return queued
