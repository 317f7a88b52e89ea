"""The run files themselves, read-only: which there are, and the one way to open one.

For when no daemon runs, and for what reads everything.  A run that nobody ended is shown as it stands:
``in_progress``, though without a daemon nobody may be at it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from carruns.protocol.records import Record
from carrunsd.store import layout, reader, scan

_ANY_DIRECTORY = -1  # openat(2) does not look at it where the path is absolute


class RunFile(NamedTuple):
    """Where a run's file is: below which root (``<car dir>/runs`` or ``trash``), whose directory, which name."""

    root: Path
    directory: str
    name: str

    @property
    def run_id(self) -> str:
        """The run's id as far as the name tells: what the file system could not hold is ``_`` in it."""
        return self.name.removesuffix(layout.SUFFIX)

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.root / self.directory / self.name

    def status(self) -> os.stat_result:
        """Return its size and times, of a link's own.  Raises ``OSError``."""
        return os.stat(self.path, follow_symlinks=False)


def file_of(root: Path, run_id: str, agent_id: str) -> RunFile:
    """Return where the file of a run is, if it is there."""
    return RunFile(root, layout.sanitize(agent_id), layout.sanitize(run_id) + layout.SUFFIX)


def run_files(root: Path, agent: str | None = None) -> list[RunFile]:
    """Return the run files under ``root``, all or those in one agent's directory; none if there is no root.

    Two agents may share a directory: what stands in the files says whose a run is.
    """
    wanted = None if agent is None else layout.sanitize(agent)
    try:
        root_fd = layout.open_dir(os.fspath(root))
    except OSError:
        return []
    try:
        directories = [name for name in sorted(layout.agent_dirs(root_fd)) if wanted in (None, name)]
        return [RunFile(root, name, file) for name in directories for file in _names(name, root_fd)]
    finally:
        os.close(root_fd)


def _names(directory: str, root_fd: int) -> list[str]:
    try:
        fd = layout.open_dir(directory, root_fd)
    except OSError:
        return []
    try:
        return list(layout.run_files(fd))
    except OSError:
        return []
    finally:
        os.close(fd)


@contextlib.contextmanager
def opened(file: RunFile | Path) -> Iterator[int]:
    """Open a run file for reading and yield its descriptor.  Raises ``OSError``.

    In the store links, pipes and other people's directories are refused.  A ``Path`` is a file that a person named:
    it may be reached through links, but is no pipe either.
    """
    if isinstance(file, RunFile):
        directory = layout.open_dir(os.fspath(file.root / file.directory))
        try:
            fd = layout.open_for_reading(file.name, directory)
        finally:
            os.close(directory)
    else:
        fd = layout.open_for_reading(os.path.realpath(file), _ANY_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def lines(file: RunFile | Path) -> Iterator[bytes]:
    """Yield the lines of a run file that are not blank, without their newlines.  Raises ``OSError``."""
    with opened(file) as fd:
        for _, block in reader.read_blocks(fd):
            for line in block.split(b"\n"):
                if line.strip():
                    yield line


def summary(file: RunFile) -> Record | None:
    """Return what ``runs.list`` would say of a run, ``None`` for a file that holds no run or cannot be read."""
    try:
        with opened(file) as fd:
            found = scan.scan(fd).summary()
    except OSError:
        return None
    return None if found is None else Record(msgspec.to_builtins(found))
