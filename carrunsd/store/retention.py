"""Retention: how many runs of an agent stay, and for how long (docs/files.md).

Decides; ``upkeep/remove_expired.py`` removes.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import tomli

from carruns.protocol.records import RunStatus, RunSummary
from carrunsd.store import chrono

DEFAULT_MAX_PER_AGENT = 50
DEFAULT_MAX_AGE_DAYS = 30
MAX_DAYS = 1_000_000
MAX_COUNT = (1 << 63) - 1
_DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """The newest ``max_per_agent`` terminal runs stay, for ``max_age_days`` days from their end."""

    max_per_agent: int = DEFAULT_MAX_PER_AGENT
    max_age_days: int = DEFAULT_MAX_AGE_DAYS

    @classmethod
    def from_car_dir(cls, car_dir: str | os.PathLike[str]) -> RetentionConfig:
        """Return what ``config.toml`` in ``car_dir`` says, the defaults where it is missing or bad."""
        try:
            with open(os.path.join(car_dir, "config.toml"), "rb") as file:
                return cls.from_table(tomli.load(file).get("runs", {}))
        except (OSError, ValueError):  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            return cls()

    @classmethod
    def from_table(cls, table: Any) -> RetentionConfig:
        """Return what a ``[runs]`` table says.  Raises ``ValueError`` naming the key that is out of range."""
        if not isinstance(table, dict):
            raise ValueError("[runs] is not a table")
        return cls(
            whole_number(table, "max_per_agent", DEFAULT_MAX_PER_AGENT, 0, MAX_COUNT),
            whole_number(table, "max_age_days", DEFAULT_MAX_AGE_DAYS, 0, MAX_DAYS),
        )


def whole_number(table: dict[str, Any], key: str, default: int, low: int, high: int) -> int:
    """Return ``table[key]`` if it is a whole number from ``low`` to ``high``; raises ``ValueError`` if not."""
    value = table.get(key, default)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{key} = {value!r} is not a whole number from {low} to {high}")
    return value


def started_ns(summary: RunSummary) -> int:
    """Return when a run started, in nanoseconds since the epoch; 0 where its time cannot be read."""
    return _ns(summary.started_at)


def expired(
    runs: Iterable[RunSummary],
    retention: RetentionConfig,
    now_ns: int,
    *,
    owner: Callable[[RunSummary], str] = attrgetter("agent_id"),
) -> list[tuple[RunSummary, str]]:
    """Return which of the runs are to go, each with the reason (``"count"`` or ``"age"``).

    The newest terminal runs of each agent by ``started_at`` stay; age counts from the end.  A run in progress
    neither goes nor takes a place (the seed's rule).  ``owner`` says whose count a run is in.
    """
    over = sorted((run for run in runs if run.status is not RunStatus.IN_PROGRESS), key=started_ns, reverse=True)
    cutoff = now_ns - retention.max_age_days * _DAY_NS
    out = []
    taken: Counter[str] = Counter()
    for run in over:
        agent = owner(run)
        rank, taken[agent] = taken[agent], taken[agent] + 1
        if rank >= retention.max_per_agent:
            out.append((run, "count"))
        elif (_ns(run.ended_at) if run.ended_at else started_ns(run)) < cutoff:
            out.append((run, "age"))
    return out


@functools.lru_cache(16_384)
def _ns(text: str) -> int:
    return chrono.instant(text) or 0
