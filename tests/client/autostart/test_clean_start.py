"""What a client starts is a daemon, not the packed agent again, and it keeps nothing of who started it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from carruns import Client
from carruns.autostart import interpreter
from tests.client.daemons import daemons, end_daemons
from tests.support import PATIENCE, wait_until

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("daemons_end")]

AGENT = """
from carruns import Client
with Client({car!r}, autostart=True, timeout=30) as client, client.run("a", intent="x") as run: run.turn(tool="t")
"""


def packed(base: Path, car: Path, before: str) -> Path:
    """An agent that is its own ``sys.executable``; each start of it leaves a line."""
    program, starts = base / "agent", base / "starts"
    program.write_text(
        f"#!{sys.executable}\n"
        + textwrap.dedent(f"""
            import os, sys
            sys.executable = os.path.abspath(__file__)
            with open({str(starts)!r}, "a") as file: file.write("x")
            if os.path.getsize({str(starts)!r}) > 5: sys.exit("a chain")
            """)
        + before
        + AGENT.format(car=str(car))
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("kind", ["import sys; sys.frozen = True", "__compiled__ = True", ""])
def test_a_packed_agent_does_not_start_itself(base: Path, car: Path, kind: str) -> None:
    """Frozen, compiled, or embedded: its name says nothing of Python."""
    program = packed(base, car, kind + "\n")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["CARRUNS_AUTOSTART"] = "1"
    subprocess.run([program], env=environment, check=True, capture_output=True, timeout=PATIENCE)
    (pid,) = wait_until(lambda: daemons(car))
    wait_until((car / "carrunsd.sock").exists)
    assert (base / "starts").read_text() == "x"
    assert b"CARRUNS_AUTOSTART=0" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_where_nothing_runs_a_daemon_that_is_said_once(
    car: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(interpreter, "_commands", lambda: iter(()))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with Client(car, autostart=True) as client:
        for _ in range(3):
            with client.run("a", intent="x") as run:
                run.turn(tool="t")
            assert run.delivery().spooled == 1
            assert "pipx install carrunsd" in run.delivery().reason
    assert sum("no daemon is started" in record.message for record in caplog.records) == 1
    assert not (car / "carrunsd.log").exists()


@pytest.mark.parametrize("name", ["python", "python3", "python3.13t", "pypy3", "Python"])
def test_names_of_interpreters(base: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    program = base / name
    program.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(program))
    assert interpreter.daemon_command() == [str(program), "-m", "carrunsd"]


@pytest.mark.parametrize("name", ["uwsgi", "blender", "carrunsd", "my-python-agent", ""])
def test_names_of_other_programs(base: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    program = base / name if name else Path()
    if name:
        shutil.copy(sys.executable, program)
    monkeypatch.setattr(sys, "executable", str(program) if name else "")
    monkeypatch.setenv("PATH", str(base))
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    command = interpreter.daemon_command()
    assert command is None or command[0] not in ("", str(program))


def subject(base: Path) -> socket.socket:
    """Be subject to what the next program inherits."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(base / "notify"))
    manager.setblocking(False)
    return manager


def burden() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGINT, signal.SIGUSR1})
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (300, resource.RLIM_INFINITY))
    os.nice(5)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def test_the_daemon_inherits_nothing_of_its_first_client(base: Path, car: Path) -> None:
    foreign = {
        "NOTIFY_SOCKET": str(base / "notify"), "WATCHDOG_USEC": "2000000", "LISTEN_FDS": "1", "MAKEFLAGS": "-j3",
        "API_TOKEN": "secret-of-the-first",
    }  # fmt: skip
    with subject(base) as manager:
        subprocess.run(
            [sys.executable, "-c", AGENT.format(car=str(car))],
            env={**os.environ, **foreign}, preexec_fn=burden, check=True, timeout=60,
        )  # fmt: skip
        (pid,) = wait_until(lambda: daemons(car))
        with Client(car, autostart=False, timeout=30) as client:
            wait_until(lambda: client.handshake()["pid"] == pid)
        proc = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        assert int(status["SigBlk"], 16) == 0
        ignored = int(status["SigIgn"], 16)
        assert not ignored & (1 << (signal.SIGTERM - 1) | 1 << (signal.SIGCHLD - 1))
        for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU):
            assert resource.prlimit(pid, limit)[0] == resource.RLIM_INFINITY
        assert os.geteuid() != 0 or os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
        assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
        names = {entry.split(b"=")[0].decode() for entry in (proc / "environ").read_bytes().split(b"\0")}
        assert not names & foreign.keys()
        end_daemons(car)
        with pytest.raises(BlockingIOError):
            print(manager.recv(4096))


def test_units_whose_manager_does_not_answer(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = base / "home"
    units, runtime = home / ".config/systemd/user", base / "runtime/systemd"
    units.mkdir(parents=True)
    runtime.mkdir(parents=True)
    (units / "carrunsd.service").write_text("[Service]\nExecStart=/bin/false\n")
    (runtime / "private").touch()
    monkeypatch.delenv("CAR_HOME")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base / "runtime"))
    try:
        with Client(autostart=True, timeout=30) as client:
            assert client.handshake()["car_dir"] == str(home / ".car")
    finally:
        end_daemons(home / ".car")


_ASKED = """#!/bin/sh
echo "$@" > {said}
while [ $# -gt 0 ]; do case $1 in --setenv=*) export "${{1#--setenv=}}";; --*) ;; *) break;; esac; shift; done
"$@" 2>/dev/null &
until [ -S {socket} ]; do sleep 0.05; done
"""


def test_a_user_manager_starts_it(base: Path, car: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, said = base / "bin/systemd-run", base / "said"
    program.parent.mkdir()
    program.write_text(_ASKED.format(said=said, socket=car / "carrunsd.sock"))
    program.chmod(0o755)
    (base / "runtime/systemd").mkdir(parents=True)
    (base / "runtime/systemd/private").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base / "runtime"))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with Client(car, autostart=True, timeout=30) as client:
        pid = client.handshake()["pid"]
        wait_until(lambda: daemons(car) == [pid])  # who asked for it may be about to end
    assert "--user" in said.read_text()
    assert "--property=Type=notify" in said.read_text()
    assert "CARRUNSD_AUTOSTARTED" not in said.read_text()


@pytest.mark.parametrize("name", ["carrunsd.log", "carrunsd.start.lock"])
def test_a_fifo_in_the_way_keeps_no_agent_waiting(car: Path, name: str) -> None:
    os.mkfifo(car / name)
    with Client(car, autostart=True) as client:
        with client.run("a", intent="x") as run:
            run.turn(tool="t")
        assert sum(run.delivery()[:2]) == 1


def test_a_log_with_a_reader_at_its_fifo(car: Path) -> None:
    os.mkfifo(car / "carrunsd.log")
    reader = os.open(car / "carrunsd.log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Client(car, autostart=True) as client:
            with client.run("a", intent="x") as run:
                run.turn(tool="t")
            assert "no regular file" in run.delivery().reason
    finally:
        os.close(reader)
