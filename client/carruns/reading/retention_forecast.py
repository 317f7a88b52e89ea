"""When retention takes each run, by ``config.toml`` as it stands.  Foretells; the daemon removes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from carruns.protocol import times
from carruns.protocol.paths import CONFIG_NAME
from carruns.protocol.records import Record, RunStatus, RunSummary
from carruns.reading.instants import SECOND, instant
from carrunsd import config
from carrunsd.store import retention

_DAY = 86_400 * SECOND
_LAST_INSTANT = 253_402_300_799 * SECOND  # of the year 9999: RFC 3339 knows no later one
Going = tuple[int, RunSummary, str]


def forecast(car_dir: Path, runs: list[Record], now_ns: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the rules, and each ended run with when it goes and why, the first to go first.

    Rules are ``max_per_agent`` and ``max_age_days``, ``None`` where ``problems`` with the file keep everything.
    """
    loaded = config.load(car_dir / CONFIG_NAME)
    keep = loaded.retention
    rules = {
        "max_per_agent": keep.max_per_agent if keep else None,
        "max_age_days": keep.max_age_days if keep else None,
        "problems": list(loaded.problems),
    }
    if keep is None:
        return rules, []
    by_agent: dict[str, list[RunSummary]] = {}
    for run in runs:
        by_agent.setdefault(run.agent_id, []).append(msgspec.convert(dict(run), RunSummary))
    going = [row for agent in by_agent.values() for row in _of_agent(agent, keep, now_ns)]
    going.sort(key=lambda item: item[0])
    return rules, [_row(one, at, why, due=at <= now_ns) for at, one, why in going]


def _of_agent(runs: list[RunSummary], keep: retention.RetentionConfig, now_ns: int) -> list[Going]:
    gone_now = {id(run): why for run, why in retention.expired(runs, keep, now_ns)}
    going = []
    for one in runs:
        if one.status is not RunStatus.IN_PROGRESS:
            ended = instant(one.ended_at) or retention.started_ns(one)
            at = now_ns if id(one) in gone_now else ended + keep.max_age_days * _DAY
            going.append((at, one, gone_now.get(id(one), "age")))
    return going


def _row(run: RunSummary, at: int, why: str, *, due: bool) -> dict[str, Any]:
    row = {"run_id": run.run_id, "agent_id": run.agent_id, "bytes": run.bytes, "reason": why, "due": due}
    return {**row, "expires_at": times.render(min(at, _LAST_INSTANT), 0).replace(".Z", "Z")}
