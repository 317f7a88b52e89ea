"""A model of the device below the real files: what of them is on it, and syncs that fail as Linux lets them fail.

A failed ``fdatasync`` leaves the pages marked clean: what it should have synced never gets to the device, unless it
is written anew (fsync(2), and the PostgreSQL "fsyncgate" of 2018).
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

Inode = tuple[int, int]
Span = tuple[int, int]


class Device:
    """Takes the place of ``os.write``, ``pwrite``, ``fdatasync`` and ``fsync`` for what stands below ``root``.

    ``faults`` says what fails at times: ``"syncs"``, ``"directories"``, ``"writes"``; nothing does before
    ``faulty`` is set.  ``wrong`` collects what must not happen.
    """

    def __init__(self, root: Path, dice: random.Random, faults: tuple[str, ...]) -> None:
        self.faulty = False
        self.wrong: list[str] = []
        self._root = str(root)
        self._dice = dice
        self._faults = faults
        self._lock = threading.Lock()
        self._ticks = itertools.count(1)
        self._dirty: defaultdict[Inode, list[Span]] = defaultdict(list)
        self._stored: defaultdict[Inode, bytearray] = defaultdict(bytearray)
        self._syncing: set[Inode] = set()
        self._made: dict[Inode, int] = {}
        self._entries: dict[Inode, int] = {}
        self._real = os.write, os.pwrite

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("write", "pwrite", "fdatasync", "fsync"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def holds(self, path: Path, end: int) -> bool:
        """Tell whether the first ``end`` bytes of a file are on the device, and its entry in its directory."""
        with self._lock:
            stored = self._stored[_inode(os.stat(path))]
            made = self._made[_inode(os.stat(path))]
            listed = self._entries.get(_inode(os.stat(path.parent)), 0)
            return len(stored) >= end and not stored[:end].count(0) and listed > made

    # -- the calls -----------------------------------------------------------------------------------------

    def write(self, fd: int, data: bytes) -> int:
        if not self._is_ours(fd):
            return self._real[0](fd, data)
        if self._fails("writes", 0.02):
            self._wrote(fd, self._real[0](fd, data[:3]), os.fstat(fd).st_size)
            raise OSError(errno.ENOSPC, "no space left on device")
        written = self._real[0](fd, data)
        self._wrote(fd, written, os.fstat(fd).st_size)
        return written

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        written = self._real[1](fd, data, offset)
        self._wrote(fd, written, offset + written)
        return written

    def _wrote(self, fd: int, count: int, end: int) -> None:
        inode = _inode(os.fstat(fd))
        with self._lock:
            self._made.setdefault(inode, next(self._ticks))
            self._dirty[inode].append((end - count, end))
            stored = self._stored[inode]
            stored[end - count : end] = bytes(count)  # what is written over is not there any more

    def fdatasync(self, fd: int) -> None:
        inode = _inode(os.fstat(fd))
        with self._lock:
            if inode in self._syncing:
                self.wrong.append("two syncs of one file at once")
            self._syncing.add(inode)
            spans, self._dirty[inode] = self._dirty[inode], []
        time.sleep(self._dice.choice((0, 0, 0.0005, 0.002, 0.01)))
        with self._lock:
            self._syncing.discard(inode)
            if self._fails("syncs", 0.08):
                raise OSError(errno.EIO, "input/output error")
            for start, end in spans:
                self._stored[inode][start:end] = b"\1" * (end - start)

    def fsync(self, fd: int) -> None:
        tick = next(self._ticks)
        time.sleep(self._dice.choice((0, 0.002)))
        if self._fails("directories", 0.2):
            raise OSError(errno.EIO, "input/output error")
        with self._lock:
            inode = _inode(os.fstat(fd))
            self._entries[inode] = max(tick, self._entries.get(inode, 0))  # a later one may be over first

    def _fails(self, what: str, share: float) -> bool:
        return self.faulty and what in self._faults and self._dice.random() < share

    def _is_ours(self, fd: int) -> bool:
        try:
            return os.readlink(f"/proc/self/fd/{fd}").startswith(self._root)
        except OSError:
            return False


def _inode(status: os.stat_result) -> Inode:
    return status.st_dev, status.st_ino
