"""Stores on disk, made without a daemon: many runs, real bytes, quickly."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.turns import encode, small

CONFIG = "[runs]\nmax_per_agent = 1000000\nmax_age_days = 100000\n[carrunsd]\nmax_turns_per_run = 100000000\n"
_STAMP = "2026-11-22T12:00:00.123456789Z"


@dataclass(frozen=True)
class Agent:
    """``runs`` runs with ``bytes`` bytes in all."""

    name: str
    runs: int
    bytes: int


def make(car_dir: Path, agents: list[Agent]) -> None:
    """Write the runs of ``agents`` under ``car_dir``, as a daemon would have left them."""
    numbers = itertools.count()
    for agent in agents:
        home = car_dir / "runs" / agent.name
        home.mkdir(parents=True, mode=0o700, exist_ok=True)
        body = turn_lines(agent.bytes // agent.runs)
        for _ in range(agent.runs):
            write_run(home, agent.name, f"run-{next(numbers):06d}", body)
    os.sync()


def turn_lines(size: int) -> bytes:
    """Return about ``size`` bytes of turns, as they stand in a file."""
    turns = small()
    lines: list[bytes] = []
    length = 0
    while length < size or not lines:
        number = len(lines)
        turn = {"record": "turn", "index": number, **turns[number % len(turns)], "verifier_verdict": "not_run"}
        lines.append(encode({**turn, "recorded_at": _STAMP, "writer": "w", "seq": number}) + b"\n")
        length += len(lines[-1])
    return b"".join(lines)


def write_run(home: Path, agent: str, run_id: str, body: bytes) -> None:
    """Write one run that has ended."""
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=hash(run_id) % 1_000_000)
    stamp = at.isoformat().replace("+00:00", "Z")
    names = {"run_id": run_id, "agent_id": agent}
    started = {"record": "started", **names, "intent": "benchmark", "started_at": stamp}
    outcome = {"status": "success", "summary": "", "evidence": [], "metrics": {}, "timestamp": stamp}
    termination = {"kind": "outcome", "status": "success", "outcome": outcome}
    ended = {"record": "ended", **names, "termination": termination, "ended_at": stamp}
    with os.fdopen(os.open(home / f"{run_id}.jsonl", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(encode(started) + b"\n" + body + encode(ended) + b"\n")
