"""``RunStore``: the seed's store, for use in one process without the daemon.

Stateless: every call looks at the directory.  A daemon on the same directory is the sole writer there, so use
the client instead while one runs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from carruns.protocol import paths, times
from carruns.protocol.records import Record, RunEnded, RunStarted, RunStatus, RunSummary, Turn
from carrunsd.store import layout, reader, retention, scan, strict
from carrunsd.store.retention import RetentionConfig
from carrunsd.store.runfile import RunFile

AnyRecord = RunStarted | RunEnded | Turn | Mapping[str, Any]


class Root(type(Path())):  # type: ignore[misc]  # the concrete class of this platform
    """A path that may be called too: ``store.root()`` as in the seed, ``store.root`` as in Python."""

    def __call__(self) -> Path:
        """Return the path itself."""
        return Path(self)


class RunStore:
    """The runs under ``root`` (``<car dir>/runs``), one JSONL file each (docs/files.md).

    It says of any store what the seed's reader says (``scan.Scan.seed_summary``): nothing that stands behind an end
    reopens a run here, as the daemon's ``runs.resume`` does.

    Writing raises ``OSError`` when the disk refuses, :class:`~carrunsd.store.layout.NameConflictError` when two
    ids meet on one file, ``ValueError`` for a record that the seed's typed reader would refuse.
    """

    def __init__(self, runs_root: str | os.PathLike[str], retention: RetentionConfig | None = None) -> None:
        self._root = Root(runs_root)
        self._retention = retention or RetentionConfig()

    @classmethod
    def from_journal_dir(cls, journal_dir: str | os.PathLike[str]) -> RunStore:
        """Return the store beside a CAR journal directory: ``<journal dir>/../runs``, with its retention."""
        car_dir = Path(journal_dir).parent
        return cls(car_dir / paths.RUNS_NAME, RetentionConfig.from_car_dir(car_dir))

    @property
    def root(self) -> Root:
        """The directory the runs are in."""
        return self._root

    def append_records(self, agent_id: str, run_id: str, records: Iterable[AnyRecord]) -> None:
        """Append records to a run, all or none of them; the file is made if it is missing."""
        given = strict.one_end([as_map(record) for record in records])
        data = b"".join(strict.line(record) for record in given)
        if not data:
            return
        for record in given:
            _check_ids(record, agent_id, run_id)
        root_fd = layout.ensure_root(os.fspath(self._root))
        with _closing(root_fd):
            dir_fd, _ = layout.ensure_dir(root_fd, layout.agent_dir_name(agent_id))
            with _closing(dir_fd):
                self._append(dir_fd, agent_id, run_id, data)

    def _append(self, dir_fd: int, agent_id: str, run_id: str, data: bytes) -> None:
        fd, created = layout.open_for_append(layout.run_file_name(run_id), dir_fd, create=True)
        file = RunFile(fd, created=created)
        try:
            if not created:
                check_owner(fd, agent_id, run_id)
                file.heal()
            file.append(data)
        finally:
            file.close()

    def write_started(self, started: RunStarted | Mapping[str, Any]) -> None:
        """Append the ``started`` record to the run it names."""
        self._write_one(started, "started")

    def append_turns(self, agent_id: str, run_id: str, turns: Iterable[AnyRecord]) -> None:
        """Append turn records to a run, their indexes as given."""
        self.append_records(agent_id, run_id, turns)

    def write_ended(self, ended: RunEnded | Mapping[str, Any]) -> None:
        """Append the ``ended`` record to the run it names."""
        self._write_one(ended, "ended")

    def _write_one(self, record: RunStarted | RunEnded | Mapping[str, Any], kind: str) -> None:
        value = {"record": kind, **as_map(record)}
        strict.check_record(value)
        self.append_records(value["agent_id"], value["run_id"], [value])

    def get_run_trace(self, run_id: str) -> list[Record] | None:
        """Return a run's records, whichever agent it is of; ``None`` if there is no such run."""
        found = self._find(run_id)
        return None if found is None else self._trace(found, run_id)

    def get_run_trace_for(self, agent_id: str, run_id: str) -> list[Record] | None:
        """Return the records of an agent's run; ``None`` if there is no such run."""
        return self._trace(layout.sanitize(agent_id), run_id, agent_id)

    def _trace(self, agent_dir: str, run_id: str, agent_id: str | None = None) -> list[Record] | None:
        with self._reading(agent_dir, layout.sanitize(run_id) + layout.SUFFIX) as fd:
            if fd is None or not _is_of(fd, agent_id, run_id):
                return None
            return reader.records(fd)[0]

    def list_runs(self, agent_id: str) -> list[RunSummary]:
        """Return the summaries of an agent's runs, newest first; one bad file never hides another."""
        place = layout.sanitize(agent_id)
        found = (summary for _, summary in self._summaries(place))
        runs = [run for run in found if not _meet(run.agent_id, agent_id)]
        return sorted(runs, key=retention.started_ns, reverse=True)

    def agent_for_run(self, run_id: str) -> str | None:
        """Return the id of the agent that a run is of, ``None`` if there is no such run.

        A file that lies with another agent is that one's, as for the seed.
        """
        agent_dir = self._find(run_id)
        if agent_dir is None:
            return None
        with self._reading(agent_dir, layout.sanitize(run_id) + layout.SUFFIX) as fd:
            started = scan.first_started(fd) if fd is not None else None
        return started.agent_id if started and _meet(started.agent_id, agent_dir) else agent_dir

    def gc(self) -> int:
        """Remove the runs that retention lets go; return how many.  A run in progress is never removed."""
        removed = 0
        for agent_dir in self._agent_dirs():
            found = list(self._summaries(agent_dir))
            names = {id(summary): name for name, summary in found}  # a copied file has the same run id
            runs = (summary for _, summary in found)
            owner = functools.partial(_owner, agent_dir)
            for summary, _ in retention.expired(runs, self._retention, time.time_ns(), owner=owner):
                with contextlib.suppress(OSError):
                    os.unlink(self._root / agent_dir / names[id(summary)])
                    removed += 1
        return removed

    def adopt_orphans(self) -> int:
        """End every run in progress as ``incomplete``; return how many.  For the sole owner at start-up."""
        adopted = 0
        for agent_dir in self._agent_dirs():
            for name, summary in self._summaries(agent_dir):
                if summary.status is RunStatus.IN_PROGRESS:
                    record = incomplete(summary.agent_id, summary.run_id, "daemon_restart")
                    with contextlib.suppress(OSError):
                        self._end(agent_dir, name, record)
                        adopted += 1
        return adopted

    def _end(self, agent_dir: str, name: str, record: RunEnded) -> None:
        """Append to the very file that was looked at, whatever its name says."""
        dir_fd = layout.open_dir(os.fspath(self._root / agent_dir))
        with _closing(dir_fd):
            file = RunFile(layout.open_for_append(name, dir_fd, create=False)[0])
        try:
            file.heal()
            file.append(strict.line(record))
        finally:
            file.close()

    def _agent_dirs(self) -> list[str]:
        try:
            root_fd = layout.open_dir(os.fspath(self._root))
        except OSError:
            return []
        with _closing(root_fd):
            return sorted(layout.agent_dirs(root_fd))

    def _find(self, run_id: str) -> str | None:
        name = layout.sanitize(run_id) + layout.SUFFIX
        for agent_dir in self._agent_dirs():
            with self._reading(agent_dir, name) as fd:
                if fd is not None and _is_of(fd, None, run_id):
                    return agent_dir
        return None

    @contextlib.contextmanager
    def _reading(self, agent_dir: str, name: str) -> Iterator[int | None]:
        """Open a run file for reading; ``None`` where there is none that may be read."""
        with contextlib.ExitStack() as held:
            fd = None
            with contextlib.suppress(OSError):
                fd = held.enter_context(layout.opened(self._root, (agent_dir, name)))
            yield fd

    def _summaries(self, agent_dir: str) -> Iterator[tuple[str, RunSummary]]:
        try:
            dir_fd = layout.open_dir(os.fspath(self._root / agent_dir))
        except OSError:
            return
        with _closing(dir_fd):
            for name in list(layout.run_files(dir_fd)):
                with contextlib.suppress(OSError), _closing(layout.open_for_reading(name, dir_fd)) as fd:
                    summary = scan.scan(fd).seed_summary()
                    if summary is not None:
                        yield name, summary


def _is_of(fd: int, agent_id: str | None, run_id: str) -> bool:
    """Tell whether the file is this run's: two ids may meet on one file, and are never mixed.

    One that was copied or moved to where another run belongs is read as that run, as the seed does.
    """
    started = scan.first_started(fd)
    if started is None:
        return True
    return not _meet(started.run_id, run_id) and (agent_id is None or not _meet(started.agent_id, agent_id))


def _owner(agent_dir: str, run: RunSummary) -> str:
    """Return whose run lies in an agent's directory: that agent's, whatever it says itself, as for the seed.

    But two agents whose names on disk are the same do not share a count.
    """
    return run.agent_id if _meet(run.agent_id, agent_dir) else agent_dir


def _meet(one: str, other: str) -> bool:
    """Tell whether two different ids have the same name on disk."""
    return one != other and layout.sanitize(one) == layout.sanitize(other)


def as_map(record: AnyRecord) -> dict[str, Any]:
    """Return a record as the object that it is on its line.  Raises ``ValueError`` where it is none."""
    try:
        value = msgspec.to_builtins(record)
    except RecursionError:
        raise strict.UnreadableError("the record nests too deep; a strict reader stops at 127 levels") from None
    if not isinstance(value, dict):
        raise strict.UnreadableError("a record is an object with a string `record` that names its kind")
    return value


def _check_ids(value: dict[str, Any], agent_id: str, run_id: str) -> None:
    """Raise ``NameConflictError`` for a ``started`` or ``ended`` of another run."""
    if value["record"] not in ("started", "ended"):
        return
    for name, wanted in (("agent_id", agent_id), ("run_id", run_id)):
        if value.get(name, wanted) != wanted:
            raise layout.NameConflictError(f"a record of {name} {value[name]!r} is none of {name} {wanted!r}")


def check_owner(fd: int, agent_id: str, run_id: str) -> None:
    """Raise ``NameConflictError`` if the file's ``started`` names other ids than these."""
    started = scan.first_started(fd)
    if started is None:
        return
    if started.run_id != run_id or started.agent_id != agent_id:
        raise layout.NameConflictError(
            f"run {run_id!r} of agent {agent_id!r} would share a file with run {started.run_id!r} "
            f"of agent {started.agent_id!r}: choose another id"
        )


def incomplete(
    agent_id: str, run_id: str, reason: str, ended_at: str | None = None, *, final: bool = False
) -> RunEnded:
    """Return the ``ended`` record of a run that stopped without an outcome, as of now."""
    return RunEnded(
        run_id=run_id,
        agent_id=agent_id,
        termination={"kind": "incomplete"},
        ended_at=ended_at or times.render(time.time_ns()),
        reason=reason,
        final=final,
    )


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
