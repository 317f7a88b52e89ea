"""What the sync and the async client have in common: their parts put together, and their runs' bookkeeping.

No waiting happens here.
"""

from __future__ import annotations

import os
import time
from typing import Any

from carruns import autostart, spool
from carruns.cancelling import Cancelling, Listener, OnCancel
from carruns.courier import Courier, log
from carruns.delivery import Deliverer
from carruns.engine import Engine
from carruns.link import Link
from carruns.protocol import paths, times
from carruns.protocol.ids import uuid7
from carruns.session import Session
from carruns.turns import TurnEncoder

DEFAULT_SPOOL_BYTES = 64 << 20


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
        self.starter = autostart.starter(self.car_dir, self.socket, autostart_wanted)
        self._settings = (timeout, budget)
        engine = self.engine = self.new_engine()
        self.courier = Courier(self.engine, uuid7)
        new_spool = spool.spool_files(self.car_dir, spool_max_bytes)
        self.deliverer = Deliverer(self.engine, self.courier, new_spool, strict=strict, durable=durable)
        self.listener = Listener(self._cancelling, lambda text, error: log.warning(text, exc_info=error))
        engine.on_notification = self.listener.heard
        self.turns = TurnEncoder(lambda: engine.max_line, strict=strict)

    def new_engine(self) -> Engine:
        """Return an engine with a link of its own."""
        timeout, budget = self._settings
        path = str(self.socket)
        return Engine(lambda: Link(path), time.monotonic, self.starter, budget=budget, timeout=timeout)

    # --- runs -----------------------------------------------------------------------------------------------

    def new_session(
        self, agent: str, run_id: str | None, details: dict[str, Any], on_cancel: OnCancel | None
    ) -> Session:
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
        return self.listening(Session(run_id, agent_id, uuid7(), start), on_cancel)

    def listening(self, session: Session, on_cancel: OnCancel | None) -> Session:
        """Return the session, which hears of requests to cancel its run from now on."""
        self.listener.begin(session.run_id, session.cancelling, on_cancel)
        session.listen()
        return session

    def _cancelling(self, run_id: str) -> Cancelling | None:
        session = self.courier.sessions.get(run_id)
        return None if session is None else session.cancelling

    def after_fork(self) -> None:
        """Make this client usable in a forked child; see :meth:`carruns.delivery.Deliverer.forked`."""
        self.deliverer.forked()


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # removed under us
        return None
