"""Run one async test on asyncio, on uvloop and on trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

BACKENDS: list[tuple[str, dict[str, Any]]] = [
    ("asyncio", {}),
    ("asyncio", {"use_uvloop": True}),
    ("trio", {}),
]
each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=["asyncio", "uvloop", "trio"])


def run_on(backend: tuple[str, dict[str, Any]], function: Callable[[], Awaitable[None]]) -> None:
    anyio.run(function, backend=backend[0], backend_options=backend[1])
