"""``carruns service install``, ``status`` and ``uninstall``: what they write, refuse and say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from carruns.cli import service_units
from carruns.cli.commands.look_after.service import service
from tests.support import wait_until
from tests.systemd.manager import Manager

_NAMES = ("carrunsd.service", "carrunsd.socket")


@pytest.fixture
def systemctl(base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with ``systemctl`` but no user manager, as in a container or under cron."""
    directory = base / "bin"
    directory.mkdir()
    program = directory / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("CAR_HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return program


def _carruns(*arguments: str) -> Result:
    return CliRunner().invoke(service, arguments)


def _lines(path: Path, key: str) -> list[str]:
    return [line.partition("=")[2] for line in path.read_text().splitlines() if line.startswith(key + "=")]


@pytest.mark.usefixtures("systemctl")
def test_units_lead_to_this_installation(base: Path) -> None:
    done = _carruns("install")
    assert done.exit_code == 0, done.output
    assert "no systemd user manager answers (Failed to connect to bus: No medium found)" in done.stderr
    units = base / "home/.config/systemd/user"
    assert sorted(path.name for path in units.iterdir()) == sorted(_NAMES)
    program = Path(sys.executable).with_name("carrunsd")
    assert _lines(units / "carrunsd.service", "ExecStart") == [f"{program} --car-dir=%h/.car"]
    assert _lines(units / "carrunsd.socket", "ListenStream") == ["%h/.car/carrunsd.sock"]


@pytest.mark.usefixtures("systemctl")
def test_now_without_a_manager_fails() -> None:
    assert _carruns("install", "--now").exit_code == 1
    assert _carruns("install", "--enable").exit_code == 1


@pytest.mark.usefixtures("systemctl")
def test_config_home_and_user_dir(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(base / "config"))
    _carruns("install")
    assert (base / "config/systemd/user/carrunsd.service").exists()
    _carruns("install", "--user-dir", str(base / "elsewhere"))
    assert (base / "elsewhere/carrunsd.socket").exists()


@pytest.mark.usefixtures("systemctl")
def test_other_places_are_in_both_units(base: Path) -> None:
    car, sock = base / 'a b%h$X"', base / "run dir/s.sock"
    units = base / "units"
    done = _carruns(
        "install", "--user-dir", str(units), "--car-dir", str(car), "--socket", str(sock), "--hardening"
    )
    assert done.exit_code == 0, done.output
    escaped = str(base) + r"/a b%%h$$X\""
    assert _lines(units / "carrunsd.service", "ExecStart")[0].endswith(f' --car-dir="{escaped}"')
    assert _lines(units / "carrunsd.socket", "ListenStream") == [str(sock)]
    assert _lines(units / "carrunsd.socket", "ExecStartPre")[0].endswith(f' sh "{escaped}/carrunsd.lock"')
    hardening = units / "carrunsd.service.d/hardening.conf"
    assert _lines(hardening, "ReadWritePaths") == ['"' + escaped.replace("$$", "$") + '"']
    assert _lines(hardening, "PrivateTmp") == []  # it would hide this car directory
    assert car.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("systemctl")
def test_car_home_counts(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_HOME", str(base / "other"))
    _carruns("install", "--user-dir", str(base / "units"))
    assert _lines(base / "units/carrunsd.socket", "ListenStream") == [str(base / "other/carrunsd.sock")]


@pytest.mark.usefixtures("systemctl")
def test_install_twice_changes_nothing(base: Path) -> None:
    arguments = ("install", "--user-dir", str(base / "units"), "--hardening")
    _carruns(*arguments)
    before = {path: path.stat().st_ino for path in (base / "units").rglob("*")}
    again = _carruns(*arguments)
    assert again.output.count("unchanged") == 3
    assert {path: path.stat().st_ino for path in (base / "units").rglob("*")} == before
    _carruns(*arguments[:-1])
    assert not (base / "units/carrunsd.service.d/hardening.conf").exists()


@pytest.mark.usefixtures("systemctl")
@pytest.mark.parametrize("edited", [True, False])
def test_what_others_wrote_is_left_alone(base: Path, edited: bool) -> None:
    units = base / "units"
    units.mkdir()
    if edited:
        _carruns("install", "--user-dir", str(units))
        (units / "carrunsd.socket").unlink()
        with (units / "carrunsd.service").open("a") as file:
            file.write("# mine\n")
    else:
        (units / "carrunsd.service").write_text("[Service]\n")
    before = (units / "carrunsd.service").read_text()
    for command in ("install", "uninstall"):
        refused = _carruns(command, "--user-dir", str(units))
        assert refused.exit_code == 1
        assert "--force" in refused.stderr
        assert (units / "carrunsd.service").read_text() == before
    assert not (units / "carrunsd.socket").exists()  # all or nothing
    assert _carruns("install", "--user-dir", str(units), "--force").exit_code == 0
    assert (units / "carrunsd.service").read_text() != before
    assert _carruns("uninstall", "--user-dir", str(units)).exit_code == 0
    assert list(units.iterdir()) == []


def test_without_systemd(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(base))
    refused = _carruns("install", "--user-dir", str(base / "units"))
    assert refused.exit_code == 1
    assert "there is no systemd here" in refused.stderr
    assert not (base / "units").exists()


@pytest.mark.usefixtures("systemctl")
def test_a_socket_path_that_is_too_long_is_refused(base: Path) -> None:
    refused = _carruns("install", "--user-dir", str(base / "units"), "--socket", str(base / ("x" * 108)))
    assert refused.exit_code == 1
    assert "107 is the most" in refused.stderr


@pytest.mark.usefixtures("systemctl")
def test_status_says_what_is_missing(base: Path) -> None:
    done = _carruns("status", "--user-dir", str(base / "units"))
    assert done.exit_code == 4
    assert "carruns service install" in done.output


def test_the_module_is_started_where_there_is_no_script(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(base / "python3"))
    assert service_units.daemon_command() == (str(base / "python3"), "-P", "-m", "carrunsd")


def test_units_of_a_wheel_are_found(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = base / "site-packages/carruns"
    (package / "systemd_units").mkdir(parents=True)
    (package / "systemd_units/carrunsd.service").touch()
    monkeypatch.setattr(service_units, "__file__", str(package / "cli/service_units.py"))
    assert service_units.templates() == package / "systemd_units"
    (package / "systemd_units/carrunsd.service").unlink()
    with pytest.raises(FileNotFoundError, match="install it again"):
        service_units.templates()


@pytest.mark.user_manager
def test_the_whole_way(manager: Manager) -> None:
    assert manager.carruns("status", check=False).returncode == 4
    assert "listens on /mnt/agent/.car/carrunsd.sock" in manager.carruns("install", "--enable", "--now").stdout
    status = manager.carruns("status")
    assert f"active (running), indirect, process {manager.main_pid}" in status.stdout
    assert "active (running), enabled, /mnt/agent/.car/carrunsd.sock (Stream)" in status.stdout
    pid = manager.main_pid
    manager.carruns("install", "--enable", "--now")  # nothing has changed: nothing is restarted
    assert manager.main_pid == pid
    manager.carruns("install", "--enable", "--now", "--socket", "/mnt/agent/other.sock")
    assert manager.main_pid not in (0, pid)
    assert not manager.socket.exists()
    assert (manager.home / "other.sock").exists()
    manager.systemctl("stop", "carrunsd.socket", "carrunsd.service")
    assert manager.carruns("status", check=False).returncode == 3
    manager.carruns("uninstall")
    assert [path for path in manager.units.rglob("*") if not path.is_dir()] == []
    assert manager.show("LoadState") == "not-found"
    assert manager.car_dir.exists()
    assert "nothing is installed" in manager.carruns("uninstall").stdout


@pytest.mark.user_manager
def test_units_elsewhere_are_not_the_ones_that_run(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    installed.carruns("install", "--user-dir", "/mnt/agent/elsewhere")
    installed.carruns("uninstall", "--user-dir", "/mnt/agent/elsewhere")
    assert installed.show("ActiveState") == "active"


@pytest.mark.usefixtures("systemctl")
def test_a_place_that_cannot_be_written_is_named(base: Path) -> None:
    (base / "units").write_text("a file")
    refused = _carruns("install", "--user-dir", str(base / "units"))
    assert refused.exit_code == 1
    assert f"cannot be written: [Errno 17] File exists: '{base}/units'" in refused.stderr


@pytest.mark.user_manager
def test_a_path_removed_under_the_socket_is_named(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    installed.socket.unlink()
    told = installed.carruns("status", check=False)
    assert told.returncode == 3
    assert "systemctl --user restart carrunsd.socket" in told.stdout
    installed.systemctl("restart", "carrunsd.socket")
    with installed.wire() as wire:
        wire.call("server.ping")


@pytest.mark.user_manager
def test_strange_paths_work(manager: Manager) -> None:
    manager.carruns("install", "--now", "--car-dir", "/mnt/agent/a b%h$HOME'\"c", "--hardening")
    assert (manager.home / "a b%h$HOME'\"c/carrunsd.sock").exists()
    assert manager.show("StatusText") == "serving /mnt/agent/a b%h$HOME'\"c"
    assert (manager.home / "a b%h$HOME'\"c/runs").exists()


@pytest.mark.user_manager
def test_an_agent_uses_the_service(installed: Manager) -> None:
    """A client that finds no daemon starts the unit instead of a daemon of its own."""
    code = (
        "import carruns\n"
        "with carruns.Client() as client:\n"
        "    with client.run('tester', intent='use the service') as run:\n"
        "        run.turn(tool='true')\n"
    )
    installed.run(sys.executable, "-c", code)
    wait_until(lambda: installed.show("ActiveState") == "active")
    with installed.wire() as wire:
        wait_until(lambda: [run["status"] for run in wire.call("runs.list")["runs"]] == ["completed"])
