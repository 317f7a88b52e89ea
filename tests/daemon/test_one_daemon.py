"""One daemon a car directory: lock, socket, who may connect, how it starts."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.lives import config
from tests.support import PATIENCE, Daemon, Wire, clean_environment, wait_until

Make = Callable[..., Daemon]


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
    assert (refused["code"], refused["data"]["kind"]) == (-32012, "busy")
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
