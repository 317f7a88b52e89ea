"""Bring the turns of all runs to the daemon, each exactly once and in order.

Theory of operation.  The courier moves every :class:`~carruns.session.Session` through its phases (the table
is there) on the engine's link: open it, send what the daemon lacks, ask now and then how far it has come, and
find out what became of a turn that it did not take.  It never waits and never raises: it does what can be
done now, and the answers that come later move it on.  What an agent calls, and what happens when nothing can
be sent, is in ``delivery``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from carruns import calls, encoding
from carruns.connection import Answer, as_request
from carruns.engine import Engine, Reply
from carruns.protocol import errors, messages
from carruns.session import ForbiddenMoveError, Phase, Session

T = TypeVar("T")

log = logging.getLogger("carruns")
log.addHandler(logging.NullHandler())

#: Bytes of a spool file handed to the kernel at a time.
_PORTION = 1 << 17
_FIRST_HOLD = 0.05
_LONGEST_HOLD = 2.0
#: A verdict that changes nothing is asked for this often before the writer is given up for a new one.
_MOST_CHECKS = 3


class Courier:
    """The sessions of one client; see the module's text."""

    def __init__(self, engine: Engine, new_id: Callable[[], str]) -> None:
        self.engine = engine
        self.new_id = new_id
        self.sessions: dict[str, Session] = {}
        self._steps = 0
        self._calm_at = 0.0  # until then another reset is not worth a try at once
        engine.on_ready = self._ready
        engine.on_lost = self._lost

    def _ready(self) -> None:
        """Open every run on the new link, idle ones too: the daemon's grace for them is running."""
        for session in list(self.sessions.values()):
            self.advance(session)

    def _lost(self) -> None:
        for session in list(self.sessions.values()):
            session.down()

    # --- the guard ------------------------------------------------------------------------------------------

    def ask(self, session: Session, method: str, params: bytes, handler: Callable[[Answer], None]) -> Reply:
        """Ask something for a session; ``handler`` moves it on."""
        return self.engine.ask(method, params, partial(self._guarded, session, handler))

    def _guarded(self, session: Session, step: Callable[[T], None], argument: T) -> None:
        """Take a step.  A move that is forbidden is a defect of ours: it costs the connection, never the agent.

        Unless a signal handler has recorded a turn in the middle of the step: it has moved the session on then,
        and the rest of this step with it.
        """
        self._steps = step_number = self._steps + 1
        try:
            step(argument)
        except ForbiddenMoveError as defect:
            if self._steps != step_number:
                return
            log.error("run %s: %s, which is a defect in carruns; connecting anew", session.run_id, defect)
            self._reset(session, defect)

    def _reset(self, session: Session, defect: ForbiddenMoveError) -> None:
        """Open all runs anew, from what the daemon says it has; a defect that comes back has to wait."""
        self.engine.lose(errors.ConnectionLost(f"given up: {defect}"))
        session.down()
        now = self.engine.clock()
        if now < self._calm_at and session.phase is Phase.DOWN:
            self.hold(session, defect)
            session.retry_at = now + _LONGEST_HOLD
        self._calm_at = now + _LONGEST_HOLD

    # --- one step of a session ------------------------------------------------------------------------------

    def advance(self, session: Session) -> None:
        """Do what can be done now to bring the session to LIVE."""
        if self.engine.ready:
            self._guarded(session, self._advance, session)

    def _advance(self, session: Session) -> None:
        if session.phase is Phase.HELD and self.engine.clock() >= session.retry_at:
            session.down()
        if session.phase is Phase.DOWN:
            self._open(session)
        elif session.phase is Phase.CATCHING_UP:
            self._catch_up(session)

    def _open(self, session: Session) -> None:
        """Ask what the daemon has of a run, and make the run first where it may not exist."""
        session.down()
        session.move(Phase.OPENING)
        if session.start is not None and not session.started:
            self.ask(session, "runs.start", session.start, partial(self._on_started, session))
        resume = calls.encode_params({"run_id": session.run_id, "writer": session.writer})
        self.ask(session, "runs.resume", resume, partial(self._on_resumed, session))

    def _on_started(self, session: Session, answer: Answer) -> None:
        if session.phase is not Phase.OPENING:
            return
        if answer.error is None:
            session.started = True
        elif answer.error.retry or isinstance(answer.error, errors.InternalError):
            self.hold(session, answer.error)
        else:
            self.give_up(session, answer.error.kind, answer.error)

    def _on_resumed(self, session: Session, answer: Answer) -> None:
        if session.phase is not Phase.OPENING:
            return
        error = answer.error
        if error is None:
            self._resumed(session, calls.resumed(answer.result))
        elif isinstance(error, errors.RunNotFound) and session.start is not None and session.checks < _MOST_CHECKS:
            session.checks += 1
            session.started = False  # the start was lost with the daemon's disk: make the run again
            self._open(session)
        elif error.retry or session.start is not None or isinstance(error, errors.InternalError):
            session.checks = 0
            self.hold(session, error)
        else:
            self.give_up(session, error.kind, error)

    def _resumed(self, session: Session, found: calls.Resumed) -> None:
        session.held_for = 0.0
        session.agent_id = found.agent_id or session.agent_id
        acked = -1 if found.acked_seq is None else found.acked_seq
        if session.lost_by_daemon(acked):
            self._rebase(session, acked)
        self._acked(session, acked)
        if found.status == "completed" and not session.end_sent:
            self.give_up(session, "completed", errors.RunTerminal("the run has an outcome already"))
            return
        session.move(Phase.CATCHING_UP)
        session.offset = 0
        self._catch_up(session)

    def _rebase(self, session: Session, acked: int) -> None:
        lines = self._spooled_lines(session)
        log.warning("run %s: the daemon lost turns that it had acknowledged; a gap is recorded", session.run_id)
        session.rebase(self.new_id(), acked, lines)
        self.clear_spool(session)

    def _catch_up(self, session: Session) -> None:
        """Send what the daemon lacks, spool file first, as far as the kernel takes it now."""
        if not self._send_spooled(session):
            return
        session.settle_owed()
        session.sent = session.next_seq - 1
        if session.unacked:
            self.engine.push(b"".join(session.unacked))
        if (link := self.engine.link) is None:
            return
        session.move(Phase.LIVE, link)
        if session.acked < session.next_seq - 1:
            self.ask_flush(session)

    def _send_spooled(self, session: Session) -> bool:
        """Send on from the spool file; true once all of it is with the kernel."""
        if not session.has_backlog or session.spool is None:
            return True
        while (link := self.engine.link) is not None and session.offset < session.spool.size:
            if link.rest:
                return False
            portion: list[bytes] = []
            taken = 0
            try:
                for line in session.spool.lines(session.offset):
                    taken += len(line)
                    if session.seq_of(line) > session.acked:
                        portion.append(line)
                    if taken > _PORTION:
                        break
            except OSError as error:
                return self._spool_unreadable(session, error)
            session.offset += taken
            self.engine.push(b"".join(portion))
        return self.engine.link is not None

    def _spool_unreadable(self, session: Session, error: OSError) -> bool:
        """The disk does not give back what it took: those turns are lost, and the trace will say so."""
        log.warning("run %s: the spool cannot be read, turns are lost: %s", session.run_id, error)
        lost = session.spooled - session.acked
        session.rebase(self.new_id(), session.acked, (), lost)
        self.clear_spool(session)
        session.down()
        return False

    # --- how far the daemon has come ------------------------------------------------------------------------

    def ask_flush(self, session: Session, *, durable: bool = False) -> Reply:
        asked, writer = session.note_flush(), session.writer
        params: dict[str, Any] = {"run_id": session.run_id, "writer": writer}
        durable = durable or session.spool is not None  # the file goes once its turns are on the device
        if durable:
            params["durable"] = True

        def on_flushed(answer: Answer) -> None:
            if session.writer == writer and session.phase is Phase.LIVE:
                self._on_flushed(session, asked, answer, on_device=durable)

        return self.ask(session, "runs.flush", calls.encode_params(params), on_flushed)

    def _on_flushed(self, session: Session, asked: int, answer: Answer, *, on_device: bool) -> None:
        if answer.error is not None:
            self._not_taken(session, answer.error)
            return
        acked = calls.flushed(answer.result).acked_seq
        self._acked(session, -1 if acked is None else acked, on_device=on_device)
        if session.acked < asked:
            self._check_next(session)

    def _acked(self, session: Session, acked: int, *, on_device: bool = False) -> None:
        if acked > session.acked:
            session.checks = 0
        session.ack(acked)
        if on_device and session.spool is not None and not session.has_backlog:
            self.clear_spool(session)

    @staticmethod
    def clear_spool(session: Session) -> None:
        spool, session.spool, session.spooled, session.offset = session.spool, None, -1, 0
        if spool is not None:
            spool.remove()

    # --- a turn that was not taken --------------------------------------------------------------------------

    def _check_next(self, session: Session) -> None:
        """Send the first turn that is missing once more, this time asking for a verdict."""
        session.move(Phase.CHECKING)
        session.flushes.clear()
        seq, writer = session.acked + 1, session.writer
        line = self._line(session, seq)
        link = self.engine.link
        if line is None or link is None or session.checks >= _MOST_CHECKS:
            self._start_over(session)
            return
        session.checks += 1

        def on_verdict(answer: Answer) -> None:
            if session.writer == writer and session.phase is Phase.CHECKING:
                self._on_verdict(session, seq, line, answer)

        request_id = link.connection.next_id()
        self.engine.ask_line(request_id, as_request(line, request_id), partial(self._guarded, session, on_verdict))

    def _start_over(self, session: Session) -> None:
        """What we believe and what the daemon believes cannot be brought together: a new writer, a fresh count."""
        if session.checks > 2 * _MOST_CHECKS:
            self.give_up(session, "rejected", errors.InternalError("the daemon takes no turn of this run"))
            return
        checks = session.checks + 1
        self._rebase(session, session.acked)
        session.checks = checks
        session.down()

    def _line(self, session: Session, seq: int) -> bytes | None:
        """Return the line of a turn that is not acknowledged, from memory or from the spool file."""
        if seq >= session.base:
            return next(session.lines_from(seq), None)
        return next((line for line in self._spooled_lines(session) if session.seq_of(line) == seq), None)

    @staticmethod
    def _spooled_lines(session: Session) -> list[bytes]:
        if session.spool is None:
            return []
        try:
            return [line for line in session.spool.lines(0) if session.seq_of(line) > session.acked]
        except OSError:
            return []

    def _on_verdict(self, session: Session, seq: int, line: bytes, answer: Answer) -> None:
        if answer.error is not None:
            self._not_taken(session, answer.error, seq, line)
            return
        verdict = calls.recorded(answer.result)
        if verdict.ok:
            self._acked(session, seq)
            session.move(Phase.CATCHING_UP)
            session.offset = 0
            self._catch_up(session)
        elif verdict.dropped == "turn_too_large":
            self._replace(session, seq, line, "turn_too_large")
        elif verdict.dropped == "run_turn_limit":
            self.give_up(session, "run_turn_limit", errors.TooLarge("the run has as many turns as it may have"))
        elif verdict.dropped == "out_of_order":
            self._start_over(session)
        else:  # run_terminal, run_not_found: resuming tells which, and reopens or makes it
            self._open(session)

    def _not_taken(self, session: Session, error: errors.RemoteError, seq: int = -1, line: bytes = b"") -> None:
        if isinstance(error, errors.RunNotFound | errors.RunTerminal):
            self._open(session)
        elif line and error.fault == "caller":
            self._replace(session, seq, line, error.kind)
        else:
            self.hold(session, error)

    def _replace(self, session: Session, seq: int, line: bytes, reason: str) -> None:
        """The daemon will never take this turn as it is: mend it, or put a gap turn in its place, and go on."""
        turn = session.turn_of(line)
        mended = None if seq in session.gaps or session.mended == seq else encoding.mend(turn)
        if mended is not None:
            session.mended = seq
            fresh = messages.turn_line(session.head, seq, mended)
        else:
            log.warning("run %s: turn %d was refused (%s); a gap is recorded", session.run_id, seq, reason)
            fresh = session.gap_line(seq, reason)
        if seq >= session.base:
            session.replace(seq, fresh)
        else:
            self._replace_spooled(session, seq, fresh)
        self._check_next(session)

    def _replace_spooled(self, session: Session, seq: int, fresh: bytes) -> None:
        lines = [fresh if session.seq_of(line) == seq else line for line in self._spooled_lines(session)]
        if session.spool is None:
            return  # the next check finds no line to send, and starts over
        try:
            session.spool = session.spool.replace([session.header(), *lines])
        except OSError:
            session.unspooled(lines)
            self.clear_spool(session)

    def hold(self, session: Session, error: Exception) -> None:
        """The daemon cannot store now: wait longer each time before asking again; the turns go to the spool."""
        session.move(Phase.HELD)
        session.refusal = error
        session.held_for = min(_LONGEST_HOLD, session.held_for * 2 or _FIRST_HOLD)
        session.retry_at = self.engine.clock() + session.held_for
        session.flushes.clear()

    def give_up(self, session: Session, reason: str, error: Exception) -> None:
        """No turn of this run will be taken any more: count what is left as dropped, and say so once."""
        _, spooled, _, pending = session.counts()
        session.dropped += spooled + pending
        session.next_seq = session.acked + 1
        session.gaps = {seq: lost for seq, lost in session.gaps.items() if seq <= session.acked}
        session.unacked.clear()
        self.clear_spool(session)
        session.refusal = error
        if session.end == "pending":
            session.end = "refused"
        self.close(session, reason)
        if not session.warned and (spooled or pending):
            session.warned = True
            log.warning("run %s takes no more turns (%s): %d dropped", session.run_id, reason, session.dropped)

    def close(self, session: Session, reason: str) -> None:
        """The session is over: forget it."""
        if session.phase is not Phase.OVER:
            session.move(Phase.OVER)
            session.over = reason
        if self.sessions.get(session.run_id) is session:
            del self.sessions[session.run_id]
