"""What a user manager does with daemons that clients ask for, and with places that go under those it started."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support import Daemon, clean_environment, wait_until
from tests.systemd.manager import Manager


def test_without_units_the_manager_starts_it_all_the_same(manager: Manager) -> None:
    """It is in a control group of its own, and is ready when the client has its answer."""
    carruns = str(Path(sys.executable).with_name("carruns"))
    done = manager.run(carruns, "start", "-a", "a", "-i", "x")
    assert done.stdout.strip(), done.stderr
    pid = int((manager.car_dir / "carrunsd.lock").read_text())
    units = [line.split()[0] for line in manager.systemctl("list-units", "--plain", "--no-legend").splitlines()]
    transient = [unit for unit in units if unit.startswith("run-") and unit.endswith(".service")]
    assert [manager.show("MainPID", unit) for unit in transient] == [str(pid)]
    assert transient[0] in Path(f"/proc/{pid}/cgroup").read_text()
    names = {entry.split(b"=")[0] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
    assert b"NOTIFY_SOCKET" in names
    assert b"CARRUNS_AUTOSTART" in names
    assert "serves" in (manager.car_dir / "carrunsd.log").read_text()
    manager.systemctl("stop", transient[0])
    assert not manager.socket.exists()


def test_a_unit_whose_socket_was_removed(installed: Manager) -> None:
    """systemd calls it active and does not look; the daemon binds the path anew."""
    installed.systemctl("start", "carrunsd.service")
    installed.socket.unlink()
    wait_until(installed.socket.exists)
    with installed.wire() as wire:
        assert wire.call("server.handshake")["pid"] == installed.main_pid


def test_a_manager_that_started_somebody_else_is_not_answered(make_daemon: Callable[..., Daemon]) -> None:
    """A daemon in a script of a unit's: ``NOTIFY_SOCKET`` is for the process that systemd started."""
    daemon = make_daemon()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as foreign:
        foreign.bind(str(daemon.base / "notify"))
        foreign.setblocking(False)
        address = {"NOTIFY_SOCKET": str(daemon.base / "notify"), "SYSTEMD_EXEC_PID": "1"}
        daemon.start(env=clean_environment(daemon.home, daemon.car_dir) | address)
        assert daemon.stop() == 0
        try:
            heard = foreign.recv(4096)
        except BlockingIOError:
            heard = b""
        assert heard == b""
