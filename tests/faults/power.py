"""The machine dies: ext4 on an image, shut off or copied at an instant under the live daemon, then looked at.

A workload of threads records new agents, new runs, turns and ends, and remembers when each was acknowledged.  What
was acknowledged before the cut must be on the image: all of it under ``always``; under ``everysec`` what is older
than a second, what was flushed with ``durable``, and runs that have ended.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.faults import mounts
from tests.support import Daemon, Json, Wire, short_directory, strict

_OUTCOME = {"status": "success", "summary": "", "timestamp": "2026-11-22T00:00:00Z"}
GRACE = {"always": 0.0, "everysec": 1.0}  # seconds that may be missing
SYNC_SECS = 0.5  # that a sync may take for ``everysec`` to be true; what a device takes longer, it may lose
SYNCS = 6  # calls that a turn may have to wait for: a file and two directories, and the same in the round before


@dataclass
class Made:
    """One run as its agent knows it: when what was acknowledged, in seconds since the epoch; 0 is never."""

    agent_id: str
    run_id: str
    started: float = 0.0
    turns: list[float] = field(default_factory=list)  # by seq
    durable: list[tuple[float, int]] = field(default_factory=list)  # when, how many turns
    ended: float = 0.0

    def due(self, cut: float, grace: float) -> tuple[bool, int, bool]:
        """Return what must be there after a cut: the start, how many turns, the end."""
        ended = 0 < self.ended < cut
        turns = sum(at < cut - grace for at in self.turns)
        turns = max([turns, *(count for at, count in self.durable if at < cut)])
        if ended:
            turns = len(self.turns)
        started = 0 < self.started < cut - grace or turns > 0 or ended
        return started, turns, ended


class Load:
    """Threads that record until told to stop or until the daemon is gone."""

    def __init__(self, socket: Path, seed: object, threads: int) -> None:
        self._socket = socket
        self.runs: list[Made] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(str(seed), number)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    @property
    def alive(self) -> bool:
        """Whether all of them still record."""
        return all(thread.is_alive() for thread in self._threads)

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, seed: str, number: int) -> None:
        dice = random.Random(f"{seed}/{number}")
        with suppress(OSError, AssertionError), Wire(self._socket) as wire:  # the daemon is gone, or its disk is
            count = 0
            while not self._stop.is_set():
                count += 1
                agent = f"agent-{number}-{count // 3}"  # a new directory every third run
                self._one_run(wire, dice, Made(agent, f"run-{seed}-{number}-{count}"))

    def _one_run(self, wire: Wire, dice: random.Random, made: Made) -> None:
        self.runs.append(made)
        wire.call("runs.start", agent_id=made.agent_id, intent="cut", idempotency_key=made.run_id)
        made.started = time.time()
        for _ in range(dice.randrange(1, 40)):
            if self._stop.is_set():
                return
            self._some_turns(wire, dice, made)
        if dice.random() < 0.8:
            wire.call("runs.complete", run_id=made.run_id, outcome=_OUTCOME)
            made.ended = time.time()

    def _some_turns(self, wire: Wire, dice: random.Random, made: Made) -> None:
        seq = len(made.turns)
        turns = [
            {"prompt": f"{seq + n} " + "x" * dice.choice((5, 100, 3000))} for n in range(dice.choice((1, 1, 4)))
        ]
        wire.call("runs.record_turns", run_id=made.run_id, writer="w", seq=seq, turns=turns)
        made.turns += [time.time()] * len(turns)
        if dice.random() < 0.03:
            wire.call("runs.flush", run_id=made.run_id, writer="w", durable=True)
            made.durable.append((time.time(), len(made.turns)))
        if dice.random() < 0.2:
            self._stop.wait(dice.random() * 0.02)


class Device:
    """A thread that syncs a file of its own on the device now and then: how long does a sync take there?"""

    def __init__(self, mount: Path) -> None:
        self._path = mount / "probe"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.slowest_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        with suppress(OSError), self._path.open("wb", buffering=0) as file:  # the device is cut off
            while not self._stop.wait(0.02):
                began = time.monotonic()
                try:
                    file.write(b"x")
                    os.fdatasync(file.fileno())
                finally:
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def grace(self, fsync: str) -> float:
        """Return how many seconds may be missing after a cut."""
        return GRACE[fsync] and GRACE[fsync] + max(0.0, SYNCS * self.slowest_s - SYNC_SECS)


@dataclass
class Verdict:
    """What many cuts have shown."""

    cuts: int = 0
    runs: int = 0
    turns: int = 0
    turns_due: int = 0
    lost: int = 0
    doubled: int = 0
    damaged: int = 0
    torn_tails: int = 0
    starts_lost: int = 0
    ends_lost: int = 0
    oldest_missing_s: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.damaged or self.starts_lost or self.ends_lost)

    def look(self, runs_dir: Path, runs: list[Made], cut: float, grace: float) -> None:
        """Compare a store with what was acknowledged before ``cut``."""
        self.cuts += 1
        for made in runs:
            self._look_at(runs_dir / made.agent_id / f"{made.run_id}.jsonl", made, cut, grace)

    def _look_at(self, path: Path, made: Made, cut: float, grace: float) -> None:
        started, turns, ended = made.due(cut, grace)
        data = path.read_bytes() if path.exists() else b""
        *lines, tail = data.split(b"\n")
        self.torn_tails += bool(tail)
        records = list(self._records(lines))
        seqs = [record["seq"] for record in records if record["record"] == "turn"]
        self.runs += 1
        self.turns += len(seqs)
        self.turns_due += turns
        self.doubled += len(seqs) - len(set(seqs))
        self.lost += max(
            0, turns - len(set(seqs) & set(range(turns))), len(set(range(max(seqs, default=-1) + 1)) - set(seqs))
        )
        self.starts_lost += started and not (records and records[0]["record"] == "started")
        self.ends_lost += ended and not (records and records[-1]["record"] == "ended")
        missing = [at for at in made.turns[len(seqs) :] if at < cut]
        self.oldest_missing_s = max([self.oldest_missing_s, *(cut - at for at in missing)])

    def _records(self, lines: list[bytes]) -> Iterator[Json]:
        for line in lines:
            try:
                yield strict(line)
            except (ValueError, AssertionError):
                self.damaged += 1


def _daemon_on(base: Path, mount: Path, fsync: str) -> Daemon:
    daemon = Daemon(base)
    daemon.car_dir = mount / "car"
    daemon.socket = daemon.car_dir / "carrunsd.sock"
    daemon.configure(f'[carrunsd]\nfsync = "{fsync}"\ngc_interval_secs = 3600\n[runs]\nmax_per_agent = 10000\n')
    return daemon


# -- copies of the device at an instant --------------------------------------------------------------------


_CUTS_A_LIFE = 40  # then a new image and a new daemon: the image is small


def snapshots(
    seed: int, cuts: int, *, fsync: str, seconds: float, threads: int = 4, options: str = ""
) -> dict[str, Any]:
    """Copy the device ``cuts`` times in ``seconds`` under live daemons, and look at every copy."""
    verdict = Verdict()
    for start in range(0, cuts, _CUTS_A_LIFE):
        count = min(_CUTS_A_LIFE, cuts - start)
        _one_life(f"{seed}-{start}", count, seconds * count / cuts, fsync, threads, options, verdict)
    return {"fsync": fsync, "how": f"snapshot{options}", **vars(verdict)}


def _one_life(
    seed: str, cuts: int, seconds: float, fsync: str, threads: int, options: str, verdict: Verdict
) -> None:
    dice = random.Random(seed)
    with ExitStack() as stack:
        base = stack.enter_context(short_directory())
        pool = stack.enter_context(
            mounts.mounted(str(mounts.make_xfs(base / "pool", 1000)), base / "x", "-o", "loop")
        )
        image = mounts.make_ext4(pool / "img", 256)
        mount = stack.enter_context(mounts.mounted(str(image), base / "m", "-o", f"loop{options}"))
        daemon = _daemon_on(base, mount, fsync)
        stack.callback(daemon.close)
        daemon.start()
        taken: list[tuple[float, Path]] = []
        with Device(mount) as device, Load(daemon.socket, seed, threads) as load:
            for number in range(cuts):
                time.sleep(dice.random() * 2 * seconds / cuts)  # the instant is the experiment
                cut = time.time()
                taken.append((cut, mounts.snapshot(image, pool / f"cut-{number}")))
            assert load.alive, f"nobody records any more: {daemon.log()[-1000:]}"
        daemon.kill()
        for number, (cut, copy) in enumerate(taken):
            with mounts.mounted(str(copy), base / "v", "-o", "loop") as view:
                verdict.look(view / "car" / "runs", load.runs, cut, device.grace(fsync))
                if number % 25 == 7:
                    _goes_on_after(base / "again", view, load.runs)
            copy.unlink()


def _goes_on_after(base: Path, view: Path, runs: list[Made]) -> None:
    """A daemon on what the cut left: every run that is there is listed, healed, and takes turns or is over."""
    base.mkdir(exist_ok=True)
    daemon = _daemon_on(base, view, "everysec")
    (daemon.car_dir / "carrunsd.sock").unlink(missing_ok=True)
    try:
        wire = daemon.start().wire()
        for made in runs[-12:]:
            path = daemon.file(made.agent_id, made.run_id)
            if not path.exists() or b'"started"' not in path.read_bytes().split(b"\n")[0]:
                continue
            answer = wire.request("runs.resume", run_id=made.run_id, writer="w")
            if "result" in answer:
                seq = (answer["result"]["acked_seq"] if answer["result"]["acked_seq"] is not None else -1) + 1
                wire.turns(made.run_id, "after the cut", writer="w", seq=seq)
            seqs = [r["seq"] for r in daemon.records(made.agent_id, made.run_id) if r["record"] == "turn"]
            assert seqs == list(range(len(seqs))), f"{made.run_id}: {seqs}"
    finally:
        daemon.close()
        shutil.rmtree(base, ignore_errors=True)


# -- the device shut off -----------------------------------------------------------------------------------


def shutdowns(seed: int, cuts: int, *, fsync: str, threads: int = 4) -> dict[str, Any]:
    """Shut the file system off under a live daemon ``cuts`` times, a new image each, and look at what is left."""
    verdict = Verdict()
    dice = random.Random(seed)
    with short_directory() as base:
        for number in range(cuts):
            with _image(base / f"img-{number}") as image:
                _one_shutdown(base, image, dice, seed * 1000 + number, fsync, threads, verdict)
    return {"fsync": fsync, "how": "shutdown", **vars(verdict)}


@contextmanager
def _image(image: Path) -> Iterator[Path]:
    """Make an image with a name of its own.

    Where a test beside this one has made a mount namespace, an old mount lives on in it: a new image by the old
    name, or a copy of one, would be mounted as the loop device that is there already, with what stood in the old.
    """
    try:
        yield mounts.make_ext4(image, 32)
    finally:
        image.unlink()


def _one_shutdown(
    base: Path, image: Path, dice: random.Random, seed: int, fsync: str, threads: int, verdict: Verdict
) -> None:
    with mounts.mounted(str(image), base / "m", "-o", "loop") as mount:
        daemon = _daemon_on(base, mount, fsync)
        os.sync()
        try:
            daemon.start()
            with Device(mount) as device, Load(daemon.socket, seed, threads) as load:
                time.sleep(dice.random() * (1.6 if fsync == "everysec" else 0.3))  # the instant is the experiment
                cut = time.time()
                mounts.cut_power(mount, dice.choice((mounts.FLUSH_JOURNAL, mounts.NO_FLUSH)))
                daemon.kill()
        finally:
            daemon.close()
    with mounts.mounted(str(mounts.copied(image)), base / "v", "-o", "loop") as view:
        verdict.look(view / "car" / "runs", load.runs, cut, device.grace(fsync))


# -- the daemon dies first, then the machine ---------------------------------------------------------------


def after_a_restart(base: Path, fsync: str, *, asked: bool) -> tuple[int, int]:
    """Turns; the daemon is killed before it syncs and started again; then the power goes.

    ``asked``: an agent comes back and has it said that its turns are on the device.  Otherwise nobody comes, and
    what an earlier daemon wrote must get there by itself.  Return how many turns were recorded and are there.
    """
    image = mounts.make_ext4(base / "img", 32)
    with mounts.mounted(str(image), base / "m", "-o", "loop") as mount:
        daemon = _daemon_on(base, mount, fsync)
        try:
            wire = daemon.start().wire()
            os.sync()
            run_id = wire.start(idempotency_key="run-x")
            for number in range(10):
                wire.notify("runs.record_turns", run_id=run_id, writer="w", seq=number, turns=[{"prompt": "a"}])
            path = daemon.file("agent-a", run_id)
            while not path.exists() or path.read_bytes().count(b"\n") < 11:
                pass
            daemon.kill()
            wire = daemon.start().wire()
            if asked:
                assert wire.call("runs.resume", run_id=run_id, writer="w")["acked_seq"] == 9
                wire.call("runs.flush", run_id=run_id, writer="w", durable=fsync != "always")
            else:
                time.sleep(1.0)  # the promise is about this second
            mounts.cut_power(mount)
        finally:
            daemon.close()
    with mounts.mounted(str(mounts.copied(image)), base / "v", "-o", "loop") as view:
        path = view / path.relative_to(base / "m")
        data = path.read_bytes() if path.exists() else b""
    return 10, data.count(b'"turn"')
