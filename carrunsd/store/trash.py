"""The trash and the list of what was removed: ``carruns rm`` can be undone, and nothing goes unnoticed.

A removed run's file moves to ``<car dir>/trash/<agent>/<run>.jsonl`` and stays there for
``trash_max_age_days``.  Whatever leaves ``runs/`` or the trash is one line in ``<car dir>/removed.jsonl``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Any

import msgspec

from carruns.protocol import times
from carruns.protocol.records import RunSummary
from carrunsd.store import layout

TRASH_NAME = "trash"
REMOVED_NAME = "removed.jsonl"
MAX_REMOVED_BYTES = 1 << 20  # the older half of a longer list is dropped

Path = tuple[str, str]


class Trash:
    """The trash of a car directory.  Methods raise ``OSError``."""

    def __init__(self, car_dir: str) -> None:
        self._car_dir = car_dir

    def put(self, runs_dir_fd: int, path: Path) -> str:
        """Move a run's file here; return the file's name here, which is another where that was taken."""
        with self._opened(path[0], create=True) as directory:
            name = _free_name(directory, path[1])
            os.rename(path[1], name, src_dir_fd=runs_dir_fd, dst_dir_fd=directory)
            layout.sync_dir(directory)
        layout.sync_dir(runs_dir_fd)
        return name

    def take(self, runs_dir_fd: int, path: Path) -> None:
        """Move a run's file back.  Raises ``FileExistsError`` if its place is taken."""
        with self._opened(path[0], create=False) as directory:
            os.link(path[1], path[1], src_dir_fd=directory, dst_dir_fd=runs_dir_fd, follow_symlinks=False)
            os.unlink(path[1], dir_fd=directory)
            layout.sync_dir(directory)
        layout.sync_dir(runs_dir_fd)

    def agents(self) -> list[str]:
        """Return the names of the agents' directories here."""
        with contextlib.suppress(OSError):
            return sorted(os.listdir(os.path.join(self._car_dir, TRASH_NAME)))
        return []

    def holds(self, path: Path) -> bool:
        """Tell whether a run's file is here."""
        with contextlib.suppress(OSError), self._opened(path[0], create=False) as directory:
            os.stat(path[1], dir_fd=directory, follow_symlinks=False)
            return True
        return False

    def expire(self, now: float, max_age_days: int) -> list[tuple[Path, int]]:
        """Remove what has been here for longer; return the paths and their bytes.  What cannot go stays."""
        gone: list[tuple[Path, int]] = []
        for agent in self.agents():
            with contextlib.suppress(OSError), self._opened(agent, create=False) as directory:
                for name in list(layout.run_files(directory)):
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if status.st_ctime < now - max_age_days * 86_400:  # a rename sets the ctime
                        os.unlink(name, dir_fd=directory)
                        gone.append(((agent, name), status.st_size))
        return gone

    @contextlib.contextmanager
    def _opened(self, agent: str, *, create: bool) -> Any:
        car_fd = os.open(self._car_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        held = [car_fd]
        try:
            for name in (TRASH_NAME, agent):
                fd = layout.ensure_dir(held[-1], name)[0] if create else layout.open_dir(name, held[-1])
                held.append(fd)
            yield held[-1]
        finally:
            for fd in held:
                os.close(fd)


def _free_name(directory: int, name: str) -> str:
    stem = name.removesuffix(layout.SUFFIX)
    candidate, number = name, 1
    while True:
        try:
            os.stat(candidate, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return candidate
        number += 1
        candidate = f"{stem}.{number}{layout.SUFFIX}"


def _as_text(name: str) -> str:
    """Return a file's name as JSON can hold it: it may be no UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class Removals:
    """The list of what was removed: one JSON object a line, the latest last, bounded."""

    def __init__(self, car_dir: str) -> None:
        self._path = os.path.join(car_dir, REMOVED_NAME)

    def note(self, path: Path, summary: RunSummary | None, size: int, reason: str) -> None:
        """Add a line.  Failing to is no reason not to remove: the daemon's log has it too."""
        row: dict[str, Any] = {
            "removed_at": times.render(time.time_ns()),
            "agent_id": _as_text(path[0]),
            "run_id": _as_text(path[1].removesuffix(layout.SUFFIX)),
            **(msgspec.to_builtins(summary) if summary is not None else {}),
            "bytes": size,
            "reason": reason,
        }
        row.pop("turn_count", None)
        with contextlib.suppress(OSError):
            self._append(msgspec.json.encode(row) + b"\n")

    def _append(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self._path, flags, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size > MAX_REMOVED_BYTES:
                self._halve(fd, size, line)
            elif os.write(fd, line) < len(line):
                raise OSError(errno.ENOSPC, "the list of removals came out short")
        finally:
            os.close(fd)

    def _halve(self, fd: int, size: int, line: bytes) -> None:
        """Put the younger half of the list, and ``line``, in its place: at no instant is there neither."""
        tail = os.pread(fd, MAX_REMOVED_BYTES // 2, size - MAX_REMOVED_BYTES // 2)
        fresh = self._path + ".new"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(tail[tail.find(b"\n") + 1 :] + line)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, self._path)
