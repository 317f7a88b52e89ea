"""The units under a real user manager of a user without privileges: the daemon's life as systemd runs it."""

from __future__ import annotations

import os
import signal
import stat
from typing import Any

import pytest

from tests.support import Wire, listens, strict_lines, wait_until
from tests.systemd.manager import Manager

pytestmark = pytest.mark.user_manager


def test_start_is_active_and_ready(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")  # Type=notify: returns once READY=1 was said
    assert installed.systemctl("is-active", "carrunsd.service", "carrunsd.socket") == "active\nactive"
    assert installed.show("StatusText") == "serving /mnt/agent/.car"
    with Wire(installed.socket) as root:
        assert root.call("server.ping") == {}
    with installed.wire() as wire:
        assert wire.call("server.handshake")["pid"] == installed.main_pid


def test_places_are_private(installed: Manager) -> None:
    assert not installed.car_dir.exists()
    installed.systemctl("start", "carrunsd")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (installed.car_dir, installed.socket, installed.car_dir / "carrunsd.lock")
    }
    assert modes == {".car": 0o700, "carrunsd.sock": 0o600, "carrunsd.lock": 0o600}


def test_first_client_starts_the_daemon(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd.socket")
    assert installed.show("ActiveState") == "inactive"
    with installed.wire() as wire:
        wire.send(b'{"id":1,"method":"server.ping"}\n')
        assert wire.answer(1)["result"] == {}
    assert installed.show("ActiveState") == "active"
    assert installed.show("TriggeredBy") == "carrunsd.socket"


def test_the_journal_has_levels(installed: Manager) -> None:
    (installed.car_dir).mkdir(mode=0o700)
    (installed.car_dir / "config.toml").write_text("[carrunsd]\nfsink = 1\n")
    os.chown(installed.car_dir, 7373, 7373)
    installed.systemctl("start", "carrunsd")
    pid = installed.main_pid
    entries = wait_until(installed.journal)
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"carrunsd"}
    bad = [entry for entry in entries if "config.toml:2" in entry["MESSAGE"]]
    assert [entry["PRIORITY"] for entry in bad] == ["3"]
    serves = [entry for entry in entries if f"pid {pid}, serves" in entry["MESSAGE"]]
    assert [entry["PRIORITY"] for entry in serves] == ["6"]
    assert not any(entry["MESSAGE"].startswith("<") for entry in entries)


def test_stop_of_both_stays_down(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    pid = installed.main_pid
    installed.systemctl("stop", "carrunsd.socket", "carrunsd.service")
    states = installed.systemctl("is-active", "carrunsd.service", "carrunsd.socket", check=False)
    assert states == "inactive\ninactive"
    assert not os.path.exists(f"/proc/{pid}")
    assert not installed.socket.exists()  # RemoveOnStop=
    assert installed.show("Result") == "success"
    wait_until(lambda: any("stopped:" in text for text in installed.messages()))


def test_stop_of_the_service_alone_does_not(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    pid = installed.main_pid
    installed.systemctl("stop", "carrunsd.service")
    assert installed.show("ActiveState") == "inactive"
    with installed.wire() as wire:
        assert wire.call("server.handshake")["pid"] not in (0, pid)


def test_restart_under_clients_loses_no_turn(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    old = installed.main_pid
    with installed.wire() as wire:
        run_id = wire.start()
        for seq in range(20):
            wire.turns(run_id, f"turn {seq}", writer="w", seq=seq)
        # Sent, but nobody waits for the answers: the daemon finishes what was received.
        for seq in range(20, 40):
            turn = [{"prompt": f"turn {seq}"}]
            wire.post("runs.record_turns", run_id=run_id, turns=turn, writer="w", seq=seq)
        installed.systemctl("restart", "carrunsd.service")
    assert installed.main_pid not in (0, old)
    with installed.wire() as wire:
        acked = wire.call("runs.resume", run_id=run_id, writer="w")["acked_seq"]
        assert 19 <= acked <= 39
        resent = [wire.turns(run_id, f"turn {seq}", writer="w", seq=seq) for seq in range(15, 60)]
        assert sum(result.get("duplicates", 0) for result in resent) == acked - 14
        wire.complete(run_id)
    turns = _turns(installed, run_id)
    assert [turn["prompt"] for turn in turns] == [f"turn {seq}" for seq in range(60)]
    assert [turn["index"] for turn in turns] == list(range(60))


def test_who_waits_in_the_backlog_survives_a_restart(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    os.kill(installed.main_pid, signal.SIGSTOP)  # it accepts nothing more
    with installed.wire() as wire:
        number = wire.post("server.handshake")
        os.kill(installed.main_pid, signal.SIGKILL)
        assert wire.answer(number)["result"]["pid"] == installed.await_new_main(0)


def test_killed_daemon_comes_back(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    old = installed.main_pid
    with installed.wire() as wire:
        run_id = wire.start()
        assert wire.turns(run_id, "before", writer="w", seq=0)["ok"]
        os.kill(old, signal.SIGKILL)
        new = installed.await_new_main(old)
    assert installed.show("NRestarts") == "1"
    with installed.wire() as wire:
        assert wire.call("server.handshake")["pid"] == new
        assert wire.call("runs.resume", run_id=run_id, writer="w")["acked_seq"] == 0


def test_killed_time_and_again_it_still_comes_back(installed: Manager) -> None:
    installed.drop_in("[Service]\nRestartSec=50ms\n")
    installed.systemctl("start", "carrunsd")
    pid = installed.main_pid
    for _ in range(7):  # the default start limit is 5 in 10 s
        os.kill(pid, signal.SIGKILL)
        pid = installed.await_new_main(pid)
    assert installed.show("ActiveState", "carrunsd.socket") == "active"


def test_reload_reads_the_configuration_again(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    pid = installed.main_pid
    with installed.wire() as wire:
        limit = wire.call("server.handshake")["limits"]["max_turn_bytes"]
        (installed.car_dir / "config.toml").write_text(f"[carrunsd]\nmax_turn_bytes = {limit // 2}\n")
        installed.systemctl("reload", "carrunsd")
        wait_until(lambda: wire.call("server.handshake")["limits"]["max_turn_bytes"] == limit // 2)
    assert installed.main_pid == pid


def test_a_daemon_that_hangs_is_replaced(installed: Manager) -> None:
    installed.drop_in("[Service]\nWatchdogSec=500ms\nRestartSec=50ms\n")
    installed.systemctl("start", "carrunsd")
    old = installed.main_pid
    with installed.wire() as wire:
        wire.call("server.ping")
    os.kill(old, signal.SIGSTOP)
    installed.await_new_main(old)
    assert not os.path.exists(f"/proc/{old}")
    assert installed.show("NRestarts") == "1"


def test_a_daemon_that_works_satisfies_its_watchdog(installed: Manager) -> None:
    installed.drop_in("[Service]\nWatchdogSec=300ms\n")
    installed.systemctl("start", "carrunsd")
    pid, seen = installed.main_pid, {""}

    # Six times it told the manager that it lives; without them it would have been killed.
    def told() -> bool:
        seen.add(installed.show("WatchdogTimestampMonotonic"))
        return len(seen) > 6

    wait_until(told)
    assert (installed.main_pid, installed.show("NRestarts")) == (pid, "0")


def test_the_sandbox_is_in_force(installed: Manager) -> None:
    installed.systemctl("start", "carrunsd")
    with installed.wire() as wire:
        run_id = wire.start()
        wire.turns(run_id, "under seccomp", durable=True)
        wire.complete(run_id)
    status = _status(installed.main_pid)
    assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"].split()[0]) == ("1", "2", "7373")
    for code in (
        "import socket; socket.socket(socket.AF_INET)",  # RestrictAddressFamilies=
        "import mmap; mmap.mmap(-1, 4096, prot=7)",  # MemoryDenyWriteExecute=
        "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",  # RestrictNamespaces=
        "import os; os.nice(-1)",  # @resources
    ):
        assert _in_the_sandbox(installed, code) != "0", code
    assert _in_the_sandbox(installed, "import uvloop, msgspec, carrunsd.core; uvloop.new_event_loop()") == "0"


def test_hardening_works_without_privileges(manager: Manager) -> None:
    manager.carruns("install", "--hardening", "--now")
    with manager.wire() as wire:
        run_id = wire.start()
        wire.turns(run_id, "confined", writer="w", seq=0, durable=True)
        wire.complete(run_id)
    assert len(_turns(manager, run_id)) == 1
    with Wire(manager.socket) as root:  # what the drop-in costs: in its user namespace, root is nobody
        assert "is for user 7373 only" in root.read()["error"]["message"]
    pid = manager.main_pid
    assert _status(pid)["CapBnd"] == "0000000000000000"
    outside, inside = os.stat("/proc/self/ns/net").st_ino, os.stat(f"/proc/{pid}/ns/net").st_ino
    assert outside != inside
    os.kill(pid, signal.SIGKILL)
    manager.await_new_main(pid)
    for code in (
        "open('/mnt/agent/elsewhere', 'w')",  # ProtectHome= or ProtectSystem=
        "open('/mnt/agent/.config/systemd/user/evil.service', 'w')",
        "open('/dev/kmsg')",
    ):
        assert _in_the_sandbox(manager, code) != "0", code
    assert _in_the_sandbox(manager, "open('/mnt/agent/.car/spare', 'w').close()") == "0"
    print(manager.run("systemd-analyze", "--user", "security", "--no-pager", "carrunsd.service").stdout[-200:])


def test_a_daemon_started_without_systemd_is_left_alone(installed: Manager) -> None:
    """systemd would take over the path of a daemon that serves, and cut it off from its clients."""
    scope = ("systemd-run", "--user", "--quiet", "--unit=plain")
    command = installed.show("ExecStart").partition("path=")[2].partition(" ;")[0]
    installed.run(*scope, command)
    wait_until(lambda: listens(installed.socket))
    plain = int(installed.show("MainPID", "plain.service"))
    refused = installed.carruns("install", "--now", check=False)
    assert refused.returncode == 1
    assert f"process {plain}" in refused.stderr
    assert "carruns stop" in refused.stderr
    installed.systemctl("start", "carrunsd.service", check=False)
    assert installed.show("ActiveState", "carrunsd.socket") == "failed"
    with installed.wire() as wire:
        assert wire.call("server.handshake")["pid"] == plain
    installed.systemctl("stop", "plain.service")
    installed.systemctl("start", "carrunsd.service")


def test_a_lock_that_is_held_for_a_while_is_waited_for(installed: Manager) -> None:
    """Exit status 75: the socket listens, but another process has the car directory."""
    installed.drop_in("[Service]\nRestartSec=100ms\n")
    installed.systemctl("start", "carrunsd.socket")
    lock = "/mnt/agent/.car/carrunsd.lock"
    installed.run("systemd-run", "--user", "--quiet", "--unit=holder", "flock", lock, "sleep", "600")
    wait_until(lambda: installed.show("ActiveState", "holder.service") == "active")
    wait_until((installed.car_dir / "carrunsd.lock").exists)
    with installed.wire() as wire:
        number = wire.post("server.ping")
        wait_until(lambda: installed.show("NRestarts") > "1")
        assert installed.show("ActiveState", "carrunsd.socket") == "active"
        installed.systemctl("stop", "holder.service")
        assert wire.answer(number)["result"] == {}
    assert any("is running already" in text for text in installed.messages("--priority=err"))


def test_a_program_that_is_gone_is_not_tried_for_ever(installed: Manager) -> None:
    installed.drop_in("[Service]\nExecStart=\nExecStart=/nowhere/carrunsd\n")
    installed.systemctl("start", "carrunsd.socket")
    with installed.wire() as wire:
        assert wire.ended()  # the socket is closed with its backlog
    wait_until(lambda: installed.show("ActiveState", "carrunsd.socket") == "failed")
    assert installed.show("Result", "carrunsd.socket") == "trigger-limit-hit"
    assert not installed.socket.exists()


def _turns(manager: Manager, run_id: str) -> list[dict[str, Any]]:
    [path] = (manager.car_dir / "runs").glob(f"*/{run_id}.jsonl")
    return [record for record in strict_lines(path.read_bytes()) if record["record"] == "turn"]


def _status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def _in_the_sandbox(manager: Manager, code: str) -> str:
    """Run Python code in the service's place, and return its exit status as systemd tells it."""
    command = manager.show("ExecStart").partition("argv[]=")[2].partition(" ")[0]
    python = os.path.join(os.path.dirname(command), "python")
    manager.systemctl("stop", "carrunsd.socket", "carrunsd.service")
    script = manager.car_dir / "probe.py"
    script.write_text(code)
    script.chmod(0o644)
    probe = f"{python} /mnt/agent/.car/probe.py"
    text = f"[Service]\nType=exec\nRestart=no\nExecStart=\nExecStart={probe}\nRemainAfterExit=no\n"
    manager.drop_in(text, name="zz-probe")
    manager.systemctl("start", "carrunsd.service", check=False)
    wait_until(lambda: manager.show("SubState") in ("dead", "failed"))
    status = manager.show("ExecMainStatus")
    (manager.units / "carrunsd.service.d/zz-probe.conf").unlink()
    manager.systemctl("daemon-reload")
    return status
