"""What the sync and the async client have in common: their parts put together, and their runs' bookkeeping.

No waiting happens here.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from . import autostart, calls, coerce, paths, records, spool, times
from .courier import Courier, log
from .desk import Desk
from .engine import Engine
from .ids import uuid7
from .link import Link
from .session import Session

DEFAULT_SPOOL_BYTES = 64 << 20

#: A turn of at most this many bytes passes under any limit a daemon has; longer ones are looked at.
PLAIN_TURN = 1 << 20
#: Bytes of a line that are not the turn: method, ids, numbers.
_LINE_OVERHEAD = 4096


class Core:
    """One client's parts.  The settings are documented at :class:`carruns.Client`."""

    def __init__(
        self,
        car_dir: str | os.PathLike[str] | None,
        socket: str | os.PathLike[str] | None,
        *,
        autostart_wanted: bool | None,
        timeout: float,
        budget: float,
        strict: bool,
        durable: bool,
        spool_max_bytes: int,
    ) -> None:
        self.car_dir = paths.car_dir(car_dir)
        self.socket = paths.socket_path(self.car_dir, socket)
        self.strict = strict
        #: The fast way to encode a turn; where it raises, :meth:`encoded` is the slow one.
        self.encode = msgspec.json.Encoder().encode if strict else coerce.encode
        self.starter = autostart.starter(self.car_dir, self.socket, autostart_wanted)
        self._settings = (timeout, budget)
        self.engine = self.new_engine()
        self.courier = Courier(self.engine, uuid7)
        new_spool = spool.spool_files(self.car_dir, spool_max_bytes)
        self.desk = Desk(self.engine, self.courier, new_spool, strict=strict, durable=durable)

    def new_engine(self) -> Engine:
        """Return an engine with a link of its own."""
        timeout, budget = self._settings
        path = str(self.socket)
        return Engine(lambda: Link(path), time.monotonic, self.starter, budget=budget, timeout=timeout)

    # --- turns ----------------------------------------------------------------------------------------------

    def checked(self, fields: Any, turn: bytes) -> bytes:
        """Return ``turn``, which is long or has many brackets, as it was encoded if it may stay so."""
        if len(turn) <= PLAIN_TURN and coerce.surely_shallow(fields):
            return turn
        return self.encoded(fields)

    def encoded(self, fields: Any) -> bytes:
        """Return a turn as JSON where the fast encoder did not do: bent, or cut to what a line may hold.

        Raises ``ValueError`` instead if ``strict``.
        """
        if self.strict:
            return self._encoded_strictly(fields)
        try:
            return coerce.fit(coerce.encode_any(fields), self.longest_turn)
        except Exception as error:  # nothing an agent records may break it
            log.warning("a turn could not be encoded: %r", error)
            return coerce.encode({"error": {"kind": "unencodable", "reason": type(error).__name__}})

    def _encoded_strictly(self, fields: Any) -> bytes:
        try:
            turn = self.encode(fields)
        except Exception as error:
            raise ValueError(f"JSON cannot hold this turn: {error}") from error
        if len(turn) > self.longest_turn:
            raise ValueError(f"the turn has {len(turn)} bytes; the daemon takes {self.longest_turn}")
        if coerce.nests_too_deep(turn):
            raise ValueError(f"the turn nests deeper than {coerce.DEEPEST}")
        return turn

    @property
    def longest_turn(self) -> int:
        """How many bytes an encoded turn may have."""
        return self.engine.max_line - _LINE_OVERHEAD

    # --- runs -----------------------------------------------------------------------------------------------

    def new_session(self, agent: str, run_id: str | None, details: dict[str, Any]) -> Session:
        """Return the sender of a new run.  The run's id is minted here, so that no daemon is needed to begin."""
        run_id = run_id or uuid7()
        agent_id = details.pop("agent_id", None) or agent
        start = {
            "agent_id": agent_id,
            "agent_name": agent,
            "idempotency_key": run_id,
            "started_at": times.render(time.time_ns(), 9),
            "cwd": _cwd(),
            **{key: value for key, value in details.items() if value is not None and value is not False},
        }
        return Session(run_id, agent_id, uuid7(), start)

    def after_fork(self) -> None:
        """Make this client usable in a forked child; see :meth:`carruns.desk.Desk.forked`."""
        self.desk.forked()


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # removed under us
        return None


class RunBase:
    """What a run knows of itself, sync or async."""

    def __init__(self, core: Core, session: Session, *, turns_before: int = 0) -> None:
        self._core = core
        self._encode = core.encode
        self._session = session
        self._pid = os.getpid()
        self._began = time.monotonic()
        self._tool_calls = 0
        self._turns_before = turns_before
        self._ended = False

    @property
    def id(self) -> str:
        """The run's id."""
        return self._session.run_id

    @property
    def agent_id(self) -> str:
        """The id of the agent that the run belongs to."""
        return self._session.agent_id

    @property
    def writer(self) -> str:
        """The name under which this sender numbers its turns."""
        return self._session.writer

    @property
    def in_creator(self) -> bool:
        """Whether this is the process that began the run, not one forked from it."""
        return self._pid == os.getpid()

    def _outcome(
        self, status: str, summary: str, evidence: Sequence[Any], metrics: dict[str, Any] | None
    ) -> dict[str, Any]:
        if status not in records.OUTCOME_STATUSES:
            raise ValueError(f"{status!r} is no outcome; those are: {', '.join(records.OUTCOME_STATUSES)}")
        measured = {
            "turns": self._turns_before + sum(self._session.counts()),
            "tool_calls": self._tool_calls,
            "duration_ms": round((time.monotonic() - self._began) * 1000),
        }
        return {
            "status": status,
            "summary": summary if isinstance(summary, str) else coerce.text_of(summary),
            "evidence": calls.evidence_items(evidence),
            "metrics": {**measured, **(metrics or {})},
            "timestamp": times.render(time.time_ns(), 9),
        }

    def _outcome_of(self, error: BaseException | None) -> tuple[str, str]:
        """Return status and summary for how a ``with`` block was left."""
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            return "done", ""
        try:
            text = str(error)
        except Exception:  # an exception class of the agent's may break in its own __str__
            text = ""
        name = type(error).__name__
        return "failure", f"{name}: {text}" if text else name

    @staticmethod
    def _model_turn(
        text: str,
        tool_calls: Sequence[Any],
        model_id: str,
        usage: Any,
        duration_ms: float,
        turn_index: int | None,
    ) -> dict[str, Any]:
        turn: dict[str, Any] = {
            "output": {"assistant_text": text, "requested_tool_calls": list(tool_calls)},
            "model": model_id,
            "duration_ms": duration_ms,
        }
        if usage is not None:
            turn["usage"] = usage
        if turn_index is not None:
            turn["metadata"] = {"turn_index": turn_index}
        return turn


# --- processes ----------------------------------------------------------------------------------------------

#: Every live client's way to get through a fork and to the end of the process.
_after_fork: weakref.WeakSet[Any] = weakref.WeakSet()
_at_exit: weakref.WeakSet[Any] = weakref.WeakSet()


def watch_over(client: Any, *, at_exit: bool) -> None:
    """Call ``client._after_fork()`` in forked children, ``client._at_exit()`` when the interpreter ends."""
    _after_fork.add(client)
    if at_exit:
        _at_exit.add(client)


def _each(clients: weakref.WeakSet[Any], act: Callable[[Any], None]) -> None:
    for client in list(clients):
        try:
            act(client)
        except Exception:  # nothing may break a fork or an exit
            log.warning("carruns could not tidy up", exc_info=True)


os.register_at_fork(after_in_child=lambda: _each(_after_fork, lambda client: client._after_fork()))
atexit.register(lambda: _each(_at_exit, lambda client: client._at_exit()))
