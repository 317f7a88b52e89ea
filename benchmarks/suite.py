"""The cases by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.cases import acknowledged, batches, durable, fanout, idle, reading, scaling, single
from benchmarks.measure import Result

CASES: dict[str, Callable[[Bench], Result]] = {
    "batches": batches.run,
    "single": single.run,
    "acknowledged": acknowledged.run,
    "durable": durable.run,
    "reading": reading.run,
    "fanout": fanout.run,
    "idle": idle.run,
    "scaling": scaling.run,
}
