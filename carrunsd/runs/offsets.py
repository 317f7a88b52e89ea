"""Where in a run file a cursor is, and which page was made ahead.  Remembers; reads no file."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from typing import Any

from carrunsd.store.pages import Page
from carrunsd.store.tree import Path

_MAX_REMEMBERED = 4096
_TICK_NS = 20_000_000  # more than a tick of the clock that stamps files


class Ahead:
    """The page behind the last one that was read, made while its reader is busy with that one.

    ``key`` is whatever the page depends on: the file as it is, and where it begins.
    """

    def __init__(self) -> None:
        self._kept: tuple[Any, tuple[Page, int]] | None = None

    def put(self, key: Any, page: tuple[Page, int]) -> None:
        """Keep a page and the offset of its end, instead of the one before."""
        self._kept = key, page

    def take(self, key: Any) -> tuple[Page, int] | None:
        """Hand out the page if it is the one that is kept."""
        kept = self._kept
        if kept is None or kept[0] != key:
            return None
        self._kept = None
        return kept[1]

    def clear(self) -> None:
        """Keep nothing."""
        self._kept = None


class Offsets:
    """Where in a file a cursor is, for cursors that were met before, and how far a file was seen to be good."""

    def __init__(self) -> None:
        self._clean: OrderedDict[Path, tuple[int, tuple[int, ...]]] = OrderedDict()
        self._known: OrderedDict[tuple[Path, int], tuple[int, int]] = OrderedDict()

    def note(self, path: Path, status: os.stat_result, cursor: int, offset: int) -> None:
        """Remember that ``cursor`` lines of the file at ``path`` take ``offset`` bytes."""
        self._known[path, cursor] = offset, status.st_ino
        if len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)

    def forget(self, path: Path) -> None:
        """A file was removed; another may come in its place."""
        for key in [key for key in self._known if key[0] == path]:
            del self._known[key]
        self._clean.pop(path, None)

    def get(self, path: Path, status: os.stat_result, cursor: int) -> int | None:
        """Return the offset in bytes, ``None`` if it has to be counted out."""
        if cursor == 0:
            return 0
        offset, inode = self._known.get((path, cursor), (0, 0))
        return offset if inode == status.st_ino and 0 < offset <= status.st_size else None

    def clean_to(self, path: Path, status: os.stat_result) -> int:
        """Return up to which byte every line was seen to be a record as it stands, in the file as it is now."""
        end, seen = self._clean.get(path, (0, ()))
        return end if seen == state(status) else 0

    def seen(self, path: Path, status: os.stat_result, start: int, page: Page, end: int) -> None:
        """A page from byte ``start`` to ``end`` was read after ``status`` was taken.

        A file that has changed just now may change again within the same tick of the clock that stamps it.
        """
        before = self.clean_to(path, status)
        settled = time.time_ns() - status.st_ctime_ns > _TICK_NS
        if page.verbatim and settled and start <= before and end <= status.st_size:
            self._clean[path] = max(before, end), state(status)
            if len(self._clean) > _MAX_REMEMBERED:
                self._clean.popitem(last=False)


def state(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes with the content of a file; its ctime cannot be set back."""
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
