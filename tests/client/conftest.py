"""Short temporary directories (a socket's path has at most 107 bytes) and clients that leave nothing behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from carruns import Client


@pytest.fixture
def car(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A car directory of its own, which nothing in the environment overrides."""
    monkeypatch.delenv("CAR_HOME", raising=False)
    monkeypatch.delenv("CARRUNSD_SOCKET", raising=False)
    monkeypatch.setenv("CARRUNS_AUTOSTART", "0")
    directory = Path(tempfile.mkdtemp(prefix="car-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def sock(car: Path) -> Path:
    return car / "carrunsd.sock"


@pytest.fixture
def daemon(car: Path, sock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon on the test's car directory."""
    process = start_daemon(car, sock)
    yield process
    stop(process)


def start_daemon(car: Path, sock: Path) -> subprocess.Popen[bytes]:
    """Start the real daemon and wait until it accepts."""
    with (car / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "carrunsd", "--car-dir", str(car)], stdin=subprocess.DEVNULL, stderr=log
        )
    with Client(car, timeout=20, autostart=False) as client:
        client.ping()
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a daemon the polite way, and wait until it is gone."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
