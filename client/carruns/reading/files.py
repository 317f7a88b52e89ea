"""The runs straight from their files, read-only: for when no daemon runs, and for what reads everything.

A run that nobody ended is shown as it stands: ``in_progress``, though without a daemon nobody may be at it.
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


class RunFile(NamedTuple):
    """Where a run's file is: the agent's directory and the file's name."""

    directory: str
    name: str

    @property
    def run_id(self) -> str:
        """The run's id as far as the name tells: what the file system could not hold is ``_`` in it."""
        return self.name.removesuffix(layout.SUFFIX)


def run_files(root: Path) -> list[RunFile]:
    """Return all run files under ``root`` (``<car dir>/runs``); none if there is no such directory."""
    out: list[RunFile] = []
    try:
        root_fd = layout.open_dir(os.fspath(root))
    except OSError:
        return out
    try:
        for directory in sorted(layout.agent_dirs(root_fd)):
            with contextlib.suppress(OSError):
                fd = layout.open_dir(directory, root_fd)
                try:
                    out += [RunFile(directory, name) for name in layout.run_files(fd)]
                finally:
                    os.close(fd)
    finally:
        os.close(root_fd)
    return out


@contextlib.contextmanager
def opened(root: Path, file: RunFile) -> Iterator[int]:
    """Open a run's file for reading; links, pipes and other people's files are refused (``OSError``)."""
    directory = layout.open_dir(os.fspath(root / file.directory))
    try:
        fd = layout.open_for_reading(file.name, directory)
    finally:
        os.close(directory)
    try:
        yield fd
    finally:
        os.close(fd)


def summary(root: Path, file: RunFile) -> Record | None:
    """Return what ``runs.list`` would say of a run, ``None`` for a file that holds no run or cannot be read."""
    try:
        with opened(root, file) as fd:
            found = scan.scan(fd).summary()
    except OSError:
        return None
    return None if found is None else Record(msgspec.to_builtins(found))


def lines(root: Path, file: RunFile) -> Iterator[bytes]:
    """Yield the lines of a run's file that are not blank, without their newlines."""
    with opened(root, file) as fd:
        for _, block in reader.read_blocks(fd):
            for line in block.split(b"\n"):
                if line.strip():
                    yield line
