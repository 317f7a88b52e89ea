"""Who does a sync: the loop itself for the only active client of a quick device, a thread otherwise."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from carrunsd import syncer as syncing
from carrunsd.journal import Journal
from carrunsd.ledger import Run
from carrunsd.stats import Stats
from carrunsd.store.tree import Tree
from carrunsd.syncer import QUICK_ONES, Syncer
from carrunsd.tickets import Outbox, Ticket
from tests.support import PATIENCE

_LINE = b'{"record":"turn"}\n'


class Bench:
    """A syncer over one run file on a real disk, and whoever waits for it."""

    def __init__(self, base: Path) -> None:
        tree = Tree(str(base / "runs"))
        self.stats = Stats()
        self.syncer = Syncer(asyncio.get_running_loop(), tree, self.stats, "everysec", lambda _: None)
        self.journal = Journal(Run("r", "a", "", ""), ("a", "r.jsonl"), fresh=True)
        self.journal.file = tree.open(self.journal.path, create=True)
        self._written = asyncio.Event()
        self._outbox = Outbox(lambda _: self._written.set())

    def write_and_sync(self) -> Ticket:
        """Write a line and have it synced; the ticket has its answer at once if the loop has done it."""
        assert self.journal.file is not None
        self.journal.file.append(_LINE)
        self.syncer.written(self.journal, _LINE)
        return self.sync()

    def sync(self) -> Ticket:
        """Have what is written synced."""
        ticket = self._outbox.ticket(1)
        self._written.clear()
        self.syncer.sync(self.journal, [(ticket, b"{}")])
        return ticket

    async def answer(self, ticket: Ticket) -> bytes:
        """Wait for the answer and return it."""
        if ticket.text is None:
            await asyncio.wait_for(self._written.wait(), PATIENCE)
        assert ticket.text is not None
        return ticket.text

    async def warm_up(self) -> None:
        """See so many quick syncs that the loop may do the next."""
        for _ in range(1 + QUICK_ONES):  # the first syncs directories too
            ticket = self.write_and_sync()
            assert ticket.text is None
            await self.answer(ticket)


@pytest_asyncio.fixture
async def bench(base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(syncing, "QUICK_SECS", 60.0)  # any device is quick
    bench = Bench(base)
    yield bench
    bench.syncer.close()


async def test_the_loop_syncs_for_the_only_client_of_a_quick_device(bench: Bench) -> None:
    bench.syncer.one_client = lambda: True
    await bench.warm_up()
    assert bench.write_and_sync().text is not None
    assert bench.journal.unsynced_bytes == 0


async def test_with_several_clients_a_thread_does(bench: Bench) -> None:
    await bench.warm_up()
    assert bench.write_and_sync().text is None


async def test_one_slow_sync_and_the_threads_do_the_next_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.syncer.one_client = lambda: True
    await bench.warm_up()
    monkeypatch.setattr(syncing, "QUICK_SECS", 0.0)
    assert bench.write_and_sync().text is not None  # nobody knew before
    monkeypatch.setattr(syncing, "QUICK_SECS", 60.0)
    assert bench.write_and_sync().text is None


async def test_a_failure_in_the_loop_is_answered_and_mended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.syncer.one_client = lambda: True
    await bench.warm_up()

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        text = await bench.answer(bench.write_and_sync())
    assert msgspec.json.decode(text)["error"]["data"] == {"kind": "storage", "errno": "EIO"}
    with pytest.raises(OSError, match="a sync failed"):
        bench.syncer.check(bench.journal)  # which has it mended: written anew
    assert b'"result"' in await bench.answer(bench.sync())
    assert bench.journal.failure is None
    assert bench.stats.sync_errors == 1
