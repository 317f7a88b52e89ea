"""What agents spooled while there was no daemon is stored once, in order, whatever happens to who drains it."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.faults import kills, mounts
from tests.faults.agent import Plan
from tests.faults.evidence import check, data_of, outcome_stored, read_notes
from tests.support import Daemon, wait_until


def spooled(daemon: Daemon, agents: int, turns: int) -> list[Plan]:
    """Let agents record to the spool and end, with no daemon there."""
    daemon.car_dir.mkdir(mode=0o700, exist_ok=True)
    plans = [
        kills.plan_for(daemon, f"s{number}", via="spool", seed=number, turns=turns) for number in range(agents)
    ]
    processes = [kills.spawn(daemon, plan) for plan in plans]
    try:
        for process in processes:
            assert process.wait(60) == 0, (daemon.base / "agents.log").read_text()
    finally:
        kills.end_all(processes)
    return plans


def _drained(daemon: Daemon) -> bool:
    return not list((daemon.car_dir / "spool").glob("*.jsonl"))


def _all_there(daemon: Daemon, plans: list[Plan], turns: int) -> None:
    for plan in plans:
        data = data_of(daemon.car_dir, plan)
        found = check(plan, data, turns - 1)
        assert found.clean, found
        assert found.checked == turns
        assert outcome_stored(data)


def test_the_daemon_is_killed_while_it_drains(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    plans = spooled(daemon, 3, 800)
    dice = random.Random(3)
    for _ in range(6):
        process = daemon.spawn()
        time.sleep(0.25 + dice.random() * 0.1)  # about when it drains; the instant is the experiment
        process.kill()
        process.wait()
    daemon.start()
    wait_until(partial(_drained, daemon))
    _all_there(daemon, plans, 800)


def test_a_full_disk_leaves_the_spool_for_later(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    (plan,) = spooled(daemon, 1, 300)
    assert read_notes(plan.notes).returned == 299
    soft = (20_000, resource.RLIM_INFINITY)
    daemon.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, soft))
    wait_until(lambda: "stays: the store refused" in daemon.log())
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(partial(_drained, daemon))
    _all_there(daemon, [plan], 300)


@pytest.mark.root
def test_the_power_goes_right_behind_the_spool_file(make_daemon: Callable[..., Daemon], base: Path) -> None:
    """Its turns are older than a second: they are on the device before the file goes."""
    daemon = make_daemon()
    image = mounts.make_ext4(base / "img", 32)
    with mounts.mounted(str(image), base / "m", "-o", "loop") as mount:
        daemon.car_dir = mount / "car"
        daemon.socket = daemon.car_dir / "carrunsd.sock"
        (plan,) = spooled(daemon, 1, 200)
        daemon.start()
        wait_until(partial(_drained, daemon))
        mounts.cut_power(mount, mounts.FLUSH_JOURNAL)  # what happened to the directories is kept
        daemon.kill()
    with mounts.mounted(str(mounts.copied(image)), base / "v", "-o", "loop") as view:
        data = data_of(view / "car", plan)
        assert check(plan, data, 199).clean
        assert outcome_stored(data)
