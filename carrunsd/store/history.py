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
    (OPEN, "cancel"): COMPLETED,
    (INCOMPLETE, "cancel"): COMPLETED,
    (COMPLETED, "turn"): COMPLETED,
    (COMPLETED, "incomplete"): COMPLETED,
    (COMPLETED, "outcome"): COMPLETED,
}


class History(Struct):
    """What the records so far come to.

    ``started`` is the first there is, ``ended`` the one that counts; ``writers`` maps each writer to its highest
    ``seq``.  ``last_started`` is the seed's choice, which ``RunStore`` goes by.
    """

    started: Union[Line, None] = None
    ended: Union[Line, None] = None
    status: RunStatus = OPEN
    turn_count: int = 0
    next_index: int = 0
    writers: dict[str, int] = {}
    cancelling: Union[Line, None] = None
    last_started: Union[Line, None] = None

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
        elif kind == "cancellation_requested" and self.cancelling is None:
            self.cancelling = line

    def take_turns(self, turns: Iterable[Any]) -> None:
        """Account for turns in a row: anything with ``index``, ``writer`` and ``seq``."""
        writers = self.writers
        count = 0
        highest = self.next_index - 1
        for turn in turns:
            count += 1
            if highest < turn.index < typed.FAR_INDEX:
                highest = turn.index
            writer, seq = turn.writer, turn.seq
            if type(writer) is str and type(seq) is int and seq > writers.get(writer, -1):
                writers[writer] = seq
        self.turn_count += count
        self.next_index = highest + 1
        if count and self.status is not OPEN:
            self.status = AFTER[self.status, "turn"]

    def _end(self, line: Line) -> None:
        event = "outcome" if is_final(line.termination, line.final) else "incomplete"
        if self.status is not COMPLETED or event == "outcome":
            self.ended = line
        self.status = AFTER[self.status, event]

    @property
    def ended_at(self) -> str | None:
        """When the run ended, if it has and a record says so in words."""
        at = self.ended.ended_at if self.ended is not None and self.status is not OPEN else None
        return at if type(at) is str else None

    @property
    def outcome_status(self) -> str | None:
        """The outcome's status or the kind of the end; ``None`` where the run is open, or ended only for now."""
        return status_of(self.ended) if self.ended is not None and self.status is COMPLETED else None

    @property
    def outcome(self) -> dict[str, Any] | None:
        """The outcome itself, as it stands, where the run has one."""
        termination = self.ended.termination if self.ended and self.status is COMPLETED else None
        outcome = termination.get("outcome") if isinstance(termination, dict) else None
        return outcome if isinstance(outcome, dict) else None


def is_final(termination: Any, final: Any = None) -> bool:
    """Tell whether nothing reopens an end: any but ``incomplete``, or one that says so, as a cancelled run's."""
    return final is True or outcome_status(termination) is not None


def status_of(ended: Line) -> str | None:
    """Return the outcome's status or the kind of an end; ``None`` for an ``incomplete`` that is not final."""
    status = outcome_status(ended.termination)
    return status or ("cancelled" if ended.final is True else None)  # the only incomplete end that is final


def outcome_status(termination: Any) -> str | None:
    """Return the outcome's status or the kind of the end a ``termination`` says, ``None`` if it is incomplete."""
    status = typed.ending(termination)
    return None if status == "incomplete" else status
