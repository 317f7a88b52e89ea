"""Counting over all run files in one pass: runs by agent, turns by tool, as ``carruns stats`` shows.

``median_ms`` and ``p95_ms`` are over runs for an agent (how long they took), over turns for a tool.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from carruns.protocol.failures import failed
from carruns.protocol.records import TURN_KINDS, Record
from carruns.reading import run_files
from carruns.reading.endings import Ends
from carruns.reading.instants import instant, within
from carruns.render.token_counts import Tokens, tokens_of
from carrunsd.store import history, reader

_GOOD = ("success", "done")


class _Line(Struct, gc=False):
    record: str = ""
    agent_id: Any = None
    started_at: Any = None
    ended_at: Any = None
    termination: Any = None
    tool: Any = None
    duration_ms: Any = None
    usage: Any = None
    token_usage: Any = None  # a model turn's, as CAR writes it
    final: Any = None
    error: Any = None
    policy_rejected: Any = None
    cli_outcome: Any = None


_lines = msgspec.json.Decoder(_Line)


class _Group:
    def __init__(self) -> None:
        self.runs = self.open = self.good = self.ended = self.turns = self.failed = 0
        self.tokens = Tokens()
        self.took: list[float] = []

    def add(self, other: _Group) -> None:
        """Count its turns as well."""
        self.turns += other.turns
        self.failed += other.failed
        self.tokens = self.tokens.plus(other.tokens)


class _Run:
    """One run as its lines are read: none of them is kept."""

    def __init__(self) -> None:
        self.start: _Line | None = None
        self.ends = Ends()
        self.tools: dict[str | None, _Group] = {}

    def take(self, line: _Line) -> None:
        """Account for one line."""
        if line.record in TURN_KINDS:
            self._turn(line)
        elif line.record == "started" and self.start is None:
            self.start = line
        self.ends.take(_for_the_end(line))

    def _turn(self, line: _Line) -> None:
        tool = self.tools.setdefault(line.tool if isinstance(line.tool, str) else None, _Group())
        tool.turns += 1
        tool.failed += failed(line.error, line.policy_rejected, line.cli_outcome)
        usage = line.token_usage if line.record == "model_turn" else line.usage
        tool.tokens = tool.tokens.plus(tokens_of(usage))
        if isinstance(line.duration_ms, int | float):
            tool.took.append(line.duration_ms)


class RunStats:
    """Counts; :meth:`read` once, then take the rows."""

    def __init__(self) -> None:
        self._agents: dict[str, _Group] = {}
        self._tools: dict[str | None, _Group] = {}

    def read(self, root: Path, agent: str | None, since: int | None, until: int | None) -> None:
        """Count the runs under ``root`` (of one agent, begun between two instants)."""
        for file in run_files.run_files(root, agent):
            run = _Run()
            try:
                for line in _parsed(file):
                    run.take(line)
            except OSError:
                continue  # gone meanwhile, or not ours to read
            if run.start is None or agent not in (None, run.start.agent_id):
                continue
            began = instant(run.start.started_at) or 0
            if within(began, since, until):
                self._add(self._agents.setdefault(str(run.start.agent_id), _Group()), began, run)

    def _add(self, group: _Group, began: int, run: _Run) -> None:
        group.runs += 1
        self._end(group, began, run.ends.that_counts())
        for tool, counts in run.tools.items():
            group.add(counts)
            known = self._tools.setdefault(tool, _Group())
            known.add(counts)
            known.took += counts.took

    @staticmethod
    def _end(group: _Group, began: int, end: Record | None) -> None:
        if end is None:
            group.open += 1
            return
        group.ended += 1
        group.good += history.outcome_status(end["termination"]) in _GOOD
        ended = instant(end["ended_at"])
        if ended is not None and began:
            group.took.append(max(0, ended - began) / 1e6)

    def agent_rows(self) -> list[dict[str, Any]]:
        """Return one row an agent, the one with most runs first."""
        rows = [
            {
                "agent_id": name, "runs": group.runs, "in_progress": group.open, "succeeded": group.good,
                "success_rate": group.good / group.ended if group.ended else None, **_common(group),
            }
            for name, group in self._agents.items()
        ]  # fmt: skip
        return sorted(rows, key=lambda row: -row["runs"])

    def tool_rows(self) -> list[dict[str, Any]]:
        """Return one row a tool, the most used first; ``tool`` is ``None`` for turns without one."""
        rows: list[dict[str, Any]] = [{"tool": name, **_common(group)} for name, group in self._tools.items()]
        return sorted(rows, key=lambda row: -int(row["turns"]))


def _common(group: _Group) -> dict[str, Any]:
    took = sorted(group.took)
    return {
        "turns": group.turns, "median_ms": percentile(took, 50), "p95_ms": percentile(took, 95),
        "failed_turns": group.failed, "tokens": group.tokens.total, "cached_tokens": group.tokens.cached,
    }  # fmt: skip


def percentile(ordered: list[float], share: int) -> float | None:
    """Return the value that ``share`` percent of the ordered values do not exceed (nearest rank)."""
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)] if ordered else None


_TURN = Record(record="turn")


def _for_the_end(line: _Line) -> Record:
    """A line as far as it bears on how the run ended."""
    if line.record in TURN_KINDS:
        return _TURN
    return Record(record=line.record, termination=line.termination, final=line.final, ended_at=line.ended_at)


def _parsed(file: run_files.RunFile) -> Iterator[_Line]:
    with run_files.opened(file) as fd:
        for _, block in reader.read_blocks(fd):
            try:
                yield from _lines.decode_lines(block)
            except reader.BAD_LINE:
                yield from _one_by_one(block)


def _one_by_one(block: bytes) -> Iterator[_Line]:
    for line in block.split(b"\n"):
        try:
            yield _lines.decode(line)
        except reader.BAD_LINE:
            continue
