"""The errors of the wire and of the library, and what each one says about fault and retrying.

Codes and kinds are in docs/wire.md.  Every exception answers two questions: whose ``fault`` it is, and whether
trying again is safe (``retry``).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Fault = Literal["caller", "daemon", "environment"]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
RUN_NOT_FOUND = -32001
RUN_TERMINAL = -32002
TOO_LARGE = -32003
STORAGE = -32004
PROTOCOL_VERSION_MISMATCH = -32006
UNREADABLE = -32007
CAPABILITY_MISSING = -32008
CONFLICT = -32011
BUSY = -32012

KINDS = {
    PARSE_ERROR: "parse_error",
    INVALID_REQUEST: "invalid_request",
    METHOD_NOT_FOUND: "method_not_found",
    INVALID_PARAMS: "invalid_params",
    INTERNAL_ERROR: "internal_error",
    RUN_NOT_FOUND: "run_not_found",
    RUN_TERMINAL: "run_terminal",
    TOO_LARGE: "too_large",
    STORAGE: "storage",
    CONFLICT: "conflict",
    BUSY: "busy",
    UNREADABLE: "unreadable",
    PROTOCOL_VERSION_MISMATCH: "protocol_version",
    CAPABILITY_MISSING: "capability",
}


class CarrunsError(Exception):
    """Anything this library raises on purpose.

    ``fault`` names who has to act: the ``"caller"``, the ``"daemon"`` or the ``"environment"`` (disk, socket,
    permissions).  ``retry`` is true where the same call may be made again without storing anything twice.
    """

    fault: ClassVar[Fault] = "environment"
    retry: ClassVar[bool] = False


class RemoteError(CarrunsError):
    """The daemon answered with an error.  ``code``, ``kind`` and ``data`` are as on the wire."""

    def __init__(self, message: str, code: int = INTERNAL_ERROR, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data or {}

    @property
    def kind(self) -> str:
        """The word for the error in ``error.data.kind`` (docs/wire.md)."""
        return str(self.data.get("kind") or KINDS.get(self.code, "error"))


class InvalidCall(RemoteError):
    """The request itself is wrong: malformed, an unknown method, a wrong type, a missing name."""

    fault = "caller"


class RunNotFound(RemoteError):
    """No run of that id is in the store."""

    fault = "caller"


class RunTerminal(RemoteError):
    """The run has ended.  If it is ``incomplete``, resuming reopens it; an outcome is final."""

    fault = "caller"


class TooLarge(RemoteError):
    """A line, a turn or a run is over the daemon's limits."""

    fault = "caller"


class Conflict(RemoteError):
    """Two different ids meet on one file, or the file system cannot hold the name."""

    fault = "caller"


class Unreadable(RemoteError):
    """A strict JSON reader would refuse the content: nesting, numbers, surrogates (docs/wire.md)."""

    fault = "caller"


class StorageFailed(RemoteError):
    """The disk refused.  ``errno_name`` says how (``"ENOSPC"``); nothing of the request was stored."""

    retry = True

    @property
    def errno_name(self) -> str:
        """The errno's name, or ``""`` if the daemon gave none."""
        return str(self.data.get("errno", ""))


class Busy(RemoteError):
    """The daemon has reached a limit, or is stopping.  Nothing was stored; wait and try again."""

    fault = "daemon"
    retry = True


class InternalError(RemoteError):
    """A defect in the daemon; its log says more."""

    fault = "daemon"


class DaemonUnavailable(CarrunsError):
    """No daemon answers on the socket, and none could be started in time.  Nothing was sent."""

    retry = True


class ConnectionLost(CarrunsError):
    """The connection ended before the answer came; what was asked may or may not have happened."""


class AnswerTimeout(CarrunsError):
    """The daemon did not answer in time; what was asked may still happen."""


class VersionMismatch(CarrunsError):
    """The daemon speaks another protocol version, or lacks a capability the caller requires."""


class NotStored(CarrunsError):
    """``strict=True`` and a turn could not be handed to the daemon.  It was neither stored nor spooled."""

    retry = True


_CLASSES: dict[int, type[RemoteError]] = {
    PARSE_ERROR: InvalidCall,
    INVALID_REQUEST: InvalidCall,
    METHOD_NOT_FOUND: InvalidCall,
    INVALID_PARAMS: InvalidCall,
    INTERNAL_ERROR: InternalError,
    RUN_NOT_FOUND: RunNotFound,
    RUN_TERMINAL: RunTerminal,
    TOO_LARGE: TooLarge,
    STORAGE: StorageFailed,
    CONFLICT: Conflict,
    BUSY: Busy,
    UNREADABLE: Unreadable,
}


def from_wire(error: dict[str, Any]) -> RemoteError:
    """Return the exception for a JSON-RPC error object."""
    code = error.get("code")
    code = code if isinstance(code, int) else INTERNAL_ERROR
    data = error.get("data")
    cls = _CLASSES.get(code, RemoteError)
    return cls(str(error.get("message", "error")), code, data if isinstance(data, dict) else None)
