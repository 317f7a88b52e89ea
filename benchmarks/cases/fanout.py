"""Target 6: what subscribers cost the one who writes."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import select
import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from benchmarks import measure, process, ways
from benchmarks.bench import Bench, batch
from benchmarks.measure import Result, Row
from benchmarks.rawwire import RawWire
from benchmarks.servers import Server
from benchmarks.ways import Library
from carruns.protocol import messages

PACE = 200  # turns a second: more than any agent makes
_SHORT_ROUNDS = 8
_STUCK = "1 subscriber and one that never reads"
_KINDS = {"no subscriber": (0, 0), "1 subscriber": (1, 0), "100 subscribers": (100, 0), _STUCK: (1, 1)}
_PACED = f"the writer's run.turn() at {PACE} turns/s, p50"
_ACKED = f"the writer's acknowledged turn at {PACE} turns/s, p50"
_FULL = "one writer at full speed, end to end"
_CPU = f"the daemon's CPU for a turn at {PACE} turns/s"


def run(bench: Bench) -> Result:
    result = Result("fanout", "One writer, many subscribers", pictured=3)
    paced, full = bench.size(20, 5), bench.size(40_000, 1_000)
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(_writer(bench, *kind)) for name, kind in _KINDS.items()}
        slow = measure.interleave(
            {name: lambda writer=writer: _slowly(bench, writer, paced) for name, writer in writers.items()},  # type: ignore[misc]
            bench.rounds * _SHORT_ROUNDS,
        )
        fast = measure.interleave(
            {name: lambda writer=writer: _flat_out(writer, full) for name, writer in writers.items()},  # type: ignore[misc]
            bench.rounds,
            bench.warm_memory,
        )
    for name in _KINDS:
        result.add(_PACED, Row(name, ways.KERNEL, measure.MICROS, [turn for turn, _, _ in slow[name]]))
        result.add(_ACKED, Row(name, ways.EVERYSEC, measure.MICROS, [ack for _, ack, _ in slow[name]]))
        result.add(_FULL, Row(name, ways.KERNEL, measure.RATE, fast[name]))
        result.add(_CPU, Row(name, "", measure.MICROS, [cpu for _, _, cpu in slow[name]]))
    _judge(result)
    return result


@contextlib.contextmanager
def _writer(bench: Bench, readers: int, stuck: int) -> Iterator[Library]:
    """A run with its subscribers, all there at once, so that every kind meets the same machine."""
    way = Library(bench.daemon)
    way.begin()
    with _subscribers(bench.daemon, way.run.id, readers, stuck):
        yield way
    way.end()
    way.close()


def _slowly(bench: Bench, way: Library, count: int) -> tuple[float, float, float]:
    """Return p50 of a turn, p50 of an acknowledged turn, and the daemon's CPU for one of either, all in us."""
    data = batch("400 B")[:count]
    cpu = process.cpu_seconds(bench.daemon.pid)
    turn = _paced(way.turn, data)
    ack = _paced(lambda turn: way.client.record_turns(way.run.id, [turn]), data)
    cpu = (process.cpu_seconds(bench.daemon.pid) - cpu) / (2 * count)
    way.flush()
    return turn, ack, cpu * 1e6


def _paced(record: Callable[[dict[str, Any]], object], data: list[dict[str, Any]]) -> float:
    out = []
    for turn in data:
        time.sleep(1 / PACE)
        begin = time.perf_counter()
        record(turn)
        out.append((time.perf_counter() - begin) * 1e6)
    return measure.percentile(sorted(out), 50)


def _flat_out(way: Library, count: int) -> float:
    def work() -> None:
        for turn in itertools.islice(itertools.cycle(data), count):
            way.turn(turn)
        way.flush()

    data = batch("400 B")
    return measure.rate(count, work)


@contextlib.contextmanager
def _subscribers(server: Server, run_id: str, readers: int, stuck: int) -> Iterator[None]:
    """Subscribe ``readers`` connections that a process of its own reads, and ``stuck`` that nobody reads."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    reader = context.Process(target=_read_all, args=(server.socket, run_id, readers, there), daemon=True)
    reader.start()
    silent = [RawWire(server.socket) for _ in range(stuck)]
    for one in silent:
        one.call("runs.subscribe", run_id=run_id)
    here.recv()
    try:
        yield
    finally:
        for one in silent:
            one.close()
        here.send("stop")
        reader.join(10)


def _read_all(path: str, run_id: str, count: int, control: Connection) -> None:
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    peers: dict[int, socket.socket] = {}
    for _ in range(count):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        peer.sendall(messages.request("runs.subscribe", {"run_id": run_id}, 1))
        peers[peer.fileno()] = peer
        poll.register(peer.fileno(), select.POLLIN)
        peer.recv(65536)
    control.send("ready")
    buffer = bytearray(1 << 20)
    while True:
        for fd, _ in poll.poll():
            if fd == control.fileno():
                return
            if not peers[fd].recv_into(buffer):
                poll.unregister(fd)


def _judge(result: Result) -> None:
    for table in (_PACED, _ACKED, _FULL):
        rows = {row.contestant: row for row in result.tables[table]}
        base = rows["1 subscriber"]
        for name, limit, number, text in (
            ("100 subscribers", 1.10, "6a", "100 subscribers cost the writer at most 10 % more than one"),
            (_STUCK, 1.05, "6b", "a stuck one costs nothing"),
        ):
            one, other = rows[name].values, base.values
            cost = measure.ratio(other, one) if base.more_is_better else measure.ratio(one, other)
            result.target(number, f"{text}: {table}", f"{(cost - 1) * 100:+.0f} %", cost <= limit)
