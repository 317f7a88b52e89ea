"""The two protocols without systemd: a socket handed over as descriptor 3, and ``sd_notify`` to a real socket."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carrunsd.host import logs
from tests.support import PATIENCE, Daemon, Wire, listens, wait_until

#: What systemd does between fork and exec: the socket becomes descriptor 3, the variables name this very process.
_LAUNCH = """
import os, sys
fd, pid, *command = sys.argv[1:]
if int(fd) != 3:
    os.dup2(int(fd), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid() + int(pid)), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "carrunsd.socket"}
os.execv(sys.executable, [sys.executable, "-m", "carrunsd", *command])
"""


@pytest.fixture
def handed(base: Path) -> Iterator[socket.socket]:
    """A listening socket, as ``carrunsd.socket`` would have it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(base / "handed.sock"))
        listener.listen()
        yield listener


def _launch(daemon: Daemon, fd: int, *, pid_offset: int = 0, **env: str) -> subprocess.Popen[bytes]:
    with daemon.log_path.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(fd), str(pid_offset), "--car-dir", str(daemon.car_dir)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(fd,), cwd="/",
            env={**os.environ, **env},
        )  # fmt: skip


def test_handed_socket_is_served_and_left_behind(daemon_: Daemon, handed: socket.socket, base: Path) -> None:
    with Wire(base / "handed.sock") as early:  # a client that waits while the daemon starts
        number = early.post("server.handshake")
        daemon_.process = _launch(daemon_, handed.fileno())
        assert early.answer(number)["result"]["pid"] == daemon_.pid
    assert not daemon_.socket.exists()  # the handed socket wins
    assert daemon_.stop() == 0
    assert (base / "handed.sock").exists()  # it is systemd's
    with Wire(base / "handed.sock"):  # and the next daemon's clients may wait already
        pass


def test_the_variables_do_not_reach_children(daemon_: Daemon, handed: socket.socket, base: Path) -> None:
    daemon_.process = _launch(daemon_, handed.fileno())
    with Wire(base / "handed.sock") as wire:
        wire.call("server.ping")
    flags = int(_field(f"/proc/{daemon_.pid}/fdinfo/3", "flags"), 8)
    assert flags & os.O_CLOEXEC


def test_variables_for_another_process_are_ignored(daemon_: Daemon, handed: socket.socket) -> None:
    daemon_.process = _launch(daemon_, handed.fileno(), pid_offset=1)
    wait_until(lambda: listens(daemon_.socket))
    with Wire(daemon_.socket) as wire:
        assert wire.call("server.handshake")["pid"] == daemon_.pid


@pytest.mark.parametrize("kind", ["file", "datagram", "tcp"])
def test_anything_else_is_refused(daemon_: Daemon, kind: str, base: Path) -> None:
    with _not_a_listener(kind, base) as other:
        daemon_.process = _launch(daemon_, other.fileno())
        assert daemon_.wait() == 73
    assert "systemd handed over" in daemon_.log()
    assert "Traceback" not in daemon_.log()


def test_ready_watchdog_and_stopping_are_told(daemon_: Daemon, base: Path) -> None:
    with _notify_socket(str(base / "notify")) as told:
        daemon_.process = _with_notify(daemon_, str(base / "notify"), WATCHDOG_USEC="200000")
        first = told.recv(4096).decode().split("\n")
        assert first == ["READY=1", f"STATUS=serving {daemon_.car_dir}"]
        with Wire(daemon_.socket) as wire:  # ready means ready
            wire.call("server.ping")
        assert {told.recv(4096) for _ in range(3)} == {b"WATCHDOG=1"}
        assert daemon_.stop() == 0
        rest = _drain(told)
        assert rest.count(b"STOPPING=1") == 1
        assert set(rest) <= {b"STOPPING=1", b"WATCHDOG=1"}


def test_an_abstract_notify_socket(daemon_: Daemon, base: Path) -> None:
    name = f"carrunsd-test-{base.name}"
    with _notify_socket("\0" + name) as told:
        daemon_.process = _with_notify(daemon_, "@" + name)
        assert told.recv(4096).startswith(b"READY=1\n")
        assert daemon_.stop() == 0


def test_no_watchdog_for_another_process(daemon_: Daemon, base: Path) -> None:
    with _notify_socket(str(base / "notify")) as told:
        daemon_.process = _with_notify(
            daemon_, str(base / "notify"), WATCHDOG_USEC="1000", WATCHDOG_PID=str(os.getpid())
        )
        assert told.recv(4096).startswith(b"READY=1\n")
        assert daemon_.stop() == 0
        assert _drain(told) == [b"STOPPING=1"]


def test_a_notify_socket_that_is_gone_stops_nothing(daemon_: Daemon, base: Path) -> None:
    daemon_.process = _with_notify(daemon_, str(base / "nobody"), WATCHDOG_USEC="10000")
    wait_until(lambda: listens(daemon_.socket))
    with Wire(daemon_.socket) as wire:
        wire.call("server.ping")
    assert daemon_.stop() == 0


def test_a_notify_socket_that_nobody_reads_blocks_nothing(daemon_: Daemon, base: Path) -> None:
    """A manager that is stopped or busy must not stop the daemon's loop with it."""
    with _notify_socket(str(base / "notify")) as told:
        _fill(told, str(base / "notify"))
        daemon_.process = _with_notify(daemon_, str(base / "notify"), WATCHDOG_USEC="10000")
        wait_until(lambda: listens(daemon_.socket))
        with Wire(daemon_.socket) as wire:
            wire.call("server.ping")
        # Once there is room again, it is told that we are ready.
        wait_until(lambda: told.recv(4096).startswith(b"READY=1\n"))
        assert daemon_.stop() == 0


def test_under_journald_lines_have_a_priority(daemon_: Daemon) -> None:
    with daemon_.log_path.open("ab") as log:
        status = os.fstat(log.fileno())
    env = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    daemon_.configure("[carrunsd]\nfsink = 1\n")
    daemon_.process = daemon_.spawn(env=env)
    wait_until(lambda: listens(daemon_.socket))
    wait_until(lambda: "serves" in daemon_.log())
    assert daemon_.stop() == 0
    levels = {line[:3] for line in daemon_.log().splitlines()}
    assert levels == {"<3>", "<6>"}
    assert "<3>" + str(daemon_.car_dir / "config.toml") + ":2:" in daemon_.log()


def test_every_line_of_an_entry_has_the_priority(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also nothing that a message quotes can pass for a line of another priority."""
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    with open(2, "w", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.set_up("info")
        log = logging.getLogger("carrunsd.test")
        try:
            raise ValueError("bad\n<0>panic")
        except ValueError:
            log.exception("a defect")
        log.debug("not this")
        log.warning("careful")
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "<3>a defect"
    assert {line[:3] for line in lines[:-1]} == {"<3>"}
    assert "<3> <0>panic" in lines
    assert lines[-1] == "<4>careful"


def test_a_journal_stream_that_is_not_ours_gives_times(daemon_: Daemon) -> None:
    """The variable is inherited by everything a service starts, also where standard error leads elsewhere."""
    daemon_.process = daemon_.spawn(env={**os.environ, "JOURNAL_STREAM": "1:1"})
    wait_until(lambda: "serves" in daemon_.log())
    assert daemon_.stop() == 0
    assert all(line.startswith("20") for line in daemon_.log().splitlines())


# -- helpers -----------------------------------------------------------------------------------------------


@pytest.fixture
def daemon_(make_daemon: Any) -> Daemon:
    """A daemon that is not started; the end of the test ends it."""
    one: Daemon = make_daemon()
    return one


def _with_notify(daemon: Daemon, address: str, **env: str) -> subprocess.Popen[bytes]:
    return daemon.spawn(env={**os.environ, "NOTIFY_SOCKET": address, **env})


def _notify_socket(address: str) -> socket.socket:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(address)
    told.settimeout(PATIENCE)
    return told


def _drain(told: socket.socket) -> list[bytes]:
    told.setblocking(False)
    out = []
    while True:
        try:
            out.append(told.recv(4096))
        except BlockingIOError:
            return out


def _fill(told: socket.socket, address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            while True:
                sender.sendto(b"WATCHDOG=1", address)
        except BlockingIOError:
            return


def _not_a_listener(kind: str, base: Path) -> Any:
    if kind == "file":
        return (base / "file").open("wb")
    if kind == "tcp":
        return socket.create_server(("127.0.0.1", 0))
    return _notify_socket(str(base / "datagram"))


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    raise AssertionError(f"{path} has no {name}")
