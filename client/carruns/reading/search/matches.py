"""Searching run files: raw bytes first, records only where those say that something may be there.

A file is read in blocks of whole lines; ``prefilter`` names the lines that may match, and only those are decoded
and tried.  Files are read, not mapped: one that is cut short meanwhile must not kill us.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from carruns.protocol.records import Record
from carruns.reading import run_files
from carruns.reading.endings import outcome_of
from carruns.reading.instants import recorded_at, within
from carruns.reading.search.prefilter import Find, finder
from carruns.render.turn_view import turn_of
from carrunsd.store import reader

_BLOCK = 256 << 10  # in the processor's cache: larger ones are slower


class Query(NamedTuple):
    """What is looked for, and where.  Instants are nanoseconds."""

    expression: re.Pattern[str]
    agent: str | None
    tool: str | None
    fields: tuple[str, ...]
    since: int | None
    until: int | None


class Match(NamedTuple):
    """A field that matches: ``where`` is ``#3`` for a turn, or the record's kind."""

    run_id: str
    agent_id: str
    offset: int
    where: str
    tool: str
    field: str
    text: str
    expression: re.Pattern[str]

    def lines(self, context: int) -> Iterator[tuple[str, bool]]:
        """Yield the lines that match, with ``context`` lines around them, and whether each is a match."""
        rows = self.text.split("\n")
        hits = {at for at, row in enumerate(rows) if self.expression.search(row)}
        if not hits:  # a match over several lines
            found = self.expression.search(self.text)
            hits = {self.text.count("\n", 0, found.start())} if found else set()
        near = {at for hit in hits for at in range(hit - context, hit + context + 1)}
        for at in sorted(near & set(range(len(rows)))):
            yield rows[at], at in hits

    def as_json(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return {
            "run_id": self.run_id, "agent_id": self.agent_id, "offset": self.offset, "where": self.where,
            "tool": self.tool or None, "field": self.field, "lines": [row for row, hit in self.lines(0) if hit],
        }  # fmt: skip


@dataclass
class Search:
    """One search over all run files under ``root``; ``tell`` hears how far it is, in bytes."""

    root: Path
    query: Query
    tell: Callable[[int, int], None]
    problems: list[str] = field(default_factory=list)
    _total: int = 0
    _done: int = 0
    _buffer: bytearray = field(default_factory=lambda: bytearray(_BLOCK))

    def matches(self) -> Iterator[Match]:
        """Yield the fields that match, the last written run first."""
        find = finder(self.query.expression)
        todo = self._files()
        self._total = sum(size for _, _, size in todo)
        for _, file, size in todo:
            try:
                with run_files.opened(file) as fd:
                    yield from self._in_file(fd, file, find)
            except OSError as error:
                self.problems.append(f"{file.directory}/{file.name}: {error.strerror or error}")
            self._done += size
        self.tell(self._total, self._total)

    def _files(self) -> list[tuple[int, run_files.RunFile, int]]:
        """Return modification time, file and size; what was last written before ``since`` is left out."""
        out = []
        for file in run_files.run_files(self.root, self.query.agent):
            try:
                found = file.status()
            except OSError:
                continue
            if self.query.since is None or found.st_mtime_ns >= self.query.since:
                out.append((found.st_mtime_ns, file, found.st_size))
        return sorted(out, key=lambda item: -item[0])

    def _in_file(self, fd: int, file: run_files.RunFile, find: Find) -> Iterator[Match]:
        agent_id = ""
        buffer, offset = self._buffer, 0
        while got := os.preadv(fd, [buffer], offset):
            end = buffer.rfind(b"\n", 0, got) + 1
            if not end and got == len(buffer):
                buffer = bytearray(2 * len(buffer))  # a line longer than the buffer
                continue
            end = end or got
            for start, stop in find(buffer, end):
                agent_id = agent_id or self._agent(fd, file)
                yield from self._in_line(file, agent_id, offset + start, bytes(buffer[start:stop]))
            offset += end
            self.tell(self._done + offset, self._total)

    def _agent(self, fd: int, file: run_files.RunFile) -> str:
        first = os.pread(fd, 1 << 16, 0).split(b"\n", 1)[0]
        line = reader.parse_line(first)
        return line.agent_id if line is not None and isinstance(line.agent_id, str) else file.directory

    def _in_line(self, file: run_files.RunFile, agent_id: str, offset: int, line: bytes) -> Iterator[Match]:
        record = reader.parse_record(line)
        if record is None or not self._wanted(record):
            return
        turn = turn_of(record)
        where = str(record["record"]) if turn is None else f"#{turn.get('index')}"
        record = record if turn is None else turn
        tool = record.get("tool")
        shown = tool if isinstance(tool, str) else ""
        for name in self.query.fields:
            value = outcome_of(record).get("summary") if name == "summary" else record.get(name)
            for text in _matching(value, self.query.expression):
                yield Match(file.run_id, agent_id, offset, where, shown, name, text, self.query.expression)

    def _wanted(self, record: Record) -> bool:
        query = self.query
        if query.tool is not None and record.get("tool") != query.tool:
            return False
        if query.since is None and query.until is None:
            return True
        return within(recorded_at(record) or 0, query.since, query.until)


def _matching(value: Any, expression: re.Pattern[str]) -> Iterator[str]:
    """Yield the strings in a value that match; its JSON, where only that does (a key, a number)."""
    if value is None:
        return
    found = False
    for text in _strings(value):
        if expression.search(text):
            found = True
            yield text
    if not found and not isinstance(value, str):
        text = msgspec.json.encode(value).decode()
        if expression.search(text):
            yield text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
