"""What the cases share in one run: options, a place to write, the servers, each started when first asked for."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import servers, turns
from benchmarks.servers import Server, UnavailableError
from benchmarks.ways import Redis

_WARM_BYTES = 1 << 29


class Bench:
    """A context manager; leaving it stops every server."""

    def __init__(self, home: Path, *, quick: bool, repeat: int | None = None) -> None:
        self.home = home
        self.quick = quick
        self.rounds = repeat or (1 if quick else 5)
        self.missing: list[str] = []
        self._numbers = itertools.count()
        self._stack = ExitStack()
        self._servers: dict[str, Server] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def size(self, full: int, quick: int) -> int:
        """Return how much to do."""
        return quick if self.quick else full

    def fresh_name(self) -> str:
        """Return a name that was not used before."""
        return f"run-{next(self._numbers)}"

    def place(self, name: str) -> Path:
        """Return a directory of that name."""
        path = self.home / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    # -- servers -------------------------------------------------------------------------------------------

    @property
    def daemon(self) -> Server:
        """A carrunsd with its default policy."""
        return self._server("carrunsd", lambda: servers.daemon(self.place("car")))

    @property
    def prototype(self) -> Server:
        return self._server("prototype", lambda: servers.prototype(self.place("prototype")))

    @property
    def echo(self) -> Server | None:
        return self._optional("echo", lambda: servers.echo(self.place("echo")))

    def redis(self, policy: str) -> Redis | None:
        """Return a client of a Redis with this policy, ``None`` where there is no Redis."""
        name = f"redis-{policy}"
        server = self._optional(name, lambda: servers.redis(self.place(name), policy, install=not self.quick))
        if server is None:
            return None
        try:
            return Redis(server, policy)
        except ImportError:
            self._miss("redis-py is missing: pip install --group bench")
            return None

    def _optional(self, name: str, start: Callable[[], AbstractContextManager[Server]]) -> Server | None:
        try:
            return self._server(name, start)
        except UnavailableError as error:
            self._miss(str(error))
            return None

    def _server(self, name: str, start: Callable[[], AbstractContextManager[Server]]) -> Server:
        if name not in self._servers:
            self._servers[name] = self._stack.enter_context(start())
        return self._servers[name]

    def _miss(self, why: str) -> None:
        if why not in self.missing:
            self.missing.append(why)

    # -- memory --------------------------------------------------------------------------------------------

    def warm_memory(self) -> None:
        """Write a file and remove it, so that what follows writes to pages that the machine has in use.

        A virtual machine that touches a page for the first time asks its host for it: writing there takes ten
        times as long, and whoever ran first would pay for all.
        """
        path = self.place("warm") / "pages"
        block = bytes(1 << 20)
        with path.open("wb", buffering=0) as file:
            for _ in range(self.size(_WARM_BYTES, _WARM_BYTES // 8) // len(block)):
                file.write(block)
        with contextlib.suppress(OSError):
            os.unlink(path)


def batch(mix: str) -> list[turns.Turn]:
    """Return a batch of the turns of a mix."""
    return turns.MIXES[mix]()
