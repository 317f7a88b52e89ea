"""The car directory of a test, and the real daemon on it where a test asks for one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.daemons import end_daemons
from tests.support import Daemon


@pytest.fixture
def car(base: Path) -> Path:
    """The test's car directory, there already."""
    directory = base / "car"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def sock(car: Path) -> Path:
    """Where its socket belongs."""
    return car / "carrunsd.sock"


@pytest.fixture
def stopped(base: Path, car: Path) -> Iterator[Daemon]:
    """The real daemon of that car directory, not started yet."""
    assert car.parent == base
    daemon = Daemon(base)
    yield daemon
    daemon.close()


@pytest.fixture
def daemon(stopped: Daemon) -> Daemon:
    """The real daemon, running."""
    return stopped.start()


@pytest.fixture
def daemons_end(car: Path) -> Iterator[None]:
    """End whatever daemon was started, and wait until it is gone."""
    yield
    end_daemons(car)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture(autouse=True)
def defects() -> Iterator[list[str]]:
    """What the library logged as defects of its own: it goes on in spite of them, so no test would see them."""
    kept, log = _Kept(), logging.getLogger("carruns")
    log.addHandler(kept)
    yield kept.texts
    log.removeHandler(kept)
    assert kept.texts == []
