"""Short temporary directories (a socket's path has at most 107 bytes) and clients that leave nothing behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


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
