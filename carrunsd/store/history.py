"""What the records of a run come to: how it stands, how many turns it has, who wrote them.  Pure.

Whoever asks how a run stands folds its records here, one after another: the reader of run files, ``runs.append``
and every view.  :data:`AFTER` is the machine; ``carrunsd.run`` says which of its moves a request may bring about.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Union

from msgspec import Struct

from carruns.protocol.records import RunStatus
from carrunsd.store import typed
from carrunsd.store.reader import Line

OPEN = RunStatus.IN_PROGRESS
COMPLETED = RunStatus.COMPLETED
INCOMPLETE = RunStatus.INCOMPLETE

#: What becomes of a run.  ``incomplete`` is provisional, every other end final: nothing behind it changes anything.
AFTER: dict[tuple[RunStatus, str], RunStatus] = {
    (OPEN, "turn"): OPEN,
    (OPEN, "incomplete"): INCOMPLETE,
    (OPEN, "outcome"): COMPLETED,
    (OPEN, "resume"): OPEN,
    (INCOMPLETE, "turn"): OPEN,
    (INCOMPLETE, "incomplete"): INCOMPLETE,
    (INCOMPLETE, "outcome"): COMPLETED,
    (INCOMPLETE, "resume"): OPEN,
    (COMPLETED, "turn"): COMPLETED,
    (COMPLETED, "incomplete"): COMPLETED,
    (COMPLETED, "outcome"): COMPLETED,
}


#: An index from here on does not move ``next_index``: what follows must stay a number that everyone can read.
FAR_INDEX = 1 << 62


class History(Struct):
    """What the records so far come to.

    ``started`` is the first there is, ``ended`` the one that counts; ``writers`` maps each writer to its highest
    ``seq``.  ``last_started`` and ``last_ended`` are the seed's choice, which ``RunStore`` goes by.
    """

    started: Union[Line, None] = None
    ended: Union[Line, None] = None
    status: RunStatus = OPEN
    turn_count: int = 0
    next_index: int = 0
    writers: dict[str, int] = {}
    last_started: Union[Line, None] = None
    last_ended: Union[Line, None] = None

    def take(self, line: Line) -> None:
        """Account for one record."""
        kind = line.record
        if kind in typed.TURN_KINDS:
            self.take_turns((line,))
        elif kind == "started":
            self.last_started = line
            if self.started is None:
                self.started = line
        elif kind == "ended":
            self._end(line)

    def take_turns(self, turns: Iterable[Any]) -> None:
        """Account for turns in a row: anything with ``index``, ``writer`` and ``seq``."""
        writers = self.writers
        count = 0
        highest = self.next_index - 1
        for turn in turns:
            count += 1
            if highest < turn.index < FAR_INDEX:
                highest = turn.index
            writer, seq = turn.writer, turn.seq
            if type(writer) is str and type(seq) is int and seq > writers.get(writer, -1):
                writers[writer] = seq
        self.turn_count += count
        self.next_index = highest + 1
        if count and self.status is INCOMPLETE and not self.is_final:
            self.status = AFTER[self.status, "turn"]

    def _end(self, line: Line) -> None:
        final = is_final(line)
        if final or self.last_ended is None or not is_final(self.last_ended):
            self.last_ended = line
        if self.is_final and self.status is INCOMPLETE:
            return  # cancelled: nothing reopens it, and nothing ends it again
        event = "outcome" if typed.ending(line.termination) != "incomplete" else "incomplete"
        if self.status is not COMPLETED or event == "outcome":
            self.ended = line
        self.status = AFTER[self.status, event]

    @property
    def is_final(self) -> bool:
        """Whether nothing reopens the run: it has ended, and not only for now."""
        return self.ended is not None and self.status is not OPEN and is_final(self.ended)

    @property
    def ended_at(self) -> str | None:
        """When the run ended, if it has and a record says so in words."""
        at = self.ended.ended_at if self.ended is not None and self.status is not OPEN else None
        return at if type(at) is str else None

    @property
    def outcome_status(self) -> str | None:
        """The outcome's status or the kind of the end; ``None`` where the run is open, or ended only for now."""
        return status_of(self.ended) if self.ended is not None and self.status is not OPEN else None

    @property
    def outcome(self) -> dict[str, Any] | None:
        """The outcome itself, as it stands, where the run has one."""
        termination = self.ended.termination if self.ended and self.status is COMPLETED else None
        outcome = termination.get("outcome") if isinstance(termination, dict) else None
        return outcome if isinstance(outcome, dict) else None


def is_final(ended: Line) -> bool:
    """Tell whether an ``ended`` record ends its run for good: any end but ``incomplete``, and one that says so."""
    return typed.ending(ended.termination) != "incomplete" or ended.final is True


def status_of(ended: Line) -> str | None:
    """Return the outcome's status or the kind of an end; ``None`` for an ``incomplete`` that is not final."""
    status = typed.ending(ended.termination)
    if status != "incomplete":
        return status
    if ended.final is not True:
        return None
    return ended.reason if type(ended.reason) is str else "cancelled"


def outcome_status(termination: Any) -> str | None:
    """Return the outcome's status or the kind of the end a ``termination`` says, ``None`` if it is incomplete."""
    status = typed.ending(termination)
    return None if status == "incomplete" else status
