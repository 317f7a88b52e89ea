"""The synchronous client: a lock, ``poll``, and nothing running in the background.

Theory of operation.  The engine's and the desk's steps (see ``engine``) run under one lock.  Where they wait,
the lock is let go; one waiting thread at a time polls the socket for reading, the others wait to be told that
something changed, so that no answer wakes the wrong thread only.  Whoever reads hands every answer to its
owner.  The lock is re-entrant: a signal handler that records a turn in the middle of one must not hang.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast

from . import calls, wire
from .calls import Call, Instant
from .core import DEFAULT_SPOOL_BYTES, PLAIN_TURN, Core, RunBase, watch_over
from .engine import Engine, Steps, Wait
from .fields import TurnFields
from .follow import Follower, RunFollower, Watcher
from .ids import uuid7
from .link import NOWAIT
from .records import Record
from .results import Delivery, Event, Trace
from .session import TURN_COST, Session

T = TypeVar("T")

_LONGEST_POLL = 3600.0
_LOOK_SECS = 60e-6
_SKIPS = 15  # waits that sleep at once after one where looking was in vain
_MAX_DEPTH = wire.MAX_DEPTH


class Driver:
    """Runs steps for threads that share an engine; see the module's text."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
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
                    self._wait(next(steps))
            except StopIteration as done:
                return cast("T", done.value)
            finally:
                steps.close()
                self._changed.notify_all()

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


class Run(RunBase):
    """One run of an agent: record turns, then say how it ended.

    A context manager: an exception ends the run as ``failure``, nothing said as ``done``.  Safe to use from
    any number of threads.  Nothing here raises because of the daemon, unless the client is ``strict``.
    """

    def __init__(self, client: Client, session: Session, *, turns_before: int = 0) -> None:
        super().__init__(client._core, session, turns_before=turns_before)
        self._client = client
        self._driver = client._driver

    def turn(self, **fields: Unpack[TurnFields]) -> None:
        """Record one turn: encode it and hand it to the kernel, in microseconds.

        When this returns, the turn reaches the daemon even if this process is killed on the next instruction;
        with no daemon it is in the spool file.  What JSON cannot hold is bent until it fits.  ``strict``
        clients raise ``NotStored`` or ``ValueError`` instead.
        """
        try:
            turn = self._encode(fields)
            # May it nest too deep?  Two memchr passes; bytes.count would take as long as the encoding.
            if len(turn) - len(turn.replace(b"{", b"").replace(b"[", b"")) > _MAX_DEPTH or len(turn) > PLAIN_TURN:
                turn = self._core.checked(fields, turn)
        except Exception:
            turn = self._core.encoded(fields)
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
                    line = b'%b%d,"turns":[%b]}}\n' % (session.head, seq, turn)
                    if session.next_seq == seq:
                        break
                session.next_seq = seq + 1
                session.unacked.append(line)
                session.cost = cost = session.cost + len(line) + TURN_COST
                try:
                    sent = link.send(line, NOWAIT)
                    if sent == len(line) and cost < session.mark:
                        return
                    link.rest = line[sent:]
                except BlockingIOError:
                    link.rest = line
                except OSError as error:
                    self._client._engine.lose(error)
                turn = b""
        self._slowly(turn, seq if not turn else -1)

    def _slowly(self, turn: bytes, seq: int) -> None:
        """Get a turn somewhere that could not just be sent: one that is taken (``seq``), or one that is not."""
        desk = self._core.desk
        self._driver.run(desk.record(self._session, turn) if turn else desk.placed(self._session, seq))

    def model_turn(
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
        self._slowly(self._core.encoded(fields), -1)

    def flush(self, *, durable: bool = False) -> Delivery:
        """Wait for the daemon's word on all turns so far, and say where they are.

        ``durable`` asks that they are on the device.  Takes up to the client's ``timeout`` while the daemon
        works, what is left of the ``budget`` if there is none.
        """
        return self._driver.run(self._core.desk.flush(self._session, durable=durable))

    def delivery(self) -> Delivery:
        """Say where the turns are, as far as is known now; asks nobody."""
        with self._driver.lock:
            return self._core.desk.delivery(self._session)

    def finish(
        self,
        status: str,
        summary: str = "",
        evidence: Sequence[Any] = (),
        metrics: dict[str, Any] | None = None,
    ) -> Delivery:
        """End the run with an outcome; ``turns``, ``tool_calls`` and ``duration_ms`` are measured where not given.

        Raises ``ValueError`` for a status that is none.
        """
        return self.complete(self._outcome(status, summary, evidence, metrics))

    def complete(self, outcome: dict[str, Any]) -> Delivery:
        """End the run with an outcome as the wire has it; what was not stored by then is said in the answer."""
        return self._finish("runs.complete", {"outcome": outcome})

    def abandon(self, reason: str | None = None) -> Delivery:
        """End the run without an outcome: it becomes ``incomplete``."""
        return self._finish("runs.abandon", {"reason": reason})

    def _finish(self, method: str, params: dict[str, Any]) -> Delivery:
        self._ended = True
        return self._driver.run(self._core.desk.finish(self._session, method, params))

    def succeed(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``success``."""
        return self.finish("success", summary, evidence, metrics)

    def partial_success(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``partial_success``."""
        return self.finish("partial_success", summary, evidence, metrics)

    def done(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``done``: it ended, and nothing is claimed about how well."""
        return self.finish("done", summary, evidence, metrics)

    def fail(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``failure``."""
        return self.finish("failure", summary, evidence, metrics)

    def give_up(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``give_up``."""
        return self.finish("give_up", summary, evidence, metrics)

    def timeout(
        self, summary: str = "", evidence: Sequence[Any] = (), metrics: dict[str, Any] | None = None
    ) -> Delivery:
        """End the run as ``timeout``."""
        return self.finish("timeout", summary, evidence, metrics)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if self.in_creator:
            self.finish(*self._outcome_of(error))
        else:  # a forked child leaves the block: the run is its parent's to end
            self.flush()


class Client:
    """The daemon's client for programs without an event loop; safe to use from any number of threads.

    ``car_dir`` and ``socket`` are found as SPEC section 1 says.  ``autostart``: start a daemon if none
    answers (``None``: unless ``CARRUNS_AUTOSTART=0``).  ``timeout``: seconds a question may take.
    ``budget``: seconds that an outage of the daemon may cost the agent in all, over however many calls.
    ``strict``: raise ``NotStored`` instead of spooling, ``ValueError`` instead of bending, and wait up to
    ``timeout`` for a daemon that is there but slow.  ``durable``: ``flush`` and the end of a run wait for the
    device.  ``spool_max_bytes`` bounds what is kept on disk while there is no daemon.

    Connects when it is first used.  A context manager, but need not be one.
    """

    def __init__(
        self,
        car_dir: str | os.PathLike[str] | None = None,
        socket: str | os.PathLike[str] | None = None,
        *,
        autostart: bool | None = None,
        timeout: float = 10.0,
        budget: float = 0.25,
        strict: bool = False,
        durable: bool = False,
        spool_max_bytes: int = DEFAULT_SPOOL_BYTES,
    ) -> None:
        self._core = Core(
            car_dir, socket, autostart_wanted=autostart, timeout=timeout, budget=budget, strict=strict,
            durable=durable, spool_max_bytes=spool_max_bytes,
        )  # fmt: skip
        self._engine = self._core.engine
        self._driver = Driver(self._engine)
        watch_over(self, at_exit=True)

    @property
    def car_dir(self) -> str:
        """The car directory."""
        return str(self._core.car_dir)

    @property
    def socket(self) -> str:
        """The path of the daemon's socket."""
        return str(self._core.socket)

    # --- recording ------------------------------------------------------------------------------------------

    def run(
        self,
        agent: str,
        *,
        intent: str,
        outcome_description: str | None = None,
        agent_id: str | None = None,
        parent_run_id: str | None = None,
        session_id: str | None = None,
        detached: bool = False,
        metadata: Any = None,
        run_id: str | None = None,
    ) -> Run:
        """Begin a run of ``agent``, whose name is its id too unless ``agent_id`` is given.

        ``run_id`` makes beginning idempotent: the same id again goes on with the same run.  ``detached`` runs
        may be without a connection for long.  Raises what the daemon says where the fault is the caller's
        (``Conflict``, ``InvalidCall``); without a daemon the run begins in the spool.
        """
        details = {
            "agent_id": agent_id, "intent": intent, "outcome_description": outcome_description,
            "parent_run_id": parent_run_id, "session_id": session_id, "detached": detached, "metadata": metadata,
        }  # fmt: skip
        session = self._core.new_session(agent, run_id, details)
        self._driver.run(self._core.desk.open_run(session))
        return Run(self, session)

    def resume(self, run_id: str) -> Run:
        """Go on recording a run that is in progress or ``incomplete``, under a writer name of one's own.

        Raises ``RunNotFound``, ``RunTerminal`` if it has an outcome, and what a question raises.
        """
        writer = uuid7()
        found = self._ask(calls.record("runs.resume", run_id=run_id, writer=writer))
        if found.get("status") == "completed":
            raise calls.run_has_outcome(run_id)
        session = Session(run_id, str(found.get("agent_id", "")), writer)
        self._driver.run(self._core.desk.open_run(session))
        return Run(self, session, turns_before=int(found.get("turn_count", 0)))

    def flush(self) -> list[Delivery]:
        """Wait for the daemon's word on all runs in progress, within the budget; spool what it does not have."""
        with self._driver.lock:
            sessions = list(self._core.courier.sessions.values())
        self._driver.run(self._core.desk.settle_all())
        with self._driver.lock:
            return [self._core.desk.delivery(session) for session in sessions]

    def close(self) -> None:
        """Hand over what is not yet stored, spool the rest, close the connection.  Runs are not ended by this."""
        self._driver.run(self._core.desk.settle_all())
        with self._driver.lock:
            self._core.desk.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if "_driver" in self.__dict__:  # __init__ may have raised
            try:
                self._core.desk.leave()
            except Exception:
                return  # the interpreter is half gone; the spool and the kernel have what could be saved

    def _at_exit(self) -> None:
        """Deliver before the interpreter goes, but stay usable: other exit handlers may record after this one."""
        self._driver.run(self._core.desk.settle_all())

    def _after_fork(self) -> None:
        self._driver.renew()
        self._core.after_fork()

    # --- questions ------------------------------------------------------------------------------------------

    def _ask(self, call: Call[T], timeout: float | None = None) -> T:
        return self._driver.run(self._engine.query(call, timeout))

    def call(self, method: str, params: dict[str, Any] | None = None, *, timeout: float | None = None) -> Any:
        """Ask any method of the wire and return its result.

        This and every question below waits up to ``timeout`` seconds and raises ``DaemonUnavailable``,
        ``ConnectionLost``, ``AnswerTimeout``, ``VersionMismatch``, or the daemon's error
        (``carruns.errors``). Questions that change nothing are asked again once if the connection is lost.
        """
        return self._ask(calls.call(method, params), timeout)

    def handshake(self) -> Record:
        """Who the daemon is, what it can do and its limits."""
        return self._ask(calls.handshake())

    def ping(self) -> None:
        """Return once the daemon has answered."""
        self._ask(calls.call("server.ping"))

    def stats(self) -> Record:
        """The daemon's counters and gauges."""
        return self._ask(calls.record("server.stats"))

    def list_runs(
        self,
        agent_id: str | None = None,
        status: str | None = None,
        since: Instant | None = None,
        until: Instant | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Summaries of runs, newest first.  Times are RFC 3339, ``datetime`` or seconds since 1970."""
        return self._ask(calls.list_runs(agent_id, status, since, until, limit))

    def agents(self) -> list[Record]:
        """The agents in the store, with how much of them there is."""
        return self._ask(calls.agents())

    def agent_for_run(self, run_id: str) -> str | None:
        """The agent that a run belongs to, ``None`` if there is no such run."""
        return self._ask(calls.agent_for_run(run_id))

    def get_trace(self, run_id: str, agent_id: str | None = None) -> Trace | None:
        """All records of a run, ``None`` if there is no such run.  :meth:`iter_trace` needs less memory."""
        builder = calls.TraceBuilder(run_id, agent_id)
        while (call := builder.next_call()) is not None:
            builder.add(self._ask(call))
        return builder.trace

    def iter_trace(self, run_id: str, agent_id: str | None = None, cursor: int = 0) -> Iterator[Record]:
        """The records of a run from ``cursor`` on, a page at a time.  Raises ``RunNotFound``."""
        builder = calls.TraceBuilder(run_id, agent_id, cursor)
        while (call := builder.next_call()) is not None:
            yield from builder.page(self._ask(call))

    def start(self, **params: Any) -> Record:
        """``runs.start`` as the wire has it.  With an ``idempotency_key`` it may be asked twice."""
        return self._ask(calls.record("runs.start", **params))

    def record_turns(
        self, run_id: str, turns: Sequence[dict[str, Any]], *, writer: str | None = None, seq: int | None = None,
        durable: bool = False,
    ) -> Record:  # fmt: skip
        """``runs.record_turns``: 1 to 256 turns, acknowledged.  With ``writer`` and ``seq`` exactly once."""
        return self._ask(calls.record_turns(run_id, turns, writer, seq, durable=durable))

    def record_model_turn(self, run_id: str, **params: Any) -> Record:
        """``runs.record_model_turn`` as the wire has it."""
        return self._ask(calls.record("runs.record_model_turn", run_id=run_id, **params))

    def flush_run(self, run_id: str, writer: str | None = None, *, durable: bool = False) -> Record:
        """``runs.flush``: how far a writer of a run is stored."""
        return self._ask(calls.record("runs.flush", run_id=run_id, writer=writer, durable=durable or None))

    def complete(self, run_id: str, outcome: dict[str, Any]) -> Record:
        """``runs.complete`` for any run."""
        return self._ask(calls.record("runs.complete", run_id=run_id, outcome=outcome))

    def abandon(self, run_id: str, reason: str | None = None) -> Record:
        """``runs.abandon`` for any run."""
        return self._ask(calls.record("runs.abandon", run_id=run_id, reason=reason))

    def append(self, agent_id: str, run_id: str, records: Sequence[dict[str, Any]]) -> int:
        """``runs.append``: records kept as they are given; returns how many."""
        return self._ask(calls.append(agent_id, run_id, records))

    def gc(self, *, dry_run: bool = False) -> Record:
        """``runs.gc``: remove what retention does not keep, or say what would go."""
        return self._ask(calls.record("runs.gc", dry_run=dry_run or None))

    def adopt_orphans(self) -> int:
        """``runs.adopt_orphans``: end runs that nobody works on as ``incomplete``, at once; returns how many."""
        return self._ask(calls.adopt_orphans())

    def subscribe(self, run_id: str) -> Subscription:
        """Follow a run: its turns so far, then its records as they come, until it ends."""
        return Subscription(RunFollower(self._core.new_engine(), run_id))

    def watch(self, agent_id: str | None = None) -> Watch:
        """Follow the starts, turns and ends of all runs, or of one agent's; the open ones come first."""
        return Watch(Watcher(self._core.new_engine(), agent_id))


class _Feed:
    """A connection of its own, read by whoever iterates."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._driver = Driver(follower.engine)
        watch_over(self, at_exit=False)

    def close(self) -> None:
        """End the subscription; iterating ends too, wherever it is."""
        with self._driver.lock:
            self._follower.close()

    def _after_fork(self) -> None:
        self._driver.renew()
        self._follower.engine.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if "_driver" in self.__dict__:  # __init__ may have raised
            self._follower.engine.forget()


class Subscription(_Feed):
    """An iterator over the :class:`~carruns.Event` of one run."""

    _follower: RunFollower

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._driver.run(self._follower.next())
        if event is None:
            self.close()
            raise StopIteration
        return event


class Watch(_Feed):
    """An iterator over what happens to runs; it ends when it is closed."""

    _follower: Watcher

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        event = self._driver.run(self._follower.next())
        if event is None:
            raise StopIteration
        return event
