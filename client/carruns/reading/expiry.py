"""When retention takes each run, by the configuration as it stands (SPEC section 3)."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from carruns.cli.settings import Settings
from carruns.protocol import times
from carruns.protocol.paths import CONFIG_NAME
from carruns.protocol.records import Record, RunStatus, RunSummary
from carruns.render import clean, humane

_DAY = 86_400 * humane.SECOND


def expiry(settings: Settings, runs: list[Record]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the rules, and each ended run with when it goes and why, the first to go first."""
    from carrunsd import config
    from carrunsd.store import retention

    loaded = config.load(os.path.join(settings.car_dir, CONFIG_NAME))
    keep = loaded.retention
    rules = {
        "max_per_agent": keep.max_per_agent if keep else None,
        "max_age_days": keep.max_age_days if keep else None,
        "problems": list(loaded.problems),
    }
    if keep is None:
        return rules, []
    now = time.time_ns()
    by_agent: dict[str, list[RunSummary]] = {}
    for run in runs:
        by_agent.setdefault(run.agent_id, []).append(msgspec.convert(dict(run), RunSummary))
    going = []
    for agent in by_agent.values():
        now_gone = {id(run): why for run, why in retention.expired(agent, keep, now)}
        for one in agent:
            if one.status is not RunStatus.IN_PROGRESS:
                ended = humane.instant(one.ended_at) or retention.started_ns(one)
                at = now if id(one) in now_gone else ended + keep.max_age_days * _DAY
                going.append((at, one, now_gone.get(id(one), "age")))
    going.sort(key=lambda item: item[0])
    return rules, [_row(one, at, why, due=at <= now) for at, one, why in going]


def _row(run: RunSummary, at: int, why: str, *, due: bool) -> dict[str, Any]:
    row = {"run_id": run.run_id, "agent_id": run.agent_id, "bytes": run.bytes, "reason": why, "due": due}
    return {**row, "expires_at": times.render(min(at, 253_402_300_799 * humane.SECOND), 0).replace(".Z", "Z")}


def expiry_lines(rules: dict[str, Any], going: list[dict[str, Any]]) -> list[str]:
    """Return the rules and what follows from them as sentences."""
    if rules["max_per_agent"] is None:
        return [clean.line(problem) for problem in rules["problems"]]
    count, days = rules["max_per_agent"], rules["max_age_days"]
    out = [f"the newest {count} ended runs of an agent stay, for {days} days from their end"]
    due = [row for row in going if row["due"]]
    if due:
        size = humane.size(sum(row["bytes"] for row in due))
        reasons = ", ".join(
            f"{sum(row['reason'] == why for row in due)} by {why}"
            for why in ("count", "age")
            if any(r["reason"] == why for r in due)
        )
        out.append(f"the next collection removes {len(due)} runs, {size} ({reasons}): carruns prune --dry-run")
    later = [row for row in going if not row["due"]]
    if later:
        seconds = ((humane.instant(later[0]["expires_at"]) or 0) - time.time_ns()) / humane.SECOND
        out.append(
            f"after that, the first to go by age is {clean.line(later[0]['run_id'])}, in {humane.age(seconds)}"
        )
    return out
