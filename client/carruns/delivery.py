"""What an agent calls, and what becomes of a turn when nothing can be sent.

Theory of operation.  A call takes the turn into its session, lets the courier bring the session to LIVE
within what an outage may still cost, and if that fails *spools* it: everything that is in memory only goes
to the run's spool file.  What the disk refuses too stays in memory within the window; what is beyond that is
dropped and counted, and a gap turn tells the trace.  Spooling does not wait, so it also happens when the call
is cancelled. Nothing here raises because of the daemon or the disk unless ``strict`` asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from carruns import calls
from carruns.connection import Answer
from carruns.courier import Courier, log
from carruns.engine import Engine, Reply, Steps
from carruns.guard import harmless
from carruns.protocol import errors, times
from carruns.results import Delivery
from carruns.session import Phase, Session, Spool

#: What a call may take to go on handing over a spool file where the budget is used up.
_SLICE = 0.002


class Deliverer:
    """The delivering side of one client; see the module's text."""

    def __init__(
        self,
        engine: Engine,
        courier: Courier,
        new_spool: Callable[[], Spool],
        *,
        strict: bool,
        durable: bool,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """``now`` returns nanoseconds since 1970: what is spooled says when it happened."""
        self.engine = engine
        self.courier = courier
        self._new_spool = new_spool
        self._now = now
        self.strict = strict
        self._in_vain = False  # whether a strict client has waited as long as it may; not again until all is well
        self._durable = durable

    def after_defect(self, session: Session | None = None, *_: Any) -> Delivery | None:
        """Something went wrong that nobody foresaw: the spool has what was not sent, and the agent its answer."""
        self.spool_all()
        return None if session is None else self.delivery(session)

    # --- turns ----------------------------------------------------------------------------------------------

    @harmless
    def open_run(self, session: Session) -> Steps[None]:
        """Make a new run known to the daemon, or its start known to the spool.

        Raises what the daemon says where the fault is the caller's: it will not get better by itself.
        """
        self.courier.sessions[session.run_id] = session
        try:
            placed = yield from self._settle(session, eager=True)
        finally:
            self._spool_unsent(session)
        if session.phase is Phase.OVER and session.refusal is not None:
            raise session.refusal
        if not placed and self.strict:
            self.courier.close(session, "not started")
            raise errors.NotStored(f"the run could not be started: {self._why(session)}")

    @harmless
    def record(self, session: Session, turn: bytes) -> Steps[None]:
        """Take an encoded turn where the hot path could not, and see that it gets somewhere."""
        if session.phase is Phase.OVER:
            self._drop_late(session)
            return
        session.settle_owed()
        seq = session.next_seq
        line = session.take(turn)
        if session.link is not None:  # behind what the kernel has not taken yet
            self.engine.push(line)
        yield from self.placed(session, seq)

    @harmless
    def placed(self, session: Session, seq: int) -> Steps[None]:
        """See to it that turn ``seq``, just taken, is in the kernel, or in the spool, or counted as dropped."""
        if session.link is not None and session.cost >= session.flush_due:
            self.courier.ask_flush(session)
        placed = False
        try:
            placed = yield from self._settle(session, eager=self.strict)
        finally:
            if not placed and not self.strict:
                self._spool_unsent(session, newest=True)
        if not placed and self.strict:
            self._refuse(session, seq)

    def _drop_late(self, session: Session) -> None:
        session.dropped += 1
        if not session.warned:
            session.warned = True
            log.warning("run %s takes no more turns (%s): they are dropped", session.run_id, session.over)
        if self.strict:
            raise errors.NotStored(f"the run takes no more turns: {session.over}")

    def _refuse(self, session: Session, seq: int) -> None:
        """Strict: a turn that was sent to nobody is taken back; one that may have arrived stays until a flush."""
        if seq == session.next_seq - 1 > session.sent and session.unacked:
            session.untake()
            raise errors.NotStored(f"the turn was not stored: {self._why(session)}")

    def _settle(self, session: Session, *, eager: bool) -> Steps[bool]:
        """Bring the session to LIVE with nothing waiting, within what an outage may still cost."""
        engine, courier = self.engine, self.courier

        def is_placed() -> bool:
            link = session.link
            if link is None:
                return session.phase is Phase.OVER
            return not link.rest and not session.window_full

        began = engine.clock()
        grace = began + max(_SLICE, engine.outage.left(began))

        def deadline(now: float) -> float:
            if session.phase is Phase.HELD:
                return now  # the daemon cannot store: waiting here does not help the agent
            if self.strict and engine.link is not None and not self._in_vain:
                return began + engine.timeout  # it is there, and only slow: no reason to raise
            if not engine.ready:
                return engine.agent_deadline(now)
            if session.link is None:
                return grace  # opening, or handing over the spool
            # A daemon that takes and answers is only busy: that is no outage, however long it lasts.
            return max(engine.moved_at, began) + max(engine.outage.left(now), engine.budget / 2)

        advance = partial(courier.advance, session)
        placed = yield from engine.strive(is_placed, deadline, advance, eager=eager)
        self._in_vain = not placed and (self._in_vain or engine.clock() >= began + engine.timeout)
        if not placed and engine.ready and session.phase is not Phase.HELD:
            now = engine.clock()
            engine.outage.spend(began, now)
            if session.link is not None:
                engine.lose(errors.AnswerTimeout("the daemon neither reads nor answers"))
        return placed

    def look(self, session: Session) -> Steps[None]:
        """Take what the daemon has said, and connect anew where that can be done at once; never waits."""
        yield from self.engine.strive(lambda: True, lambda now: now, partial(self.courier.advance, session))

    # --- the spool ------------------------------------------------------------------------------------------

    def _spool_unsent(self, session: Session, *, newest: bool = False) -> None:
        """Write to the spool what is in memory only.  ``newest``: if that fails, the last turn may be dropped."""
        if session.link is not None or session.phase is Phase.OVER or self.strict:
            return
        if not session.unacked and (session.started or session.spool is not None) and not session.end_line:
            return
        try:
            moment = self._stamp()
            lines = [session.dated(line, moment) for line in session.unacked]
            if session.spool is None:
                session.spool, session.offset = self._new_spool(), 0
                lines.insert(0, session.header())
            if lines:
                session.spool.append(b"".join(lines))
        except Exception as error:  # whatever it is, the agent goes on
            self._not_spooled(session, error, newest=newest)
        else:
            session.spooled_all()

    def _stamp(self) -> bytes:
        return times.render(self._now(), 9).encode()

    def _not_spooled(self, session: Session, error: Exception, *, newest: bool) -> None:
        if session.spool is not None and session.spool.size == 0:
            self.courier.clear_spool(session)
        if not session.warned:
            session.warned = True
            log.warning("run %s: turns can be neither delivered nor spooled: %s", session.run_id, error)
        session.refusal = error
        if newest and session.window_full and session.unacked and session.next_seq - 1 > session.sent:
            session.drop_last()

    def spool_all(self) -> None:
        """Write to the spool whatever no socket has: without waiting, for a client that is let go of."""
        for session in list(self.courier.sessions.values()):
            link = session.link
            if link is not None and link.rest:
                self.engine.lose(errors.ConnectionLost("closed"))
            if session.end_line:
                self._spool_end(session)
            else:
                self._spool_unsent(session)

    # --- flush ----------------------------------------------------------------------------------------------

    @harmless
    def flush(self, session: Session, *, durable: bool = False) -> Steps[Delivery]:
        """Wait for the daemon's word on every turn so far; what it does not have by then is spooled."""
        durable = durable or self._durable
        confirmed = False
        try:
            confirmed = yield from self._confirmed(session, durable=durable)
        finally:
            self._spool_unsent(session)
        delivery = self.delivery(session)
        if self.strict and not (confirmed and delivery.ok):
            raise errors.NotStored(f"not everything is stored: {delivery}")
        return delivery

    def _confirmed(self, session: Session, *, durable: bool) -> Steps[bool]:
        """Wait until the daemon has acknowledged every turn, on the device if ``durable``."""
        engine, courier = self.engine, self.courier
        if session.owed and session.link is None:
            session.settle_owed()
        asked: list[Reply] = []

        def is_confirmed() -> bool:
            if session.phase is Phase.OVER:
                return True
            if session.acked < session.next_seq - 1 or session.owed or not session.started:
                return False
            if session.spool is not None and session.phase is Phase.LIVE:
                return False  # stored, but the spool file waits for the device
            return not durable or any(reply.answer and not reply.answer.error for reply in asked)

        def advance() -> None:
            courier.advance(session)
            if session.phase is not Phase.LIVE or is_confirmed():
                return
            behind = session.asked < session.next_seq - 1
            if behind or ((durable or session.spool is not None) and (not asked or asked[-1].done)):
                asked.append(courier.ask_flush(session, durable=durable))

        patience = self._patience(session, durable=durable)
        return (yield from engine.strive(is_confirmed, patience, advance, eager=True))

    def _patience(self, session: Session, *, durable: bool = False) -> Callable[[float], float]:
        """A flush may take the whole timeout while the daemon shows that it is at work; an outage its budget."""
        engine = self.engine
        began = engine.clock()
        limit = began + engine.timeout

        def deadline(now: float) -> float:
            if session.phase is Phase.HELD:
                return now
            if not engine.ready:
                return min(limit, engine.agent_deadline(now))
            return limit if durable else min(limit, max(began, engine.moved_at) + engine.budget)

        return deadline

    # --- the end of a run -----------------------------------------------------------------------------------

    @harmless
    def finish(self, session: Session, method: str, params: dict[str, Any]) -> Steps[Delivery]:
        """End the run with ``runs.complete`` or ``runs.abandon``, after all its turns."""
        if session.phase is not Phase.OVER:
            encoded = calls.encode_params({"run_id": session.run_id, **params})
            session.end = "pending"
            session.end_line = calls.line(method, encoded[:-1] + b',"ended_at":"%b"}' % self._stamp())
            try:
                if (yield from self._confirmed(session, durable=self._durable)):
                    yield from self._end_sent(session, method, encoded)
            finally:
                self._spool_end(session)
        elif not session.end:
            session.end = "refused"
        delivery = self.delivery(session)
        if self.strict and not delivery.ok:
            raise errors.NotStored(f"the run's end is not stored: {delivery}")
        return delivery

    def _end_sent(self, session: Session, method: str, params: bytes) -> Steps[bool]:
        """Ask for the end, again if the link is lost (the same end twice is one), until the daemon has answered."""
        replies: list[Reply] = []

        def advance() -> None:
            self.courier.advance(session)
            if session.phase is Phase.LIVE and (not replies or replies[-1].lost):
                session.end_sent = True
                replies.append(self.courier.ask(session, method, params, partial(self._on_end, session)))

        return (
            yield from self.engine.strive(lambda: session.phase is Phase.OVER, self._patience(session), advance)
        )

    def _on_end(self, session: Session, answer: Answer) -> None:
        error = answer.error
        if session.phase is Phase.OVER:
            return
        if error is None:
            session.end = "stored"
            self.courier.clear_spool(session)
            self.courier.close(session, "ended")
        elif error.retry or isinstance(error, errors.InternalError):
            self.courier.hold(session, error)
        else:
            self.courier.give_up(session, error.kind, error)

    def _spool_end(self, session: Session) -> None:
        """Spool the end behind the turns, and leave the file to the next daemon."""
        if session.phase is Phase.OVER or self.strict:
            return
        session.down()
        self._spool_unsent(session)
        if session.unacked or session.spool is None:
            return
        try:
            session.spool.append(session.end_line)
        except Exception as error:
            session.refusal = error
            return
        session.end = "spooled"
        session.spool.release()
        self.courier.close(session, "ended")

    # --- everything -----------------------------------------------------------------------------------------

    @harmless
    def settle_all(self) -> Steps[None]:
        """Get the daemon's word for every run within what an outage may cost; the rest is spooled."""
        for session in list(self.courier.sessions.values()):
            if session.acked < session.next_seq - 1 or session.owed or not session.started:
                try:
                    yield from self._confirmed(session, durable=False)
                finally:
                    self._spool_unsent(session)
            if session.end_line:
                self._spool_end(session)

    def leave(self) -> None:
        """Close the link, and leave the spool files to the next daemon.  Runs that go on later start anew."""
        self.spool_all()
        self.engine.lose(errors.ConnectionLost("the client was closed"))
        self.engine.outage.ended(self.engine.clock())  # this was no outage
        for session in self.courier.sessions.values():
            if session.spool is not None:
                session.spool.release()
                session.leave_behind(self.courier.new_id())

    def forked(self) -> None:
        """In a forked child: link, spool and what is unacknowledged are the parent's; go on under new names."""
        for session in self.courier.sessions.values():
            if session.spool is not None:
                session.spool.forget()
                session.spool = None
            session.dropped = session.owed = session.stored_before = session.spooled_before = 0
            session.begin(self.courier.new_id())
        self.engine.forget()

    def _why(self, session: Session) -> object:
        return session.refusal or self.engine.problem or "the daemon did not answer in time"

    def delivery(self, session: Session) -> Delivery:
        """Return where the turns of a run are."""
        stored, spooled, dropped, pending = session.counts()
        whole = not (spooled or dropped or pending) and session.end in ("", "stored")
        why = session.refusal or self.engine.problem
        reason = "" if whole else str(why or session.over)
        return Delivery(stored, spooled, dropped, pending, session.end, reason)
