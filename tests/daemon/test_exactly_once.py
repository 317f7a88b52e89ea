"""Exactly once: ``writer`` and ``seq`` across reconnects, resends and restarts of the daemon."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import Daemon, Wire, clean_environment, wait_until

STEADY = "[carrunsd]\ndisconnect_grace_secs = 600\nadopt_grace_secs = 600\n"


@pytest.fixture
def daemon(make_daemon: Any) -> Daemon:
    made: Daemon = make_daemon(config=STEADY)
    return made.start()


def seqs(daemon: Daemon, run: str, writer: str = "w") -> list[int]:
    records = daemon.records("agent-a", run)
    return [r["seq"] for r in records if r["record"] == "turn" and r.get("writer") == writer]


def indexes(daemon: Daemon, run: str) -> list[int]:
    return [r["index"] for r in daemon.records("agent-a", run) if r["record"] == "turn"]


def test_the_table_of_answers(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()

    def send(seq: int, *prompts: str) -> tuple[Any, ...]:
        result = wire.turns(run, *prompts, writer="w", seq=seq)
        if not result["ok"]:
            return (result["dropped"],)
        return result["base_index"], result["count"], result.get("duplicates", 0)

    assert send(1, "b") == ("out_of_order",)
    assert send(0, "a") == (0, 1, 0)
    assert send(0, "a") == (1, 0, 1)
    assert send(0, "a", "b", "c") == (1, 2, 1)
    assert send(2, "c", "d") == (3, 1, 1)
    assert send(1, "b", "c") == (4, 0, 2)
    assert send(5, "f") == ("out_of_order",)
    assert send(4, "e") == (4, 1, 0)
    assert seqs(daemon, run) == [0, 1, 2, 3, 4]
    assert [r["prompt"] for r in daemon.records("agent-a", run)[1:]] == list("abcde")
    assert indexes(daemon, run) == [0, 1, 2, 3, 4]
    assert wire.call("runs.flush", run_id=run, writer="w")["acked_seq"] == 4


def test_writers_do_not_disturb_each_other(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    wire.turns(run, "a", writer="w", seq=0)
    wire.turns(run, "b", writer="v", seq=0)
    wire.turns(run, "c")
    wire.turns(run, "d", writer="w", seq=1)
    records = daemon.records("agent-a", run)[1:]
    assert [(r.get("writer"), r.get("seq")) for r in records] == [("w", 0), ("v", 0), (None, None), ("w", 1)]
    assert indexes(daemon, run) == [0, 1, 2, 3]


def test_a_duplicate_of_an_ended_run_is_still_a_success(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    wire.turns(run, "a", "b", writer="w", seq=0)
    wire.complete(run)
    assert wire.turns(run, "b", writer="w", seq=1) == {
        "run_id": run, "base_index": 2, "count": 0, "ok": True, "duplicates": 1,
    }  # fmt: skip
    assert wire.turns(run, "b", "c", writer="w", seq=1)["dropped"] == "run_terminal"
    daemon.restart()
    again = daemon.wire()
    assert again.turns(run, "b", writer="w", seq=1)["duplicates"] == 1
    assert again.call("runs.complete", run_id=run, outcome={"status": "success", "summary": "done"})["ok"]
    assert again.error("runs.complete", run_id=run, outcome={"status": "failure"})["data"]["kind"] == "run_terminal"
    assert len(daemon.records("agent-a", run)) == 4


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_restart_forgets_nothing(daemon: Daemon, wire: Wire, how: str) -> None:
    run = wire.start()
    wire.turns(run, "a", "b", "c", writer="w", seq=0)
    daemon.signal(signal.Signals[how])
    daemon.wait()
    daemon.start()
    again = daemon.wire()
    assert again.turns(run, "b", "c", "d", writer="w", seq=1) == {
        "run_id": run, "base_index": 3, "count": 1, "ok": True, "duplicates": 2,
    }  # fmt: skip
    assert again.call("runs.resume", run_id=run, writer="w")["acked_seq"] == 3
    assert seqs(daemon, run) == [0, 1, 2, 3]
    assert indexes(daemon, run) == [0, 1, 2, 3]


def test_notifications_show_a_lost_one_as_a_gap(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    for seq in (0, 1, 3, 4):
        wire.notify("runs.record_turns", run_id=run, turns=[{}], writer="w", seq=seq)
    assert wire.call("runs.flush", run_id=run, writer="w")["acked_seq"] == 1
    for seq in (1, 2, 3, 4):
        wire.notify("runs.record_turns", run_id=run, turns=[{}], writer="w", seq=seq)
    assert wire.call("runs.flush", run_id=run, writer="w")["acked_seq"] == 4
    assert seqs(daemon, run) == [0, 1, 2, 3, 4]


def test_notifications_in_one_piece_in_any_mixture(daemon: Daemon, wire: Wire) -> None:
    """Many lines come in one read and are recorded together: as if each had come by itself."""
    runs = [wire.start() for _ in range(3)]
    chance = random.Random(7)
    expected: dict[tuple[str, str], int] = {}
    counts = dict.fromkeys(runs, 0)
    messages: list[Any] = []
    for number in range(3000):
        run, writer = chance.choice(runs), chance.choice("vw")
        due = expected.get((run, writer), 0)
        seq = max(0, due + chance.choice([0] * 12 + [-2, -1, 1, 5]))
        size = chance.choice([1, 1, 1, 1, 2, 3])
        params = {"run_id": run, "writer": writer, "seq": seq, "turns": [{"prompt": str(number)}] * size}
        messages.append({"method": "runs.record_turns", "params": params})
        if seq <= due:
            new = max(due, seq + size)
            counts[run] += new - due
            expected[run, writer] = new
        if chance.random() < 0.02:
            messages.append({"method": "server.ping", "id": number})
    wire.send_json(*messages)
    wire.send_json({"id": "end", "method": "server.ping"})
    while wire.read()["id"] != "end":
        pass
    for run in runs:
        assert indexes(daemon, run) == list(range(counts[run]))
        for writer in "vw":
            assert seqs(daemon, run, writer) == list(range(expected[run, writer]))


def test_one_run_over_two_connections(daemon: Daemon, wire: Wire) -> None:
    """A client that reconnects while the old connection still has lines on the way."""
    run = wire.start()
    other = daemon.wire()
    for seq in range(200):
        (wire if seq % 3 else other).notify("runs.record_turns", run_id=run, turns=[{}], writer="w", seq=seq)
    while (acked := other.call("runs.flush", run_id=run, writer="w")["acked_seq"]) != 199:
        wire.call("server.ping")
        start = 0 if acked is None else acked + 1
        other.call("runs.record_turns", run_id=run, turns=[{}] * (200 - start), writer="w", seq=start)
    assert seqs(daemon, run) == list(range(200))


_AGENT = """
import json, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
run, count = sys.argv[2], int(sys.argv[3])
for seq in range(count):
    message = {"method": "runs.record_turns", "params": {
        "run_id": run, "writer": "w", "seq": seq, "turns": [{"prompt": "x" * 200}]}}
    sock.sendall(json.dumps(message).encode() + b"\\n")
print("sent", flush=True)
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_agent_killed_right_after_sending_loses_nothing(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    agent = subprocess.run(
        [sys.executable, "-c", _AGENT, str(daemon.socket), run, "3000"],
        env=clean_environment(daemon.home, daemon.car_dir), stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    assert agent.returncode == -signal.SIGKILL
    assert agent.stdout == b"sent\n"
    wait_until(lambda: wire.call("runs.flush", run_id=run, writer="w")["acked_seq"] == 2999)
    assert seqs(daemon, run) == list(range(3000))


def fill(wire: Wire, run: str) -> int:
    """Send turns until the kernel takes no more; return how many it took whole."""
    wire.sock.setblocking(False)
    seq = 0
    try:
        while True:
            line = b'{"method":"runs.record_turns","params":{"run_id":"%b","writer":"w","seq":%d,"turns":[{}]}}\n'
            data = line % (run.encode(), seq)
            if wire.sock.send(data) < len(data):
                return seq
            seq += 1
    except BlockingIOError:
        return seq
    finally:
        wire.sock.settimeout(20)


def test_sigterm_finishes_what_the_kernel_took(daemon: Daemon) -> None:
    """The daemon is stopped in its tracks while the sockets fill; all of it is there when it ends."""
    wires = [daemon.wire() for _ in range(5)]
    runs = [wire.start() for wire in wires]
    daemon.signal(signal.SIGSTOP)
    taken = [fill(wire, run) for wire, run in zip(wires, runs, strict=True)]
    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGCONT)
    assert daemon.wait() == 0, daemon.log()
    assert min(taken) > 100
    assert [len(seqs(daemon, run)) for run in runs] == taken


def test_sigterm_finishes_what_waits_behind_a_slow_request(daemon: Daemon) -> None:
    """A connection that waits for a thread, its socket full behind that."""
    wire = daemon.wire()
    run = wire.start()
    daemon.signal(signal.SIGSTOP)
    for _ in range(20):
        wire.post("runs.list")
    taken = fill(wire, run)
    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGCONT)
    assert daemon.wait() == 0, daemon.log()
    assert len(seqs(daemon, run)) == taken


def test_sigterm_finishes_those_who_wait_to_be_accepted(daemon: Daemon) -> None:
    daemon.signal(signal.SIGSTOP)
    wires = [daemon.wire() for _ in range(150)]
    for number, wire in enumerate(wires):
        params = {"intent": "i", "agent_id": "agent-a", "idempotency_key": f"r{number}"}
        turns = {"run_id": f"r{number}", "turns": [{}]}
        wire.send_json(
            {"id": 1, "method": "runs.start", "params": params}, {"method": "runs.record_turns", "params": turns}
        )
    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGCONT)
    assert daemon.wait() == 0, daemon.log()
    assert [len(daemon.records("agent-a", f"r{number}")) for number in range(150)] == [2] * 150
    assert [wire.read()["result"]["run_id"] for wire in wires] == [f"r{number}" for number in range(150)]


@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_what_was_acknowledged_is_there_under_every_policy(make_daemon: Any, policy: str, how: str) -> None:
    daemon = make_daemon(config=f'{STEADY}fsync = "{policy}"\n').start()
    wire = daemon.wire()
    run = wire.start()
    for seq in range(50):
        assert wire.turns(run, "x", writer="w", seq=seq, durable=seq % 10 == 0)["ok"]
    wire.call("runs.flush", run_id=run, durable=True)
    stats = wire.call("server.stats")
    assert stats["fsync"] == policy
    least = {"always": 50, "everysec": 5, "no": 5}[policy]
    assert stats["syncs"] >= least
    daemon.signal(signal.Signals[how])
    daemon.wait()
    assert seqs(daemon, run) == list(range(50))


def test_writes_that_arrive_together_share_one_sync(make_daemon: Any) -> None:
    daemon = make_daemon(config=f'{STEADY}fsync = "always"\n').start()
    wire = daemon.wire()
    run = wire.start()
    before = wire.call("server.stats")["syncs"]
    params = {"run_id": run, "turns": [{}]}
    wire.send_json(*({"id": n, "method": "runs.record_turns", "params": params} for n in range(1000)))
    answers = [wire.read() for _ in range(1000)]
    assert [answer["result"]["base_index"] for answer in answers] == list(range(1000))
    assert wire.call("server.stats")["syncs"] - before < 100


def test_always_answers_only_after_the_sync(make_daemon: Any, base: Path) -> None:
    """Seen from the kernel: no answer to a turn goes out before the fdatasync of its file has returned."""
    daemon = make_daemon(config=f'{STEADY}fsync = "always"\n').start()
    wire = daemon.wire()
    run = wire.start()
    record = base / "trace"
    tracer = subprocess.Popen(
        ["strace", "-fqq", "-p", str(daemon.pid), "-e", "trace=fdatasync,sendto", "-s", "300", "-o", str(record)],
    )  # fmt: skip
    try:
        status = Path(f"/proc/{daemon.pid}/status")
        wait_until(lambda: "TracerPid:\t0\n" not in status.read_text())
        wire.turns(run, "hello")
    finally:
        os.kill(tracer.pid, signal.SIGINT)
        tracer.wait(20)
    calls = [line for line in record.read_text().splitlines() if "fdatasync" in line or "base_index" in line]
    answered = next(place for place, line in enumerate(calls) if "base_index" in line)
    assert any("= 0" in line and "fdatasync" in line for line in calls[:answered]), calls
