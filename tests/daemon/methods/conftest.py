"""One daemon for all tests of methods; each has a connection and an agent of its own."""

from __future__ import annotations

import uuid

import pytest

from tests.support import Wire


@pytest.fixture
def wire(shared_wire: Wire) -> Wire:
    return shared_wire


@pytest.fixture
def agent() -> str:
    """An agent that no other test has."""
    return f"agent-{uuid.uuid4()}"
