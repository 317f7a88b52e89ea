"""What the tests of a daemon's life share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support import Daemon, Json

Make = Callable[..., Daemon]


def config(**keys: Any) -> str:
    return "[carrunsd]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def last(daemon: Daemon, run: str, agent: str = "agent-a") -> Json:
    return daemon.records(agent, run)[-1]


def ended_by(daemon: Daemon, run: str, reason: str) -> bool:
    record = last(daemon, run)
    return bool(record["record"] == "ended" and record["reason"] == reason)
