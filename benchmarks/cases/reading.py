"""Target 5: a long trace, a long list, a start-up on a big store."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import carruns
from benchmarks import measure, process, servers, stores
from benchmarks.bench import Bench
from benchmarks.measure import Result, Row
from benchmarks.stores import Agent

SEED_MS = 260.0  # the seed's get_run_trace in Rust on this machine, 100,000 turns, no socket (issue 4)
_TRACE = "reading a trace of {:,} turns ({:.0f} MB)"
_MEMORY = "peak memory while reading it, above what was resident before"
_FILE = "a file"
MS = "ms"
MB = 1 << 20


def run(bench: Bench) -> Result:
    result = Result("reading", "Reading: a trace, a list of runs, a start-up")
    _trace(bench, result, bench.size(100_000, 5_000))
    _list_and_start(bench, result)
    return result


# -- a trace -----------------------------------------------------------------------------------------------


def _trace(bench: Bench, result: Result, turns: int) -> None:
    car_dir = bench.place("trace")
    home = car_dir / "runs" / "reader"
    home.mkdir(parents=True, mode=0o700)
    one = len(stores.turn_lines(1_000_000)) / stores.turn_lines(1_000_000).count(b"\n")
    body = b"".join(stores.turn_lines(int(one * turns)).splitlines(keepends=True)[:turns])
    stores.write_run(home, "reader", "long", body)
    path = home / "long.jsonl"
    with servers.daemon(car_dir, stores.CONFIG) as server, _client(server.socket) as client:
        work = {
            "client.get_trace(), every record looked at": lambda: _ms(lambda: _whole(client)),
            "client.get_trace(), records not looked at": lambda: _ms(lambda: client.get_trace("long", "reader")),
            "client.iter_trace(), page by page": lambda: _ms(
                lambda: sum(1 for _ in client.iter_trace("long", "reader"))
            ),
            "json.loads a line, from the file": lambda: _ms(lambda: _plain(path)),
        }
        _whole(client)
        samples = measure.interleave(work, bench.rounds)
        table = _TRACE.format(turns, path.stat().st_size / 1e6)
        for name, values in samples.items():
            result.add(table, Row(name, "", MS, values))
        _memory(result, server.pid, client)
    _judge_trace(result, table, turns)
    shutil.rmtree(car_dir)


def _client(path: str) -> carruns.Client:
    return carruns.Client(socket=path, autostart=False, timeout=60)


def _ms(work: object) -> float:
    begin = time.perf_counter()
    work()  # type: ignore[operator]
    return (time.perf_counter() - begin) * 1000


def _whole(client: carruns.Client) -> int:
    trace = client.get_trace("long", "reader")
    assert trace is not None
    return sum(1 for _ in trace)


def _plain(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if json.loads(line))


def _memory(result: Result, pid: int, client: carruns.Client) -> None:
    for name, target in (("daemon", pid), ("client, iter_trace()", os.getpid())):
        before = process.resident_bytes(target)
        process.reset_peak(target)
        for _ in client.iter_trace("long", "reader"):
            pass
        result.add(_MEMORY, Row(name, "", "MB", [max(0, process.peak_bytes(target) - before) / MB]))


def _judge_trace(result: Result, table: str, turns: int) -> None:
    seed = SEED_MS * turns / 100_000
    for row in result.tables[table][:3]:
        result.target(
            "5a",
            f"a trace at least 3 times as fast as the seed in Rust ({seed:.0f} ms), {row.contestant}",
            f"{row.median:.0f} ms, {seed / row.median:.1f} times",
            seed / row.median >= 3,
        )


# -- a list, a start-up ------------------------------------------------------------------------------------


def _list_and_start(bench: Bench, result: Result) -> None:
    big = Agent("big", bench.size(1_000, 100), bench.size(1 << 30, 20 << 20))
    others = bench.size(90, 9)
    many = [Agent(f"agent-{n:02d}", 100, bench.size((1 << 30) // others, 1 << 20)) for n in range(others)]
    few_bytes = [Agent(agent.name, agent.runs, agent.runs * 2_000) for agent in (big, *many)]
    fewer_runs = [Agent(agent.name, max(1, agent.runs // 10), agent.bytes) for agent in (big, *many)]
    starts: dict[str, list[float]] = {}
    for agents in ([big, *many], few_bytes, fewer_runs):
        car_dir = bench.place("store")
        stores.make(car_dir, agents)
        runs, size = sum(agent.runs for agent in agents), sum(agent.bytes for agent in agents)
        name = f"{runs:,} runs, {size / 1e6:,.0f} MB"
        (car_dir / "config.toml").write_text(stores.CONFIG)
        starts[name] = [_start_ms(bench, car_dir) for _ in range(bench.rounds)]
        result.add("start-up, from exec to READY=1", Row(name, "", MS, starts[name]))
        if agents[0] is big:
            _list(bench, result, car_dir, big)
        shutil.rmtree(car_dir)
    first, slim, _ = (median(values) for values in starts.values())
    name = next(iter(starts))
    result.target("5c", f"start-up on {name} under 1 s", f"{first:.0f} ms", first < 1000)
    share = first / slim
    result.target(
        "5d", "the cost growing with runs, not bytes", f"{share:.2f} times with 100 times the bytes", share < 1.5
    )


def _start_ms(bench: Bench, car_dir: Path) -> float:
    """Start a daemon as systemd would, and stop it once it says that it is ready."""
    notify = bench.home / "notify.sock"
    notify.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(notify))
        ready.settimeout(60)
        env = {**os.environ, "NOTIFY_SOCKET": str(notify)}
        command = [sys.executable, "-m", "carrunsd", "--car-dir", str(car_dir), "--log-level", "error"]
        begin = time.perf_counter()
        daemon = subprocess.Popen(command, env=env)
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
            return (time.perf_counter() - begin) * 1000
        finally:
            daemon.terminate()
            daemon.wait(30)


def _list(bench: Bench, result: Result, car_dir: Path, big: Agent) -> None:
    with servers.daemon(car_dir, stores.CONFIG) as server, _client(server.socket) as client:
        first = _ms(lambda: client.list_runs("big"))
        warm = [_ms(lambda: client.list_runs("big")) for _ in range(20 * bench.rounds)]
        found = len(client.list_runs("big"))
    if found != big.runs:
        raise RuntimeError(f"{found} runs were listed, {big.runs} are there")
    table = f"runs.list of an agent with {big.runs:,} runs and {big.bytes / 1e9:.2f} GB"
    result.add(table, Row("first after the start", "", MS, [first]))
    result.add(table, Row("warm", "", MS, warm))
    result.target("5b", f"{table} under 5 ms warm", f"{median(warm):.1f} ms", median(warm) < 5)
