"""What the fault tests share: a test that needs root is skipped without, but fails where CI says it must run."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _root(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("root") and os.geteuid() != 0:
        if os.environ.get("CARRUNS_CI"):
            pytest.fail("needs root, and CI says that it must run")
        pytest.skip("needs root")
