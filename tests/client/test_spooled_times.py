"""What went through the spool has the times of when it happened, not of when it was drained."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from carruns import Client
from carruns.protocol import times
from carruns.session import Session
from tests.support import Daemon, strict, wait_until

pytestmark = pytest.mark.timeout(60)
HOUR = 3600 * 10**9

#: An agent of an hour ago.
AGENT = """
import sys, time
real = time.time_ns
time.time_ns = lambda: real() - 3600 * 10**9
from carruns import Client
with Client(sys.argv[1], autostart=False) as client:
    run = client.run("a", intent="x")
    run.turn(tool="plain")
    run.turn(tool="own", started_at="2020-01-01T00:00:00Z")
    run.turn(tool="null", started_at=None)
    run.turn(output={"started_at": "of something else"})
    run.turn()
    getattr(run, sys.argv[2])()
    assert run.delivery().end == "spooled", run.delivery()
print(run.id)
"""


@pytest.mark.parametrize("end", ["succeed", "abandon"])
def test_a_run_that_is_drained_an_hour_later(stopped: Daemon, car: Path, end: str) -> None:
    began = time.time_ns() - HOUR
    command = [sys.executable, "-c", AGENT, str(car), end]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = time.time_ns() - HOUR
    daemon = stopped.start()
    file = daemon.file("a", done.stdout.strip())
    wait_until(lambda: file.exists() and b'"ended"' in file.read_bytes())
    started, *turns, ended = daemon.records("a", done.stdout.strip())
    happened = [times.parse(turns[n]["started_at"]) for n in (0, 3, 4)]
    moments = [began, times.parse(started["started_at"]), *happened, times.parse(ended["ended_at"]), after]
    assert moments == sorted(moments)
    assert turns[1]["started_at"] == "2020-01-01T00:00:00Z"
    assert turns[2].get("started_at") is None
    assert all(times.parse(turn["recorded_at"]) > after for turn in turns)


def test_a_run_that_goes_on_with_a_daemon_that_comes(stopped: Daemon, car: Path) -> None:
    with Client(car, autostart=False) as client:
        run = client.run("a", intent="x")
        run.turn(tool="before")
        stopped.start()
        wait_until(lambda: run.flush().ok)
        run.turn(tool="after")
        run.done()
    _, before, after, _ = stopped.records("a", run.id)
    assert times.parse(before["started_at"]) < times.parse(before["recorded_at"])
    assert "started_at" not in after


@pytest.mark.parametrize(
    ("turn", "dated"),
    [
        (b"{}", {"started_at": "T"}),
        (b'{"tool":"t"}', {"started_at": "T", "tool": "t"}),
        (b'{"started_at":"own"}', {"started_at": "own"}),
        (b'{"started_at":null,"tool":"t"}', {"started_at": None, "tool": "t"}),
        (b'{"output":{"started_at":"x"}}', {"started_at": "T", "output": {"started_at": "x"}}),
        (b'{"prompt":"\\"started_at\\""}', {"started_at": "T", "prompt": '"started_at"'}),
    ],
)
def test_a_line_is_dated(turn: bytes, dated: dict[str, Any]) -> None:
    session = Session("run", "agent", "writer")
    line = session.take(turn)
    again = session.dated(line, b"T")
    assert session.seq_of(again) == session.seq_of(line) == 0
    assert again.endswith(b"\n")
    strict(again)
    assert json.loads(session.turn_of(again)) == dated
    assert session.dated(session.header(), b"T") == session.header()
