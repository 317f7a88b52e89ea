"""Files that are to be imported: which runs are in them, and whether they make sense.  Writes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from carruns.protocol import times
from carruns.protocol.ids import uuid7
from carruns.protocol.paths import RUNS_NAME
from carruns.reading import run_files
from carrunsd.store import layout, reader
from carrunsd.store.doctor import mend


@dataclass
class Bundle:
    """One run as a file has it.

    ``left_out`` counts lines that could not be read, ``mended`` those whose types were bent until they could be.
    """

    started: dict[str, Any] | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    mended: int = 0

    @property
    def run_id(self) -> str:
        """The run's id, ``""`` if it has none."""
        return str((self.started or {}).get("run_id") or "")

    @property
    def agent_id(self) -> str:
        """The agent's id, ``""`` if it has none."""
        return str((self.started or {}).get("agent_id") or "")

    def fault(self) -> str:
        """Say what is wrong with it, ``""`` if nothing is."""
        if not self.run_id or not self.agent_id:
            return "its `started` record has no run_id or agent_id"
        return ""


def run_paths(paths: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files that are named: a directory stands for the runs in it."""
    for text in paths:
        path = Path(text)
        if not path.is_dir():
            yield path
            continue
        root = path / RUNS_NAME if (path / RUNS_NAME).is_dir() else path
        found = [file.path for file in run_files.run_files(root)]
        yield from sorted(found) or sorted(root.glob("*" + layout.SUFFIX))


def bundles_in(path: Path) -> Iterator[Bundle]:
    """Yield the runs of a file: each begins with ``started``.  Raises ``OSError``, ``ValueError``."""
    bundle, known = Bundle(), _nothing_known(path)
    for line in _lines(path):
        record = reader.parse_record(line) or _mended(line, bundle, known)
        if record is None:
            bundle.left_out += 1
            continue
        if record["record"] == "started" and bundle.started is not None and record.get("run_id") != bundle.run_id:
            yield bundle
            bundle, known = Bundle(), _nothing_known(path)
        if record["record"] == "started" and bundle.started is None:
            bundle.started = record
        known.take(record)
        bundle.records.append(record)
    if bundle.records or bundle.left_out:
        yield bundle


def _nothing_known(path: Path) -> mend.Known:
    return mend.Known("", "", times.render(os.stat(path).st_mtime_ns, 9))


def _mended(line: bytes, bundle: Bundle, known: mend.Known) -> dict[str, Any] | None:
    """Return what a line that no typed reader takes was to say, as ``doctor --repair`` would write it."""
    text = mend.mended(line, known)
    record = None if text is None else reader.parse_record(text)
    bundle.mended += record is not None
    return record


def plain_bundle(path: Path, agent: str | None, intent: str | None) -> Bundle:
    """Make a run of a file that holds one turn a line and says nothing of a run.  Raises ``ValueError``."""
    if agent is None:
        raise ValueError("holds no run (no `started` record); with --agent NAME its lines become the turns of one")
    began = times.render(os.stat(path).st_mtime_ns, 9)
    ids = {"run_id": uuid7(), "agent_id": agent}
    started = {
        "record": "started", **ids, "intent": intent or path.name, "started_at": began,
        "metadata": {"source": "carruns import", "file": path.name},
    }  # fmt: skip
    bundle = Bundle(started, [started])
    for line in _lines(path):
        try:
            value = msgspec.json.decode(line)
        except reader.BAD_LINE:
            bundle.left_out += 1
            continue
        fields = value if isinstance(value, dict) else {"output": value}
        turn = {"parameters": None, "verifier_verdict": "not_run", **fields}
        bundle.records.append({**turn, "record": "turn", "index": len(bundle.records) - 1})
    if len(bundle.records) == 1:
        raise ValueError("holds no JSON lines")
    now = times.render(time.time_ns(), 9)
    outcome = {"status": "done", "summary": "imported", "evidence": [], "metrics": {}, "timestamp": now}
    termination = {"kind": "outcome", "status": "done", "outcome": outcome}
    bundle.records.append({"record": "ended", **ids, "termination": termination, "ended_at": now})
    return bundle


def _lines(path: Path) -> Iterator[bytes]:
    try:
        yield from run_files.lines(path)
    except layout.StoreError:
        raise ValueError("is no regular file") from None
