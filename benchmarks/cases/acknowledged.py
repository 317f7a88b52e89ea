"""Target 3: one turn, acknowledged, then the next."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from benchmarks import measure, turns, ways
from benchmarks.bench import Bench, batch
from benchmarks.measure import Result, Row
from benchmarks.rawwire import RawWire, batch_line
from benchmarks.ways import Acknowledged, Library, Way

_ECHO = "C echo, Python client"
_PROTOTYPE = "prototype, raw wire"
_TABLE = "p{}"


class Flushed(Library):
    """``run.turn()`` and ``run.flush()``: two requests, one answer."""

    name = "carruns run.turn(), flush()"
    ack = ways.EVERYSEC

    def turn(self, turn: turns.Turn) -> None:
        self.run.turn(**turn)
        self.run.flush()


def run(bench: Bench) -> Result:
    result = Result("acknowledged", "One turn at a time, each acknowledged before the next")
    count = bench.size(4_000, 200)
    redis = [way for way in map(bench.redis, ("memory", "everysec")) if way is not None]
    own: list[Way] = [
        Acknowledged(bench.daemon), Flushed(bench.daemon), *redis,
        ways.Sqlite(bench.place("sqlite"), "normal"), ways.Flock(bench.place("files")),
    ]  # fmt: skip
    acks = {way.name: way.ack for way in own}
    data = batch("400 B")
    entries = {way.name: _calls(way, data, count) for way in own}
    wire = RawWire(bench.daemon.socket)
    entries["raw wire"], acks["raw wire"] = (lambda: _raw(wire, data, count)), ways.EVERYSEC
    proto = RawWire(bench.prototype.socket)
    entries[_PROTOTYPE], acks[_PROTOTYPE] = (lambda: _prototype(bench, proto, data, count)), ways.PAGE_CACHE
    if bench.echo is not None:
        echo = RawWire(bench.echo.socket)
        entries[_ECHO], acks[_ECHO] = (lambda: _echo(echo, data, count)), "none: the floor of a round trip"
    for name, samples in measure.interleave(entries, bench.rounds, bench.warm_memory).items():
        for percent in (50, 99):
            values = [measure.percentile(sample, percent) for sample in samples]
            result.add(_TABLE.format(percent), Row(name, acks[name], measure.MICROS, values))
    for way in own:
        way.close()
    _judge(result)
    return result


def _calls(way: Way, data: list[turns.Turn], count: int) -> Callable[[], list[float]]:
    def once() -> list[float]:
        way.begin()
        try:
            return _timed(way.turn, data, count)
        finally:
            way.end()

    return once


def _timed(work: Callable[[turns.Turn], object], data: list[turns.Turn], count: int) -> list[float]:
    now = time.perf_counter_ns
    out = []
    for turn in itertools.islice(itertools.cycle(data), count):
        begin = now()
        work(turn)
        out.append((now() - begin) / 1000)
    return sorted(out)


def _raw(wire: RawWire, data: list[turns.Turn], count: int) -> list[float]:
    run_id = wire.start()
    try:
        return _asked(wire, run_id, data, count)
    finally:
        wire.end(run_id)
        wire.call("runs.gc")


def _prototype(bench: Bench, wire: RawWire, data: list[turns.Turn], count: int) -> list[float]:
    run_id = bench.fresh_name()
    try:
        return _asked(wire, run_id, data, count)
    finally:
        (bench.place("prototype") / run_id).unlink()


def _asked(wire: RawWire, run_id: str, data: list[turns.Turn], count: int) -> list[float]:
    lines = {id(turn): batch_line(run_id, [turn]) for turn in data}

    def work(turn: turns.Turn) -> None:
        wire.sock.sendall(lines[id(turn)])
        wire.answer()

    return _timed(work, data, count)


def _echo(wire: RawWire, data: list[turns.Turn], count: int) -> list[float]:
    line = batch_line("echo", data[:1])

    def work(_: turns.Turn) -> None:
        wire.sock.sendall(line)
        left = len(line)
        while left:
            left -= len(wire.sock.recv(left))

    return _timed(work, data, count)


def _judge(result: Result) -> None:
    p50 = {row.contestant: row for row in result.tables[_TABLE.format(50)]}
    p99 = {row.contestant: row for row in result.tables[_TABLE.format(99)]}
    own = p50[Acknowledged.name]
    result.target(
        "3a", "p50 at most 50 us", f"{own.median:.0f} us (raw wire {p50['raw wire'].median:.0f})", own.median <= 50
    )
    tail = measure.ratio(p99[Acknowledged.name].values, own.values)
    result.target("3b", "p99 at most 4 times the p50", f"{tail:.1f} times", tail <= 4)
    for name, row in p50.items():
        if name.startswith("Redis"):
            share = 1 / measure.at_least(row.values, own.values)
            result.target(
                "3c",
                f"at most half of redis-py's XADD ({name})",
                f"{share:.2f} of {row.median:.0f} us",
                share <= 0.5,
            )
