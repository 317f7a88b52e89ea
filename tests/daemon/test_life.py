"""The daemon's life: one of it on a car directory, what it finds there, how it ends; graces and orphans."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE, Daemon, Json, Wire, clean_environment, wait_until

Make = Callable[..., Daemon]


def config(**keys: Any) -> str:
    return "[carrunsd]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def last(daemon: Daemon, run: str, agent: str = "agent-a") -> Json:
    return daemon.records(agent, run)[-1]


def ended_by(daemon: Daemon, run: str, reason: str) -> bool:
    record = last(daemon, run)
    return bool(record["record"] == "ended" and record["reason"] == reason)


# -- one daemon --------------------------------------------------------------------------------------------


def test_a_second_daemon_ends_and_names_the_first(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    second = daemon.spawn()
    assert second.wait(PATIENCE) == 75
    assert f"process {daemon.pid} " in daemon.log()
    assert "running already" in daemon.log()
    assert wire.turns(run, "still here")["ok"]
    assert daemon.wire().call("server.ping") == {}


def test_only_one_of_many_daemons_wins(make_daemon: Make) -> None:
    daemon = make_daemon()
    racers = [daemon.spawn() for _ in range(4)]
    try:
        wait_until(lambda: sum(racer.poll() == 75 for racer in racers) == 3, message=daemon.log())
        (winner,) = [racer for racer in racers if racer.poll() is None]
        assert daemon.wire().call("server.handshake")["pid"] == winner.pid
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_with_0_and_takes_the_socket_away(daemon: Daemon, how: str) -> None:
    daemon.signal(signal.Signals[how])
    assert daemon.wait() == 0
    assert not daemon.socket.exists()
    assert f"{how}" in daemon.log()


def test_a_killed_daemon_leaves_nothing_to_clean_up(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    daemon.kill()
    assert daemon.socket.exists()
    assert (daemon.car_dir / "carrunsd.lock").exists()
    daemon.start()
    assert daemon.wire().call("runs.resume", run_id=run)["status"] == "in_progress"


def test_modes_under_umask_0(make_daemon: Make) -> None:
    daemon = make_daemon().start(umask=0)
    daemon.wire().start()
    modes = {
        str(path.relative_to(daemon.car_dir)): stat.S_IMODE(path.lstat().st_mode)
        for path in (daemon.car_dir, *daemon.car_dir.rglob("*"))
    }
    for name, mode in modes.items():
        expected = 0o700 if (daemon.car_dir / name).is_dir() else 0o600
        assert mode == expected, f"{name}: {mode:o}"
    assert {"carrunsd.sock", "carrunsd.lock", "runs", "runs/.nobackup", "runs/agent-a"} <= modes.keys()


def test_missing_parents_are_made_for_us_alone(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.car_dir = daemon.base / "x" / "y" / "car"
    daemon.socket = daemon.car_dir / "carrunsd.sock"
    daemon.start(umask=0)
    for path in (daemon.base / "x", daemon.base / "x/y", daemon.car_dir):
        assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0, path


def test_a_car_directory_others_may_write_to_is_narrowed(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.car_dir.mkdir()
    daemon.car_dir.chmod(0o777)
    daemon.start()
    assert stat.S_IMODE(daemon.car_dir.stat().st_mode) & 0o022 == 0
    assert "writable by others" in daemon.log()


def fails_to_start(daemon: Daemon, *arguments: str, **popen: Any) -> str:
    """Start the daemon, see it end with 73 and one clear line, and return that."""
    process = daemon.spawn(*arguments, **popen)
    try:
        assert process.wait(PATIENCE) == 73, daemon.log()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in daemon.log()
    assert "cannot start" in daemon.log()
    return daemon.log()


def test_a_socket_path_over_107_bytes(make_daemon: Make) -> None:
    daemon = make_daemon()
    longest = f"{daemon.base}/" + "s" * (107 - len(str(daemon.base)) - 1)
    log = fails_to_start(daemon, "--socket", longest + "s")
    assert "107" in log
    assert "CARRUNSD_SOCKET" in log
    daemon.socket = Path(longest)
    daemon.start("--socket", longest)
    assert daemon.wire().call("server.ping") == {}


def test_the_socket_of_the_environment(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.socket = daemon.base / "other.sock"
    environment = clean_environment(daemon.home, daemon.car_dir) | {"CARRUNSD_SOCKET": str(daemon.socket)}
    daemon.start(env=environment)
    assert not (daemon.car_dir / "carrunsd.sock").exists()


def test_another_program_on_the_socket_is_left_alone(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.car_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(daemon.socket))
        other.listen()
        assert "another program listens" in fails_to_start(daemon)
        assert daemon.socket.exists()


@pytest.mark.parametrize("name", ["carrunsd.sock", "carrunsd.lock", "runs"])
@pytest.mark.parametrize("kind", ["file", "directory", "link", "fifo"])
def test_something_else_in_its_place_is_named_and_left_alone(make_daemon: Make, name: str, kind: str) -> None:
    if (name, kind) in (("carrunsd.lock", "file"), ("runs", "directory")):
        pytest.skip("that is what belongs there")
    daemon = make_daemon()
    daemon.car_dir.mkdir(mode=0o700)
    place, elsewhere = daemon.car_dir / name, daemon.base / "elsewhere"
    match kind:
        case "file":
            place.write_bytes(b"precious")
        case "directory":
            place.mkdir()
        case "link":
            elsewhere.mkdir()
            place.symlink_to(elsewhere)
        case "fifo":
            os.mkfifo(place)
    assert name in fails_to_start(daemon)
    assert place.is_symlink() or place.exists()
    assert kind != "file" or place.read_bytes() == b"precious"
    assert not elsewhere.exists() or list(elsewhere.iterdir()) == []


def test_a_car_directory_that_is_a_file(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.car_dir.write_bytes(b"x")
    assert "no directory" in fails_to_start(daemon)


@pytest.mark.root
def test_a_car_directory_of_another_user(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.car_dir.mkdir()
    os.chown(daemon.car_dir, 12345, 12345)
    assert "belongs to user 12345" in fails_to_start(daemon)


_OTHER_USER = """
import os, socket, sys
os.setgid(12345); os.setuid(12345)
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
try:
    sock.sendall(b'{"id":1,"method":"server.ping"}\\n')
except BrokenPipeError:
    pass
print(sock.makefile().read())
"""


@pytest.mark.root
def test_another_user_is_refused(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    for path in (daemon.base, daemon.car_dir):
        path.chmod(0o755)
    command = [sys.executable, "-c", _OTHER_USER, str(daemon.socket)]
    closed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PermissionError" in closed.stderr, "the socket's mode keeps others out"
    daemon.socket.chmod(0o666)
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "result" not in refused.stdout
    assert f"for user {os.geteuid()} only" in refused.stdout or "ConnectionResetError" in refused.stderr, refused
    assert "refused a connection of user 12345" in daemon.log()
    assert daemon.wire().call("server.ping") == {}


def test_too_many_connections(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(max_connections=3)).start()
    wait_until(lambda: no_others(daemon))
    wires = [daemon.wire() for _ in range(2)]
    assert all(wire.call("server.ping") == {} for wire in wires)
    third = daemon.wire()
    assert third.call("server.ping") == {}
    refused = daemon.wire().read()["error"]
    assert (refused["code"], refused["data"]["kind"]) == (-32006, "busy")
    assert "max_connections" in refused["message"]
    third.close()
    wait_until(lambda: wires[0].call("server.stats")["connections"] == 2)
    assert daemon.wire().call("server.ping") == {}


def no_others(daemon: Daemon) -> bool:
    with Wire(daemon.socket) as wire:
        return bool(wire.call("server.stats")["connections"] == 1)


def test_a_reset_connection_is_only_that(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    for _ in range(50):
        other = daemon.wire()
        other.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for _ in range(20):
            other.post("runs.get_trace", run_id=run)
        other.close()
    assert wire.call("server.ping") == {}
    wait_until(lambda: wire.call("server.stats")["connections"] == 1)


# -- configuration -----------------------------------------------------------------------------------------


def test_a_bad_configuration_is_named_and_the_daemon_starts(make_daemon: Make) -> None:
    daemon = make_daemon(config="[carrunsd]\nfsync = 'sometimes'\n\ngc_intervall_secs = 5\nmax_connections = 0\n")
    daemon.start()
    log = daemon.log()
    assert re.search(r"config\.toml:2: .*fsync", log)
    assert re.search(r"config\.toml:4: .*did you mean gc_interval_secs", log)
    assert re.search(r"config\.toml:5: .*max_connections", log)


def test_broken_retention_removes_nothing_until_mended(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = -1\n[carrunsd]\ngc_interval_secs = 1\n").start()
    assert re.search(r"config\.toml:2: .*removes nothing until the file is mended", daemon.log())
    wire = daemon.wire()
    run = wire.start(started_at="2001-01-01T00:00:00Z")
    wire.complete(run)
    error = wire.error("runs.gc")
    assert "config.toml" in error["message"]
    daemon.configure("[runs]\nmax_per_agent = 0\n[carrunsd]\ngc_interval_secs = 1\n")
    assert daemon.file("agent-a", run).exists()
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: not daemon.file("agent-a", run).exists(), message=daemon.log())


def test_sighup_reads_the_configuration_again(daemon: Daemon, wire: Wire) -> None:
    daemon.configure(config(max_turns_per_run=1))
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: wire.call("server.handshake")["limits"]["max_turns_per_run"] == 1)
    assert "configuration read again" in daemon.log()
    run = wire.start()
    assert wire.turns(run, "a", "b")["dropped"] == "run_turn_limit"


def test_check_config(make_daemon: Make) -> None:
    daemon = make_daemon(config="[carrunsd]\nfsync = 5\n")
    assert daemon.spawn("--check-config").wait(PATIENCE) == 78
    assert "config.toml:2" in daemon.log()
    daemon.configure("")
    assert daemon.spawn("--check-config").wait(PATIENCE) == 0
    assert not daemon.socket.exists()


def test_the_log_holds_no_contents_of_turns(daemon: Daemon, wire: Wire) -> None:
    run = wire.start(intent="a secret intent")
    wire.turns(run, "a secret prompt")
    wire.error("runs.record_turns", run_id=run, turns=[{"prompt": ["a secret mistake"]}])
    wire.send(b'{"a secret line"\n')
    wire.read()
    wire.complete(run, summary="a secret summary")
    assert daemon.stop() == 0
    assert "secret" not in daemon.log()
    for line in daemon.log().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) ", line), line


# -- graces and orphans ------------------------------------------------------------------------------------


def test_a_run_without_its_connection_gets_its_grace_then_incomplete(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(disconnect_grace_secs=1)).start()
    with Wire(daemon.socket) as agent:
        run = agent.start()
        agent.turns(run, "a")
    left = time.monotonic()
    wire = daemon.wire()
    assert wire.summary(run)["status"] == "in_progress"
    wait_until(lambda: ended_by(daemon, run, "disconnected"))
    assert time.monotonic() - left >= 0.9
    assert wire.summary(run)["status"] == "incomplete"
    assert last(daemon, run)["termination"] == {"kind": "incomplete"}
    assert wire.call("runs.resume", run_id=run)["status"] == "in_progress"
    assert wire.turns(run, "back")["base_index"] == 1
    wire.complete(run)


@pytest.mark.parametrize("method", ["runs.resume", "runs.record_turns", "runs.start"])
def test_whoever_comes_back_in_time_keeps_the_run(make_daemon: Make, method: str) -> None:
    daemon = make_daemon(config=config(disconnect_grace_secs=1)).start()
    with Wire(daemon.socket) as agent:
        run = agent.start(idempotency_key="kept")
        lost = agent.start()
    wire = daemon.wire()
    wire.call(method, run_id=run, turns=[{}], agent_id="agent-a", intent="i", idempotency_key=run)
    wait_until(lambda: ended_by(daemon, lost, "disconnected"))
    assert wire.summary(run)["status"] == "in_progress"


def test_a_run_of_two_connections_lives_as_long_as_one(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(disconnect_grace_secs=0)).start()
    wire = daemon.wire()
    with Wire(daemon.socket) as agent:
        run = agent.start()
        lost = agent.start()
        wire.turns(run, "mine too")
    wait_until(lambda: ended_by(daemon, lost, "disconnected"))
    assert wire.summary(run)["status"] == "in_progress"


def test_a_detached_run_outlives_its_connection(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(disconnect_grace_secs=0, adopt_grace_secs=0)).start()
    with Wire(daemon.socket) as agent:
        detached = agent.start(detached=True)
        plain = agent.start()
    wait_until(lambda: ended_by(daemon, plain, "disconnected"))
    assert daemon.wire().summary(detached)["status"] == "in_progress"
    other = daemon.wire().start()
    daemon.kill()
    daemon.start()
    wait_until(lambda: ended_by(daemon, other, "daemon_restart"))
    wire = daemon.wire()
    assert wire.summary(detached)["status"] == "in_progress"
    assert wire.turns(detached, "from cron")["base_index"] == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_a_detached_run_that_nobody_writes_to_is_abandoned(make_daemon: Make, restarted: bool) -> None:
    daemon = make_daemon(config=config(detached_idle_secs=1, adopt_grace_secs=0)).start()
    with Wire(daemon.socket) as agent:
        run = agent.start(detached=True)
    if restarted:
        daemon.kill()
        daemon.start()
    assert daemon.wire().summary(run)["status"] == "in_progress"
    wait_until(lambda: ended_by(daemon, run, "abandoned"))


def test_orphans_get_their_grace_then_incomplete(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=2)).start()
    agent = daemon.wire()
    lost, resumed, written, done = (agent.start() for _ in range(4))
    for run in (lost, resumed, written, done):
        agent.turns(run, "a", writer="w", seq=0)
    agent.complete(done)
    daemon.kill()
    daemon.start()
    wire = daemon.wire()
    assert wire.call("runs.resume", run_id=resumed)["status"] == "in_progress"
    wire.notify("runs.record_turns", run_id=written, turns=[{}], writer="w", seq=1)
    assert wire.summary(lost)["status"] == "in_progress"
    wait_until(lambda: ended_by(daemon, lost, "daemon_restart"))
    assert wire.summary(lost)["status"] == "incomplete"
    assert wire.summary(resumed)["status"] == "in_progress"
    assert wire.summary(written)["status"] == "in_progress"
    assert wire.summary(done)["status"] == "completed"
    assert wire.call("runs.resume", run_id=lost, writer="w")["acked_seq"] == 0
    assert wire.turns(lost, "b", writer="w", seq=1)["base_index"] == 1


def test_an_orphan_that_comes_and_goes_gets_the_whole_grace_of_a_connection(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=1, disconnect_grace_secs=60)).start()
    agent = daemon.wire()
    lost, back = agent.start(), agent.start()
    daemon.kill()
    daemon.start()
    with Wire(daemon.socket) as again:
        again.call("runs.resume", run_id=back)
    wait_until(lambda: ended_by(daemon, lost, "daemon_restart"))
    assert daemon.wire().summary(back)["status"] == "in_progress"


def test_adopt_orphans_does_not_wait(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    agent = daemon.wire()
    lost, lost_too, kept = agent.start(), agent.start(), agent.start()
    daemon.kill()
    daemon.start()
    wire = daemon.wire()
    wire.call("runs.resume", run_id=kept)
    assert wire.call("runs.adopt_orphans") == {"adopted": 2}
    assert ended_by(daemon, lost, "daemon_restart")
    assert ended_by(daemon, lost_too, "daemon_restart")
    assert wire.summary(kept)["status"] == "in_progress"
    assert wire.call("runs.adopt_orphans") == {"adopted": 0}


def test_open_runs_of_an_earlier_daemon_are_watched_too(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    agent = daemon.wire()
    run, done = agent.start(), agent.start()
    agent.complete(done)
    daemon.kill()
    daemon.start()
    wire = daemon.wire()
    assert [summary["run_id"] for summary in wire.call("runs.watch")["runs"]] == [run]
    assert wire.call("server.stats")["open_runs"] == 1
    daemon.wire().turns(run, "seen")
    assert wire.event()["params"]["run_id"] == run


def test_a_file_two_agents_have_by_the_same_name(make_daemon: Make) -> None:
    """The seed's store takes one run id for two agents; adopting one must not take the other's place."""
    daemon = make_daemon(config=config(adopt_grace_secs=1, disconnect_grace_secs=60)).start()
    daemon.wire().start("agent-a", idempotency_key="same")
    daemon.kill()
    (daemon.car_dir / "runs/agent-b").mkdir(mode=0o700)
    text = daemon.file("agent-a", "same").read_bytes().replace(b"agent-a", b"agent-b")
    daemon.file("agent-b", "same").write_bytes(text)
    daemon.start()
    wire = daemon.wire()
    agent = wire.call("runs.resume", run_id="same")["agent_id"]
    other = {"agent-a": "agent-b", "agent-b": "agent-a"}[agent]
    wait_until(lambda: last(daemon, "same", other)["record"] == "ended")
    assert wire.turns("same", "mine")["ok"]
    assert last(daemon, "same", agent)["prompt"] == "mine"
    assert len(daemon.records(other, "same")) == 2


# -- gc ----------------------------------------------------------------------------------------------------


def test_gc_after_a_run_ends(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = 2\n").start()
    wire = daemon.wire()
    runs = [wire.start() for _ in range(4)]
    for run in runs[:3]:
        wire.complete(run)
    wait_until(lambda: not daemon.file("agent-a", runs[0]).exists(), message=daemon.log())
    assert [daemon.file("agent-a", run).exists() for run in runs] == [False, True, True, True]
    wait_until(lambda: f"removed run {runs[0]}" in daemon.log())
    assert {run["run_id"] for run in wire.call("runs.list")["runs"]} == set(runs[1:])


def test_gc_at_the_start_and_every_interval(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    wire = daemon.wire()
    run = wire.start()
    wire.complete(run)
    daemon.stop()
    old = daemon.file("agent-a", "old")
    shutil.copy(daemon.file("agent-a", run), daemon.base / "copy")
    text = (daemon.base / "copy").read_bytes().replace(run.encode(), b"old")
    text = re.sub(rb'"20\d\d-', b'"2001-', text)
    old.write_bytes(text)
    daemon.configure(config(gc_interval_secs=1))
    daemon.start()
    wait_until(lambda: not old.exists())
    old.write_bytes(text)
    wait_until(lambda: not old.exists(), message="not looked at again")
    assert daemon.file("agent-a", run).exists()


def test_gc_leaves_a_reopened_run_alone(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = 0\n").start()
    wire = daemon.wire()
    kept, gone = wire.start(), wire.start()
    wire.call("runs.abandon", run_id=kept)
    wire.call("runs.resume", run_id=kept)
    wire.complete(gone)
    wait_until(lambda: not daemon.file("agent-a", gone).exists())
    assert wire.turns(kept, "alive")["ok"]
    assert last(daemon, kept)["prompt"] == "alive"


# -- what it finds on disk ---------------------------------------------------------------------------------


def test_a_store_full_of_odd_files(make_daemon: Make) -> None:
    kept = "[runs]\nmax_age_days = 36500\n"  # else gc, which runs at the start, may be faster than the list
    daemon = make_daemon(config=config(adopt_grace_secs=0) + kept).start()
    wire = daemon.wire()
    run = wire.start()
    wire.complete(run)
    daemon.stop()
    agent = daemon.car_dir / "runs/agent-a"
    good = daemon.file("agent-a", run).read_bytes()
    start = b'{"record":"started","run_id":"%b","agent_id":"agent-a","intent":"i",'
    today = time.strftime("%Y-%m-%d", time.gmtime()).encode()  # younger than what retention removes
    start += b'"started_at":"' + today + b'T00:00:00Z"}\n'
    odd = {
        "ended-at-number": start % b"ended-at-number" + b'{"record":"ended","termination":null,"ended_at":5}\n',
        "ended-at-list": start % b"ended-at-list" + b'{"record":"ended","termination":[],"ended_at":[1]}\n',
        "ended-at-bad": start % b"ended-at-bad" + b'{"record":"ended","termination":{"kind":5},"ended_at":"x"}\n',
        "started-bad": (start % b"started-bad").replace(today + b"T", b"someday "),
        "garbage": os.urandom(5000),
        "empty": b"",
        "nuls": b"\0" * 5000,
        "bom": b"\xef\xbb\xbf" + start % b"bom",
        "no-start": b'{"record":"turn","index":0}\n',
        "index-huge": start % b"index-huge" + b'{"record":"turn","index":' + b"9" * 200 + b"}\n",
        "index-negative": start % b"index-negative" + b'{"record":"turn","index":-7}\n',
    }
    for name, data in odd.items():
        (agent / f"{name}.jsonl").write_bytes(data)
    (agent / "link.jsonl").symlink_to(daemon.base / "log")
    (agent / "directory.jsonl").mkdir()
    os.mkfifo(agent / "fifo.jsonl")
    (daemon.car_dir / "runs/stray-file").write_bytes(good)
    (daemon.car_dir / "runs/link").symlink_to(agent)
    daemon.start()
    wire = daemon.wire()
    listed = {summary["run_id"] for summary in wire.call("runs.list")["runs"]}
    assert {run, "ended-at-number", "ended-at-list", "ended-at-bad", "bom"} <= listed
    assert {row["agent_id"] for row in wire.call("runs.agents")["agents"]} == {"agent-a"}
    for name in (*odd, "link", "directory", "fifo", run):
        trace = wire.request("runs.get_trace", run_id=name)
        assert "result" in trace or trace["error"]["data"]["kind"] == "storage", trace
        resumed = wire.request("runs.resume", run_id=name)
        assert "result" in resumed or resumed["error"]["data"]["kind"] != "internal_error", (name, resumed)
        if "result" in resumed:
            assert wire.turns(name, "goes on")["ok"], name
            assert b'"prompt":"goes on"' in daemon.file("agent-a", name).read_bytes().splitlines()[-1]
    wire.call("runs.gc")
    assert "Traceback" not in daemon.log()


@pytest.mark.parametrize(
    "odd",
    [
        b"\n",
        b'\xef\xbb\xbf{"record":"turn","index":1}\n',
        b'{"record":"turn","index":1}\0\0\0\n',
        b'{"record":"turn","index":1}',
        b'{"record":"turn","index":1',
        b"no record\n",
        b'{"record":"turn",\n"index":1}\n',
    ],
)
def test_a_trace_is_the_same_each_time_it_is_read(make_daemon: Make, odd: bytes) -> None:
    """Also where a line is a record, but not as it stands: what was seen to be good is not looked at again."""
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    daemon.stop()
    path = daemon.file("agent-a", "odd")
    path.parent.mkdir(mode=0o700, parents=True)
    start = {"record": "started", "run_id": "odd", "agent_id": "agent-a", "intent": "i", "started_at": _LONG_AGO}
    turn = b'{"record":"turn","index":%d,"prompt":"' + b"x" * 3000 + b'"}\n'
    path.write_bytes(json.dumps(start).encode() + b"\n" + b"".join(turn % n for n in range(400)) + odd)
    daemon.start()
    wire = daemon.wire()
    wait_until(lambda: time.time_ns() - path.stat().st_ctime_ns > 30_000_000)

    def read() -> list[Json]:
        pages = [wire.call("runs.get_trace", run_id="odd")]
        while "next_cursor" in pages[-1]:
            pages.append(wire.call("runs.get_trace", run_id="odd", cursor=pages[-1]["next_cursor"]))
        return pages

    first = read()
    assert len(first) > 2
    assert read() == read() == first
    assert sum(len(page["records"]) for page in first) == 401 + (
        b"index" in odd and b"1}" in odd and odd.count(b"\n") < 2
    )


_LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("tail", [b'{"record":"turn","index":1,"pro', b"\0" * 5000, b'{"record":"turn","index":1}'])
def test_a_torn_tail_is_healed_and_pages_go_on_behind_it(make_daemon: Make, tail: bytes) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    agent = daemon.wire()
    run = agent.start()
    agent.turns(run, "a", writer="w", seq=0)
    daemon.kill()
    with daemon.file("agent-a", run).open("ab") as file:
        file.write(tail)
    daemon.start()
    wire = daemon.wire()
    whole = tail.endswith(b"}")
    page = wire.call("runs.get_trace", run_id=run)
    assert page["skipped"] == (0 if whole else 1)
    snapshot = wire.call("runs.subscribe", run_id=run)
    assert snapshot["cursor"] == page["cursor"] == (3 if whole else 2)
    assert wire.turns(run, "b", writer="w", seq=1)["base_index"] == (2 if whole else 1)
    assert wire.event()["params"]["cursor"] == page["cursor"] + 1
    rest = wire.call("runs.get_trace", run_id=run, cursor=page["cursor"])
    assert [record["prompt"] for record in rest["records"]] == ["b"]
    assert rest["skipped"] == 0
    daemon.records("agent-a", run)


def test_a_run_whose_file_is_taken_away(daemon: Daemon, wire: Wire) -> None:
    run, other = wire.start(), wire.start()
    wire.turns(run, "a")
    daemon.file("agent-a", run).unlink()
    answer = wire.request("runs.record_turns", run_id=run, turns=[{}])
    assert "error" not in answer or answer["error"]["data"]["kind"] == "storage"
    assert not answer.get("result", {}).get("ok"), "acknowledged, but it is nowhere"
    assert wire.turns(other, "fine")["ok"]
    shutil.rmtree(daemon.car_dir / "runs")
    with contextlib.suppress(AssertionError):
        wire.turns(other, "gone")
    fresh = wire.start()
    assert wire.turns(fresh, "new")["ok"]
    assert len(daemon.records("agent-a", fresh)) == 2


@pytest.mark.parametrize("what", ["link", "fifo", "directory"])
def test_a_link_in_place_of_a_runs_file_is_not_followed(daemon: Daemon, wire: Wire, what: str) -> None:
    wire.start(idempotency_key="first")
    place, victim = daemon.file("agent-a", "r"), daemon.base / "victim"
    victim.write_bytes(b"precious\n")
    if what == "link":
        place.symlink_to(victim)
    elif what == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    error = wire.error("runs.start", intent="i", agent_id="agent-a", idempotency_key="r")
    assert error["data"]["kind"] in ("storage", "conflict")
    assert wire.call("runs.record_turns", run_id="r", turns=[{}])["dropped"] == "run_not_found"
    assert victim.read_bytes() == b"precious\n"
    assert wire.call("server.ping") == {}
