# Made from ../aio/client.py by client/make_sync.py: change that, then `make sync`.
"""The synchronous client: its runs, and the questions of the wire."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from carruns import calls
from carruns.calls import Call, Instant
from carruns.cancelling import OnCancel
from carruns.core import DEFAULT_SPOOL_BYTES, Core
from carruns.process import tell_after_fork, tell_at_exit
from carruns.protocol.ids import uuid7
from carruns.protocol.records import Record
from carruns.results import Delivery, Trace
from carruns.session import Session
from carruns.subscriber import RunSubscriber, Watcher

from .driver import Driver
from .run import Run
from .subscriptions import Subscription, Watch

T = TypeVar("T")


class Client:
    """The daemon's client for programs without an event loop; safe to use from any number of threads.

    ``car_dir`` and ``socket`` are found as docs/files.md says.  ``autostart``: start a daemon if none
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
        self._driver = Driver(self._engine, self._core.listener)
        tell_after_fork(self)
        tell_at_exit(self)

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
        on_cancel: OnCancel | None = None,
    ) -> Run:
        """Begin a run: ``with client.run(...) as run``, or ``run = client.run(...)``.

        It is a run of ``agent``, whose name is its id too unless ``agent_id`` is given.

        ``run_id`` makes beginning idempotent: the same id again goes on with the same run.  ``detached`` runs
        may be without a connection for long.  Raises what the daemon says where the fault is the caller's
        (``Conflict``, ``InvalidCall``); without a daemon the run begins in the spool.

        ``on_cancel`` is called with a ``CancelRequest`` once for each request to cancel the run, by whatever call
        of this client hears of it: with it every turn of this run looks (for some microseconds), and so do
        ``flush``, questions and ``run.cancel_requested``; nothing does while the agent calls nothing.  What it
        raises is logged.
        """
        details = {
            "agent_id": agent_id, "intent": intent, "outcome_description": outcome_description,
            "parent_run_id": parent_run_id, "session_id": session_id, "detached": detached, "metadata": metadata,
        }  # fmt: skip
        return self._driver.begin(partial(self._begin, agent, run_id, details, on_cancel))

    def _begin(self, agent: str, run_id: str | None, details: dict[str, Any], on_cancel: OnCancel | None) -> Run:
        session = self._core.new_session(agent, run_id, details, on_cancel)
        self._driver.run(self._core.deliverer.open_run(session))
        return Run(self, session)

    def resume(self, run_id: str, *, on_cancel: OnCancel | None = None) -> Run:
        """Go on recording a run that is in progress or ``incomplete``, under a writer name of one's own.

        ``on_cancel`` as for :meth:`run`.

        Raises ``RunNotFound``, ``RunTerminal`` if it has an outcome, and what a question raises.
        """
        writer = uuid7()
        found = self._ask(calls.record("runs.resume", run_id=run_id, writer=writer))
        if found.get("status") == "completed":
            raise calls.run_has_outcome(run_id)
        session = self._core.listening(Session(run_id, str(found.get("agent_id", "")), writer), on_cancel)
        self._driver.run(self._core.deliverer.open_run(session))
        return Run(self, session, turns_before=int(found.get("turn_count", 0)))

    def flush(self) -> list[Delivery]:
        """Wait for the daemon's word on all runs in progress, within the budget; spool what it does not have."""
        with self._driver.lock:
            sessions = list(self._core.courier.sessions.values())
        self._driver.run(self._core.deliverer.settle_all())
        with self._driver.lock:
            return [self._core.deliverer.delivery(session) for session in sessions]

    def close(self) -> None:
        """Hand over what is not yet stored, spool the rest, close the connection.  Runs are not ended by this."""
        try:
            self._driver.run(self._core.deliverer.settle_all())
        finally:
            with self._driver.lock:
                self._core.deliverer.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if "_driver" in self.__dict__:  # __init__ may have raised
            try:
                self._core.deliverer.leave()
            except Exception:
                return  # the interpreter is half gone; the spool and the kernel have what could be saved

    def _at_exit(self) -> None:
        """Deliver before the interpreter goes, but stay usable: other exit handlers may record after this one."""
        self._driver.blocking().run(self._core.deliverer.settle_all())

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
            for record in builder.page(self._ask(call)):
                yield record

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

    def cancel(
        self, run_id: str, reason: str, idempotency_key: str | None = None, *, timeout: float | None = None
    ) -> Record:
        """``runs.cancel``: ask that a run be ended, wait until it has, and return the receipt.

        Whoever owns the run is asked to end it; where nobody does within the daemon's ``cancel_grace_secs`` (10),
        the daemon ends it.  ``timeout`` (seconds; else the client's) says how long to wait: ``AnswerTimeout`` does
        not take the request back.  The same key is the same request, and has the same receipt.
        """
        return self._ask(calls.cancel(run_id, reason, idempotency_key or uuid7()), timeout)

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
        return Subscription(RunSubscriber(self._core.new_engine(), run_id))

    def watch(self, agent_id: str | None = None) -> Watch:
        """Follow the starts, turns and ends of all runs, or of one agent's; the open ones come first."""
        return Watch(Watcher(self._core.new_engine(), agent_id))
