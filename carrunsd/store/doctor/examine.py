"""What is wrong in a store, and where: looks at every file, changes none.  ``repair`` mends what can be mended.

A finding that has a ``remedy`` beginning with a verb of ``repair`` is mended by it; the others say what a person
can do.  One bad file never hides another: what cannot be read is a finding too.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

from carruns.protocol import times
from carrunsd.store import history, layout, reader, typed
from carrunsd.store.doctor import mend

Level = Literal["error", "warning", "info"]

_BOM = b"\xef\xbb\xbf"


class Finding(Struct):
    """One thing that is wrong, or with ``info`` worth knowing.  ``line`` counts from 1, 0 is the whole file.

    ``mendable``: ``carruns doctor --repair`` does what ``remedy`` says.
    """

    level: Level
    kind: str
    place: str
    line: int
    text: str
    remedy: str
    mendable: bool = False
    mended: bool = False


class Examined(Struct):
    """What was looked at."""

    agents: int = 0
    files: int = 0
    bytes: int = 0
    records: int = 0


def examine(root: str, examined: Examined) -> Iterator[Finding]:
    """Look through the runs directory at ``root``.  Counts go to ``examined`` as it goes on."""
    try:
        root_fd = layout.open_dir(root)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding("error", "unreadable", "runs", 0, _why(error), "make it readable, or move it away")
        return
    seen: dict[str, str] = {}
    try:
        yield from _mode(root_fd, "runs", 0o700)
        for name in sorted(os.listdir(root_fd)):
            if not _is_beside(root_fd, name):
                yield from _agent(root_fd, name, examined, seen)
    finally:
        os.close(root_fd)


def _is_beside(root_fd: int, name: str) -> bool:
    """Tell whether a name in the runs directory is a file that holds no run: our mark, an index of CAR's."""
    status = os.stat(name, dir_fd=root_fd, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and not name.endswith(layout.SUFFIX)


def _agent(root_fd: int, name: str, examined: Examined, seen: dict[str, str]) -> Iterator[Finding]:
    place = f"runs/{name}"
    try:
        directory = layout.open_dir(name, root_fd)
    except OSError as error:
        yield Finding("error", "no_directory", place, 0, _why(error), "move it away")
        return
    examined.agents += 1
    try:
        yield from _mode(directory, place, 0o700)
        for file in sorted(os.listdir(directory)):
            if file.endswith(layout.SUFFIX):
                yield from _file(directory, (name, file), examined, seen)
    except OSError as error:
        yield Finding("error", "unreadable", place, 0, _why(error), "make it readable")
    finally:
        os.close(directory)


def _file(directory: int, path: tuple[str, str], examined: Examined, seen: dict[str, str]) -> Iterator[Finding]:
    place = f"runs/{path[0]}/{path[1]}"
    try:
        fd = layout.open_for_reading(path[1], directory)
    except OSError as error:
        yield Finding("error", "no_file", place, 0, _why(error), "move it away")
        return
    examined.files += 1
    try:
        yield from _mode(fd, place, 0o600)
        yield from _Lines(place, path, seen, examined).look(fd)
    except OSError as error:
        yield Finding("error", "unreadable", place, 0, _why(error), "copy what can be read, and look at the disk")
    finally:
        os.close(fd)


def _mode(fd: int, place: str, wanted: int) -> Iterator[Finding]:
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        text = f"it belongs to user {status.st_uid}, not to {os.geteuid()}"
        yield Finding("error", "wrong_owner", place, 0, text, f"as root: chown {os.geteuid()} it")
    elif (mode := stat.S_IMODE(status.st_mode)) & ~wanted:
        text = f"its mode is {mode:o}: others may look into it"
        yield Finding("warning", "too_open", place, 0, text, f"set its mode to {wanted:o}", mendable=True)


class _Lines:
    """One run file, line by line."""

    def __init__(self, place: str, path: tuple[str, str], seen: dict[str, str], examined: Examined) -> None:
        self._place = place
        self._path = path
        self._seen = seen
        self._examined = examined
        self._number = 0
        self._started: dict[str, Any] | None = None
        self._starts = self._ends = self._records = 0
        self._behind_end = 0
        self._known = mend.Known("", "", "")

    def _finding(self, level: Level, kind: str, text: str, remedy: str, *, mends: bool = False) -> Finding:
        return Finding(level, kind, self._place, self._number, text, remedy, mends)

    def look(self, fd: int) -> Iterator[Finding]:
        size = os.fstat(fd).st_size
        self._examined.bytes += size
        self._known = known_of(self._path, os.fstat(fd))
        if not size:
            yield self._finding(
                "warning", "empty", "the file is empty: its first write failed", "remove it", mends=True
            )
            return
        for _, block in reader.read_blocks(fd):
            *lines, tail = block.split(b"\n")
            for text in lines:
                self._number += 1
                yield from self._line(text)
            if tail:
                self._number += 1
                yield from self._tail(tail)
        self._number = 0
        yield from self._whole()

    def _tail(self, tail: bytes) -> Iterator[Finding]:
        bare = tail.rstrip(b"\0")
        if not reader.is_object(bare):
            what = "NULs" if not bare else "half a line"
            text = f"{len(tail)} bytes at the end are {what}: a write was cut off"
            yield self._finding("warning", "torn_tail", text, "cut them off", mends=True)
            return
        yield self._finding("warning", "no_newline", "the last line has no newline", "add it", mends=True)
        yield from self._record(bare)

    def _line(self, text: bytes) -> Iterator[Finding]:
        bare = text.removeprefix(_BOM).strip(b"\0")
        if bare != text and (not bare or reader.is_object(bare)):
            what = "a byte order mark" if text.startswith(_BOM) else "NULs"
            yield self._finding("warning", "padding", f"{what} beside what is good", "take it away", mends=True)
            text = bare
        if text.strip():
            yield from self._record(text)

    def _record(self, text: bytes) -> Iterator[Finding]:
        record = reader.parse_record(text)
        if record is None:
            yield self._no_record(text)
            better = mend.mended(text, self._known)
            if better is not None:
                self._take_mended(json.loads(better))
            return
        self._records += 1
        self._examined.records += 1
        yield from self._kind(record)
        self._known.take(record)

    def _take_mended(self, record: dict[str, Any]) -> None:
        """What follows is judged as if the line before were readable: that is how it will stand."""
        self._known.take(record)
        if record["record"] == "started":
            self._started = self._started or record

    def _no_record(self, text: bytes) -> Finding:
        remedy = "leave the line out (the original is kept)"
        if mend.mended(text, self._known) is not None:
            what = f"a strict reader passes it over, and so do we: {reader.fault(text)}"
            return self._finding("error", "bad_record", what, "make it readable (the original is kept)", mends=True)
        shown = ascii(text[:40].decode("utf-8", "replace"))
        why = f": {reader.fault(text)}" if reader.is_object(text) else ""
        text_ = f"no record: {shown} ({len(text)} bytes){why}"
        return self._finding("error", "bad_line", text_, remedy, mends=True)

    def _kind(self, record: dict[str, Any]) -> Iterator[Finding]:
        kind = record["record"]
        if kind == "started":
            self._starts += 1
            self._started = self._started or record
        elif kind in typed.TURN_KINDS:
            self._behind_end += self._ends > 0
            index, expected = record["index"], self._known.next_index
            if index != expected:
                missing = f"turns {expected} to {index - 1} are missing"
                what = missing if index > expected else "doubled"
                yield self._finding("warning", "index", f"index {index}, not {expected}: {what}", "nothing")
        elif kind == "ended":
            final = history.is_final(record["termination"], record.get("final"))
            if self._ends and not final:
                text = "an `incomplete` behind the end: a reader that could not read the end has put it there"
                remedy = "leave it out (the original is kept)"
                yield self._finding("warning", "adopted", text, remedy, mends=True)
            self._ends += final

    def _whole(self) -> Iterator[Finding]:
        started = self._started
        if started is None:
            if self._records:
                remedy = "put one in front, from the file's name and time"
                yield self._finding("error", "no_started", "it has no `started` record", remedy, mends=True)
            return
        if self._starts > 1:
            yield self._finding(
                "warning", "two_started", f"{self._starts} `started` records; the first counts", "nothing"
            )
        if self._ends > 1:
            yield self._finding("warning", "two_ended", f"{self._ends} outcomes; the last counts", "nothing")
        if self._behind_end:
            text = f"{self._behind_end} turns behind the outcome"
            yield self._finding("warning", "behind_the_end", text, "nothing: they are shown")
        yield from self._named(started)

    def _named(self, started: dict[str, Any]) -> Iterator[Finding]:
        run_id, agent_id = started["run_id"], started["agent_id"]
        wanted = (layout.sanitize(agent_id), layout.sanitize(run_id) + layout.SUFFIX)
        if wanted != self._path:
            where = f"runs/{wanted[0]}/{wanted[1]}"
            text = f"it holds run {run_id!r} of {agent_id!r}, which belongs in {where}"
            yield self._finding("warning", "wrong_place", text, f"move it to {where}, if nothing is there")
        other = self._seen.setdefault(run_id, self._place)
        if other != self._place:
            yield self._finding("warning", "same_id", f"run {run_id!r} is in {other} too", "move one of them away")


def known_of(path: tuple[str, str], status: os.stat_result) -> mend.Known:
    """Return what a file's name and time say of its run, before its first line is read."""
    agent_id, run_id = path[0], path[1].removesuffix(layout.SUFFIX)
    return mend.Known(run_id, agent_id, times.render(status.st_mtime_ns))


def _why(error: OSError) -> str:
    return str(error.strerror or error)
