"""A place to run the command line in, with and without a daemon, and real terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def terminal(place: Place) -> Iterator[Callable[..., Any]]:
    """Start the command line on a real terminal."""
    started: list[Terminal] = []

    def start(*arguments: str, columns: int = 80, rows: int = 24, **env: str) -> Terminal:
        started.append(Terminal(place.argv(arguments), place.env | env, columns, rows))
        return started[-1]

    yield start
    for one in started:
        one.close()
