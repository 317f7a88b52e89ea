"""A directory of new files is synced once a round, and whoever needs it hears of its failure."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from carrunsd.store.tree import ROOT, Tree
from carrunsd.writing.rounds import Directory, Round, Track


def test_a_round_has_each_directory_once(base: Path) -> None:
    tree = Tree(str(base / "runs"))
    for name in ("a", "b"):
        tree.directory(name, create=True)
    before = set(os.listdir("/proc/self/fd"))
    this_round = Round(tree, Track())
    first, again, other = (this_round.directories(name) for name in ("a", "a", "b"))
    assert first[0] is again[0]
    assert first[1] is other[1]
    assert os.path.samestat(os.fstat(first[0].fd), os.stat(base / "runs" / "a"))
    assert os.path.samestat(os.fstat(other[0].fd), os.stat(base / "runs" / "b"))
    assert os.path.samestat(os.fstat(other[1].fd), os.stat(base / "runs" / ROOT))
    for directory in (*first, *other):
        directory.sync()
    this_round.close()
    assert set(os.listdir("/proc/self/fd")) == before
    tree.close()


def test_everyone_hears_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([errno.EIO, errno.ENOSPC])

    def fail(_: int) -> None:
        raise OSError(next(results), "no")

    monkeypatch.setattr(os, "fsync", fail)
    directory = Directory(-1)
    numbers = []

    def sync() -> None:
        with pytest.raises(OSError) as caught:
            directory.sync()
        numbers.append(caught.value.errno)

    threads = [threading.Thread(target=sync) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sync()  # what was found out stands, though it would be another error now
    assert numbers == [errno.EIO] * 5
