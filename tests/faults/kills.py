"""SIGKILL at random instants: of the daemon under agents that write, and of agents under a daemon that reads."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.agent import Plan
from tests.faults.evidence import Found, check, data_of, outcome_stored, read_notes
from tests.support import Daemon, clean_environment, short_directory, wait_until

_AGENT = str(Path(__file__).with_name("agent.py"))
VIAS = ("wire", "sync", "async")


def plan_for(daemon: Daemon, name: str, **given: Any) -> Plan:
    """Return an agent's plan on this daemon."""
    return Plan(
        socket=str(daemon.socket), car_dir=str(daemon.car_dir), agent_id=f"agent-{name}", run_id=f"run-{name}",
        notes=str(daemon.base / f"notes-{name}"), **given,
    )  # fmt: skip


def spawn(daemon: Daemon, plan: Plan, **popen: Any) -> subprocess.Popen[bytes]:
    """Start an agent's process; the caller ends it."""
    with (daemon.base / "agents.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, _AGENT, json.dumps(asdict(plan))],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            env=clean_environment(daemon.home, daemon.car_dir), **popen,
        )  # fmt: skip


def end_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill and reap whatever is left of these processes."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


# -- the daemon dies ---------------------------------------------------------------------------------------


def daemon_kills(seed: int, kills: int, *, fsync: str = "everysec", agents: int = 3) -> dict[str, Any]:
    """Kill the daemon ``kills`` times under agents; then let them end, and check every turn of theirs."""
    dice = random.Random(seed)
    found, pauses = Found(), [0.0]
    killed = 0
    with short_directory() as base:
        daemon = Daemon(base, config=f'[carrunsd]\nfsync = "{fsync}"\n')
        round_ = 0
        while killed < kills:
            round_ += 1
            killed += _daemon_round(
                daemon, dice, f"{seed}-{round_}", min(25, kills - killed), agents, found, pauses
            )
            daemon.close()
    pauses.sort()
    return {
        "daemon_kills": killed, "fsync": fsync, **asdict(found), "longest_pause_s": round(pauses[-1], 3),
    }  # fmt: skip


def _daemon_round(
    daemon: Daemon, dice: random.Random, name: str, kills: int, agents: int, found: Found, pauses: list[float]
) -> int:
    daemon.start()
    plans = [plan_for(daemon, f"{name}-{n}", via=VIAS[n % 3], seed=dice.randrange(1 << 30)) for n in range(agents)]
    processes = [spawn(daemon, plan) for plan in plans]
    try:
        killed = 0
        while killed < kills:
            time.sleep(dice.random() ** 2 * 0.4)  # the instant is the experiment
            daemon.kill()
            killed += 1
            time.sleep(dice.choice((0, 0, dice.random() * 0.3)))
            daemon.start()
        for process in processes:
            process.terminate()
        for process in processes:
            assert process.wait(120) == 0, (daemon.base / "agents.log").read_text()[-3000:]
        for plan in plans:
            wait_until(partial(_has_outcome, daemon, plan), message=f"no end: {plan}")
            noted = read_notes(plan.notes)
            assert noted.ended
            found += check(plan, data_of(daemon.car_dir, plan), noted.returned)
            gaps = [later - sooner for sooner, later in zip(noted.times, noted.times[1:], strict=False)]
            pauses.append(max(gaps, default=0) / 1e9)
    finally:
        end_all(processes)
    return killed


def _has_outcome(daemon: Daemon, plan: Plan) -> bool:
    return outcome_stored(data_of(daemon.car_dir, plan))


def _got_going(plan: Plan, turns: int) -> bool:
    return read_notes(plan.notes).returned > turns


# -- agents die --------------------------------------------------------------------------------------------


def agent_kills(seed: int, kills: int, *, at_once: int = 4, resumed: bool = True) -> dict[str, Any]:
    """Kill ``kills`` agents while they record; every turn whose call had returned must be stored."""
    dice = random.Random(seed)
    found = Found()
    incomplete = 0
    with short_directory() as base:
        daemon = Daemon(base, config="[carrunsd]\ndisconnect_grace_secs = 1\n[runs]\nmax_per_agent = 1000\n")
        try:
            daemon.start()
            for start in range(0, kills, at_once):
                plans = [
                    plan_for(daemon, f"{seed}-{n}", via=VIAS[n % 3], seed=dice.randrange(1 << 30), pace=0.0002)
                    for n in range(start, min(kills, start + at_once))
                ]
                incomplete += _agent_round(daemon, dice, plans, found)
        finally:
            daemon.close()
    return {"agent_kills": kills, **asdict(found), "incomplete_disconnected": incomplete}


def _agent_round(daemon: Daemon, dice: random.Random, plans: list[Plan], found: Found) -> int:
    processes = [spawn(daemon, plan) for plan in plans]
    try:
        for process, plan in zip(processes, plans, strict=True):
            wait_until(partial(_got_going, plan, dice.randrange(60)))
            time.sleep(dice.random() * 0.05)  # the instant is the experiment
            process.send_signal(signal.SIGKILL)
            process.wait()
        for plan in plans:
            wait_until(partial(_disconnected, daemon, plan), message=f"not ended: {plan}")
            found += check(plan, data_of(daemon.car_dir, plan), read_notes(plan.notes).returned)
    finally:
        end_all(processes)
    return len(plans)


def _disconnected(daemon: Daemon, plan: Plan) -> bool:
    data = data_of(daemon.car_dir, plan)
    if b'"ended"' not in data[-400:]:
        return False
    last = json.loads(data.split(b"\n")[-2])
    return bool(last["termination"]["kind"] == "incomplete" and last["reason"] == "disconnected")
