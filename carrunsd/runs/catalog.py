"""The index of all runs on disk: which files there are, which may be in progress, and their summaries.

Built at start-up from the ends of files, kept as the daemon writes; a directory that someone else has changed
is looked at again.  Summaries are read when first asked for and kept by size and modification time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

from carruns.protocol.records import RunSummary
from carrunsd.store import layout, scan
from carrunsd.store.reader import Line
from carrunsd.store.tree import Path, Tree

log = logging.getLogger("carrunsd.catalog")


class Entry:
    """One run file.  ``size`` in bytes, ``mtime_ns`` since the epoch, as of the last look.

    ``summary`` is what a scan said of it (``None`` too for a file without a usable ``started``); ``known`` says
    that it was scanned as it is now.  ``glance`` is a summary from the file's ends, without its ``turn_count``.
    """

    __slots__ = ("checked", "glance", "known", "maybe_open", "mtime_ns", "path", "size", "summary")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = -1
        self.checked = 0.0  # monotonic seconds
        self.mtime_ns = 0
        self.maybe_open = False
        self.known = False
        self.summary: RunSummary | None = None
        self.glance: RunSummary | None = None


class Catalog:
    """Entries by directory and by file name.  Methods touch the disk but ``runs``, ``find`` and ``note``."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._learning = threading.Lock()
        self._dirs: dict[str, dict[str, Entry]] = {}
        self._mtimes: dict[str, int] = {}
        self._by_name: dict[str, list[Entry]] = {}

    def build(self) -> None:
        """Look at every file's end, once.  One that cannot be read is named in the log and passed over."""
        self.refresh()
        for entry in self.entries():
            self._look(entry)

    def refresh(self, only: str | None = None) -> None:
        """List the directories that changed since the last time (``only`` this one of them)."""
        try:
            names = self._tree.agent_dirs()
        except OSError as error:
            log.error("the runs directory cannot be listed: %s", error)
            return
        for gone in self._dirs.keys() - names.keys():
            for entry in list(self._dirs[gone].values()):
                self._drop(entry)
            self._mtimes.pop(gone, None)
            del self._dirs[gone]
        for name in names if only is None else names.keys() & {only}:
            if self._mtimes.get(name) != names[name]:
                self.refresh_dir(name)

    def refresh_dir(self, name: str) -> None:
        """List one agent's directory, if it changed since the last time."""
        try:
            fd = self._tree.directory(name)
            mtime = os.fstat(fd).st_mtime_ns
            if self._mtimes.get(name) == mtime:
                return
            files = set(layout.run_files(fd))
        except OSError as error:
            if name in self._dirs or not isinstance(error, FileNotFoundError):
                log.warning("agent directory %r is passed over: %s", name, error)
            self._mtimes.pop(name, None)
            files = set()
            mtime = -1
        known = self._dirs.setdefault(name, {})
        for gone in known.keys() - files:
            self._drop(known[gone])
        for new in files - known.keys():
            self.note((name, new))
        self._mtimes[name] = mtime

    def _look(self, entry: Entry) -> None:
        try:
            with layout.opened(self._tree.root, entry.path) as fd:
                status = os.fstat(fd)
                entry.size, entry.mtime_ns = status.st_size, status.st_mtime_ns
                entry.maybe_open = status.st_size > 0 and scan.ends_open(fd, status.st_size)
        except OSError as error:
            log.warning("%s/%s is passed over: %s", *entry.path, error)

    def note(self, path: Path) -> Entry:
        """Return the entry of a file, made if there is none."""
        files = self._dirs.setdefault(path[0], {})
        entry = files.get(path[1])
        if entry is None:
            entry = files[path[1]] = Entry(path)
            self._by_name.setdefault(path[1], []).append(entry)
        return entry

    def forget(self, path: Path) -> None:
        """A file was removed."""
        entry = self._dirs.get(path[0], {}).get(path[1])
        if entry is not None:
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        self._dirs[entry.path[0]].pop(entry.path[1], None)
        same = self._by_name.get(entry.path[1], [])
        if entry in same:
            same.remove(entry)
        if not same:
            self._by_name.pop(entry.path[1], None)

    def find(self, run_id: str, agent_id: str | None = None) -> list[Entry]:
        """Return the entries whose file a run of that id would be in."""
        found = self._by_name.get(layout.sanitize(run_id) + layout.SUFFIX, [])
        if agent_id is None:
            return list(found)
        name = layout.sanitize(agent_id)
        return [entry for entry in found if entry.path[0] == name]

    def entries(self, agent_dir: str | None = None) -> list[Entry]:
        """Return all entries (of one agent's directory)."""
        if agent_dir is not None:
            return list(self._dirs.get(agent_dir, {}).values())
        return [entry for files in self._dirs.values() for entry in files.values()]

    def recheck(self, entries: list[Entry]) -> None:
        """See which files someone else has written to since they were read; for a thread.

        Each is looked at once a second at most: lists may be that stale.
        """
        now = time.monotonic()
        for entry in entries:
            if now - entry.checked < 1:
                continue
            entry.checked = now
            with contextlib.suppress(OSError):
                status = os.stat(os.path.join(self._tree.root, *entry.path), follow_symlinks=False)
                if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
                    entry.known, entry.glance = False, None

    def newest_ns(self) -> int:
        """Return when the newest file was last written to, in nanoseconds since the epoch, as of the last look."""
        return max((entry.mtime_ns for entry in self.entries()), default=0)

    def empty_dirs(self) -> list[str]:
        """Return the agents' directories that hold no run."""
        return [name for name, files in self._dirs.items() if not files]

    def dirs(self) -> Iterator[str]:
        """Yield the agents' directories that hold a run."""
        return (name for name, files in self._dirs.items() if files)

    def first_started(self, entry: Entry) -> Line | None:
        """Return the ``started`` of a file from its beginning alone, ``None`` if it is not there."""
        try:
            with layout.opened(self._tree.root, entry.path) as fd:
                return scan.first_started(fd)
        except OSError:
            return None

    def look_at(self, entries: list[Entry], how: Callable[[int], RunSummary | None]) -> None:
        """Read the summaries of ``entries``.  May take long: for a thread."""
        for entry in entries:
            try:
                with layout.opened(self._tree.root, entry.path) as fd:
                    status = os.fstat(fd)
                    summary = how(fd)
                    entry.size, entry.mtime_ns = status.st_size, status.st_mtime_ns
            except OSError as error:
                log.warning("%s/%s is passed over: %s", *entry.path, error)
                continue
            whole = how is not scan.glance or (summary is not None and summary.turn_count >= 0)
            with self._learning:  # retention may glance while a list reads the whole file
                if whole:
                    entry.known, entry.summary, entry.glance = True, summary, None
                elif not entry.known:
                    entry.glance = summary
