"""The receipt of a cancellation, derived from what stands in the run's file: the same after a restart.

Its form is CAR's ``runs.cancel``; the digest is SHA-256 over the canonical JSON (RFC 8785) of the fields before it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from carrunsd.store import reader
from carrunsd.store.history import is_final

RECEIPT_VERSION = 1
CONFIRMED, ALREADY, UNCONFIRMED = "cancelled_confirmed", "already_terminal", "termination_unconfirmed"
REQUESTED = "cancellation_requested"
CANCELLED = "cancelled"  # the ``reason`` of an end that is ours


@dataclass
class Found:
    """What a run's file says of a cancellation.

    ``request`` is the ``cancellation_requested`` with the key that was looked for; ``end`` the line of the first
    end that is final, without its newline, and ``ours`` tells that it answers the request.
    """

    request: dict[str, Any] | None = None
    end: bytes | None = None
    ours: bool = False


def find(fd: int, key: str) -> Found:
    """Read a run file for the request with ``key`` and for its end.  Raises ``OSError``."""
    found = Found()
    for _, block in reader.read_blocks(fd):
        for text in block.split(b"\n"):
            if found.end is None and (b'"ended"' in text or b'"cancellation_requested"' in text):
                _take(found, text, key)
    return found


def _take(found: Found, text: bytes, key: str) -> None:
    record = reader.parse_record(text)
    if record is None:
        return
    if record["record"] == REQUESTED and record.get("idempotency_key") == key and found.request is None:
        found.request = record
    elif record["record"] == "ended" and is_final(record.get("termination"), record.get("final")):
        found.end = text.rstrip(b"\0")
        found.ours = found.request is not None and record.get("reason") == CANCELLED


def request(run_id: str, key: str, reason: str, principal: str, now: str) -> dict[str, Any]:
    """Return the record of a cancellation that is asked for at ``now`` (RFC 3339) by ``principal``."""
    return {
        "record": REQUESTED,
        "run_id": run_id,
        "idempotency_key": key,
        "reason": reason,
        "reason_digest": _digest(reason),
        "principal": principal,
        "action_id": _id_of("action", run_id, key),
        "request_id": _id_of("request", run_id, key),
        "requested_at": now,
    }


def receipt(run_id: str, asked: dict[str, Any], found: Found) -> dict[str, Any]:
    """Return the receipt; ``asked`` is a :func:`request`, used where the file holds none with its key."""
    record = found.request or asked
    status = UNCONFIRMED if found.end is None else CONFIRMED if found.ours else ALREADY
    fields: dict[str, Any] = {
        "receipt_version": RECEIPT_VERSION,
        "run_id": run_id,
        "idempotency_key": record["idempotency_key"],
        "reason_digest": record.get("reason_digest"),
        "principal": record.get("principal"),
        "status": status,
        "terminal_digest": None if found.end is None else hashlib.sha256(found.end).hexdigest(),
        "action_id": record.get("action_id"),
        "request_id": record.get("request_id"),
    }
    return {**fields, "receipt_digest": _digest(canonical(fields))}


def canonical(fields: dict[str, Any]) -> str:
    """Return the RFC 8785 form of an object of texts, small whole numbers and nulls."""
    return json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _id_of(what: str, run_id: str, key: str) -> str:
    """Return an id in the form of a UUID that is always the same for a request."""
    raw = _digest(f"{what}\0{run_id}\0{key}")
    return f"{raw[:8]}-{raw[8:12]}-8{raw[13:16]}-a{raw[17:20]}-{raw[20:32]}"
