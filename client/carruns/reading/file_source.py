"""Runs from the files alone, where no daemon answers: a ``Source``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from carruns.protocol import errors
from carruns.protocol.records import Record
from carruns.reading import run_files
from carruns.reading.instants import instant, within
from carrunsd.store import reader

_REACH = 1 << 16


class FileSource:
    """Reads the run files under ``root``."""

    live = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def runs(
        self,
        agent: str | None = None,
        status: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> list[Record]:
        """Return what ``runs.list`` would."""
        found = map(run_files.summary, run_files.run_files(self.root, agent))
        kept = [
            run
            for run in found
            if run is not None
            and agent in (None, run.agent_id)
            and status in (None, run.status)
            and within(_started(run), since, until)
        ]
        return sorted(kept, key=_started, reverse=True)

    def agents(self) -> list[Record]:
        """Return what ``runs.agents`` would."""
        rows: dict[str, Record] = {}
        for run in self.runs():
            new = Record(agent_id=run.agent_id, runs=0, in_progress=0, bytes=0, last_activity="")
            row = rows.setdefault(run.agent_id, new)
            row["runs"] += 1
            row["in_progress"] += run.status == "in_progress"
            row["bytes"] += run.bytes
            row["last_activity"] = max(row.last_activity, run.get("ended_at") or run.started_at)
        return sorted(rows.values(), key=lambda row: str(row.last_activity), reverse=True)

    def trace(self, run_id: str, agent_id: str) -> FileTrace:
        """Return the records of a run."""
        return FileTrace(run_files.file_of(self.root, run_id, agent_id))

    def last(self, run_id: str, agent_id: str, count: int) -> list[Record]:
        """Return the last records of a run, from the end of its file."""
        with run_files.opened(run_files.file_of(self.root, run_id, agent_id)) as fd:
            size, reach = os.fstat(fd).st_size, _REACH
            while True:
                start = max(0, size - reach)
                lines = os.pread(fd, size - start, start).split(b"\n")
                whole = lines if start == 0 else lines[1:]  # the first may be the end of a longer one
                found = [record for line in whole if (record := reader.parse_record(line)) is not None]
                if start == 0 or len(found) >= count:
                    return found[-count:]
                reach *= 8


class FileTrace:
    """The records of one run's file, in order; ``skipped`` counts the lines that held none."""

    def __init__(self, file: run_files.RunFile) -> None:
        self._file = file
        self.skipped = 0

    def __iter__(self) -> Iterator[Record]:
        self.skipped = 0
        try:
            for line in run_files.lines(self._file):
                record = reader.parse_record(line)
                if record is None:
                    self.skipped += 1
                else:
                    yield record
        except FileNotFoundError:
            raise errors.RunNotFound(f"run {self._file.run_id} is gone", errors.RUN_NOT_FOUND) from None


def _started(run: Record) -> int:
    return instant(run.get("started_at")) or 0
