"""``Source`` from the files alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from carruns.protocol import errors
from carruns.protocol.records import Record
from carruns.reading import files
from carruns.render.humane import instant
from carrunsd.store import layout, reader

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
        wanted = None if agent is None else layout.sanitize(agent)
        found = [
            run
            for file in files.run_files(self.root)
            if wanted in (None, file.directory) and (run := files.summary(self.root, file)) is not None
        ]
        kept = [
            run
            for run in found
            if agent in (None, run.agent_id)
            and status in (None, run.status)
            and (since is None or _started(run) >= since)
            and (until is None or _started(run) <= until)
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

    def trace(self, run_id: str, agent_id: str) -> _FileTrace:
        """Return the records of a run."""
        name = layout.sanitize(run_id) + layout.SUFFIX
        return _FileTrace(self.root, files.RunFile(layout.sanitize(agent_id), name))

    def last(self, run_id: str, agent_id: str, count: int) -> list[Record]:
        """Return the last records of a run, from the end of its file."""
        name = layout.sanitize(run_id) + layout.SUFFIX
        with files.opened(self.root, files.RunFile(layout.sanitize(agent_id), name)) as fd:
            size, reach = os.fstat(fd).st_size, _REACH
            while True:
                start = max(0, size - reach)
                lines = os.pread(fd, size - start, start).split(b"\n")
                whole = lines if start == 0 else lines[1:]  # the first may be the end of a longer one
                found = [record for line in whole if (record := reader.parse_record(line)) is not None]
                if start == 0 or len(found) >= count:
                    return found[-count:]
                reach *= 8


class _FileTrace:
    def __init__(self, root: Path, file: files.RunFile) -> None:
        self._root, self._file = root, file
        self.skipped = 0

    def __iter__(self) -> Iterator[Record]:
        self.skipped = 0
        try:
            for line in files.lines(self._root, self._file):
                record = reader.parse_record(line)
                if record is None:
                    self.skipped += 1
                else:
                    yield record
        except FileNotFoundError:
            raise errors.RunNotFound(f"run {self._file.run_id} is gone", errors.RUN_NOT_FOUND) from None


def _started(run: Record) -> int:
    return instant(run.get("started_at")) or 0
