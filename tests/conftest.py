"""Fixtures for all tests: nothing a test does reaches the real ``~/.car``, and no process outlives its test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import Daemon, Wire, clean_environment, short_directory


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs root is skipped without, but fails where CI says that it must run."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        if os.environ.get("CARRUNS_CI"):
            pytest.fail("needs root, and CI says that it must run")
        pytest.skip("needs root")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    """Every test, and what it starts, has a home and a car directory of its own; autostart is off."""
    home = base / "home"
    home.mkdir()
    wanted = clean_environment(home, base / "car")
    for name in os.environ.keys() - wanted.keys():
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)


@pytest.fixture
def base() -> Iterator[Path]:
    """A temporary directory with a short path."""
    with short_directory() as path:
        yield path


@pytest.fixture
def make_daemon() -> Iterator[Callable[..., Daemon]]:
    """Make daemons, not started yet, each with a base directory of its own or the one given."""
    with ExitStack() as stack:

        def make(*, config: str | None = None, base: Path | None = None) -> Daemon:
            daemon = Daemon(base or stack.enter_context(short_directory()), config=config)
            stack.callback(daemon.close)
            return daemon

        yield make


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A running daemon for this test alone."""
    return make_daemon().start()


@pytest.fixture
def wire(daemon: Daemon) -> Wire:
    """A connection to ``daemon``."""
    return daemon.wire()


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    """A running daemon for a whole module, whose tests use agents and runs of their own."""
    with short_directory() as path:
        one = Daemon(path)
        try:
            yield one.start()
        finally:
            one.close()


@pytest.fixture
def shared_wire(shared: Daemon) -> Iterator[Wire]:
    """A connection of this test alone to ``shared``."""
    with Wire(shared.socket) as wire:
        yield wire
