"""Bad neighbours beside a good agent: what a turn of its takes to be acknowledged, and the daemon its memory."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults import neighbour
from tests.faults.kills import end_all
from tests.support import Daemon, Wire, short_directory

_SCRIPT = str(Path(__file__).with_name("neighbour.py"))
#: What the daemon may take at most, whatever its clients do: docs/reliability.md says what it is made of.
BOUND_MIB = 768
HOW_MANY = {"flood": 4, "flood_and_ask": 2, "subscribers": 1}


def measure(kind: str, *, seconds: float, pace: float = 0.005) -> dict[str, Any]:
    """Return the latency of acknowledged turns in ms, and the daemon's peak memory in MiB, beside neighbours."""
    with ExitStack() as stack:
        daemon = Daemon(
            stack.enter_context(short_directory()), config="[carrunsd]\nmax_turns_per_run = 100000000\n"
        )
        stack.callback(daemon.close)
        wire = daemon.start().wire()
        target = _long_run(wire)
        good = wire.start(agent_id="good")
        alone = _latencies(wire, good, min(seconds, 0.5), pace)
        floor = _memory(daemon.pid, "VmRSS")
        bad = [_spawn(daemon, kind, target) for _ in range(HOW_MANY.get(kind, 1))]
        stack.callback(end_all, bad)
        for process in bad:
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            assert process.stdout.readline() == b"at it\n"
        beside = _latencies(wire, good, seconds, pace)
        peak = _memory(daemon.pid, "VmHWM")
        stored = sum(record["record"] == "turn" for record in daemon.records("good", good))
        assert stored == len(alone) + len(beside)
        return {
            "kind": kind, "turns": len(beside), "alone_p50_ms": _at(alone, 0.5), "p50_ms": _at(beside, 0.5),
            "p99_ms": _at(beside, 0.99), "max_ms": beside[-1], "idle_mib": floor, "peak_mib": peak,
        }  # fmt: skip


def _long_run(wire: Wire) -> str:
    run_id = wire.start(agent_id="bad")
    for _ in range(40):
        wire.call("runs.record_turns", run_id=run_id, turns=[{"prompt": "x" * 30_000}] * 8)
    return run_id


def _spawn(daemon: Daemon, kind: str, run_id: str) -> subprocess.Popen[bytes]:
    assert kind in neighbour.KINDS
    return subprocess.Popen(
        [sys.executable, _SCRIPT, str(daemon.socket), kind, run_id],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip


def _latencies(wire: Wire, run_id: str, seconds: float, pace: float) -> list[float]:
    out = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.perf_counter()
        assert wire.turns(run_id, "a turn")["ok"]
        out.append(round((time.perf_counter() - began) * 1000, 3))
        time.sleep(pace)
    return sorted(out)


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


def _memory(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) // 1024
    raise AssertionError(what)


if __name__ == "__main__":
    for name in sys.argv[1:] or neighbour.KINDS:
        print(measure(name, seconds=4), flush=True)
