"""Mending a store: what ``doctor`` found mendable, file by file.  No good line is lost, and every original is kept.

A record of the wrong types is made readable (``mend``).  A run file is written anew beside itself, synced, and
takes the other's place in one step; the original stays as ``<file>.orig``.  The caller holds the car directory's
lock, so no daemon writes meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

import msgspec

from carruns.protocol import times
from carrunsd.store import chrono, history, layout, reader
from carrunsd.store.doctor import mend
from carrunsd.store.doctor.examine import Finding, known_of

_LINES = ("torn_tail", "no_newline", "padding", "bad_line", "bad_record", "adopted", "no_started")
_BOM = b"\xef\xbb\xbf"

Path = tuple[str, str]  # the agent's directory, the run's file


def repair(car_dir: str, findings: list[Finding]) -> Iterator[str]:
    """Mend what is mendable, mark it as ``mended``, and yield what was done.  A failure is a line of its own."""
    places: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.mendable and not finding.mended:
            places.setdefault(finding.place, []).append(finding)
    for place, found in places.items():
        try:
            yield from _mend(car_dir, place, found)
        except OSError as error:
            yield f"{place}: not mended: {error.strerror or error}"


def _mend(car_dir: str, place: str, found: list[Finding]) -> Iterator[str]:
    parent, name = os.path.split(place)
    directory = _open_parent(car_dir, parent)
    try:
        for finding in found:
            if finding.kind == "too_open":
                yield _narrow(directory, name, place)
                finding.mended = True
        if any(finding.kind == "empty" for finding in found):
            kept = _set_aside(directory, name)
            os.unlink(name, dir_fd=directory)
            yield f"{place}: removed; kept as {kept}"
        elif any(finding.kind in _LINES for finding in found):
            missing = any(finding.kind == "no_started" for finding in found)
            path = (os.path.basename(parent), name)
            yield f"{place}: {_write_anew(directory, path, missing=missing)}"
        layout.sync_dir(directory)
        for finding in found:
            finding.mended = True
    finally:
        os.close(directory)


def _open_parent(car_dir: str, parent: str) -> int:
    fd = os.open(car_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in filter(None, parent.split("/")):
        try:
            deeper = layout.open_dir(part, fd)
        finally:
            os.close(fd)
        fd = deeper
    return fd


def _narrow(directory: int, name: str, place: str) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    try:
        mode = 0o700 if stat.S_ISDIR(os.fstat(fd).st_mode) else 0o600
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
    return f"{place}: mode {mode:o}"


def _set_aside(directory: int, name: str) -> str:
    """Keep the original under another name; return that."""
    number = 0
    while True:
        kept = f"{name}.orig" + (f".{number}" if number else "")
        try:
            os.link(name, kept, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            number += 1
        else:
            return kept


def _write_anew(directory: int, path: Path, *, missing: bool) -> str:
    """Write the good lines of a file to a new one in its place, with a ``started`` in front if that is missing."""
    name = path[1]
    old = layout.open_for_reading(name, directory)
    fresh = f"{name}.new"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o600, dir_fd=directory), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            good = left_out = 0
            if missing:
                file.write(_started_for(old, path) + b"\n")
            for line in _lines(old, path):
                if line:
                    file.write(line + b"\n")
                    good += 1
                else:
                    left_out += 1
            file.flush()
            os.fsync(file.fileno())
        kept = _set_aside(directory, name)
        if good:
            os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
            os.unlink(fresh, dir_fd=directory)
    finally:
        os.close(old)
    what = f"{good} good lines" if good else "no good line: removed"
    return f"{what}, {left_out} left out; the original is kept as {kept}"


def _lines(fd: int, path: Path) -> Iterator[bytes]:
    """Yield each good line as it is to stand, ``b""`` for one that is left out; blank ones are passed over."""
    known = known_of(path, os.fstat(fd))
    ended = False
    for _, block in reader.read_blocks(fd):
        for text in block.split(b"\n"):
            if not text.strip():
                continue
            line = text.removeprefix(_BOM).strip(b"\0")
            record = reader.parse_record(line)
            if record is None:
                line = mend.mended(line, known) or b""
                record = reader.parse_record(line)
            if record is None:
                yield b""
                continue
            known.take(record)
            final = record["record"] == "ended" and history.is_final(record["termination"], record.get("final"))
            adopted = ended and record["record"] == "ended" and not final
            ended = ended or final
            yield b"" if adopted else line


def _started_for(fd: int, path: Path) -> bytes:
    """Return a ``started`` made of what the file's name and its other records say."""
    records = (record for line in _lines(fd, path) if line and (record := reader.parse_record(line)) is not None)
    known: dict[str, Any] = {}
    for record in records:
        for name in ("run_id", "agent_id", "recorded_at", "ended_at"):
            value = record.get(name)
            if type(value) is str and value:
                known.setdefault(name, value)
        if "recorded_at" in known:
            break
    moment = known.get("recorded_at") or known.get("ended_at") or ""
    return msgspec.json.encode(
        {
            "record": "started",
            "run_id": _fitting(known.get("run_id"), path[1].removesuffix(layout.SUFFIX)),
            "agent_id": _fitting(known.get("agent_id"), path[0]),
            "intent": "(lost; put in by carruns doctor)",
            "started_at": moment if chrono.may_be_written(moment) else times.render(os.fstat(fd).st_mtime_ns),
            "metadata": {"repaired_by": "carruns doctor"},
        }
    )


def _fitting(given: str | None, name: str) -> str:
    return given if given and layout.sanitize(given) == name else name
