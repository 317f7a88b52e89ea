"""Which run is meant: an id, an unambiguous beginning of one, or ``last``.  Also how short an id may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from carruns.cli import exits
from carruns.protocol.records import Record
from carruns.reading.source import Source
from carruns.render import clean

LAST = "last"
_SHORTEST = 8


def resolve(source: Source, wanted: str, agent: str | None = None) -> Record:
    """Return the summary of the run that is meant.  Raises ``NoSuchRun``, or ``Failure`` where several are."""
    runs = source.runs(agent)
    exact = [run for run in runs if run.run_id == wanted]
    if not exact and wanted == LAST and runs:
        return runs[0]
    found = exact or [run for run in runs if wanted and run.run_id.startswith(wanted)]
    if not found:
        raise exits.NoSuchRun(f"no run's id begins with {clean.line(wanted)!r}; `carruns list` shows them")
    if len(found) > 1:
        raise exits.Ambiguous(_choices(wanted, found))
    return found[0]


def _choices(wanted: str, found: Sequence[Record]) -> str:
    if len({run.run_id for run in found}) == 1:
        agents = ", ".join(clean.line(run.agent_id) for run in found)
        return f"several agents have a run {clean.line(wanted)!r} ({agents}): say which with --agent"
    rows = [
        f"  {clean.line(run.run_id)}  {clean.line(run.agent_id)}: {clean.line(run.intent)[:60]}"
        for run in found[:8]
    ]
    more = [f"  and {len(found) - 8} more"] if len(found) > 8 else []
    return "\n".join([f"{len(found)} runs begin with {clean.line(wanted)!r}:", *rows, *more])


def short_length(ids: Sequence[str]) -> int:
    """Return how many characters tell these ids apart (at least 8)."""
    ordered = sorted(set(ids))
    longest = _SHORTEST
    for one, other in pairwise(ordered):
        common = next(
            (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
        longest = max(longest, common + 1)
    return longest
