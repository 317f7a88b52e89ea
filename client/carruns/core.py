"""What the sync and the async client have in common: their parts put together, and their runs' bookkeeping.

No waiting happens here.
"""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from carruns import autostart, encoding, spool
from carruns.courier import Courier, log
from carruns.delivery import Desk
from carruns.engine import Engine
from carruns.link import Link
from carruns.protocol import paths, times
from carruns.protocol.ids import uuid7
from carruns.session import Session

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
        self.encode = msgspec.json.Encoder().encode if strict else encoding.encode
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
        if len(turn) <= PLAIN_TURN and encoding.surely_shallow(fields):
            return turn
        return self.encoded(fields)

    def encoded(self, fields: Any) -> bytes:
        """Return a turn as JSON where the fast encoder did not do: bent, or cut to what a line may hold.

        Raises ``ValueError`` instead if ``strict``.
        """
        if self.strict:
            return self._encoded_strictly(fields)
        try:
            return encoding.fit(encoding.encode_any(fields), self.longest_turn)
        except Exception as error:  # nothing an agent records may break it
            log.warning("a turn could not be encoded: %r", error)
            return encoding.encode({"error": {"kind": "unencodable", "reason": type(error).__name__}})

    def _encoded_strictly(self, fields: Any) -> bytes:
        try:
            turn = self.encode(fields)
        except Exception as error:
            raise ValueError(f"JSON cannot hold this turn: {error}") from error
        if len(turn) > self.longest_turn:
            raise ValueError(f"the turn has {len(turn)} bytes; the daemon takes {self.longest_turn}")
        if encoding.nests_too_deep(turn):
            raise ValueError(f"the turn nests deeper than {encoding.DEEPEST}")
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
