"""Carrying out one connection's requests, in order: merged where they may be, held up where they must.

A block of input becomes a list of requests, or of lines that have to be looked at closely; those are decoded one by
one when their turn comes, and only for so long: however many requests fit into a block, others have their turn.
"""

from __future__ import annotations

from collections.abc import Awaitable
from time import monotonic
from typing import Any, NamedTuple, Protocol

from msgspec import UNSET

from carruns.protocol import errors
from carrunsd.connections.output import PAUSE_BYTES, Output
from carrunsd.connections.pace import SLICE_SECS
from carrunsd.core import Core
from carrunsd.methods import dispatch
from carrunsd.methods.checks import Client
from carrunsd.wire import decode, requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Aside, Batch, Outbox, Ticket

MAX_WAITING = 4096  # answers that wait for the disk: no more requests are carried out
MAX_BATCH_BYTES = 16 << 20  # of answers to one JSON array


class Stopped(NamedTuple):
    """Why not all was carried out: ``left`` comes later.

    Behind ``waiting``, where that is given; else at once where it was only time for others (``resume``), or when
    answers were taken, or the disk has answered.
    """

    left: list[Any]
    waiting: Awaitable[None] | None = None
    resume: bool = False


class Sender(Client, Protocol):
    """A connection, as far as carrying out its requests goes."""

    outbox: Outbox
    output: Output

    @property
    def is_last(self) -> bool:
        """Whether the daemon is about to stop: what is there is finished, and questions are not answered."""
        ...


class Requests:
    """The requests of one connection."""

    __slots__ = ("_core", "_sender")

    def __init__(self, core: Core, sender: Sender) -> None:
        self._core = core
        self._sender = sender

    def run(self, incoming: list[Any], *, big: bool) -> Stopped | None:
        """Carry out requests in order; where one has to be awaited, the rest waits behind it.

        A sender's turns without ``id`` come one a line; those that follow each other are recorded as one.
        ``big`` says that some of the lines are long.
        """
        quick = requests.QuickRecordTurns
        runs = self._core.table.by_id
        sender = self._sender
        output, outbox = sender.output, sender.outbox
        until = 0.0
        begin = 0  # of the requests that are recorded as one
        first: Any = None
        turns: list[Any] = []
        due = -1
        for place, request in enumerate(incoming):
            if type(request) is quick and request.id is UNSET:
                params = request.params
                if params.seq == due and params.run_id == first.run_id and params.writer == first.writer:
                    turns += params.turns
                    due += len(params.turns)
                    continue
                if turns:
                    self._record(incoming[begin:place], turns, big=big)
                    turns, due = [], -1
                if params.run_id in runs:
                    begin, first, turns = place, params, params.turns.copy()
                    due = -1 if params.seq is None or params.durable else params.seq + len(turns)
                    continue
            elif turns:
                self._record(incoming[begin:place], turns, big=big)
                turns, due = [], -1
            full = output.held >= PAUSE_BYTES or outbox.waiting >= MAX_WAITING
            if full and not sender.is_last:
                return Stopped(incoming[place:])
            if type(request) is bytes:
                until = until or monotonic() + SLICE_SECS
                if monotonic() > until:
                    return Stopped(incoming[place:], resume=True)
                request = decode.line(request)  # noqa: PLW2901
            waiting = self._handle(request, big=big)
            if waiting is not None:
                return Stopped(incoming[place + 1 :], waiting)
        if turns:
            self._record(incoming[begin:], turns, big=big)
        return None

    def _record(self, given: list[Any], turns: list[Any], *, big: bool) -> None:
        """Record the ``turns`` of requests without ``id`` as one request where they may be, which is quicker."""
        first = given[0].params
        run = self._core.table.by_id[first.run_id]
        if len(given) > 1 and run.turn_count + len(turns) <= self._core.settings.max_turns_per_run:
            self._core.stats.requests += len(given) - 1
            whole = requests.RecordTurnsParams(first.run_id, turns, first.writer, first.seq)
            given = [requests.RecordTurns(params=whole)]
        for request in given:
            dispatch.handle(self._core, self._sender, request, None, big=big)

    def _handle(self, request: Any, queue: Outbox | Batch | None = None, *, big: bool) -> Awaitable[None] | None:
        if type(request) is list:
            return self._batch(request)
        queue = queue or self._sender.outbox
        if type(request) is RequestError:
            if request.request_id is not UNSET:
                queue.ticket(request.request_id).fail(request.code, request.message, request.data)
            self._core.stats.errors += 1
            return None
        if self._sender.is_last and type(request) in dispatch.QUESTIONS:
            return None  # no answer but the end of the connection, which clients know how to go on from
        return dispatch.handle(self._core, self._sender, request, self._ticket(request, queue), big=big)

    def _ticket(self, request: Any, queue: Outbox | Batch) -> Ticket | None:
        if request.id is UNSET:
            return None
        if type(request) is requests.Cancel and queue is self._sender.outbox:
            return Aside(queue, request.id)
        return queue.ticket(request.id)

    async def _batch(self, parts: list[Any]) -> None:
        batch = self._sender.outbox.batch()
        for part in parts:
            if batch.size > MAX_BATCH_BYTES:
                self._refuse_part(part, batch)
                continue
            waiting = self._handle(part, batch, big=True)
            if waiting is not None:
                await waiting
        batch.close()

    def _refuse_part(self, part: Any, batch: Batch) -> None:
        request_id = part.request_id if type(part) is RequestError else part.id
        if request_id is not UNSET:
            message = "not carried out: the answers to this batch are too large already; send it by itself"
            batch.ticket(request_id).fail(errors.TOO_LARGE, message, {"max_batch_bytes": MAX_BATCH_BYTES})
