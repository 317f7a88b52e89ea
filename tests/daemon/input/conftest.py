"""One daemon for all tests of bad input; each has a connection and a run of its own."""

from __future__ import annotations

import uuid

import pytest

from tests.support import Wire


@pytest.fixture
def wire(shared_wire: Wire) -> Wire:
    return shared_wire


@pytest.fixture
def run(wire: Wire) -> str:
    return wire.start(f"agent-{uuid.uuid4()}")
