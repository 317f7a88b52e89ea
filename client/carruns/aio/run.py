"""One run of an agent, as the asynchronous client has it."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from carruns.encoding import DEEPEST
from carruns.fields import TurnFields
from carruns.link import NOWAIT
from carruns.outcome import fitted
from carruns.protocol import numbers
from carruns.results import CancelRequest, Delivery
from carruns.run_base import RunBase
from carruns.session import TURN_COST, Phase, Session
from carruns.turns import PLAIN_TURN, SHORT_TURN

if TYPE_CHECKING:
    from .client import AsyncClient

_MAX_DEPTH = DEEPEST
_STRIDE, _find_digits = numbers.STRIDE, numbers.find_in_sample
_no_digit = frozenset(b"0123456789").isdisjoint
_join = b"".join


class AsyncRun(RunBase):
    """One run of an agent: record turns, then say how it ended.

    A context manager: an exception ends the run as ``failure``, nothing said as ``done``.  Safe to use from
    any number of tasks.  Nothing here raises because of the daemon, unless the client is ``strict``.
    """

    def __init__(self, client: AsyncClient, session: Session, *, turns_before: int = 0) -> None:
        super().__init__(client._core, session, turns_before=turns_before)
        self._client = client
        self._driver = client._driver

    async def turn(self, **fields: Unpack[TurnFields]) -> None:
        """Record one turn: encode it and hand it to the kernel, in microseconds.

        When this returns, the turn reaches the daemon even if this process is killed on the next instruction;
        with no daemon it is in the spool file.  What JSON cannot hold is bent until it fits.  ``strict``
        clients raise ``NotStored`` or ``ValueError`` instead.
        """
        try:
            turn = self._encode(fields)
            size = len(turn)
            # May it nest too deep?  Two memchr passes; bytes.count would take as long as the encoding.  Or hold a
            # number beyond a double?  It would have a digit in every 308 bytes, nine in a row in every 34th.  (Of
            # the first few hundred bytes one is looked at: a slice and a call cost as much as numbering the turn.)
            if size > SHORT_TURN and (
                size - len(turn.replace(b"{", b"").replace(b"[", b"")) > _MAX_DEPTH
                or size > PLAIN_TURN
                or (
                    size > 308
                    and (turn[308] in b"0123456789" if size < 617 else not _no_digit(turn[308::308]))
                    and _find_digits(turn[::_STRIDE])
                )
            ):
                turn = self._turns.check(fields, turn)
        except Exception:
            turn = self._turns.encode_slowly(fields)
        if "tool" in fields:
            self._tool_calls += 1
        session = self._session
        with self._driver.lock:
            link = session.link
            if link is not None and not link.rest:
                # The hot path, written out: each call saved is 5 % of it.  It is Session.take (and as safe from
                # signal handlers, see there) and Link.push.
                while True:
                    seq = session.next_seq
                    line = _join((session.head, b"%d" % seq, b',"turns":[', turn, b"]}}\n"))
                    size = len(line)
                    if session.next_seq == seq:
                        break
                session.next_seq = seq + 1
                session.unacked.append(line)
                session.cost = cost = session.cost + size + TURN_COST
                try:
                    sent = link.send(line, NOWAIT)
                    if sent == size and cost < session.flush_at:
                        return
                    link.rest = line[sent:]
                except BlockingIOError:
                    link.rest = line
                except OSError as error:
                    self._client._engine.lose(error)
                turn = b""
        await self._slowly(turn, seq if not turn else -1)

    async def _slowly(self, turn: bytes, seq: int) -> None:
        """Get a turn somewhere that could not just be sent: one that is taken (``seq``), or one that is not."""
        deliverer, session = self._core.deliverer, self._session
        await self._driver.run(deliverer.record(session, turn) if turn else deliverer.placed(session, seq))

    async def model_turn(
        self,
        assistant_text: str,
        requested_tool_calls: Sequence[Any] = (),
        model_id: str = "",
        token_usage: dict[str, Any] | None = None,
        duration_ms: float = 0,
        turn_index: int | None = None,
    ) -> None:
        """Record a turn of a model: what it said, and which tools it asked for."""
        fields = self._model_turn(
            assistant_text, requested_tool_calls, model_id, token_usage, duration_ms, turn_index
        )
        await self._slowly(self._turns.encode_slowly(fields), -1)

    async def flush(self, *, durable: bool = False) -> Delivery:
        """Wait for the daemon's word on all turns so far, and say where they are.

        ``durable`` asks that they are on the device.  Takes up to the client's ``timeout`` while the daemon
        works, what is left of the ``budget`` if there is none.
        """
        return await self._driver.run(self._core.deliverer.flush(self._session, durable=durable))

    @property
    def cancel_requested(self) -> CancelRequest | None:
        """The first request to cancel this run that was heard (``reason``, ``idempotency_key``), else ``None``.

        Looking takes what the daemon has said meanwhile, without waiting: microseconds, so a loop may look in
        every round.  It goes on saying so after the run's end.
        """
        cancelling = self._session.cancelling
        if cancelling.request is None and self._session.phase is not Phase.OVER:
            self._driver.look(self._core.deliverer.look(self._session))
        return cancelling.request

    def delivery(self) -> Delivery:
        """Say where the turns are, as far as is known now; asks nobody."""
        with self._driver.lock:
            return self._core.deliverer.delivery(self._session)

    async def finish(
        self,
        status: str,
        summary: str = "",
        evidence: Sequence[Any] = (),
        metrics: dict[str, Any] | None = None,
    ) -> Delivery:
        """End the run with an outcome; ``turns``, ``tool_calls`` and ``duration_ms`` are measured where not given.

        Raises ``ValueError`` for a status that is none.
        """
        return await self.complete(self._outcome(status, summary, evidence, metrics))

    async def complete(self, outcome: dict[str, Any]) -> Delivery:
        """End the run with an outcome as the wire has it; what was not stored by then is said in the answer."""
        return await self._finish("runs.complete", {"outcome": fitted(outcome)})

    async def abandon(self, reason: str | None = None) -> Delivery:
        """End the run without an outcome: it becomes ``incomplete``."""
        return await self._finish("runs.abandon", {"reason": reason})

    async def _finish(self, method: str, params: dict[str, Any]) -> Delivery:
        self._ended = True
        return await self._driver.run(self._core.deliverer.finish(self._session, method, params))

    async def succeed(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``success``."""
        return await self.finish("success", summary, evidence, metrics)

    async def partial_success(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``partial_success``."""
        return await self.finish("partial_success", summary, evidence, metrics)

    async def done(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``done``: it ended, and nothing is claimed about how well."""
        return await self.finish("done", summary, evidence, metrics)

    async def fail(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``failure``."""
        return await self.finish("failure", summary, evidence, metrics)

    async def give_up(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``give_up``."""
        return await self.finish("give_up", summary, evidence, metrics)

    async def timeout(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``timeout``."""
        return await self.finish("timeout", summary, evidence, metrics)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        with self._driver.shield(error):  # what ended the run is worth the budget
            if self.in_creator:
                await self.finish(*self._outcome_of(error))
            else:  # a forked child leaves the block: the run is its parent's to end
                await self.flush()
