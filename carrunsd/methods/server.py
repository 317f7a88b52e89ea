"""``server.handshake``, ``server.ping``, ``server.stats``: who is here, and how it is."""

from __future__ import annotations

import os
from typing import Any

import carrunsd
from carruns.protocol import errors
from carruns.protocol.messages import MAX_TURNS_PER_BATCH, PROTOCOL_VERSION
from carrunsd.core import Core
from carrunsd.methods.checks import Client
from carrunsd.upkeep import orphans
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket, answer

#: What CAR knows by these names and may ask for; the methods work without negotiation, too.
NEGOTIABLE = ("runs.cancel.v1", "runs.pagination.v1", "runs.resume.v1")
CAPABILITIES = (
    *requests.METHODS, *NEGOTIABLE,
    "batch", "detached", "durable", "exactly_once", "idempotent_start", "spool", "truncation",
)  # fmt: skip
_MAX_ECHO = 64  # characters of a client's version, as CAR has it


def handshake(core: Core, peer: Client, params: requests.HandshakeParams | None, ticket: Ticket | None) -> None:
    """``server.handshake``: who is here, what it can do, what its limits are.

    As CAR's: another protocol version or a required capability that is not had is refused, and negotiates nothing.
    """
    asked = params or requests.HandshakeParams()
    if asked.protocol_version is not None and not _is_ours(asked.protocol_version):
        message = f"the daemon speaks protocol {PROTOCOL_VERSION}: upgrade the older of the two"
        raise RequestError(errors.PROTOCOL_VERSION_MISMATCH, message, protocol_version=PROTOCOL_VERSION)
    required = asked.required_capabilities or []
    missing = [name for name in required if name not in CAPABILITIES]
    if missing:
        message = f"the daemon has no {', '.join(missing)[:200]}; it has what `capabilities` lists"
        raise RequestError(errors.CAPABILITY_MISSING, message, missing_capabilities=missing)
    negotiated = sorted({*required, *(asked.optional_capabilities or [])} & {*CAPABILITIES})
    peer.pages = peer.pages or "runs.pagination.v1" in negotiated
    answer(ticket, {**_as_car_has_it(asked, negotiated), **_about(core)})


def _is_ours(version: Any) -> bool:
    return type(version) is int and version == PROTOCOL_VERSION


def _as_car_has_it(asked: requests.HandshakeParams, negotiated: list[str]) -> dict[str, Any]:
    version = asked.client_version
    return {
        "protocol_version": PROTOCOL_VERSION,
        "server_version": carrunsd.__version__,
        "client_protocol_version": asked.protocol_version,
        "client_version": version[:_MAX_ECHO] if isinstance(version, str) else None,
        "negotiated_capabilities": negotiated,
    }


def _about(core: Core) -> dict[str, Any]:
    settings = core.settings
    return {
        "server": "carrunsd",
        "version": carrunsd.__version__,
        "pid": os.getpid(),
        "capabilities": CAPABILITIES,
        "car_dir": core.car_dir,
        "limits": {
            "max_line_bytes": settings.max_line_bytes,
            "max_turn_bytes": settings.max_turn_bytes,
            "max_string_bytes": settings.max_string_bytes,
            "max_turns_per_run": settings.max_turns_per_run,
            "max_turns_per_batch": MAX_TURNS_PER_BATCH,
            "max_connections": settings.max_connections,
        },
    }


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
