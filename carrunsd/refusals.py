"""What a command raises where it cannot be carried out, and the checks that many of them share."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from carruns import errors, wire
from carrunsd.ledger import Run
from carrunsd.store import strict


class RequestError(Exception):
    """A request that cannot be carried out: ``code``, a message that says what to do, and ``data``."""

    def __init__(self, code: int, message: str, request_id: Any = UNSET, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id if _can_be_sent(request_id) else None
        self.data = {"kind": errors.KINDS[code], **data}


def _can_be_sent(request_id: Any) -> bool:
    """An id with a lone surrogate, which JSON can hold as an escape, cannot be answered with."""
    if type(request_id) is not str:
        return True
    try:
        request_id.encode()
    except UnicodeEncodeError:
        return False
    return True


def known(run: Run | None, run_id: str) -> Run:
    """Return the run, or raise if there is none."""
    if run is None:
        message = f"there is no run {run_id[:80]!r}; runs.start makes one, runs.list shows what there is"
        raise RequestError(errors.RUN_NOT_FOUND, message)
    return run


def fetchable(record: Any) -> Any:
    """Return ``record``, or raise if a strict reader could not read the answer that brings it."""
    if strict.too_deep_to_fetch(record):
        message = f"it nests too deep: in an answer of runs.get_trace it has over {wire.MAX_DEPTH} levels; flatten"
        raise RequestError(errors.UNREADABLE, message)
    return record
