"""carruns: leave a record of what an agent did, in one call that never slows or breaks the agent.

Importing this loads nothing yet: each name brings its module when it is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio import AsyncClient, AsyncRun
    from .protocol.errors import (
        AnswerTimeout,
        Busy,
        CarrunsError,
        Conflict,
        ConnectionLost,
        DaemonUnavailable,
        InternalError,
        InvalidCall,
        NotStored,
        RemoteError,
        RunNotFound,
        RunTerminal,
        StorageFailed,
        TooLarge,
        Unreadable,
        VersionMismatch,
    )
    from .protocol.records import Record, RunStatus
    from .results import CancelRequest, Delivery, Event, Trace
    from .sync import Client, Run

    __version__: str

_HOMES = {
    "aio": ("AsyncClient", "AsyncRun"),
    "protocol.errors": (
        "AnswerTimeout",
        "Busy",
        "CarrunsError",
        "Conflict",
        "ConnectionLost",
        "DaemonUnavailable",
        "InternalError",
        "InvalidCall",
        "NotStored",
        "RemoteError",
        "RunNotFound",
        "RunTerminal",
        "StorageFailed",
        "TooLarge",
        "Unreadable",
        "VersionMismatch",
    ),
    "protocol.records": ("Record", "RunStatus"),
    "protocol.version": ("__version__",),
    "results": ("CancelRequest", "Delivery", "Event", "Trace"),
    "sync": ("Client", "Run"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AnswerTimeout",
    "AsyncClient",
    "AsyncRun",
    "Busy",
    "CancelRequest",
    "CarrunsError",
    "Client",
    "Conflict",
    "ConnectionLost",
    "DaemonUnavailable",
    "Delivery",
    "Event",
    "InternalError",
    "InvalidCall",
    "NotStored",
    "Record",
    "RemoteError",
    "Run",
    "RunNotFound",
    "RunStatus",
    "RunTerminal",
    "StorageFailed",
    "TooLarge",
    "Trace",
    "Unreadable",
    "VersionMismatch",
]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
