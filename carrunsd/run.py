"""A run as the daemon knows it: the next index, what each writer has stored, and how it moves on.  Pure.

Theory of operation: methods change a :class:`Run` at once, the appender writes what came of it a moment later.
``mark`` keeps the state as of the last good write, and ``undo`` goes back to it when a write fails, so that
memory never knows more than the file.  This is the only file that moves a run's status; the table of the moves is
:data:`carrunsd.store.history.AFTER`, which whoever reads a run file goes by, too.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from carruns.protocol.records import RunStatus
from carrunsd.store.history import AFTER, INCOMPLETE, OPEN, History

#: Which moves of the table a request, or time, may bring about.  (A turn wants ``resume`` first.)
MAY: frozenset[tuple[RunStatus, str]] = frozenset(
    (
        (OPEN, "turn"),
        (OPEN, "outcome"),
        (OPEN, "incomplete"),  # abandoned, disconnected, daemon_restart
        (OPEN, "resume"),
        (INCOMPLETE, "resume"),
        (INCOMPLETE, "incomplete"),
        (OPEN, "cancel"),
        (INCOMPLETE, "cancel"),
    )
)

#: Why a batch of turns was dropped (docs/wire.md).
RUN_TERMINAL = "run_terminal"
TURN_LIMIT = "run_turn_limit"
OUT_OF_ORDER = "out_of_order"

_DAEMONS_OWN = frozenset(("record", "index", "recorded_at", "writer", "seq"))


class Owner(Protocol):
    """A connection, as far as owning runs goes."""

    name: str
    runs: set[Run]

    def tell(self, line: bytes) -> None:
        """Send a notification."""


class Timer(Protocol):
    """What the event loop's ``call_later`` returns."""

    def cancel(self) -> None: ...


class Run:
    """One run.  ``path`` is the names of its directory and file, ``lines`` the number of lines in it."""

    __slots__ = (
        "_mark", "agent_id", "cancelling", "detached", "ended_at", "intent", "lines", "next_index", "outcome",
        "outcome_status", "owned_by", "owners", "path", "run_id", "started_at", "status", "timer", "turn_count",
        "watched", "writers",
    )  # fmt: skip

    def __init__(self, run_id: str, agent_id: str, intent: str, started_at: str, path: tuple[str, str]) -> None:
        self.run_id = run_id
        self.agent_id = agent_id
        self.intent = intent
        self.started_at = started_at
        self.path = path
        self.status = OPEN
        self.detached = False
        self.turn_count = 0
        self.next_index = 0
        self.lines = 0
        self.writers: dict[str, int] = {}
        self.outcome: dict[str, Any] | None = None
        self.outcome_status: str | None = None
        self.ended_at: str | None = None
        self.owners: set[Owner] = set()
        self.owned_by: str | None = None  # the name of the last connection that came to own it
        self.cancelling = b""  # the notification that asks owners to end it, once somebody wants that
        self.timer: Timer | None = None
        self.watched = False
        self._mark: tuple[Any, ...] | None = None

    # -- how it stands -------------------------------------------------------------------------------------

    def can(self, event: str) -> bool:
        """Tell whether ``event`` may happen to the run now."""
        return (self.status, event) in MAY

    def move(self, event: str) -> None:
        """Let ``event`` happen.  Raises ``KeyError`` where it may not."""
        if (self.status, event) not in MAY:
            raise KeyError(self.status, event)
        self.status = AFTER[self.status, event]

    def end(self, ended_at: str, outcome: dict[str, Any] | None = None) -> None:
        """Let the run end: with an outcome for good, without one as incomplete.  Its last record follows."""
        self.move("incomplete" if outcome is None else "outcome")
        self.outcome = outcome
        self.outcome_status = None if outcome is None else outcome["status"]
        self.ended_at = ended_at
        self.lines += 1

    @property
    def may_be_cancelled(self) -> bool:
        """Whether the run has no end yet that is final."""
        return self.can("cancel")

    def cancel(self, ended_at: str) -> None:
        """Let the run end for good without an outcome.  Its last record follows."""
        self.move("cancel")
        self.outcome, self.outcome_status, self.ended_at = None, "cancelled", ended_at
        self.lines += 1

    def history(self) -> History:
        """Return what the run's records have come to, to fold more of them behind."""
        return History(
            status=self.status, turn_count=self.turn_count, next_index=self.next_index, writers=dict(self.writers)
        )

    def become(self, history: History) -> None:
        """Stand as the records of a file say, or those that are appended as they were given."""
        start = history.started
        if start is not None and not self.started_at:
            self.intent, self.started_at, self.detached = start.intent, start.started_at, start.detached is True
        self.status = history.status
        self.turn_count, self.next_index = history.turn_count, history.next_index
        self.writers = history.writers
        if history.cancelling is not None:
            self.cancelling = cancel_notice(
                self.run_id, history.cancelling.idempotency_key, history.cancelling.reason
            )
        if history.ended is not None:
            self.ended_at, self.outcome_status = history.ended_at, history.outcome_status
            self.outcome = history.outcome

    def cancel_timer(self) -> None:
        """Nobody waits for the run to be given up any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def disown(self) -> None:
        """The run is no connection's any more."""
        for owner in self.owners:
            owner.runs.discard(self)
        self.owners.clear()

    # -- turns ---------------------------------------------------------------------------------------------

    def order(self, writer: str | None, seq: int | None, count: int) -> int:
        """Return how many of ``count`` turns from ``seq`` are stored already; -1 if some before them are not."""
        if writer is None or seq is None:
            return 0
        expected = self.writers.get(writer, -1) + 1
        if seq == expected:
            return 0
        return -1 if seq > expected else min(count, expected - seq)

    def take(self, turns: list[Any], writer: str | None, seq: int | None, stamp: str) -> list[Any]:
        """Number and stamp ``turns`` (all structs or all mappings) as the next ones; return them as written."""
        count = len(turns)
        index = self.next_index
        if type(turns[0]) is dict:
            turns = [_numbered(turn, index + n, stamp, writer, seq, n) for n, turn in enumerate(turns)]
        elif writer is None or seq is None:
            for number, turn in enumerate(turns, index):
                turn.index, turn.recorded_at, turn.writer, turn.seq = number, stamp, UNSET, UNSET
        else:
            ahead = seq - index
            for number, turn in enumerate(turns, index):
                turn.index = number
                turn.recorded_at = stamp
                turn.writer = writer
                turn.seq = number + ahead
        if writer is not None and seq is not None:
            self.writers[writer] = seq + count - 1
        self.next_index = index + count
        self.turn_count += count
        self.lines += count
        return turns

    def untake(self, before: tuple[int, int, int], writer: str | None, acked: int | None) -> None:
        """Take back the last :meth:`take`: ``before`` is ``next_index, turn_count, lines`` as they were."""
        self.next_index, self.turn_count, self.lines = before
        if writer is not None:
            if acked is None:
                self.writers.pop(writer, None)
            else:
                self.writers[writer] = acked

    # -- undo ----------------------------------------------------------------------------------------------

    def mark(self) -> None:
        """Remember the state, unless one is remembered already."""
        if self._mark is None:
            self._mark = (
                self.status, self.turn_count, self.next_index, self.lines, dict(self.writers), self.outcome,
                self.outcome_status, self.ended_at,
            )  # fmt: skip

    def settle(self) -> None:
        """What has happened since the mark is in the file."""
        self._mark = None

    def undo(self) -> None:
        """Go back to the mark: the file did not take what came after it."""
        if self._mark is not None:
            (
                self.status, self.turn_count, self.next_index, self.lines, self.writers, self.outcome,
                self.outcome_status, self.ended_at,
            ) = self._mark  # fmt: skip
            self._mark = None


def cancel_notice(run_id: str, key: Any, reason: Any) -> bytes:
    """Return the notification that asks a run's owner to end it."""
    params = {"run_id": run_id, "idempotency_key": key, "reason": reason}
    message = {"jsonrpc": "2.0", "method": "runs.cancel_requested", "params": params}
    return msgspec.json.encode(message) + b"\n"


def _numbered(
    turn: dict[str, Any], index: int, stamp: str, writer: str | None, seq: int | None, place: int
) -> dict[str, Any]:
    """Return a turn with unknown fields as it is to be written: all it came with, the daemon's own fields set."""
    out: dict[str, Any] = {"record": "turn", "index": index}
    out.update((key, value) for key, value in turn.items() if key not in _DAEMONS_OWN)
    out.setdefault("parameters", None)
    if out.get("verifier_verdict") is None:
        out["verifier_verdict"] = "not_run"
    out["recorded_at"] = stamp
    if writer is not None:
        out["writer"], out["seq"] = writer, None if seq is None else seq + place
    return out
