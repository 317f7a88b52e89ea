"""Starting the daemon: one of many racing clients, detached, without a trace in the agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from carruns import Client, DaemonUnavailable
from carruns.autostart import Autostart
from tests.client.daemons import daemons
from tests.support import wait_until

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("daemons_end")]


def pid_of(client: Client) -> int:
    return int(client.handshake()["pid"])


def test_a_question_starts_a_daemon_and_waits_for_it(car: Path) -> None:
    with Client(car, autostart=True) as client:
        assert client.list_runs() == []
        wait_until(lambda: daemons(car) == [pid_of(client)])
    assert (car / "carrunsd.log").stat().st_mode & 0o777 == 0o600


def test_recording_starts_one_and_delivers_to_it(car: Path) -> None:
    with Client(car, autostart=True) as client:
        with client.run("agent", intent="begin") as run:
            for number in range(20):
                run.turn(parameters=number)
        assert sum(run.delivery()[:4]) == 20
        wait_until(lambda: (trace := client.get_trace(run.id)) is not None and len(trace) == 22)


def test_many_race_and_one_wins(car: Path) -> None:
    code = "import sys; from carruns import Client; print(Client(sys.argv[1], timeout=30).handshake()['pid'])"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(car)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "CARRUNS_AUTOSTART": "1"},
        )
        for _ in range(8)
    ]  # fmt: skip
    pids = {int(racer.communicate(timeout=50)[0]) for racer in racers}
    assert len(pids) == 1
    wait_until(lambda: set(daemons(car)) == pids)


def test_it_is_detached_and_no_child_of_ours(car: Path) -> None:
    with Client(car, autostart=True) as client:
        pid = pid_of(client)
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1)} == {"/dev/null"}
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"\nPPid:\t{os.getpid()}\n" not in status
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_it_survives_the_agent_that_started_it(car: Path) -> None:
    code = "import sys; from carruns import Client; print(Client(sys.argv[1], autostart=True).handshake()['pid'])"
    done = subprocess.run([sys.executable, "-c", code, str(car)], capture_output=True, text=True, check=True)
    with Client(car) as client:
        assert pid_of(client) == int(done.stdout)


@pytest.mark.parametrize("value", ["0", "false", "no"])
def test_it_can_be_turned_off(car: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CARRUNS_AUTOSTART", value)
    with Client(car, timeout=0.2) as client, pytest.raises(DaemonUnavailable):
        client.ping()
    assert not (car / "carrunsd.log").exists()


def test_a_daemon_that_cannot_start_says_why_soon(car: Path) -> None:
    (car / "runs").write_text("in the way")
    with Client(car, autostart=True, timeout=30) as client, pytest.raises(DaemonUnavailable, match="runs"):
        client.ping()


def test_the_car_directory_is_made_private(base: Path) -> None:
    car = base / "made" / "on" / "demand"
    old = os.umask(0)
    try:
        with Client(car, autostart=True) as client:
            client.ping()
            os.kill(pid_of(client), signal.SIGTERM)
    finally:
        os.umask(old)
    assert car.stat().st_mode & 0o777 == 0o700


def test_a_link_where_the_log_should_be_is_not_followed(car: Path) -> None:
    (car / "carrunsd.log").symlink_to(car / "elsewhere")
    with Client(car, autostart=True, timeout=2) as client, pytest.raises(DaemonUnavailable, match=r"carrunsd\.log"):
        client.ping()
    assert not (car / "elsewhere").exists()


def test_failures_are_not_repeated_at_once(car: Path) -> None:
    (car / "carrunsd.log").mkdir()
    starter = Autostart(car, None)
    starter.start()
    assert "carrunsd.log" in starter.failed()
    (car / "carrunsd.log").rmdir()
    starter.start()
    assert not (car / "carrunsd.log").exists()


def test_from_several_threads_at_once(car: Path) -> None:
    pids: set[int] = set()
    with Client(car, autostart=True, timeout=30) as client:
        threads = [threading.Thread(target=lambda: pids.add(pid_of(client))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wait_until(lambda: set(daemons(car)) == pids)
    assert len(pids) == 1


def test_the_agents_own_children_are_not_confused(car: Path) -> None:
    """Nothing is left to reap: an agent that waits for any child of its own sees only its own."""
    code = """
import os, sys
from carruns import Client
Client(sys.argv[1], autostart=True).ping()
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("none")
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(car)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("none\n", "")
