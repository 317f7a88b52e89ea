"""Counters that ``server.stats`` reports.  All since the daemon's start; bytes are bytes of run files."""

from __future__ import annotations

import time


class Stats:
    """Plain numbers, changed from the event loop only."""

    __slots__ = (
        "accepted", "batches", "bytes", "connections", "dropped", "errors", "event_gaps", "events", "records",
        "refused", "requests", "started", "sync_errors", "syncs",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.connections = 0
        self.accepted = 0
        self.refused = 0
        self.requests = 0
        self.records = 0
        self.bytes = 0
        self.batches = 0
        self.syncs = 0
        self.sync_errors = 0
        self.errors = 0
        self.dropped = 0
        self.events = 0
        self.event_gaps = 0

    def report(self) -> dict[str, float]:
        """Return all counters, and ``uptime`` in seconds."""
        out: dict[str, float] = {name: getattr(self, name) for name in self.__slots__ if name != "started"}
        out["uptime"] = round(time.monotonic() - self.started, 3)
        return out
