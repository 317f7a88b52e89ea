"""What is measured and how: rounds in which the contestants take turns, medians, ratios within one round.

The machine is shared, so a time alone says little.  A ratio is taken within each round, between contestants that
ran seconds apart, and its median is what counts.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from benchmarks import process

T = TypeVar("T")

RATE = "turns/s"
MICROS = "us"


@dataclass
class Row:
    """One contestant's figures, one a round; ``ack`` says what its acknowledgement means."""

    contestant: str
    ack: str
    unit: str
    values: list[float]
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")


@dataclass
class Target:
    """One of the numbered targets of issue 4; ``met`` is ``None`` where nothing could be measured."""

    number: str
    text: str
    measured: str
    met: bool | None


@dataclass
class Result:
    """What a case found: tables of rows by title, targets, and remarks."""

    name: str
    title: str
    pictured: int = 1  # so many of the first tables are drawn
    tables: dict[str, list[Row]] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, table: str, row: Row) -> Row:
        self.tables.setdefault(table, []).append(row)
        return row

    def target(self, number: str, text: str, measured: str, met: bool | None) -> None:
        self.targets.append(Target(number, text, measured, met))


def interleave(
    contestants: Mapping[str, Callable[[], T]], rounds: int, before: Callable[[], object] | None = None
) -> dict[str, list[T]]:
    """Run every contestant once a round, in an order that shifts; return what each gave, a value a round.

    ``before`` is called at the start of each round.
    """
    names = list(contestants)
    out: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        if before is not None:
            before()
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            out[name].append(contestants[name]())
    return out


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return median(a / b for a, b in zip(one, other, strict=True))


def at_least(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how many times ``other`` ``one`` is at the least: by rounds, and by the medians of all rounds.

    Two processes that share a core do half of what they do on two, and which it is changes between rounds: with few
    rounds one lucky pair must not decide.
    """
    return min(ratio(one, other), median(one) / median(other))


def rate(count: int, work: Callable[[], object]) -> float:
    """Return how many of ``count`` a second ``work`` did."""
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


@dataclass(frozen=True)
class Effort:
    """A speed and the CPU time it took, in microseconds a turn; ``server`` is 0 where there is none."""

    rate: float
    client: float
    server: float


def effort(count: int, work: Callable[[], object], pid: int = 0) -> Effort:
    """Do ``work``, which is ``count`` turns, with the server ``pid``."""
    server = process.cpu_seconds(pid) if pid else 0.0
    client, begin = time.process_time(), time.perf_counter()
    work()
    seconds, client = time.perf_counter() - begin, time.process_time() - client
    server = process.cpu_seconds(pid) - server if pid else 0.0
    return Effort(count / seconds, client / count * 1e6, server / count * 1e6)


def latencies(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Return how many microseconds each call took, sorted."""
    now = time.perf_counter_ns
    out = []
    for call in calls:
        begin = now()
        call()
        out.append((now() - begin) / 1000)
    out.sort()
    return out


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
