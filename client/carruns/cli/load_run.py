"""One run with all its records, read for ``show`` and ``export``: the bridge from ``reading`` to ``render``."""

from __future__ import annotations

import time

from carruns.protocol.records import Record
from carruns.reading.endings import end_that_counts
from carruns.reading.source import Trace
from carruns.render.whole_run import WholeRun


def load_run(summary: Record, trace: Trace) -> WholeRun:
    """Read a run's records to their end."""
    records = list(trace)
    return WholeRun(summary, records, trace.skipped, end_that_counts(records), time.time_ns())
