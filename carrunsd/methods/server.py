"""``server.handshake``, ``server.ping``, ``server.stats``: who is here, and how it is."""

from __future__ import annotations

import os
from typing import Any

import msgspec

import carrunsd
from carruns.protocol.messages import MAX_TURNS_PER_BATCH, PROTOCOL_VERSION
from carrunsd.core import Core
from carrunsd.methods.checks import Client
from carrunsd.upkeep import orphans
from carrunsd.wire import requests
from carrunsd.wire.replies import Ticket, answer

_encode = msgspec.json.encode
CAPABILITIES = (
    *requests.METHODS,
    "batch", "detached", "durable", "exactly_once", "idempotent_start", "spool", "truncation",
)  # fmt: skip


def handshake(core: Core, peer: Client, params: requests.HandshakeParams | None, ticket: Ticket | None) -> None:
    """``server.handshake``: who is here, what it can do, what its limits are."""
    wanted = (params.required_capabilities if params else None) or []
    settings = core.settings
    answer(
        ticket,
        {
            "protocol_version": PROTOCOL_VERSION,
            "server": "carrunsd",
            "version": carrunsd.__version__,
            "pid": os.getpid(),
            "capabilities": CAPABILITIES,
            "missing_capabilities": [name for name in wanted if name not in CAPABILITIES],
            "car_dir": core.car_dir,
            "limits": {
                "max_line_bytes": settings.max_line_bytes,
                "max_turn_bytes": settings.max_turn_bytes,
                "max_string_bytes": settings.max_string_bytes,
                "max_turns_per_run": settings.max_turns_per_run,
                "max_turns_per_batch": MAX_TURNS_PER_BATCH,
                "max_connections": settings.max_connections,
            },
        },
    )


def ping(core: Core, peer: Client, params: Any, ticket: Ticket | None) -> None:
    """``server.ping``."""
    if ticket is not None:
        ticket.done(b"{}")


def stats(core: Core, peer: Client, params: Any, ticket: Ticket | None) -> None:
    """``server.stats``: counters since the start, gauges as of now."""
    core.appender.flush()
    report = core.stats.report()
    report["open_runs"] = len(core.table.open_runs()) + len(orphans.untouched(core))
    report["runs_in_memory"] = len(core.table.by_id)
    report["queue"] = core.appender.queue
    report["unsynced_bytes"] = core.syncer.kept_bytes
    answer(ticket, {**report, "pid": os.getpid(), "fsync": core.settings.fsync})
