"""Draining the spool: what clients could not deliver is recorded once, in order, and the file is removed.

A spool file holds requests as they would have come over the socket (``carruns.spool`` says how it is made).  Its
client holds a lock on it while it lives and hands it over itself when it can; only files without such a lock are
drained.  ``writer`` and ``seq`` make it safe to begin again after a crash in the middle, and what it held is on the
device before the file goes.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import Any

import anyio
import msgspec

from carruns.protocol.paths import SPOOL_NAME
from carrunsd.core import Core
from carrunsd.methods import dispatch
from carrunsd.run import Run
from carrunsd.store import layout, reader
from carrunsd.wire import decode, requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Outbox

log = logging.getLogger("carrunsd.drain")

#: The spool is an outer door: what is drained may record runs, and nothing else.
MAY_BE_SPOOLED = frozenset(
    (
        requests.Start, requests.Resume, requests.RecordTurns, requests.LooseRecordTurns, requests.RecordModelTurn,
        requests.Append, requests.Complete, requests.Abandon,
    )
)  # fmt: skip
RETRY_SECS = 1.0  # between looks at files whose clients still live
_MAX_LINES_AT_ONCE = 500


class Drainer:
    """Drains the spool of a car directory, when told that there may be something."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._path = os.path.join(core.car_dir, SPOOL_NAME)
        self._mtime = -1
        self._again = False
        self._complained: set[str] = set()

    def may_have_work(self) -> bool:
        """Tell whether the spool changed since it was last drained, or some file was still locked then."""
        try:
            mtime = os.stat(self._path, follow_symlinks=False).st_mtime_ns
        except OSError:
            return False
        return self._again or mtime != self._mtime

    async def run(self) -> None:
        """Drain what can be drained now.  ``waiting`` says whether to come back."""
        try:
            directory = layout.open_dir(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("the spool is not drained: %s", error)
            return
        try:
            self._mtime = os.fstat(directory).st_mtime_ns
            names = sorted(layout.run_files(directory))
            results = [await self._drain_file(directory, name) for name in names]
            self._again = not all(results)
        finally:
            os.close(directory)

    @property
    def waiting(self) -> bool:
        """Whether a client still holds one of the files."""
        return self._again

    async def _drain_file(self, directory: int, name: str) -> bool:
        """Return false where the file's client still lives."""
        try:
            fd = layout.open_for_rewriting(name, directory)
        except FileNotFoundError:
            return True  # its client has delivered it itself
        except OSError as error:
            log.error("spool file %r is not drained: %s", name, error)
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return await self._drain(directory, name, fd)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)

    async def _drain(self, directory: int, name: str, fd: int) -> bool:
        """Return false where the store would not take it now: it stays, and is tried again."""
        sender = _Sender(self._core)
        try:
            for _, block in reader.read_blocks(fd):
                await self._apply(sender, block)
            await sender.settled()
            if not sender.unstored:
                sender.sync()
                await sender.settled()
        finally:
            self._core.owners.detach_all(sender)
        if sender.unstored:
            if name not in self._complained:
                self._complained.add(name)
                log.error("spool file %r stays: the store refused %d of its lines", name, sender.unstored)
            return False
        self._complained.discard(name)
        if sender.refused:
            kept = f"{name}.refused"
            log.error("%d lines of spool file %r were refused; it is kept as %r", sender.refused, name, kept)
            os.rename(name, kept, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        log.info("drained spool file %r: %d requests", name, sender.done)
        return True

    async def _apply(self, sender: _Sender, block: bytes) -> None:
        if not block.endswith(b"\n"):
            return  # half a line: its call never returned
        for number, line in enumerate(block.split(b"\n")[:-1]):
            await sender.send(line)
            if number % _MAX_LINES_AT_ONCE == _MAX_LINES_AT_ONCE - 1:
                await sender.settled()


class _Nobody:
    """Reads no events: a spool file's client is gone."""

    def has_room(self) -> bool:
        return False

    def offer(self, lines: bytes) -> None:
        return


class _Sender:
    """Stands where a connection would: owns runs, counts answers."""

    name = "spool"
    pages = False
    vanished = False
    events = _Nobody()

    def __init__(self, core: Core) -> None:
        self._core = core
        self.runs: set[Run] = set()
        self.outbox = Outbox(self._answered)
        self.done = self.refused = self.unstored = 0

    async def send(self, line: bytes) -> None:
        if not line.strip(b" \0"):
            return
        try:
            request = decode.read(line)
        except RequestError as error:
            log.warning("a spooled line is passed over: %s", error)
            self.refused += 1
            return
        if type(request) not in MAY_BE_SPOOLED:
            log.warning("a spooled line is passed over: only runs are recorded from there")
            self.refused += 1
            return
        request.id = type(request).__name__  # the answer tells what was asked
        waiting = dispatch.handle(self._core, self, request, self.outbox.ticket(request.id), big=True)
        if waiting is not None:
            await waiting

    def tell(self, line: bytes) -> None:
        """Its client is gone."""

    def sync(self) -> None:
        """Have all of it on the device before its file goes: it was written down longer than a second ago."""
        for run in self.runs:
            self._core.appender.put(run, (), self.outbox.ticket(0), b"{}", durable=True)

    def _answered(self, data: bytes) -> None:
        for line in data.split(b"\n")[:-1]:
            answer: Any = msgspec.json.decode(line)
            error = answer.get("error")
            if error is not None and error["data"].get("kind") == "storage":
                self.unstored += 1
            elif error is not None and answer["id"] == "Resume" and error["data"].get("kind") == "run_terminal":
                self.done += 1  # all arrived, but the client did not hear of it: what follows says the same again
            elif error is not None or answer["result"].get("ok") is False:
                log.warning("a spooled request was refused: %s", error or answer["result"]["dropped"])
                self.refused += 1
            elif answer["result"]:
                self.done += 1

    async def settled(self) -> None:
        """Wait until everything sent so far is answered."""
        while True:
            self._core.appender.flush()
            if not self.outbox.waiting:
                return
            await anyio.sleep(0.002)
