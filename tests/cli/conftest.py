"""A place to run the command line in, with and without a daemon, and real terminals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.place import Place
from tests.cli.terminals import Terminal


@pytest.fixture
def place(base: Path) -> Iterator[Place]:
    """A place without a daemon."""
    where = Place(base)
    yield where
    where.close()


@pytest.fixture
def live(place: Place) -> Place:
    """A place whose daemon runs."""
    place.daemon.start()
    return place


class Terminals:
    """Starts programs on real terminals."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.started: list[Terminal] = []

    def __call__(self, *arguments: str, columns: int = 80, rows: int = 24, **env: str) -> Terminal:
        """Start the command line."""
        self.started.append(Terminal(self._place.argv(arguments), self._place.env | env, columns, rows))
        return self.started[-1]

    def program(self, *argv: str) -> Terminal:
        """Start any other program, a shell for one."""
        path = shutil.which(argv[0])
        assert path is not None
        self.started.append(Terminal([path, *argv[1:]], self._place.env, 80, 24))
        return self.started[-1]


@pytest.fixture
def terminal(place: Place) -> Iterator[Terminals]:
    """Start the command line, or a shell, on a real terminal."""
    terminals = Terminals(place)
    yield terminals
    for one in terminals.started:
        one.close()
