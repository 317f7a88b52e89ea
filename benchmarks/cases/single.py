"""Target 2: ``run.turn()`` one at a time, exactly once, flushed at the end; one agent and eight."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median

from benchmarks import fleet, measure, turns, ways
from benchmarks.bench import Bench, batch
from benchmarks.measure import Effort, Result, Row
from benchmarks.rawwire import RawWire, turn_lines
from benchmarks.ways import Library, Way

AGENTS = 8
_SLOW = 20  # ways that wait for a server or a transaction get this many times fewer turns


def run(bench: Bench) -> Result:
    result = Result("single", "One turn a call, one agent, everything stored at the end", pictured=1)
    for mix, full in (("400 B", 60_000), ("mix", 6_000)):
        _rates(bench, result, mix, bench.size(full, full // 15))
    _calls(bench, result, bench.size(20_000, 1_000))
    _agents(bench, result, bench.size(40_000, 2_000))
    _judge(result)
    return result


def _ways(bench: Bench) -> list[tuple[Way, int]]:
    redis = bench.redis("everysec")
    return [
        (Library(bench.daemon), 1),
        (ways.Seed(bench.place("files")), 1),
        (ways.Flock(bench.place("files")), 1),
        (ways.Sqlite(bench.place("sqlite"), "normal"), _SLOW),
        *([(redis, _SLOW)] if redis is not None else []),
    ]


def _rates(bench: Bench, result: Result, mix: str, count: int) -> None:
    own = _ways(bench)
    data = batch(mix)
    acks = {way.name: way.ack for way, _ in own}
    entries = {way.name: _stream(way, data, count // slow) for way, slow in own}
    wire, proto = RawWire(bench.daemon.socket), RawWire(bench.prototype.socket)
    entries["raw wire, one send a turn"] = lambda: _raw(bench, wire, data, count)
    entries["prototype, one send a turn"] = lambda: _prototype(bench, proto, data, count)
    acks["raw wire, one send a turn"] = acks["prototype, one send a turn"] = ways.KERNEL
    title = f"{mix} ({turns.mean_bytes(data)} B a turn)"
    for name, efforts in measure.interleave(entries, bench.rounds, bench.warm_memory).items():
        for table, unit, values in (
            (f"end to end, {title}", measure.RATE, [effort.rate for effort in efforts]),
            (
                f"CPU of the agent's process for a turn, {title}",
                measure.MICROS,
                [effort.client for effort in efforts],
            ),
            (f"CPU of the server for a turn, {title}", measure.MICROS, [effort.server for effort in efforts]),
        ):
            if any(values):
                result.add(table, Row(name, acks[name], unit, values))
    for way, _ in own:
        way.close()
    wire.close()
    proto.close()


def _stream(way: Way, data: list[turns.Turn], count: int) -> Callable[[], Effort]:
    def work() -> None:
        record = way.turn
        for turn in itertools.islice(itertools.cycle(data), count):
            record(turn)
        way.flush()

    def once() -> Effort:
        way.begin()
        try:
            return measure.effort(count, work, way.pid)
        finally:
            way.end()

    return once


def _raw(bench: Bench, wire: RawWire, data: list[turns.Turn], count: int) -> Effort:
    run_id = wire.start()
    lines = turn_lines(run_id, "w", data, count)
    try:
        return measure.effort(count, lambda: wire.stream(lines, run_id, "w", count - 1), bench.daemon.pid)
    finally:
        wire.end(run_id)
        wire.call("runs.gc")


def _prototype(bench: Bench, wire: RawWire, data: list[turns.Turn], count: int) -> Effort:
    run_id = bench.fresh_name()
    lines = turn_lines(run_id, "w", data, count)
    try:
        return measure.effort(count, lambda: wire.stream(lines, run_id, "w", count - 1), bench.prototype.pid)
    finally:
        (bench.place("prototype") / run_id).unlink()


# -- the call ----------------------------------------------------------------------------------------------


def _calls(bench: Bench, result: Result, count: int) -> None:
    data = batch("400 B")
    own: list[Way] = [
        Library(bench.daemon), ways.Seed(bench.place("files")), ways.Flock(bench.place("files")),
        ways.Bare(bench.daemon),
    ]  # fmt: skip
    samples = measure.interleave({way.name: _timed(way, data, count) for way in own}, bench.rounds)
    for way in own:
        for percent in (50, 99):
            values = [measure.percentile(sample, percent) for sample in samples[way.name]]
            result.add(f"what the call takes, p{percent}", Row(way.name, way.ack, measure.MICROS, values))
        way.close()


def _timed(way: Way, data: list[turns.Turn], count: int) -> Callable[[], list[float]]:
    def once() -> list[float]:
        way.begin()
        now = time.perf_counter_ns
        record = way.turn
        out = []
        for turn in itertools.islice(itertools.cycle(data), count):
            begin = now()
            record(turn)
            out.append((now() - begin) / 1000)
        way.flush()
        way.end()
        return sorted(out)

    return once


# -- eight agents ------------------------------------------------------------------------------------------


def _agents(bench: Bench, result: Result, count: int) -> None:
    data = batch("400 B")

    def agent(number: int, barrier: fleet.Barrier) -> float:
        way = Library(bench.daemon, f"agent-{number}")
        way.begin()
        barrier.wait()
        begin = time.monotonic()
        for turn in itertools.islice(itertools.cycle(data), count):
            way.turn(turn)
        way.flush()
        seconds = time.monotonic() - begin
        way.end()
        way.close()
        return seconds

    samples = measure.interleave(
        {"1": lambda: fleet.run(1, agent), "8": lambda: fleet.run(AGENTS, agent)}, bench.rounds, bench.warm_memory
    )
    table = f"{AGENTS} agents at once, each a process with its own run"
    alone = [count / times[0] for times in samples["1"]]
    together = [AGENTS * count / max(times) for times in samples["8"]]
    fair = [min(times) / max(times) for times in samples["8"]]
    result.add(table, Row("one agent", ways.KERNEL, measure.RATE, alone))
    result.add(table, Row(f"{AGENTS} agents together", ways.KERNEL, measure.RATE, together))
    share = measure.at_least(together, alone)
    result.target(
        "2c", "8 agents at once: total at least 0.9 of one agent's", f"{share:.2f} of one agent's", share >= 0.9
    )
    result.target("2d", "and fair: slowest at least 0.6 of fastest", f"{median(fair):.2f}", median(fair) >= 0.6)


def _judge(result: Result) -> None:
    rates = {row.contestant: row for row in next(iter(result.tables.values()))}
    own, proto = rates[Library.name], rates["prototype, one send a turn"]
    share = measure.at_least(own.values, proto.values)
    result.target(
        "2a",
        "at least 350,000 turns/s where the prototype does 370,000, that is 0.95 of the prototype",
        f"{own.median:,.0f} turns/s, {share:.2f} of the prototype ({proto.median:,.0f})",
        own.median >= 350_000 or share >= 350_000 / 370_000,
    )
    calls = {row.contestant: row for row in result.tables["what the call takes, p50"]}
    share = 1 / measure.at_least(calls[ways.Flock.name].values, calls[Library.name].values)
    result.target(
        "2b",
        "p50 of the call at most half of open, flock, append, close",
        f"{calls[Library.name].median:.1f} us, {share:.2f} of {calls[ways.Flock.name].median:.1f} us",
        share <= 0.5,
    )
