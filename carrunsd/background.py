"""What the daemon does by itself, beside the requests: ready, watchdog, gc, adoption, draining the spool."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc

from carrunsd import config
from carrunsd.connections import listener, places, spool_drain
from carrunsd.core import Core
from carrunsd.host import systemd
from carrunsd.upkeep import orphans, remove_expired, sync_recent

log = logging.getLogger("carrunsd")
_RECENT_NS = 3600 * 10**9  # what was written longer ago, the kernel has written back (vm.dirty_expire_centisecs)
_GC_DELAY = 1.0  # seconds from the end of a run to the gc it may call for
_NOTIFY_PAUSE = 0.1  # seconds before systemd is told again that we are ready


class Possession:
    """Whether the places are still this daemon's; what is mended by that is mended."""

    def __init__(self, held: places.Places, serving: listener.Server) -> None:
        self._held = held
        self._serving = serving

    def look(self) -> bool:
        """Return false where the daemon has to stop.  A socket whose path is gone is bound anew."""
        if lost := self._held.lost():
            log.error("%s; what was received is finished, then this daemon stops", lost)
            return False
        if (fresh := self._held.bound_anew()) is not None:
            self._serving.move_to(fresh)
        return True


class Life:
    """What goes on beside the requests."""

    def __init__(self, core: Core, load: Callable[[], config.Config]) -> None:
        self._core = core
        self._load = load
        self._drainer = spool_drain.Drainer(core)
        self._ended = anyio.Event()
        self._spooled = anyio.Event()
        core.endings.on_end = self._on_end

    def _on_end(self) -> None:
        self._ended.set()

    def on_peer(self) -> None:
        """A client came or went: it may have left something in the spool."""
        if self._drainer.may_have_work():
            self._spooled.set()

    async def until_stopped(self, signals: Any, possession: Possession) -> None:
        """Return once the daemon is told to stop, or has nothing left to serve."""
        async with anyio.create_task_group() as either:

            async def until_told() -> None:
                await self._until_told(signals, possession)
                either.cancel_scope.cancel()

            async def until_lost() -> None:
                while possession.look():  # noqa: ASYNC110 - nothing tells
                    await anyio.sleep(places.LOOK_SECS)
                either.cancel_scope.cancel()

            either.start_soon(until_told)
            either.start_soon(until_lost)

    async def _until_told(self, signals: Any, possession: Possession) -> None:
        async for number in signals:
            if number != signal.SIGHUP:
                log.info("%s", signal.Signals(number).name)
                return
            self._reload()
            self._spooled.set()
            if not possession.look():
                return

    def _reload(self) -> None:
        """Read the configuration again.  Where anything is wrong with it, the last good one holds."""
        loaded = self._load()
        if loaded.problems:
            log.error("the configuration that held before still holds")
            self._core.retention = loaded.retention and self._core.retention
        else:
            self._core.apply(loaded)
            log.info("configuration read again")

    async def tell_ready(self) -> None:
        """Tell systemd until it has heard it: it waits for this, and kills who does not say it."""
        while not systemd.notify("READY=1", f"STATUS=serving {self._core.car_dir}"):  # noqa: ASYNC110 - no event
            await anyio.sleep(_NOTIFY_PAUSE)

    async def adopt_orphans(self, found: list[Any]) -> None:
        await anyio.sleep(self._core.settings.adopt_grace_secs)
        await orphans.adopt(self._core, found, found_at_start=True)

    async def sync_recent(self) -> None:
        """An earlier daemon may have been killed before it synced what it wrote."""
        if self._core.settings.fsync == "no":
            return
        since = time.time_ns() - _RECENT_NS
        root = self._core.tree.root
        results = await anyio.to_thread.run_sync(lambda: list(sync_recent.sync_recent(root, since)))
        for error in filter(None, results):
            log.error("what was written before the start could not be synced: %s", error)

    async def keep_house(self) -> None:
        """Collect at the start, every interval, and a moment after runs have ended."""
        while True:
            self._ended = anyio.Event()  # before looking: what ends meanwhile is looked at again
            try:
                remove_expired.empty_trash(self._core, time.time_ns())
                removed = await remove_expired.collect(self._core, time.time_ns(), dry_run=False)
                remove_expired.remove_empty_dirs(self._core)
            except OSError as error:
                log.error("gc failed: %s", error)
            except Exception:  # nobody else removes anything: the next look must come
                log.exception("gc failed")
            else:
                if removed:
                    log.info("gc removed %d runs, %d bytes", len(removed), sum(r["bytes"] for r in removed))
            with anyio.move_on_after(self._core.settings.gc_interval_secs):
                await self._ended.wait()
                await anyio.sleep(_GC_DELAY)

    async def drain_spool(self) -> None:
        """Drain at the start, and when clients come and go after the spool has changed."""
        while True:
            self._spooled = anyio.Event()
            try:
                await self._drainer.run()
            except Exception:
                log.exception("draining the spool failed")
            if self._drainer.waiting:
                await anyio.sleep(spool_drain.RETRY_SECS)
            else:
                await self._spooled.wait()

    async def watchdog(self) -> None:
        interval = systemd.watchdog_interval()
        while interval is not None:
            systemd.notify("WATCHDOG=1")
            await anyio.sleep(interval)
