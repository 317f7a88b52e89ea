"""Messages of the wire that both ends must write alike, and its numbers.  Pure."""

from __future__ import annotations

from typing import Any

import msgspec

PROTOCOL_VERSION = 3
MAX_TURNS_PER_BATCH = 256


def request(method: str, params: Any, request_id: int | None = None) -> bytes:
    """Return a request line; without ``request_id`` a notification, which gets no answer."""
    message: dict[str, Any] = {"method": method, "params": params}
    if request_id is not None:
        message["id"] = request_id
    return msgspec.json.encode(message) + b"\n"


def turn_head(run_id: str, writer: str) -> bytes:
    """Return the constant start of a one-turn ``record_turns``; see :func:`turn_line`."""
    return (
        b'{"method":"runs.record_turns","params":{"run_id":'
        + msgspec.json.encode(run_id)
        + b',"writer":'
        + msgspec.json.encode(writer)
        + b',"seq":'
    )


def turn_line(head: bytes, seq: int, turn: bytes) -> bytes:
    """Return the line that records one encoded ``turn`` as number ``seq`` of its writer; no answer comes."""
    return b'%b%d,"turns":[%b]}}\n' % (head, seq, turn)
