"""Requests to cancel a run: from the daemon's notification to the run that they mean and its callback.  No I/O.

Theory of operation.  ``runs.cancel_requested`` comes on the client's connection whenever somebody reads there: a
turn does not, but for a run with a callback (``Session.flush_at``).  What came is kept with the run's session, each
key once, however often a daemon tells it (it does so again when a run is resumed).  Callbacks are not called where
bytes are read, in the middle of a step and under the driver's lock, but left in ``due``: the driver calls them, in
the thread or task of whatever call read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from carruns.connection import Notification
from carruns.results import CancelRequest

#: What an agent gives to be told; with ``AsyncClient`` what it returns may be awaited.
OnCancel = Callable[[CancelRequest], Any]

#: Requests for runs that this client has begun to resume, but does not have yet; older ones are forgotten.
_MOST_EARLY = 64


class _Notice(Struct):
    run_id: str
    idempotency_key: str
    reason: str = ""


_notice = msgspec.json.Decoder(_Notice)


class Cancelling:
    """What one run has heard: ``request`` is the first there was."""

    __slots__ = ("callback", "keys", "request")

    def __init__(self) -> None:
        self.callback: OnCancel | None = None
        self.request: CancelRequest | None = None
        self.keys: set[str] = set()


class Listener:
    """Takes the notifications of one client's connection; see the module's text."""

    def __init__(self, run: Callable[[str], Cancelling | None], complain: Callable[[str, Exception], None]) -> None:
        """``run`` finds what a run has heard, ``None`` if the client does not have that run; ``complain`` logs."""
        self._run = run
        self._complain = complain
        self._early: dict[str, list[CancelRequest]] = {}
        #: Callbacks that are to be called, each with its request.
        self.due: deque[tuple[OnCancel, CancelRequest]] = deque()

    def heard(self, notification: Notification) -> None:
        """Take what the daemon said unasked; what is no request to cancel is not for us."""
        if notification.method != "runs.cancel_requested":
            return
        try:
            notice = _notice.decode(notification.params)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._complain("the daemon's request to cancel a run makes no sense", error)
            return
        request = CancelRequest(notice.reason, notice.idempotency_key)
        cancelling = self._run(notice.run_id)
        if cancelling is not None:
            self._take(cancelling, request)
            return
        self._early.setdefault(notice.run_id, []).append(request)
        if len(self._early) > _MOST_EARLY:
            del self._early[next(iter(self._early))]

    def begin(self, run_id: str, cancelling: Cancelling, callback: OnCancel | None) -> None:
        """A run begins, or is gone on with; it hears what came before it was there."""
        cancelling.callback = callback
        for request in self._early.pop(run_id, ()):
            self._take(cancelling, request)

    def _take(self, cancelling: Cancelling, request: CancelRequest) -> None:
        if request.idempotency_key in cancelling.keys:
            return
        cancelling.keys.add(request.idempotency_key)
        cancelling.request = cancelling.request or request
        if cancelling.callback is not None:
            self.due.append((cancelling.callback, request))

    def call_next(self) -> Any:
        """Call the callback that is due first and return what it returns; one that raises is logged, no more."""
        callback, request = self.due.popleft()
        try:
            return callback(request)
        except Exception as error:  # the agent's own code must not break what the agent was just doing
            self.broken(error)
            return None

    def broken(self, error: Exception) -> None:
        """Log what a callback has raised."""
        self._complain("the callback for a request to cancel the run has raised", error)
