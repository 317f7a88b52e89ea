"""Hostile places: links, pipes and other people's things where ours should be.  Refused, never followed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import PATIENCE, Daemon, Wire, listens, wait_until

_CANNOT = 73  # EX_CANTCREAT


def refused(daemon: Daemon, *arguments: str) -> str:
    """Start a daemon that must not start; return what it said."""
    process = daemon.spawn(*arguments)
    try:
        assert process.wait(PATIENCE) == _CANNOT, daemon.log()
    finally:
        process.kill()
        process.wait()
    assert "cannot start" in daemon.log()
    return daemon.log()


def _link(path: Path) -> Path:
    target = path.parent.parent / f"target-{path.parent.name}-{path.name}"
    if path.name == "runs":
        target.mkdir()
    else:
        target.write_text("precious")
    path.symlink_to(target)
    return target


def _dangling(path: Path) -> Path:
    target = path.parent.parent / f"target-{path.parent.name}-{path.name}"
    path.symlink_to(target)
    return target


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _file(path: Path) -> Path:
    path.write_text("precious")
    return path


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture
def car(base: Path) -> Path:
    (base / "car").mkdir(mode=0o700)
    return base / "car"


@pytest.mark.parametrize("trick", [_link, _dangling, _pipe, _directory])
def test_the_lock(car: Path, base: Path, make_daemon: Callable[..., Daemon], trick: Callable[[Path], Path]) -> None:
    target = trick(car / "carrunsd.lock")
    assert "carrunsd.lock" in refused(make_daemon(base=base))
    assert target == car / "carrunsd.lock" or not target.exists() or target.read_text() == "precious"


@pytest.mark.parametrize("trick", [_link, _dangling, _pipe, _directory, _file])
def test_the_socket(
    car: Path, base: Path, make_daemon: Callable[..., Daemon], trick: Callable[[Path], Path]
) -> None:
    target = trick(car / "carrunsd.sock")
    before = os.lstat(car / "carrunsd.sock")
    assert "carrunsd.sock" in refused(make_daemon(base=base))
    assert os.lstat(car / "carrunsd.sock").st_ino == before.st_ino
    assert trick is not _dangling or not target.exists()


@pytest.mark.parametrize("trick", [_link, _dangling, _pipe, _file])
def test_the_runs_directory(
    car: Path, base: Path, make_daemon: Callable[..., Daemon], trick: Callable[[Path], Path]
) -> None:
    target = trick(car / "runs")
    assert "runs" in refused(make_daemon(base=base))
    assert not target.is_dir() or not list(target.iterdir())


@pytest.mark.parametrize("trick", [_link, _dangling, _pipe, _file])
def test_an_agents_directory(shared: Daemon, trick: Callable[[Path], Path]) -> None:
    name = f"agent{trick.__name__}"
    trick(shared.car_dir / "runs" / name)
    with shared.wire() as wire:
        assert wire.error("runs.start", agent_id=name, intent="i")["data"]["kind"] == "storage"
        assert wire.start(agent_id=f"other-{name}")
        wire.call("runs.list")


@pytest.mark.parametrize("trick", [_link, _dangling, _pipe, _directory])
def test_a_run_file(shared: Daemon, trick: Callable[[Path], Path]) -> None:
    name = f"files{trick.__name__}"
    with shared.wire() as wire:
        good = wire.start(agent_id=name)
        target = trick(shared.file(name, "bad"))
        answer = wire.request("runs.start", agent_id=name, intent="i", idempotency_key="bad")
        assert answer["error"]["data"]["kind"] in ("storage", "conflict")
        assert wire.call("runs.get_trace", run_id="bad").get("not_found")
        assert good in {run["run_id"] for run in wire.call("runs.list", agent_id=name)["runs"]}
        assert wire.turns(good, "goes on")["ok"]
    assert not target.is_file() or target.read_text() == "precious"
    assert trick is not _dangling or not target.exists()


@pytest.mark.parametrize("trick", [_link, _pipe, _file])
def test_the_spool(
    car: Path, base: Path, make_daemon: Callable[..., Daemon], trick: Callable[[Path], Path]
) -> None:
    """It is not drained, everything else works."""
    trick(car / "spool")
    daemon = make_daemon(base=base).start()
    assert daemon.wire().start()
    wait_until(lambda: "spool is not drained" in daemon.log())


def test_links_and_pipes_in_the_spool(car: Path, base: Path, make_daemon: Callable[..., Daemon]) -> None:
    (car / "spool").mkdir(mode=0o700)
    line = '{"method":"runs.start","params":{"agent_id":"a","intent":"i","idempotency_key":"%s"}}\n'
    (base / "elsewhere.jsonl").write_text(line % "followed")
    (car / "spool" / "link.jsonl").symlink_to(base / "elsewhere.jsonl")
    os.mkfifo(car / "spool" / "pipe.jsonl")
    (car / "spool" / "real.jsonl").write_text(line % "real")
    daemon = make_daemon(base=base).start()
    wait_until(lambda: daemon.file("a", "real").exists())
    wait_until(lambda: not (car / "spool" / "real.jsonl").exists())
    assert not daemon.file("a", "followed").exists()
    assert (base / "elsewhere.jsonl").exists()


@pytest.mark.root
def test_a_car_directory_of_another_user(car: Path, base: Path, make_daemon: Callable[..., Daemon]) -> None:
    shutil.chown(car, 12345, 12345)
    assert "belongs to user 12345" in refused(make_daemon(base=base))
    assert list(car.iterdir()) == []


@pytest.mark.root
def test_a_client_of_another_user(daemon: Daemon) -> None:
    """The socket's mode keeps it out; were that to fail, the daemon asks the kernel who it is."""
    daemon.base.chmod(0o755)
    daemon.car_dir.chmod(0o755)
    code = (
        "import os, socket, sys\nos.setuid(12345)\ns = socket.socket(socket.AF_UNIX)\n"
        "try:\n    s.connect(sys.argv[1])\nexcept PermissionError:\n    print('kept out'); sys.exit()\n"
        "print(s.recv(1000).decode())\n"
    )
    command = ["/usr/bin/python3", "-c", code, str(daemon.socket)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "kept out\n"
    daemon.socket.chmod(0o666)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "is for user 0 only" in said


def test_a_car_directory_that_others_may_write_to(
    car: Path, base: Path, make_daemon: Callable[..., Daemon]
) -> None:
    car.chmod(0o777)
    daemon = make_daemon(base=base).start()
    assert stat.S_IMODE(car.stat().st_mode) & 0o022 == 0
    assert "was writable by others" in daemon.log()


def test_a_socket_path_that_is_too_long(base: Path, make_daemon: Callable[..., Daemon]) -> None:
    long = base / ("x" * (107 - len(str(base)) - 1))
    assert len(str(long)) == 107
    daemon = make_daemon(base=base)
    said = refused(daemon, "--socket", f"{long}y")
    assert "107" in said
    assert "--socket" in said
    process = daemon.spawn("--socket", str(long))
    try:
        wait_until(lambda: listens(long))
        with Wire(long) as wire:
            wire.call("server.ping")
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("mask", [0, 0o077, 0o277])
def test_any_umask_gives_the_same_modes(base: Path, make_daemon: Callable[..., Daemon], mask: int) -> None:
    daemon = make_daemon(base=base)
    daemon.start(umask=mask)
    wire = daemon.wire()
    run_id = wire.start()
    wire.turns(run_id, "a")
    for path in (daemon.car_dir, daemon.car_dir / "runs", daemon.car_dir / "runs" / "agent-a"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for path in (daemon.file("agent-a", run_id), daemon.socket, daemon.car_dir / "carrunsd.lock"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_two_daemons_on_one_car_directory(daemon: Daemon) -> None:
    second = daemon.spawn("--socket", str(daemon.base / "second.sock"))
    assert second.wait(PATIENCE) == 75
    assert f"process {daemon.pid}" in daemon.log()
    assert daemon.wire().call("server.ping") == {}


def test_a_second_daemon_whose_lock_was_taken_away_does_not_take_the_socket(daemon: Daemon) -> None:
    (daemon.car_dir / "carrunsd.lock").unlink()
    second = daemon.spawn()
    assert second.wait(PATIENCE) == _CANNOT
    assert "another program listens" in daemon.log()
    assert daemon.wire().call("server.ping") == {}
