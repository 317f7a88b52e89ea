"""``carruns stop``, ``restart``, ``doctor`` and ``service install`` where a real user manager has our units."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import wait_until
from tests.systemd.manager import Manager

pytestmark = pytest.mark.user_manager

_RECORDS = (
    "import carruns\n"
    "with carruns.Client() as client:\n"
    "    with client.run('tester', intent='try it') as run:\n"
    "        run.turn(tool='true')\n"
    "    print(client.handshake()['pid'])\n"
)


def carruns(manager: Manager, *arguments: str, code: int = 0) -> str:
    done: subprocess.CompletedProcess[str] = manager.run(
        sys.executable, "-m", "carruns.cli", *arguments, check=False
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


def test_the_units_take_over_from_a_daemon_that_a_client_started(manager: Manager) -> None:
    started = manager.run(sys.executable, "-c", _RECORDS).stdout.strip()
    said = manager.carruns("install", "--enable", "--now").stdout
    assert f"(process {started})" in said
    assert "listens on" in said
    assert manager.main_pid not in (0, int(started))


def test_stop_and_restart_go_through_the_unit(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    pid = installed.main_pid
    assert f"instead of {pid}" in carruns(installed, "restart")
    assert installed.main_pid not in (0, pid)
    said = carruns(installed, "stop")
    assert "stopped process " in said
    assert "systemctl --user stop carrunsd.socket" in said
    assert installed.show("Result") == "success"
    wait_until(lambda: installed.main_pid == 0)
    assert "runs as process" in carruns(installed, "restart")
    assert installed.show("ActiveState") == "active"


def test_doctor_says_what_is_wrong_with_a_dead_socket_unit(installed: Manager) -> None:
    assert "does not listen" in carruns(installed, "doctor", code=1)
    installed.systemctl("start", "carrunsd")
    assert "nothing is wrong" in carruns(installed, "doctor")
    installed.socket.unlink()
    assert "systemctl --user restart carrunsd.socket" in carruns(installed, "doctor", code=1)
    installed.systemctl("stop", "carrunsd.socket", "carrunsd.service")
    said = carruns(installed, "doctor", code=1)
    assert "does not listen (inactive)" in said
    assert "systemctl --user start carrunsd.socket" in said
    installed.systemctl("start", "carrunsd.socket")
    assert "nothing is wrong" in carruns(installed, "doctor")
