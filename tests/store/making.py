"""Records for the tests of the store, as the seed's own tests make them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from carruns.protocol import times
from carrunsd.store import RunEnded, RunStarted, RunStore, RunTurn

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def ago(seconds: float) -> str:
    """Return the time ``seconds`` ago."""
    return times.render(time.time_ns() - int(seconds * 1e9), 9)


def started(run_id: str, agent_id: str, when: str = "", **more: Any) -> RunStarted:
    return RunStarted(run_id=run_id, agent_id=agent_id, intent="do the thing", started_at=when or ago(0), **more)


def turn(index: int, prompt: str) -> RunTurn:
    return RunTurn(
        index=index,
        prompt=prompt,
        tool="drive_cli",
        parameters={"prompt": prompt},
        output={"exit_code": 0},
    )


def ended(run_id: str, agent_id: str, status: str = "success", when: str = "") -> RunEnded:
    when = when or ago(0)
    outcome = {"status": status, "summary": "done", "evidence": [], "metrics": {}, "timestamp": when}
    termination = {"kind": "outcome", "status": status, "outcome": outcome}
    return RunEnded(run_id=run_id, agent_id=agent_id, termination=termination, ended_at=when)


def incomplete(run_id: str, agent_id: str) -> RunEnded:
    return RunEnded(run_id=run_id, agent_id=agent_id, termination={"kind": "incomplete"}, ended_at=ago(0))


def finished(store: RunStore, run_id: str, agent_id: str, *, begin: str, end: str = "") -> None:
    """Write a whole run with an outcome."""
    store.write_started(started(run_id, agent_id, begin))
    store.write_ended(ended(run_id, agent_id, when=end))


def prompts(trace: list[Any] | None) -> list[str]:
    assert trace is not None, "there is no such run"
    return [record.prompt for record in trace if record.record == "turn"]


def append_raw(path: Path, data: bytes) -> None:
    """Write bytes behind a run file, as a crash or another program would leave them."""
    with path.open("ab") as file:
        file.write(data)
