"""``runs.start``: a new run's state, its file's name and its first record."""

from __future__ import annotations

import os
import stat
from typing import Any

import msgspec

from carruns.protocol import errors, ids, times
from carruns.protocol.records import agent_slug
from carrunsd.core import Core
from carrunsd.methods.checks import Client, storable
from carrunsd.run import Run
from carrunsd.store import layout
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket

_encode = msgspec.json.encode
_START_FIELDS = requests.StartParams.__struct_fields__
_STARTED_ORDER = (
    "outcome_description", "agent_name", "parent_run_id", "session_id", "cwd", "detached", "metadata",
)  # fmt: skip
_RESERVED = frozenset((*_START_FIELDS, "record", "run_id", "agent_id", "started_at"))


def start(core: Core, peer: Client, params: dict[str, Any], ticket: Ticket | None) -> None:
    """``runs.start``: a new run, or the one that the idempotency key names."""
    try:
        asked = msgspec.convert({k: params[k] for k in _START_FIELDS if k in params}, requests.StartParams)
        agent_id = asked.agent_id or agent_slug(asked.agent_name or "")
    except msgspec.ValidationError as error:
        raise RequestError(errors.INVALID_PARAMS, f"runs.start: {error}") from None
    except ValueError as error:
        text = str(error) if asked.agent_id or asked.agent_name else "give agent_id or agent_name"
        raise RequestError(errors.INVALID_PARAMS, f"runs.start: {text}") from None
    try:
        started_at = times.in_utc(asked.started_at) if asked.started_at else core.appender.stamp
    except ValueError as error:
        raise RequestError(errors.INVALID_PARAMS, f"runs.start: started_at: {error}") from None
    if asked.idempotency_key == "":
        raise RequestError(errors.INVALID_PARAMS, "runs.start: idempotency_key must not be empty")
    run_id = asked.idempotency_key or ids.uuid7()
    run = core.table.by_id.get(run_id)
    if run is None:
        path = path_of(agent_id, run_id)
        check_free(core, run_id, agent_id, path)
        run = Run(run_id, agent_id, asked.intent, started_at, path)
        run.detached = asked.detached is True
        records = [storable(_started(run, params, asked), "runs.start")]
        core.table.enter(run, fresh=True)
        run.mark()
        run.lines = 1
    elif run.agent_id != agent_id:
        raise RequestError(errors.CONFLICT, f"run {run_id!r} is of agent {run.agent_id!r}; choose another key")
    else:
        records = []
    core.owners.attach(peer, run)
    core.appender.put(run, records, ticket, _encode({"run_id": run_id, "agent_id": agent_id}))


def path_of(agent_id: str, run_id: str) -> tuple[str, str]:
    """Return the names of the directory and the file of a run.  Raises ``NameConflictError``."""
    return layout.agent_dir_name(agent_id), layout.run_file_name(run_id)


def check_free(core: Core, run_id: str, agent_id: str, path: tuple[str, str]) -> None:
    """Raise a ``conflict`` where something else stands in the place of a new run's file."""
    other = core.table.by_path.get(path)
    taken = other.run_id if other else _file_of(core, path)
    if taken is not None:
        raise RequestError(
            errors.CONFLICT,
            f"run {run_id!r} of {agent_id!r} would share the file {path[1]!r} with {taken}; choose another id",
        )


def _file_of(core: Core, path: tuple[str, str]) -> str | None:
    """Return a word for what stands at ``path`` already; an empty file is nothing."""
    try:
        directory = core.tree.directory(path[0])
        status = os.stat(path[1], dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return "another run" if status.st_size or not stat.S_ISREG(status.st_mode) else None


def _started(run: Run, params: dict[str, Any], asked: requests.StartParams) -> dict[str, Any]:
    """Return the ``started`` record: fields not given are left out, fields nobody knows are kept."""
    record: dict[str, Any] = {
        "record": "started", "run_id": run.run_id, "agent_id": run.agent_id, "intent": run.intent,
    }  # fmt: skip
    if asked.outcome_description is not None:
        record["outcome_description"] = asked.outcome_description
    record["started_at"] = run.started_at
    for name in _STARTED_ORDER:
        value = getattr(asked, name)
        if value is not None and value is not False:
            record.setdefault(name, value)
    record.update((key, value) for key, value in params.items() if key not in _RESERVED)
    return record
