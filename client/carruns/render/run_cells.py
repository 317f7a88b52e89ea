"""What tables say of a run: its id as short as is clear, its status in its colour, how long it took.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from carruns.protocol.records import Record
from carruns.render import harmless, units
from carruns.render.table import Cell

#: So many characters are more than any id has: nothing is cut.
WHOLE_ID = 1 << 20
#: The whole time in a UUIDv7, to the millisecond: a run that begins later does not begin so.
_SHORTEST_ID = 13
_STYLES = {
    "in_progress": "cyan", "incomplete": "yellow", "success": "green", "partial_success": "yellow", "done": "green",
    "give_up": "yellow", "timeout": "red", "failure": "red",
    "cancelled": "yellow", "failed": "red",
}  # fmt: skip
#: Words of a summary for which tables have a shorter one.
SHORT = {"in_progress": "open", "partial_success": "partial"}


def status_cell(run: Record) -> Cell:
    """Return how a run stands, or how it ended, in its colour.  ``run`` is a summary."""
    word = run.get("outcome_status") or run.status
    return Cell(harmless.line(SHORT.get(word, word)), (_STYLES.get(word, ""),))


def duration_of(run: Record, now_ns: int) -> float | None:
    """Return how many seconds a run took, or has taken so far; ``None`` where its times cannot be read."""
    began, ended = units.instant(run.get("started_at")), units.instant(run.get("ended_at"))
    if ended is None and run.status == "in_progress":
        ended = now_ns
    return None if began is None or ended is None else max(0, ended - began) / units.SECOND


def id_length(ids: Sequence[str], width: int | None, among: Sequence[str] = ()) -> int:
    """Return how many characters tell these ids from each other and from all ``among`` which they are looked for.

    13 at least; in a pipe (no ``width``) ids are whole.
    """
    if width is None:
        return WHOLE_ID
    shown, ordered = set(ids), sorted({*ids, *among})
    pairs = (pair for pair in pairwise(ordered) if not shown.isdisjoint(pair))
    return max([_SHORTEST_ID, *(_in_common(one, other) + 1 for one, other in pairs)])


def _in_common(one: str, other: str) -> int:
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))
