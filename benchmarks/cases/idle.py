"""Target 7: what it costs to have it around: memory, wake-ups, start of the client and of the command."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks import measure, process, servers
from benchmarks.bench import Bench
from benchmarks.measure import Result, Row
from benchmarks.ways import Library

MB = 1 << 20
_GRACES = 17.0  # seconds from the start until the graces (docs/files.md) are over
_SETTLE = 5.0  # seconds after which nothing of what was is still going on: memory is given back after three


def run(bench: Bench) -> Result:
    result = Result("idle", "At rest, and on the way", pictured=0)
    with servers.daemon(bench.place("idle")) as server:
        begin = time.monotonic()
        _memory(bench, result, server)
        if not bench.quick:
            time.sleep(max(0.0, begin + _GRACES - time.monotonic()))
        _wakeups(bench, result, server.pid)
    _imports(bench, result)
    _command(bench, result)
    return result


def _memory(bench: Bench, result: Result, server: servers.Server) -> None:
    fresh = process.resident_bytes(server.pid) / MB
    result.add("resident memory of the daemon", Row("just started", "", "MB", [fresh]))
    count = bench.size(1_000, 100)
    for name, shake in (("connected only", False), ("after a handshake each", True)):
        each = _per_connection(server, count, shake=shake)
        result.add("memory of an idle connection", Row(name, "", "bytes", [each]))
        result.target("7b", f"2 KB for each idle connection, {name}", f"{each:,.0f} bytes", each <= 2048)
    _use(bench, server)
    time.sleep(_SETTLE)
    used = process.resident_bytes(server.pid) / MB
    result.add("resident memory of the daemon", Row("idle again, after 20,000 turns", "", "MB", [used]))
    result.target("7a", "at most 40 MB resident, just started", f"{fresh:.1f} MB", fresh <= 40)
    result.target("7a", "at most 40 MB resident, idle again after use", f"{used:.1f} MB", used <= 40)


def _per_connection(server: servers.Server, count: int, *, shake: bool) -> float:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * count)), hard))
    _connect(server.socket, count, shake=shake)  # what the allocator keeps for reuse is had once
    before = process.resident_bytes(server.pid)
    peers = _connect(server.socket, count, shake=shake, keep=True)
    used = process.resident_bytes(server.pid) - before
    for peer in peers:
        peer.close()
    time.sleep(0.5)
    return used / count


def _connect(path: str, count: int, *, shake: bool, keep: bool = False) -> list[socket.socket]:
    first = 0 if keep else count - count // 20
    peers = []
    for _ in range(first, count):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        if shake:
            peer.sendall(b'{"id":1,"method":"server.handshake","params":{}}\n')
            peer.recv(65536)
        peers.append(peer)
    time.sleep(0.5)
    if not keep:
        for peer in peers:
            peer.close()
        time.sleep(0.5)
    return peers


def _use(bench: Bench, server: servers.Server) -> None:
    way = Library(server)
    way.begin()
    for _ in range(bench.size(20_000, 1_000)):
        way.turn({"tool": "pytest", "output": "x" * 300})
    way.flush()
    way.end()
    way.close()


def _wakeups(bench: Bench, result: Result, pid: int) -> None:
    seconds = bench.size(10, 2)
    cpu, before = process.cpu_seconds(pid), process.wakeups(pid)
    time.sleep(seconds)
    woken = process.wakeups(pid) - before
    cpu = (process.cpu_seconds(pid) - cpu) / seconds
    result.add(
        "wake-ups while nothing happens", Row(f"in {seconds} s, no watchdog asked for", "", "times", [woken])
    )
    result.target("7c", "no wake-ups but the watchdog's", f"{woken} in {seconds} s, {cpu:.3%} CPU", woken == 0)


def _imports(bench: Bench, result: Result) -> None:
    statements = {
        "python, nothing": "pass",
        "import carruns": "import carruns",
        "from carruns import Client": "from carruns import Client",
    }
    samples = measure.interleave(
        {name: lambda code=code: _run_ms([sys.executable, "-c", code]) for name, code in statements.items()},  # type: ignore[misc]
        bench.size(15, 3),
    )
    table = "a Python process that does only this"
    for name, values in samples.items():
        result.add(table, Row(name, "", "ms", values))
    bare = samples["python, nothing"]
    for name in list(statements)[1:]:
        took = median(a - b for a, b in zip(samples[name], bare, strict=True))
        result.target("7d", f"`{name}` under 30 ms", f"{took:.1f} ms above Python itself", took < 30)


def _run_ms(command: list[str], **more: str) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **more})
    return (time.perf_counter() - begin) * 1000


def _command(bench: Bench, result: Result) -> None:
    command = Path(sys.executable).parent / "carruns"
    text = "`carruns list` under 150 ms from the shell"
    try:
        socket_path = bench.daemon.socket
        with_daemon = {"CARRUNSD_SOCKET": socket_path, "CAR_HOME": str(Path(socket_path).parent)}
        values = [_run_ms([str(command), "list"], **with_daemon) for _ in range(bench.size(15, 3))]
    except (OSError, subprocess.CalledProcessError) as error:
        result.target("7e", text, f"not measured: {error}", None)
        return
    result.add("a command from the shell", Row("carruns list", "", "ms", values))
    result.target("7e", text, f"{median(values):.0f} ms", median(values) < 150)
