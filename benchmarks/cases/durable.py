"""Target 4: turns that are on the device when they are acknowledged; one agent, and 32 at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from benchmarks import fleet, measure, turns, ways
from benchmarks.bench import Bench, batch
from benchmarks.measure import Result, Row
from benchmarks.ways import Acknowledged, Library, Sqlite, Way

AGENTS = 32
BURST = 32
_ONE_ROUNDS = 5
_ONE = "one agent, p50 of a turn"
_MANY = f"{AGENTS} agents on {AGENTS} runs, each turn acknowledged before the next"
_BURSTS = f"{AGENTS} agents on {AGENTS} runs, {BURST} turns an acknowledgement"


class Burst(Library):
    """``run.turn()`` as agents do, a durable flush now and then."""

    name = "carruns run.turn(), flush(durable)"
    ack = ways.SYNCED

    def many(self, turns: list[turns.Turn]) -> None:
        for turn in turns:
            self.run.turn(**turn)
        if not self.run.flush(durable=True).ok:
            raise RuntimeError("not all was stored")


def run(bench: Bench) -> Result:
    result = Result("durable", "On the device before it is acknowledged", pictured=3)
    _one(bench, result, bench.size(200, 5))
    seconds = 0.3 if bench.quick else 4.0
    agents = bench.size(AGENTS, 4)
    _many(bench, result, _MANY, agents, seconds, burst=1)
    _many(bench, result, _BURSTS, agents, seconds, burst=BURST)
    _judge(result)
    return result


def _makers(bench: Bench, *, burst: bool) -> dict[str, Callable[[], Way]]:
    """Return how an agent makes its way, in its own process."""
    library: Callable[[], Way] = (
        (lambda: Burst(bench.daemon)) if burst else (lambda: Acknowledged(bench.daemon, durable=True))
    )
    makers: dict[str, Callable[[], Way]] = {
        "carruns": library,
        "sqlite": lambda: Sqlite(bench.place("sqlite"), "full"),
        "files": lambda: ways.Fdatasync(bench.place("files")),
    }
    redis = bench.redis("always")
    if redis is not None:
        redis.close()
        makers["redis"] = lambda: _redis(bench)
    return makers


def _redis(bench: Bench) -> Way:
    way = bench.redis("always")
    assert way is not None
    return way


def _one(bench: Bench, result: Result, count: int) -> None:
    data = batch("400 B")
    own = [make() for make in _makers(bench, burst=False).values()]

    def calls(way: Way) -> Callable[[], float]:
        def once() -> float:
            way.begin()
            way.turn(data[0])  # makes files, directories, tables
            work = [lambda turn=turn: way.turn(turn) for turn in itertools.islice(itertools.cycle(data), count)]
            try:
                return measure.percentile(measure.latencies(work), 50)
            finally:
                way.end()

        return once

    # The disk's mood changes within a second: short turns, many of them.
    rounds = bench.rounds * _ONE_ROUNDS
    for name, values in measure.interleave({way.name: calls(way) for way in own}, rounds).items():
        result.add(_ONE, Row(name, ways.SYNCED, measure.MICROS, values))
    for way in own:
        way.close()


def _many(bench: Bench, result: Result, table: str, agents: int, seconds: float, *, burst: int) -> None:
    data = batch("400 B")

    def contestant(make: Callable[[], Way]) -> Callable[[], float]:
        def agent(_: int, barrier: fleet.Barrier) -> float:
            way = make()
            way.begin()
            barrier.wait()
            end = time.monotonic() + seconds
            done = 0
            while time.monotonic() < end:
                if burst == 1:
                    way.turn(data[done % turns.BATCH])
                else:
                    way.many(data[:burst])
                done += burst
            if type(way) is not Sqlite:  # the database is everybody's
                way.end()
                way.close()
            return float(done)

        return lambda: sum(fleet.run(agents, agent)) / seconds

    makers = _makers(bench, burst=burst > 1)
    names = {key: (make().name) for key, make in makers.items()}
    shared = Sqlite(bench.place("sqlite"), "full")
    shared.begin()  # makes the database in peace
    shared.db.close()
    rounds = min(bench.rounds, 3)
    samples = measure.interleave({names[key]: contestant(make) for key, make in makers.items()}, rounds)
    for name, values in samples.items():
        result.add(table, Row(name, ways.SYNCED, measure.RATE, values))
    shared.end()


def _judge(result: Result) -> None:
    one = {row.contestant: row for row in result.tables[_ONE]}
    own = next(row for name, row in one.items() if name.startswith("carruns"))
    floor = one[ways.Fdatasync.name]
    share = 1 / measure.at_least(floor.values, own.values)
    result.target(
        "4a",
        "one agent at most 1.5 times a bare fdatasync of the same bytes",
        f"{share:.2f} times ({own.median / 1000:.2f} ms against {floor.median / 1000:.2f} ms)",
        share <= 1.5,
    )
    for table in (_MANY, _BURSTS):
        rows = result.tables[table]
        for other in rows[1:]:
            if other.contestant == ways.Fdatasync.name:
                continue  # the floor, no contestant
            times = measure.at_least(rows[0].values, other.values)
            how = "a turn an acknowledgement" if table is _MANY else f"{BURST} turns an acknowledgement"
            result.target(
                "4b",
                f"32 agents at least 10 times {other.contestant}, {how}",
                f"{times:.1f} times ({rows[0].median:,.0f} against {other.median:,.0f} turns/s)",
                times >= 10,
            )
