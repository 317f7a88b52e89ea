"""What the sync and the async client have in common: their parts put together, and their runs' bookkeeping.

No waiting happens here.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from carruns import autostart, calls, encoding, spool
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
#: Where a client is that has no home: nothing can be made there.
_NOWHERE = Path(os.devnull, "no-home")


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
        self._nowhere: paths.NoHomeError | None = None
        try:
            self.car_dir = paths.car_dir(car_dir)
            self.socket = paths.socket_path(self.car_dir, socket)
        except paths.NoHomeError as error:  # no reason for an agent not to run
            if strict:
                raise
            self._nowhere, self.car_dir, self.socket = error, _NOWHERE, _NOWHERE
            autostart_wanted = False
        self.starter = autostart.starter(self.car_dir, self.socket, autostart_wanted)
        self._settings = (timeout, budget)
        engine = self.engine = self.new_engine()
        self.courier = Courier(self.engine, uuid7)
        self._new_spool = spool.spool_files(self.car_dir, spool_max_bytes)
        self.deliverer = Deliverer(self.engine, self.courier, self._spool, strict=strict, durable=durable)
        self.listener = Listener(self._cancelling, lambda text, error: log.warning(text, exc_info=error))
        engine.on_notification = self.listener.heard
        self.turns = TurnEncoder(lambda: engine.max_line, strict=strict)

    def new_engine(self) -> Engine:
        """Return an engine with a link of its own."""
        timeout, budget = self._settings
        return Engine(self._connect, time.monotonic, self.starter, budget=budget, timeout=timeout)

    def _connect(self) -> Link:
        if self._nowhere is not None:
            raise self._nowhere
        return Link(str(self.socket))

    def _spool(self) -> spool.SpoolFile:
        if self._nowhere is not None:
            raise self._nowhere
        return self._new_spool()

    # --- runs -----------------------------------------------------------------------------------------------

    def new_session(
        self, agent: str, run_id: str | None, details: dict[str, Any], on_cancel: OnCancel | None
    ) -> Session:
        """Return the sender of a new run.  The run's id is minted here, so that no daemon is needed to begin."""
        run_id = encoding.text(run_id) if run_id else uuid7()
        agent_id = encoding.text(details.pop("agent_id", None) or agent)
        start = {
            "agent_id": agent_id,
            "agent_name": encoding.text(agent),
            "idempotency_key": run_id,
            "started_at": times.render(time.time_ns(), 9),
            "cwd": working_directory(),
            **{
                key: _typed(key, value)
                for key, value in details.items()
                if value is not None and value is not False
            },
        }
        return self.listening(Session(run_id, agent_id, uuid7(), calls.encode_params(start)), on_cancel)

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


def _typed(name: str, value: Any) -> Any:
    """Return a detail of a run's start in the type that the wire wants; ``metadata`` may be anything."""
    if name == "metadata":
        return value
    return bool(value) if name == "detached" else encoding.text(value)


def working_directory() -> str | None:
    """Return where this process is, as a record may hold it; ``None`` if that was removed."""
    try:
        return encoding.path_text(os.getcwdb())
    except OSError:  # removed under us
        return None
