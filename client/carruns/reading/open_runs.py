"""The open runs as ``carruns top`` shows them: their last records and rates, the daemon's counters.

Safe to use from several threads.  ``poll_open_runs`` asks the daemon and feeds it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from carruns.reading.instants import SECOND, instant
from carruns.render.turn_view import turn_of

_RATE_SECONDS = 10.0


class _Run:
    def __init__(self) -> None:
        self.tool = ""
        self.last_at: int | None = None
        self.turns_seen = 0
        self.samples: list[tuple[float, int]] = []

    def rate(self) -> float:
        """Turns a second over the last seconds."""
        if len(self.samples) < 2:
            return 0.0
        (began, first), (ended, last) = self.samples[0], self.samples[-1]
        return max(0, last - first) / max(0.001, ended - began)


class OpenRuns:
    """Fed by :meth:`polled`, :meth:`looked` and :meth:`seen`; read by :meth:`rows` and :meth:`daemon_row`."""

    def __init__(self, agent: str | None, stuck_seconds: float) -> None:
        self.agent = agent
        self.problem = ""
        self.others: list[str] = []  # ids of runs that are not shown
        self._stuck = stuck_seconds
        self._lock = threading.Lock()
        self._summaries: list[Mapping[str, Any]] = []
        self._runs: dict[str, _Run] = {}
        self._stats: Mapping[str, Any] = {}
        self._greeting: Mapping[str, Any] = {}
        self._records: list[tuple[float, int, int]] = []

    def polled(self, stats: Mapping[str, Any], runs: list[Any], greeting: Mapping[str, Any]) -> None:
        """Take the daemon's counters and its open runs."""
        now = time.monotonic()
        with self._lock:
            if greeting.get("pid") != self._greeting.get("pid"):
                self._records.clear()  # another daemon: its counters begin anew
            self.problem, self._stats, self._greeting, self._summaries = "", stats, greeting, runs
            self._records.append((now, int(stats.get("records", 0)), int(stats.get("bytes", 0))))
            self._records = [sample for sample in self._records if sample[0] > now - _RATE_SECONDS]
            for run in runs:
                one = self._runs.setdefault(run["run_id"], _Run())
                one.samples.append((now, run["turn_count"]))
                one.samples = [sample for sample in one.samples if sample[0] > now - _RATE_SECONDS]
            listed = {run["run_id"] for run in runs}
            self._runs = {run_id: one for run_id, one in self._runs.items() if run_id in listed}

    def lost(self, problem: str) -> None:
        """There is no daemon now."""
        with self._lock:
            self.problem, self._summaries, self._stats, self._greeting = problem, [], {}, {}

    def unknown_runs(self) -> list[tuple[str, str]]:
        """Return the runs whose last record was not seen: before we came, or while the daemon was restarted."""
        with self._lock:
            seen = {run_id: one.turns_seen for run_id, one in self._runs.items() if one.last_at is not None}
            return [
                (run["run_id"], run["agent_id"])
                for run in self._summaries
                if seen.get(run["run_id"], -1) < run["turn_count"]
            ]

    def looked(self, run_id: str, record: Mapping[str, Any] | None) -> None:
        """Take the last record of a run as it was read."""
        with self._lock:
            one = self._runs.get(run_id)
            if one is not None:
                self._note(one, record or {})

    def seen(self, event: Mapping[str, Any]) -> None:
        """Take an event of ``runs.watch``."""
        record = event.get("record")
        if isinstance(record, dict):
            with self._lock:
                self._note(self._runs.setdefault(str(event.get("run_id")), _Run()), record)

    @staticmethod
    def _note(one: _Run, record: Mapping[str, Any]) -> None:
        text = record.get("recorded_at") or record.get("started_at")
        one.last_at = instant(text) or one.last_at or time.time_ns()
        turn = turn_of(record)
        if turn is not None:
            one.tool = str(turn.get("tool") or turn.get("model") or "")
            index = turn.get("index")
            one.turns_seen = index + 1 if isinstance(index, int) else one.turns_seen

    # --- reading --------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """Return the open runs: the stuck ones first, then the ones that do most."""
        now = time.time_ns()
        with self._lock:
            rows = [self._row(run, self._runs.get(run["run_id"]) or _Run(), now) for run in self._summaries]
        return sorted(rows, key=lambda row: (not row["stuck"], -row["turns_per_second"], row["run_id"]))

    def _row(self, run: Mapping[str, Any], one: _Run, now: int) -> dict[str, Any]:
        began = instant(run.get("started_at")) or now
        idle = max(0, now - (one.last_at or began)) / SECOND
        return {
            "run_id": run["run_id"], "agent_id": run["agent_id"], "intent": run["intent"],
            "turn_count": run["turn_count"], "bytes": run["bytes"], "turns_per_second": round(one.rate(), 2),
            "last_tool": one.tool or None, "age_seconds": round(max(0, now - began) / SECOND, 1),
            "idle_seconds": round(idle, 1), "stuck": idle >= self._stuck,
        }  # fmt: skip

    def daemon_row(self) -> dict[str, Any]:
        """Return the daemon's health."""
        with self._lock:
            if not self._greeting:
                return {"up": False, "message": self.problem}
            samples = self._records
            seconds = max(0.001, samples[-1][0] - samples[0][0]) if len(samples) > 1 else 0.0
            rates = [(samples[-1][n] - samples[0][n]) / seconds if seconds else 0.0 for n in (1, 2)]
            names = ("uptime", "connections", "open_runs", "records", "bytes", "errors", "queue", "unsynced_bytes")
            return {
                "up": True, "pid": self._greeting.get("pid"), "version": self._greeting.get("version"),
                **{name: self._stats.get(name) for name in names},
                "records_per_second": round(rates[0], 1), "bytes_per_second": round(rates[1], 1),
            }  # fmt: skip
