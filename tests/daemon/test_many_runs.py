"""One connection that records to many runs in turn: small writes are put off for a moment, and nothing is lost."""

from __future__ import annotations

import json
import signal
import socket
from typing import Any

import pytest

from tests.support import Daemon, Wire, wait_until

RUNS = 120
FILLING = "x" * 300  # a round of turns is some 50 KB: much, and too little for a write of its own to each run
_SO_SNDBUFFORCE = 32  # socket(7): beyond wmem_max, which needs root


@pytest.fixture
def daemon(make_daemon: Any) -> Daemon:
    made: Daemon = make_daemon()
    return made.start()


@pytest.fixture
def runs(wire: Wire) -> list[str]:
    """Runs of one connection."""
    for number in range(RUNS):
        wire.post("runs.start", agent_id="agent-a", intent="one of many", idempotency_key=f"run-{number}")
    return [wire.read()["result"]["run_id"] for _ in range(RUNS)]


def a_round(runs: list[str], seq: int) -> bytes:
    """Return lines that give each run a turn and ask for no answer."""
    return b"".join(
        json.dumps(
            {
                "jsonrpc": "2.0",
                "method": "runs.record_turns",
                "params": {"run_id": run, "writer": "w", "seq": seq, "turns": [{"prompt": FILLING}]},
            }
        ).encode()
        + b"\n"
        for run in runs
    )


def stored(daemon: Daemon, run: str) -> list[int]:
    return [record["seq"] for record in daemon.records("agent-a", run) if record["record"] == "turn"]


def test_turns_are_written_though_nothing_follows(daemon: Daemon, wire: Wire, runs: list[str]) -> None:
    wire.send(a_round(runs, 0))
    wait_until(lambda: all(stored(daemon, run) == [0] for run in runs))


def test_turns_are_written_though_the_connection_goes_away(daemon: Daemon, wire: Wire, runs: list[str]) -> None:
    wire.send(a_round(runs, 0) + a_round(runs, 1))
    wire.close()
    wait_until(lambda: all(stored(daemon, run) == [0, 1] for run in runs))


def test_an_answer_says_what_is_in_the_file(daemon: Daemon, wire: Wire, runs: list[str]) -> None:
    for seq in range(5):
        wire.send(a_round(runs, seq))
        last = runs[-1 - seq]
        assert wire.call("runs.flush", run_id=last, writer="w")["acked_seq"] == seq
        assert stored(daemon, last) == list(range(seq + 1))


@pytest.mark.parametrize("method", ["server.ping", "server.stats", "runs.unwatch", "no.such"])
def test_any_answer_comes_behind_what_was_sent_before(
    daemon: Daemon, wire: Wire, runs: list[str], method: str
) -> None:
    for seq in range(3):
        wire.send(a_round(runs, seq))
    wire.request(method)
    daemon.kill()
    assert all(stored(daemon, run) == [0, 1, 2] for run in runs)


def test_another_connection_sees_no_less_than_was_carried_out(daemon: Daemon, wire: Wire, runs: list[str]) -> None:
    with daemon.wire() as other:
        wire.send(a_round(runs, 0))
        wait_until(lambda: other.call("server.stats")["records"] == 2 * RUNS)  # their starts, and a turn each
        trace = other.call("runs.get_trace", run_id=runs[0])
        assert [record["seq"] for record in trace["records"][1:]] == [0]
        assert trace["records"][1:] == daemon.records("agent-a", runs[0])[1:]


def test_a_daemon_that_stops_writes_them(daemon: Daemon, wire: Wire, runs: list[str]) -> None:
    wire.send(a_round(runs, 0))
    daemon.stop()
    assert all(stored(daemon, run) == [0] for run in runs)


@pytest.mark.root
def test_several_turns_of_a_run_share_a_write(daemon: Daemon, wire: Wire, runs: list[str]) -> None:
    rounds = 30
    wire.sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 16 << 20)
    sent = 0

    def writes() -> int:
        """Send many rounds to a daemon that is held still, and return how many writes they took."""
        nonlocal sent
        before = wire.call("server.stats")
        daemon.signal(signal.SIGSTOP)
        wire.send(b"".join(a_round(runs, seq) for seq in range(sent, sent + rounds)))
        daemon.signal(signal.SIGCONT)
        sent += rounds
        wire.call("runs.flush", run_id=runs[0], writer="w")
        after = wire.call("server.stats")
        assert after["records"] - before["records"] == rounds * RUNS
        return int(after["batches"] - before["batches"])

    # Each block read is some 5 rounds: 6 writes a run, as long as another connection was there just now.
    wait_until(lambda: writes() <= 4 * RUNS)
    assert all(stored(daemon, run) == list(range(sent)) for run in runs)
