"""Places that go, move or are replaced under a running daemon: it heals what it can, and else makes room."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable

import pytest

from tests.support import Daemon, Wire, wait_until

Make = Callable[..., Daemon]


def answers(daemon: Daemon) -> bool:
    try:
        with Wire(daemon.socket) as wire:
            return bool(wire.call("server.handshake")["pid"] == daemon.pid)
    except (FileNotFoundError, ConnectionRefusedError):
        return False


def test_a_removed_socket_is_bound_anew(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    daemon.socket.unlink()
    wait_until(lambda: answers(daemon))
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
    assert wire.turns(run, "on the old connection")["ok"]
    assert "bound anew" in daemon.log()
    assert daemon.stop() == 0
    assert not daemon.socket.exists()


def test_sighup_looks_at_once(daemon: Daemon) -> None:
    daemon.socket.unlink()
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: answers(daemon))


def test_a_dead_socket_in_its_place(daemon: Daemon) -> None:
    daemon.socket.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(daemon.socket))
    wait_until(lambda: answers(daemon))


def test_who_waits_in_the_backlog_is_not_forgotten(daemon: Daemon) -> None:
    daemon.signal(signal.SIGSTOP)
    early = [daemon.wire() for _ in range(5)]
    daemon.socket.unlink()
    daemon.signal(signal.SIGCONT)
    wait_until(lambda: answers(daemon))
    assert all(wire.call("server.ping") == {} for wire in early)


@pytest.mark.parametrize("kind", ["program", "file"])
def test_what_is_anothers_is_left_alone(daemon: Daemon, wire: Wire, kind: str) -> None:
    daemon.socket.unlink()
    other = socket.socket(socket.AF_UNIX)
    if kind == "file":
        daemon.socket.write_text("precious")
    else:
        other.bind(str(daemon.socket))
        other.listen()
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: "does not lead to this daemon any more" in daemon.log())
    run = wire.start()
    assert wire.turns(run, "still served")["ok"]
    assert daemon.stop() == 0
    assert daemon.socket.exists()
    assert daemon.log().count("does not lead to this daemon any more") == 1
    other.close()


def test_a_removed_lock_ends_it_and_the_next_takes_over(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    wire.turns(run, "one")
    (daemon.car_dir / "carrunsd.lock").unlink()
    assert daemon.wait() == 0
    assert "carrunsd.lock was removed or replaced" in daemon.log()
    daemon.start()
    assert daemon.wire().turns(run, "two")["ok"]


def test_two_daemons_do_not_stay(daemon: Daemon) -> None:
    """The first one goes, and leaves the second one's socket."""
    (daemon.car_dir / "carrunsd.lock").unlink()
    daemon.socket.unlink()
    second = Daemon(daemon.base)
    try:
        second.start()
        assert daemon.wait() == 0
        assert answers(second)
    finally:
        second.close()


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_car_directory_that_goes_takes_its_daemon_along(daemon: Daemon, wire: Wire, how: str) -> None:
    run = wire.start()
    wire.turns(run, "one")
    elsewhere = daemon.base / "moved"
    if how == "removed":
        shutil.rmtree(daemon.car_dir)
    else:
        daemon.car_dir.rename(elsewhere)
    if how == "replaced":
        daemon.car_dir.mkdir(mode=0o700)
        (daemon.car_dir / "carrunsd.sock").write_text("of somebody else")
    error = wire.error("runs.start", agent_id="b", intent="where there is nothing of ours any more")
    assert "under the daemon" in error["message"]
    assert daemon.wait() == 0
    assert how == "replaced" or not daemon.car_dir.exists()
    assert how == "removed" or b'"one"' in (elsewhere / "runs/agent-a" / f"{run}.jsonl").read_bytes()
    assert how != "replaced" or os.listdir(daemon.car_dir) == ["carrunsd.sock"]
