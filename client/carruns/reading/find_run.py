"""Which run is meant: an id, an unambiguous beginning of one, or ``last``."""

from __future__ import annotations

from carruns.protocol.records import Record
from carruns.reading.errors import AmbiguousRun, NoSuchRun
from carruns.reading.source import Source

LAST = "last"


def find_run(source: Source, wanted: str, agent: str | None = None) -> Record:
    """Return the summary of the run that is meant.  Raises ``NoSuchRun``, or ``AmbiguousRun`` where several are."""
    runs = source.runs(agent)
    exact = [run for run in runs if run.run_id == wanted]
    if not exact and wanted == LAST and runs:
        return runs[0]
    found = exact or [run for run in runs if wanted and run.run_id.startswith(wanted)]
    if not found:
        raise NoSuchRun(wanted)
    if len(found) > 1:
        raise AmbiguousRun(wanted, found)
    return found[0]
