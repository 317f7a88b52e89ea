"""A user manager for each test that asks for one.  Where none can run: skipped, but a failure in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd import manager as managers

_IN_CI = bool(os.environ.get("CARRUNS_CI"))  # read here: the tests' environment is cleaned


@pytest.fixture
def manager(base: Path) -> Iterator[managers.Manager]:
    """A running user manager, with nothing installed in it."""
    reason = managers.missing()
    if reason and _IN_CI:
        pytest.fail(f"a user manager {reason}")
    if reason:
        pytest.skip(f"a user manager {reason}")
    with managers.Manager(base) as running:
        yield running


@pytest.fixture
def installed(manager: managers.Manager) -> managers.Manager:
    """A user manager after ``carruns service install``; nothing started."""
    manager.carruns("install")
    return manager
