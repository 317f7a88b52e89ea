"""Target 1: batches of 256 turns, one client, each acknowledged."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import measure, turns, ways
from benchmarks.bench import Bench, batch
from benchmarks.measure import Result, Row
from benchmarks.rawwire import RawWire, batch_line
from benchmarks.ways import Way

WINDOW = 8


def run(bench: Bench) -> Result:
    result = Result("batches", "Batches of 256 turns from one client, acknowledged", pictured=2)
    for mix, full in (("400 B", 400), ("mix", 40)):
        _measure(bench, result, mix, bench.size(full, max(4, full // 20)))
    _judge(result)
    return result


def _measure(bench: Bench, result: Result, mix: str, batches: int) -> None:
    own: list[Way] = [
        ways.Acknowledged(bench.daemon),
        ways.Sqlite(bench.place("sqlite"), "normal"),
        ways.Seed(bench.place("files")),
        ways.Flock(bench.place("files")),
        *(way for way in map(bench.redis, ("memory", "everysec")) if way is not None),
    ]
    data = batch(mix)
    acks = {way.name: way.ack for way in own}
    entries: dict[str, Callable[[], float]] = {way.name: _library(way, data, batches) for way in own}
    wire = RawWire(bench.daemon.socket)
    proto = RawWire(bench.prototype.socket)
    for window in (1, WINDOW):
        name = f"raw wire, {window} under way"
        entries[name], acks[name] = _raw(wire, data, batches, window), ways.EVERYSEC
    name = f"prototype, raw wire, {WINDOW} under way"
    entries[name], acks[name] = _prototype(bench, proto, data, batches), ways.PAGE_CACHE
    for name, values in measure.interleave(entries, bench.rounds, bench.warm_memory).items():
        result.add(f"{mix} ({turns.mean_bytes(data)} B a turn)", Row(name, acks[name], measure.RATE, values))
    for way in own:
        way.close()
    wire.close()
    proto.close()


def _library(way: Way, data: list[turns.Turn], batches: int) -> Callable[[], float]:
    def work() -> None:
        for _ in range(batches):
            way.many(data)

    def once() -> float:
        way.begin()
        try:
            return measure.rate(batches * len(data), work)
        finally:
            way.end()

    return once


def _raw(wire: RawWire, data: list[turns.Turn], batches: int, window: int) -> Callable[[], float]:
    def once() -> float:
        run_id = wire.start()
        lines = [batch_line(run_id, data)] * batches
        try:
            return measure.rate(batches * len(data), lambda: wire.pipelined(lines, window))
        finally:
            wire.end(run_id)
            wire.call("runs.gc")

    return once


def _prototype(bench: Bench, wire: RawWire, data: list[turns.Turn], batches: int) -> Callable[[], float]:
    def once() -> float:
        run_id = bench.fresh_name()
        lines = [batch_line(run_id, data)] * batches
        try:
            return measure.rate(batches * len(data), lambda: wire.pipelined(lines, WINDOW))
        finally:
            (bench.place("prototype") / run_id).unlink()

    return once


def _judge(result: Result) -> None:
    rows = {row.contestant: row for row in next(iter(result.tables.values()))}
    raw, proto = rows[f"raw wire, {WINDOW} under way"], rows[f"prototype, raw wire, {WINDOW} under way"]
    share = measure.at_least(raw.values, proto.values)
    result.target(
        "1a",
        "at least 1,000,000 turns/s where the prototype does 880,000, that is 1.14 times the prototype",
        f"{raw.median:,.0f} turns/s, {share:.2f} times the prototype ({proto.median:,.0f})",
        raw.median >= 1_000_000 or share >= 1_000_000 / 880_000,
    )
    client = rows["carruns record_turns()"]
    times = measure.at_least(client.values, rows["SQLite WAL, normal"].values)
    result.target(
        "1b", "at least 3 times SQLite WAL normal, 256 a transaction", f"{times:.1f} times (library)", times >= 3
    )
