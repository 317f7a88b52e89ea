"""What looking at runs can fail with, as plain data; the command line makes sentences and exit codes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from carruns.protocol.records import Record

Where = Literal["store", "trash"]


class ReadingError(Exception):
    """What was asked for cannot be shown."""


class NoSuchRun(ReadingError):
    """No run has an id that begins with ``wanted``."""

    def __init__(self, wanted: str, where: Where = "store") -> None:
        super().__init__(f"no run's id begins with {wanted!r}")
        self.wanted, self.where = wanted, where


class AmbiguousRun(ReadingError):
    """Several runs could be meant; ``found`` are their summaries."""

    def __init__(self, wanted: str, found: Sequence[Record], where: Where = "store") -> None:
        super().__init__(f"{len(found)} runs begin with {wanted!r}")
        self.wanted, self.found, self.where = wanted, found, where
