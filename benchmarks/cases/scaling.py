"""Target 8: throughput over open runs and over connections, as a curve."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from benchmarks import measure, ways
from benchmarks.bench import Bench, batch
from benchmarks.measure import Result, Row
from benchmarks.rawwire import RawWire, turn_lines
from carruns.protocol.messages import request

RUNS = (1, 10, 100, 1_000)
CONNECTIONS = (1, 10, 100, 500)
_RUNS = "open runs, one connection, a turn to each in turn"
_BURSTS = "open runs, one connection, 20 turns to each in turn"
_CONNECTIONS = "connections, a run each, a turn on each in turn"
CLIFF = 0.5  # a step of ten that leaves less than this is a cliff


def run(bench: Bench) -> Result:
    result = Result("scaling", "Throughput over open runs and connections", pictured=3)
    count = bench.size(60_000, 3_000)
    curves: dict[str, tuple[Sequence[int], Callable[[int], float]]] = {
        _RUNS: (RUNS, lambda n: _over_runs(bench, n, count, 1)),
        _BURSTS: (RUNS, lambda n: _over_runs(bench, n, count, 20)),
        _CONNECTIONS: (CONNECTIONS, lambda n: _over_connections(bench, n, count)),
    }
    for table, (points, point) in curves.items():
        entries = {f"{n:,}": lambda n=n, point=point: point(n) for n in points[: bench.size(4, 3)]}
        for name, values in measure.interleave(entries, bench.rounds, bench.warm_memory).items():
            result.add(table, Row(name, ways.KERNEL, measure.RATE, values))
        _judge(result, table)
    return result


def _over_runs(bench: Bench, runs: int, count: int, burst: int) -> float:
    wire = RawWire(bench.daemon.socket)
    ids = [wire.start() for _ in range(runs)]
    each = max(burst, count // runs // burst * burst)
    data = batch("400 B")
    lines = [turn_lines(run_id, "w", data, each) for run_id in ids]
    blocks = [mine[at : at + burst] for at in range(0, each, burst) for mine in lines]
    work = list(itertools.chain.from_iterable(blocks))
    speed = measure.rate(len(work), lambda: _send(wire, work, ids, each - 1))
    _throw_away(wire, ids)
    wire.close()
    return speed


def _send(wire: RawWire, lines: list[bytes], ids: list[str], last: int) -> None:
    send = wire.sock.sendall
    for line in lines:
        send(line)
    for run_id in ids:
        wire.stream((), run_id, "w", last)


def _over_connections(bench: Bench, connections: int, count: int) -> float:
    wires = [RawWire(bench.daemon.socket) for _ in range(connections)]
    ids = [wire.start() for wire in wires]
    each = max(1, count // connections)
    data = batch("400 B")
    lines = [turn_lines(run_id, "w", data, each) for run_id in ids]
    sends = [wire.sock.sendall for wire in wires]

    def work() -> None:
        for turn in zip(*lines, strict=True):
            for send, line in zip(sends, turn, strict=True):
                send(line)
        for wire, run_id in zip(wires, ids, strict=True):
            wire.stream((), run_id, "w", each - 1)

    speed = measure.rate(each * connections, work)
    _throw_away(wires[0], ids)
    for wire in wires:
        wire.close()
    return speed


def _throw_away(wire: RawWire, ids: list[str]) -> None:
    outcome = {"status": "done", "summary": ""}
    wire.pipelined(
        [request("runs.complete", {"run_id": run_id, "outcome": outcome}, 1) for run_id in ids], len(ids)
    )
    wire.call("runs.gc")


def _judge(result: Result, table: str) -> None:
    rows = result.tables[table]
    steps = [measure.ratio(b.values, a.values) for a, b in itertools.pairwise(rows)]
    curve = ", ".join(f"{row.contestant}: {row.median / 1000:,.0f}k" for row in rows)
    result.target(
        "8",
        f"no cliff (no step under {CLIFF}) over {table}",
        f"{curve}; steps {', '.join(f'{s:.2f}' for s in steps)}",
        min(steps) >= CLIFF,
    )
