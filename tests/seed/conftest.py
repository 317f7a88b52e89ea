"""The seed's program, for all tests here; without it they are skipped, or fail where CI says that they must run."""

from __future__ import annotations

import os

import pytest

from tests.seed.peer import NoPeerError, Peer, peer

_CI = bool(os.environ.get("CARRUNS_CI"))


@pytest.fixture(scope="session")
def seed() -> Peer:
    try:
        return peer()
    except NoPeerError as error:
        if _CI and error.must:
            pytest.fail(str(error))
        pytest.skip(str(error))
