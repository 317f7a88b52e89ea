"""The daemon's mind on a model of the device: whatever fails, no answer comes before what it says is true.

Random work on a real core, seeded; the files are real, only what a sync does is the model's (``device.py``).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from carrunsd import config
from carrunsd.core import Core
from carrunsd.feed import Reader
from carrunsd.methods import dispatch
from carrunsd.run import Run
from carrunsd.wire import decode
from carrunsd.wire.replies import Outbox, Ticket
from tests.faults.device import Device
from tests.support import PATIENCE

STEPS = 120
FEW_FILES = 8  # open at once, so that they are closed and opened again all the time

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


class Peer:
    """A connection, as far as methods need one."""

    name = "peer"
    pages = False
    vanished = False

    def tell(self, line: bytes) -> None:
        raise AssertionError("nobody cancels here")

    @property
    def events(self) -> Reader:
        raise AssertionError("nobody subscribes here")

    def __init__(self) -> None:
        self.runs: set[Run] = set()
        self.outbox = Outbox(lambda _: None)


class Watched(Ticket):
    """An answer that looks at the device when it comes."""

    def __init__(self, world: World, *, durable: bool) -> None:
        super().__init__(world.peer.outbox, 1)
        self.world, self.durable = world, durable
        self.run: Run | None = None
        self.lines = 0
        world.waiting.add(self)

    def done(self, *result: bytes) -> None:
        super().done(*result)
        self.world.waiting.discard(self)
        if self.run is not None and b'"ok":false' not in b"".join(result):
            self.world.check(self)

    def fail(self, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        super().fail(code, message, data)
        self.world.waiting.discard(self)
        self.world.refused += 1


class World:
    """A core, its runs, and what is asked of it."""

    def __init__(self, core: Core, device: Device, dice: random.Random) -> None:
        self.core, self.device, self.dice = core, device, dice
        self.peer = Peer()
        self.waiting: set[Watched] = set()
        self.runs: list[str] = []
        self.answered = self.refused = 0

    def ask(self, method: str, name: str, *, durable: bool = False, answer: bool = True, **params: Any) -> None:
        if durable and method in ("runs.record_turns", "runs.flush"):
            params["durable"] = True  # an end is so by itself
        request = decode.read(msgspec.json.encode({"id": 1, "method": method, "params": params}))
        ticket = Watched(self, durable=durable) if answer else None
        outcome: Awaitable[None] | None = dispatch.handle(self.core, self.peer, request, ticket, big=False)
        assert outcome is None
        run = self.core.table.by_id.get(name)
        if ticket is not None and ticket.text is None and run is not None:
            ticket.run, ticket.lines = run, run.lines

    def check(self, ticket: Watched) -> None:
        """What was carried out before the answer was asked for must be where the answer says."""
        assert ticket.run is not None
        self.answered += 1
        path = Path(self.core.tree.root, *ticket.run.path)
        lines = path.read_bytes().split(b"\n")[: ticket.lines]
        end = sum(map(len, lines)) + len(lines)
        if len(lines) < ticket.lines or end > path.stat().st_size:
            self.device.wrong.append("answered before it was in the file")
        elif (ticket.durable or self.core.settings.fsync == "always") and not self.device.holds(path, end):
            self.device.wrong.append("answered before it was on the device")

    def step(self) -> None:
        """Do some of what one connection's block, or several, may bring."""
        dice, appender = self.dice, self.core.appender
        appender.begin_block(self.peer)
        for _ in range(dice.randrange(1, 60)):
            self.one_request()
        appender.end_block(20_000, more_follows=dice.random() >= 0.6)

    def one_request(self) -> None:
        dice, draw = self.dice, self.dice.random()
        if draw < 0.02 or len(self.runs) < 20:
            run = f"run-{len(self.runs)}"
            self.runs.append(run)
            self.ask("runs.start", run, idempotency_key=run, agent_id=f"agent-{dice.randrange(3)}", intent="x")
            return
        run = dice.choice(self.runs)
        turns = [{"prompt": "x" * dice.randrange(200)}]
        if draw < 0.6:
            self.ask("runs.record_turns", run, answer=dice.random() < 0.3, run_id=run, turns=turns)
        elif draw < 0.75:
            self.ask("runs.record_turns", run, durable=True, run_id=run, turns=turns)
        elif draw < 0.85:
            self.ask("runs.flush", run, durable=True, run_id=run)
        elif draw < 0.9:
            self.ask("runs.abandon", run, durable=True, run_id=run)
        else:
            self.ask("runs.resume", run, run_id=run)


async def drained(core: Core) -> None:
    core.appender.flush()
    over = asyncio.Event()
    core.syncer.drain(over.set)
    await over.wait()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("policy", ["always", "everysec"])
@pytest.mark.parametrize("faults", [(), ("syncs",), ("syncs", "writes"), ("syncs", "directories")])
async def test_no_answer_comes_too_early(
    monkeypatch: pytest.MonkeyPatch, base: Path, faults: tuple[str, ...], policy: str, seed: int
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr("carrunsd.writing.syncer.EVERYSEC_DELAY", 0.05)
    monkeypatch.setattr("carrunsd.writing.syncer.CALM_SECS", 0.01)
    car_dir = base / "car"
    car_dir.mkdir(mode=0o700)
    (car_dir / "config.toml").write_text(f'[carrunsd]\nfsync = "{policy}"\n')
    device = Device(car_dir / "runs", dice, faults)
    device.install(monkeypatch)
    core = Core(str(car_dir), config.load(str(car_dir / "config.toml")), asyncio.get_running_loop())
    core.appender._max_open = FEW_FILES
    world = World(core, device, dice)
    device.faulty = True
    async with asyncio.timeout(2 * PATIENCE):
        for _ in range(STEPS):
            world.step()
            await asyncio.sleep(dice.choice((0, 0.001, 0.01)))  # lets the loop and the threads run
        device.faulty = False
        await drained(core)
        await drained(core)  # what had failed is written anew, and synced
    assert not device.wrong, set(device.wrong)
    assert not world.waiting
    assert world.answered > 10 * STEPS
    assert bool(faults) == bool(world.refused)
    journals = core.appender._journals.values()
    assert not any(journal.unsynced_bytes or journal.syncing or journal.failure for journal in journals)
    assert not core.syncer.kept_bytes
    core.appender.close_all()
    core.syncer.close()
    core.tree.close()
    assert not [fd for fd in os.listdir("/proc/self/fd") if str(car_dir) in _leads_to(fd)]


def _leads_to(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
