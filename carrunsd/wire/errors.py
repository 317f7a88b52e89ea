"""What is raised where a request cannot be carried out.  Pure."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from carruns.protocol import errors


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
