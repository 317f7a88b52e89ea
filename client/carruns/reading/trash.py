"""What is not in the store any more: the runs in the trash, and the list of what was removed and why."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from carruns.protocol.paths import RUNS_NAME
from carruns.protocol.records import Record
from carruns.reading import run_files
from carruns.reading.errors import AmbiguousRun, NoSuchRun
from carruns.reading.instants import instant, within
from carrunsd.store.reader import BAD_LINE
from carrunsd.store.trash import REMOVED_NAME, TRASH_NAME


class InTrash(NamedTuple):
    """A run in the trash; ``put_at`` is the instant at which it came there."""

    file: run_files.RunFile
    summary: Record
    put_at: int


def in_trash(car_dir: Path) -> list[InTrash]:
    """Return the runs in the trash, the last put there first."""
    out = []
    for file in run_files.run_files(car_dir / TRASH_NAME):
        summary = run_files.summary(file)
        with contextlib.suppress(OSError):  # gone meanwhile
            put_at = file.status().st_ctime_ns  # a rename sets it
            nameless = Record(run_id=file.run_id, agent_id=file.directory, intent="", bytes=0, status="")
            out.append(InTrash(file, summary or nameless, put_at))
    return sorted(out, key=lambda item: -item.put_at)


def find_in_trash(car_dir: Path, wanted: str, agent: str | None) -> run_files.RunFile:
    """Return the file that is meant by an id or its beginning.  Raises ``NoSuchRun``, ``AmbiguousRun``."""
    found = [item.file for item in in_trash(car_dir) if agent in (None, item.file.directory)]
    chosen = [file for file in found if file.run_id == wanted] or [f for f in found if f.run_id.startswith(wanted)]
    if not chosen:
        raise NoSuchRun(wanted, "trash")
    if len(chosen) > 1:
        runs = [Record(run_id=file.run_id, agent_id=file.directory) for file in chosen]
        raise AmbiguousRun(wanted, runs, "trash")
    return chosen[0]


def removed(car_dir: Path, agent: str | None, since: int | None, until: int | None) -> Iterator[Record]:
    """Yield what retention, ``rm`` and the trash's age removed, the last first; times are those of the removal.

    What is in the store again (restored, imported) is not removed any more.
    """
    try:
        lines = (car_dir / REMOVED_NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in reversed(lines):
        row = _row(line)
        at = instant(row.get("removed_at"))
        asked_for = at is not None and agent in (None, row.get("agent_id")) and within(at, since, until)
        if asked_for and not _is_back(car_dir / RUNS_NAME, row):
            yield row


def _is_back(root: Path, row: Record) -> bool:
    run_id, agent_id = row.get("run_id"), row.get("agent_id")
    if not isinstance(run_id, str) or not isinstance(agent_id, str):
        return False
    return os.path.lexists(run_files.file_of(root, run_id, agent_id).path)


def _row(line: bytes) -> Record:
    try:
        value: Any = msgspec.json.decode(line)
    except BAD_LINE:
        value = None
    return Record(value) if isinstance(value, dict) else Record()
