"""What the library hands back: deliveries, traces, events.  Pure.

Records are :class:`carruns.records.Record`; this file has what goes around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, overload

from msgspec import Raw
from msgspec.json import Decoder

from carruns.protocol.records import TURN_KINDS, Record

End = Literal["", "stored", "spooled", "pending", "refused"]


class Delivery(NamedTuple):
    """Where the turns of a run are, as far as is known for certain.

    ``stored``: the daemon said so.  ``spooled``: in a file from which the next daemon, or this client once it
    reconnects, delivers them.  ``dropped``: gone; the trace says how many.  ``pending``: handed to the kernel
    or kept in memory, not confirmed.  ``end`` is where the outcome is, ``""`` if none was given yet;
    ``reason`` says what went wrong last, ``""`` if nothing did.
    """

    stored: int
    spooled: int = 0
    dropped: int = 0
    pending: int = 0
    end: End = ""
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything asked for so far is in the store."""
        return not (self.spooled or self.dropped or self.pending) and self.end in ("", "stored")

    @property
    def lost(self) -> str:
        """Say what will never be in the store once this client is gone, ``""`` if it is there or in the spool."""
        turns = self.dropped + self.pending
        if not turns and self.end not in ("pending", "refused"):
            return ""
        what = f"{turns} turns of it" if self.end in ("stored", "spooled") else "its record"
        return f"{what} could be neither delivered nor spooled: {self.reason or 'no reason is known'}"


class CancelRequest(NamedTuple):
    """Somebody asks that a run be ended: why, and the key under which it was asked (each is told once)."""

    reason: str
    idempotency_key: str


class Event(NamedTuple):
    """One record of a run as a subscriber sees it.

    ``cursor`` is the number of the run's turns up to and with it, ``line`` that of its file's lines; ``status`` is
    the run's behind it.
    """

    record: Record
    cursor: int
    status: str
    line: int


_record: Decoder[dict[str, Any]] = Decoder(dict[str, Any])


def decoded(lines: Iterable[Raw]) -> Iterator[Record]:
    """Return the records that stand on ``lines``, each decoded when it is asked for."""
    return map(Record, map(_record.decode, lines))


class Trace(Sequence[Record]):
    """The records of one run, in order.  Kept as the bytes that came; each is decoded when it is looked at.

    ``skipped`` counts lines of the file that could not be read; ``line`` is the number of the file's lines up to
    and with the last record: ``get_trace`` goes on behind it.
    """

    __slots__ = ("_lines", "agent_id", "line", "run_id", "skipped")

    def __init__(self, run_id: str, agent_id: str, lines: list[Raw], line: int, skipped: int) -> None:
        self.run_id, self.agent_id, self.line, self.skipped = run_id, agent_id, line, skipped
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return list(decoded(self._lines[index]))
        return Record(_record.decode(self._lines[index]))

    def __iter__(self) -> Iterator[Record]:
        return decoded(self._lines)

    @property
    def turns(self) -> list[Record]:
        """The turns, as they stand: ``turn`` records, and ``model_turn`` as CAR writes it."""
        return [record for record in self if record.get("record") in TURN_KINDS]

    def __repr__(self) -> str:
        return f"<Trace of {self.run_id}: {len(self)} records, {self.skipped} skipped>"
