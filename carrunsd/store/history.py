"""What the records of a run come to: how it stands, how many turns it has, who wrote them.  Pure.

Whoever asks how a run stands folds its records here, one after another: the reader of run files, ``runs.append``
and every view.  :data:`AFTER` is the machine; ``carrunsd.run`` says which of its moves a request may bring about.
"""

from __future__ import annotations

from typing import Any, Union

from msgspec import Struct

from carruns.protocol.records import RunStatus
from carrunsd.store.reader import Line

OPEN = RunStatus.IN_PROGRESS
COMPLETED = RunStatus.COMPLETED
INCOMPLETE = RunStatus.INCOMPLETE

#: What becomes of a run.  ``incomplete`` is provisional, an outcome is final: nothing behind it changes anything.
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


#: Records that are a turn: ours and the seed's, and a model's turn as CAR writes it.
TURN_KINDS = ("turn", "model_turn")


class History(Struct):
    """What the records so far come to.

    ``started`` is the first that is usable, ``ended`` the one that counts; ``writers`` maps each writer to its
    highest ``seq``.
    """

    started: Union[Line, None] = None
    ended: Union[Line, None] = None
    status: RunStatus = OPEN
    turn_count: int = 0
    next_index: int = 0
    writers: dict[str, int] = {}
    cancelling: Union[Line, None] = None

    def take(self, line: Line) -> None:
        """Account for one good line."""
        kind = line.record
        if kind in TURN_KINDS:
            self.turn_count += 1
            if self.status is not OPEN:
                self.status = AFTER[self.status, "turn"]
            index = line.index if type(line.index) is int else self.next_index
            if index >= self.next_index:
                self.next_index = index + 1
            writer, seq = line.writer, line.seq
            if type(writer) is str and type(seq) is int and seq > self.writers.get(writer, -1):
                self.writers[writer] = seq
        elif kind == "started":
            if self.started is None and usable_start(line):
                self.started = line
        elif kind == "ended":
            self._end(line)
        elif kind == "cancellation_requested" and self.cancelling is None:
            self.cancelling = line

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
        """The status of the outcome, ``None`` where the run has none."""
        if self.ended is None or self.status is not COMPLETED:
            return None
        return outcome_status(self.ended.termination) or "cancelled"  # the only incomplete end that is final

    @property
    def outcome(self) -> dict[str, Any] | None:
        """The outcome itself, as it stands, where the run has one."""
        termination = self.ended.termination if self.ended and self.status is COMPLETED else None
        outcome = termination.get("outcome") if isinstance(termination, dict) else None
        return outcome if isinstance(outcome, dict) else None


def is_final(termination: Any, final: Any = None) -> bool:
    """Tell whether nothing reopens an end: an outcome, or one that says so, as a cancelled run's does."""
    return final is True or outcome_status(termination) is not None


def usable_start(line: Line) -> bool:
    """Tell whether a ``started`` says whose run it is, what for and since when."""
    return all(type(v) is str for v in (line.run_id, line.agent_id, line.intent, line.started_at))


def outcome_status(termination: Any) -> str | None:
    """Return the outcome's status a ``termination`` holds, ``None`` if it is incomplete.

    Reads every encoding serde has for the enum: internally tagged (the one we write), externally tagged,
    adjacently tagged, untagged (https://serde.rs/enum-representations.html), in snake case or as Rust names it.
    """
    if not isinstance(termination, dict):
        return None
    body: Any = termination
    tag = next((termination[k] for k in ("kind", "type", "tag", "t") if type(termination.get(k)) is str), None)
    if tag is None and len(termination) == 1:
        tag, inner = next(iter(termination.items()))
        body = inner if isinstance(inner, dict) else {}
    elif tag is not None:
        inner = next((termination[k] for k in ("content", "data", "value", "c") if k in termination), None)
        body = inner if isinstance(inner, dict) else termination
    if tag is not None and tag.lower() not in ("outcome", "status"):
        return None
    status = body.get("status", termination.get("status"))
    if status is None and isinstance(body.get("outcome"), dict):
        status = body["outcome"].get("status")
    return _snake(status) if isinstance(status, str) else ("done" if tag else None)


def _snake(name: str) -> str:
    return "".join(("_" if i and c.isupper() else "") + c.lower() for i, c in enumerate(name))
