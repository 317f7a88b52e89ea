"""Putting down the last record of a run, whoever ends it: its agent, its connection's end, a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from carruns.protocol import times
from carrunsd.config import Settings
from carrunsd.run import Run
from carrunsd.runs.table import Table
from carrunsd.store import runstore
from carrunsd.store.receipt import CANCELLED
from carrunsd.wire.replies import Ticket
from carrunsd.writing.appender import Appender


class Endings:
    """Ends runs.  ``settings`` returns those that hold now; ``on_end`` is called after each end."""

    def __init__(self, appender: Appender, table: Table, settings: Callable[[], Settings]) -> None:
        self._appender = appender
        self._table = table
        self._settings = settings
        self.on_end: Callable[[], None] = lambda: None
        self.on_over: Callable[[Run], None] = lambda _: None

    @property
    def durable(self) -> bool:
        """Whether an end is answered only once it is on the device: under any policy but ``no``."""
        return self._settings().fsync != "no"

    def stop(
        self, run: Run, reason: str, ticket: Ticket | None = None, result: bytes = b"", ended_at: str | None = None
    ) -> None:
        """End an open run as incomplete, as of now unless ``ended_at`` says when."""
        run.mark()
        ended_at = ended_at or times.render(time.time_ns())
        run.end(ended_at)
        record = runstore.incomplete(run.agent_id, run.run_id, reason, ended_at)
        self.ended(run, record, ticket, result)

    def cancel(self, run: Run) -> None:
        """End a run for good that someone has cancelled: incomplete for the seed, and nothing reopens it."""
        run.mark()
        ended_at = times.render(time.time_ns())
        run.cancel(ended_at)
        record = runstore.incomplete(run.agent_id, run.run_id, CANCELLED, ended_at, final=True)
        self.ended(run, record, None, b"")

    def ended(self, run: Run, record: Any, ticket: Ticket | None, result: bytes) -> None:
        """Put down the ``ended`` record of a run that has just moved on to its end."""
        self._appender.put(run, [record], ticket, result, durable=self.durable)
        self.over(run)

    def over(self, run: Run) -> None:
        """A run has ended: it waits for nobody, and retention may have something to do."""
        run.cancel_timer()
        self._table.retire(run)
        self.on_over(run)
        self.on_end()
