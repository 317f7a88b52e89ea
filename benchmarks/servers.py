"""The processes that the suite starts: carrunsd, Redis, the C echo, the prototype.  Each is stopped by its pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
READY_SECS = 30.0
#: Rounds end their runs and have them removed, so that the next ones write to memory the machine has in use.
DEFAULT_CONFIG = "[runs]\nmax_per_agent = 0\n[carrunsd]\nmax_turns_per_run = 100000000\nmax_connections = 4096\n"


class UnavailableError(Exception):
    """A contestant cannot be had here; the text says why."""


class Server:
    """A process that listens on ``socket``."""

    def __init__(self, name: str, command: Sequence[str], path: Path, log: Path) -> None:
        self.name = name
        self.socket = str(path)
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, cwd=HERE.parent)
        self.pid = self.process.pid
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECS
        while not _answers(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(f"{self.name} does not start: {self.log.read_text(errors='replace')[-500:]}")
            time.sleep(0.005)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


@contextlib.contextmanager
def daemon(car_dir: Path, config: str = DEFAULT_CONFIG) -> Iterator[Server]:
    """Run carrunsd on ``car_dir``."""
    car_dir.mkdir(parents=True, exist_ok=True)
    (car_dir / "config.toml").write_text(config)
    command = [sys.executable, "-m", "carrunsd", "--car-dir", str(car_dir), "--log-level", "warning"]
    with _running(Server("carrunsd", command, car_dir / "carrunsd.sock", car_dir / "log")) as server:
        yield server


@contextlib.contextmanager
def redis(home: Path, policy: str, *, install: bool) -> Iterator[Server]:
    """Run Redis on a Unix socket; ``policy`` is its ``appendfsync``, or ``"memory"`` for no file at all."""
    binary = redis_binary(install=install)
    home.mkdir(parents=True, exist_ok=True)
    durability = ["--appendonly", "no"] if policy == "memory" else ["--appendonly", "yes", "--appendfsync", policy]
    path = home / "redis.sock"
    command = [
        binary, "--port", "0", "--unixsocket", str(path), "--dir", str(home), "--save", "",
        "--auto-aof-rewrite-percentage", "0", *durability,
    ]  # fmt: skip
    with _running(Server(f"redis ({policy})", command, path, home / "log")) as server:
        yield server


def redis_binary(*, install: bool) -> str:
    """Return redis-server's path; with ``install``, install Debian's package where it is missing."""
    found = shutil.which("redis-server")
    if found is None:
        if not install or shutil.which("apt-get") is None or os.geteuid() != 0:
            raise UnavailableError(
                "redis-server is missing: `apt-get install redis-server` as root, then run again"
            )
        print("redis-server is missing: installing Debian's package")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        command = ["apt-get", "install", "-y", "-qq", "redis-server"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        found = shutil.which("redis-server")
        if found is None:
            raise UnavailableError(f"redis-server cannot be installed: {done.stderr.strip()[-300:]}")
    return found


@contextlib.contextmanager
def echo(home: Path) -> Iterator[Server]:
    """Run the C echo."""
    home.mkdir(parents=True, exist_ok=True)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UnavailableError("no C compiler for echo.c: `apt-get install gcc`")
    binary, path = home / "echo", home / "echo.sock"
    subprocess.run([compiler, "-O2", "-o", str(binary), str(HERE / "echo.c")], check=True)
    with _running(Server("echo", [str(binary), str(path)], path, home / "log")) as server:
        yield server


@contextlib.contextmanager
def prototype(home: Path) -> Iterator[Server]:
    """Run the prototype that the targets were set by."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "prototype.sock"
    command = [sys.executable, "-m", "benchmarks.prototype", str(path), str(home)]
    with _running(Server("prototype", command, path, home / "log")) as server:
        yield server


@contextlib.contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.stop()
