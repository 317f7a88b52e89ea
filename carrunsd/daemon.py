"""The daemon's life: take the lock, listen, serve, and on SIGTERM finish what was received.

``start`` -> ``serve`` -> ``stop``.  What a request does is not here.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc

from carruns.protocol import paths
from carrunsd import __version__, config
from carrunsd.background import Life, Possession
from carrunsd.connections import listener
from carrunsd.connections.places import Places
from carrunsd.core import Core
from carrunsd.host import systemd
from carrunsd.store.age_clock import AgeClock
from carrunsd.upkeep import orphans, remove_expired

log = logging.getLogger("carrunsd")
_STOP_PATIENCE = 20.0  # seconds that commands under way and syncs get at the end


@dataclass(frozen=True)
class Options:
    """Where the daemon works: absolute paths."""

    car_dir: str
    socket_path: str

    @property
    def config_path(self) -> str:
        """The configuration file."""
        return os.path.join(self.car_dir, paths.CONFIG_NAME)


class Daemon:
    """One daemon on one car directory."""

    def __init__(self, options: Options, load: Callable[[], config.Config]) -> None:
        self._options = options
        self._load = load
        self._places = Places(options.car_dir, options.socket_path)

    def take_places(self) -> None:
        """Take the lock, then the socket.  Raises ``OSError`` or :class:`lock.AlreadyRunningError`."""
        self._places.take()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        assert self._places.listener is not None
        loop = asyncio.get_running_loop()
        core = Core(self._options.car_dir, self._load(), loop)
        core.catalog.build()
        core.age_clock = AgeClock(core.catalog.newest_ns(), time.time_ns(), remove_expired.steady_seconds())
        async with anyio.create_task_group() as tasks:
            life = Life(core, self._load)
            spawn = _spawner(tasks)
            serving = listener.Server(core, self._places.listener, spawn, life.on_peer)
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                serving.start()
                found = orphans.found(core)
                self._say_ready(core, len(found))
                spawn(life.tell_ready)
                spawn(life.adopt_orphans, found)
                spawn(life.sync_recent)
                spawn(life.keep_house)
                spawn(life.drain_spool)
                spawn(life.watchdog)
                await life.until_stopped(signals, Possession(self._places, serving))
            systemd.notify("STOPPING=1")
            await self._stop(core, serving)
            tasks.cancel_scope.cancel()

    def _say_ready(self, core: Core, open_runs: int) -> None:
        places = self._places
        name = "the socket that systemd handed over" if places.handed_over else places.socket_path
        log.info("carrunsd %s, pid %d, serves %s on %s", __version__, os.getpid(), core.car_dir, name)
        if open_runs:
            log.info("%d runs may be in progress; %d s grace", open_runs, core.settings.adopt_grace_secs)

    async def _stop(self, core: Core, serving: listener.Server) -> None:
        """Finish what was received, sync it, answer, and close."""
        log.info("stopping: finishing what was received")
        serving.stop()
        core.appender.flush()
        with anyio.move_on_after(_STOP_PATIENCE):
            while any(peer.busy for peer in serving.peers):  # noqa: ASYNC110  # once in a life
                await anyio.sleep(0.005)
            core.appender.flush()
            synced = anyio.Event()
            core.syncer.drain(synced.set)
            await synced.wait()
        serving.close()
        core.appender.flush()
        core.appender.close_all()
        core.syncer.close()
        core.tree.close()
        log.info("stopped: %d records stored since the start", core.stats.records)

    def leave(self) -> None:
        """Remove the socket's path, if it is this daemon's, and let go of the lock."""
        self._places.leave()


def _spawner(tasks: anyio.abc.TaskGroup) -> Callable[..., None]:
    """Return what starts background work; a defect in it is logged and does not take the daemon down."""

    async def guarded(function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        try:
            await function(*args)
        except Exception:
            log.exception("a defect in the daemon")

    context = contextvars.copy_context()  # anyio's own; what comes back from a thread has none

    def spawn(function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        context.copy().run(tasks.start_soon, guarded, function, *args)

    return spawn
