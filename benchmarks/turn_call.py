"""What one ``run.turn()`` costs the agent, beside open + flock + append: ``python benchmarks/turn_call.py``.

The reader is a dumb process that only acknowledges, so this is the client's own cost and the kernel's.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from carruns import Client

TURN = {
    "tool": "grep",
    "parameters": {"path": "src/module/file.py", "pattern": "def test_", "flags": ["-n", "-r"]},
    "output": {"exit_code": 0, "stdout": "x" * 240},
    "duration_ms": 12,
}
CALLS = 100_000
_ID = re.compile(rb'^\{"id":(\d+),"method":"([^"]+)"', re.MULTILINE)


def read(path: str) -> None:
    """Be the reader: acknowledge whatever the last turn's number says."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    peer, _ = listener.accept()
    rest, acked = b"", -1
    while data := peer.recv(1 << 18):
        block, cut, rest = (rest + data).rpartition(b"\n")
        if not cut:
            continue
        at = block.rfind(b'"seq":')
        if at >= 0:
            acked = int(block[at + 6 : block.index(b",", at)])
        for number, method in _ID.findall(block):
            result = {"protocol_version": 3, "agent_id": "a", "status": "in_progress", "ok": True}
            if method == b"runs.flush":
                result["acked_seq"] = acked
            peer.sendall(json.dumps({"id": int(number), "result": result}).encode() + b"\n")


def timed(call: Callable[[], object]) -> list[int]:
    clock, out = time.perf_counter_ns, []
    for _ in range(CALLS):
        began = clock()
        call()
        out.append(clock() - began)
    return sorted(out)


def append(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, msgspec.json.encode(TURN) + b"\n")
    os.close(fd)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        reader = subprocess.Popen([sys.executable, __file__, str(base / "carrunsd.sock")])
        while not (base / "carrunsd.sock").exists():
            time.sleep(0.01)
        with Client(base, autostart=False) as client:
            run = client.run("bench", intent="measure")
            began = time.perf_counter()
            for _ in range(CALLS * 3):
                run.turn(**TURN)  # type: ignore[arg-type]
            assert run.flush().ok
            rate = CALLS * 3 / (time.perf_counter() - began)
            turn = timed(lambda: run.turn(**TURN))  # type: ignore[arg-type]
            looked = timed(lambda: run.cancel_requested)
            listening = client.run("bench", intent="hear of a cancellation", on_cancel=print)
            heard = timed(lambda: listening.turn(**TURN))  # type: ignore[arg-type]
            floor = timed(lambda: append(base / "file"))
        reader.wait(10)
    rows = (
        ("run.turn()", turn), ("with on_cancel", heard), ("run.cancel_requested", looked),
        ("open+flock+append", floor),
    )  # fmt: skip
    for label, calls in rows:
        print(f"{label:20} p50 {calls[CALLS // 2] / 1000:5.2f} us   p99 {calls[CALLS * 99 // 100] / 1000:6.2f} us")
    print(f"{'run.turn() + flush':20} {rate:,.0f} turns/s")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        read(sys.argv[1])
    else:
        main()
