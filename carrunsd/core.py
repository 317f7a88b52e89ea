"""The daemon's parts, put together.  Methods get this one object; what each part does is in its own file.

No sockets: ``connections`` has those.  Everything here is worked on from the event loop only.
"""

from __future__ import annotations

import asyncio
import os

from carrunsd.config import Config
from carrunsd.feed import Feed
from carrunsd.host import descriptors
from carrunsd.host.memory import Tidier
from carrunsd.long_questions import OneAtATime
from carrunsd.run import Run
from carrunsd.runs.cancellations import Cancellations
from carrunsd.runs.catalog import Catalog
from carrunsd.runs.endings import Endings
from carrunsd.runs.offsets import Ahead, Offsets
from carrunsd.runs.owners import Owners
from carrunsd.runs.summaries import Summaries
from carrunsd.runs.table import Table
from carrunsd.stats import Stats
from carrunsd.store.age_clock import AgeClock
from carrunsd.store.trash import Removals, Trash
from carrunsd.store.tree import Tree
from carrunsd.writing.appender import Appender
from carrunsd.writing.journal import Journal
from carrunsd.writing.syncer import Syncer


class Core:
    """Everything the methods work with.  ``loop`` is the running event loop."""

    def __init__(self, car_dir: str, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        self.car_dir = car_dir
        self.settings = config.settings
        self.retention = config.retention
        self.loop = loop
        self.stats = Stats()
        self.long_questions = OneAtATime()
        self.age_clock = AgeClock(0, 0, 0.0)  # until the files have been looked at
        self.age_doubted = False
        self.feed = Feed(self.stats, loop.call_later)
        self.tree = Tree(os.path.join(car_dir, "runs"))
        self.trash = Trash(car_dir)
        self.removals = Removals(car_dir)
        self.ahead = Ahead()
        self.tidier = Tidier(loop.call_later, self.ahead.clear)
        self.syncer = Syncer(loop, self.tree, self.stats, config.settings.fsync, self._journal_idle)
        self.appender = Appender(
            self.tree,
            self.syncer,
            self.feed,
            self.stats,
            schedule=loop.call_soon,
            later=loop.call_later,
            on_lost=self._lost,
            on_undone=self._undone,
            max_open_files=descriptors.most_open_files(),
        )
        self.catalog = Catalog(self.tree)
        self.offsets = Offsets()
        self.table = Table(self.tree, self.catalog, self.appender, self.offsets, self.feed)
        self.summaries = Summaries(self.catalog, self.table)
        self.endings = Endings(self.appender, self.table, lambda: self.settings)
        self.cancellations = Cancellations(loop, self.appender, self.endings, lambda: self.settings)
        self.owners = Owners(loop, self.tree, self.endings, lambda: self.settings)

    def apply(self, config: Config) -> None:
        """Take over another configuration (SIGHUP)."""
        self.settings = config.settings
        self.retention = config.retention
        self.syncer.policy = config.settings.fsync

    def _lost(self, run: Run) -> None:
        self.table.lost(run)

    def _undone(self, run: Run) -> None:
        self.table.reopened(run)
        self.owners.undone(run)

    def _journal_idle(self, journal: Journal) -> None:
        self.tidier.later()
        self.appender.idle(journal)
        self.table.let_retired_go()
