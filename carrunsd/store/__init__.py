"""The directory of runs: names, files, reading, retention.  Knows no socket and no event loop."""

from carruns.protocol.records import Record, RunEnded, RunStarted, RunStatus, RunSummary, Turn
from carrunsd.store.layout import NameConflictError, StoreError, sanitize
from carrunsd.store.retention import RetentionConfig
from carrunsd.store.runstore import RunStore

#: The seed's name for a turn record.
RunTurn = Turn

__all__ = [
    "NameConflictError",
    "Record",
    "RetentionConfig",
    "RunEnded",
    "RunStarted",
    "RunStatus",
    "RunStore",
    "RunSummary",
    "RunTurn",
    "StoreError",
    "Turn",
    "sanitize",
]
