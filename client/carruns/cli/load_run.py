"""One run, read for ``show`` and ``export``: the bridge from ``reading`` to ``render``."""

from __future__ import annotations

import time

from carruns.protocol.records import Record
from carruns.reading.endings import Ends
from carruns.reading.source import Trace
from carruns.render.tally import Tally
from carruns.render.whole_run import WholeRun


def load_run(summary: Record, trace: Trace) -> WholeRun:
    """Read a run's records to their end and keep what they add up to; they are read again to be shown."""
    tally, ends = Tally(), Ends()
    for record in trace:
        tally.take(record)
        ends.take(record)
    return WholeRun(summary, trace, tally, trace.skipped, ends.that_counts(), time.time_ns())
