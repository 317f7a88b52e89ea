"""The main job: 8 agents at once, 400 runs, 16,000 turns, the daemon restarted twice meanwhile, nothing lost."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.support import Daemon, clean_environment, wait_until

AGENTS, RUNS, TURNS = 8, 50, 40

_AGENT = """
import sys
import carruns

agent, runs, turns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with carruns.Client() as client:
    for number in range(runs):
        with client.run(agent, intent=f"job {number}", metadata={"number": number}) as run:
            for turn in range(turns):
                run.turn(tool="work", parameters={"n": turn}, output={"text": f"{agent}-{number}-{turn}"})
            run.succeed(f"{turns} turns")
        if number == runs - 10:
            sys.stdin.readline()  # the last runs wait for the restarts: work goes on before, during and after them
"""


@pytest.fixture
def daemon(make_daemon: Any) -> Daemon:
    one: Daemon = make_daemon(config="[runs]\nmax_per_agent = 1000\n")
    return one.start()


def start_agents(daemon: Daemon) -> list[subprocess.Popen[bytes]]:
    environment = clean_environment(daemon.home, daemon.car_dir)
    command = [sys.executable, "-c", _AGENT]
    return [
        subprocess.Popen(
            [*command, f"agent-{n}", str(RUNS), str(TURNS)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for n in range(AGENTS)
    ]


def runs_stored(daemon: Daemon) -> int:
    """Return how many runs have a file."""
    return sum(1 for _ in (daemon.car_dir / "runs").glob("*/*.jsonl"))


def restart_behind(daemon: Daemon, agents: list[subprocess.Popen[bytes]], runs: int) -> None:
    """Restart the daemon once so many runs have begun, while agents are at work."""
    wait_until(lambda: runs_stored(daemon) >= runs)
    assert all(agent.poll() is None for agent in agents)
    assert runs_stored(daemon) < AGENTS * (RUNS - 10), "all had come to wait before the restart"
    daemon.restart()


def test_each_turn_once_and_in_order_over_two_restarts(daemon: Daemon) -> None:
    agents = start_agents(daemon)
    try:
        restart_behind(daemon, agents, 20)
        restart_behind(daemon, agents, 100)
        for agent in agents:
            _, complaints = agent.communicate(b"go on\n", timeout=100)
            assert (agent.returncode, complaints) == (0, b"")
    finally:
        for agent in agents:
            agent.kill()
            agent.communicate()
    wire = daemon.wire()
    wait_until(lambda: not spooled(daemon), message=f"still spooled: {spooled(daemon)}\n{daemon.log()}")
    wait_until(lambda: not wire.call("runs.list", status="in_progress")["runs"])
    assert daemon.stop() == 0
    for number in range(AGENTS):
        check_agent(daemon, f"agent-{number}")


def spooled(daemon: Daemon) -> list[str]:
    """Return the names of what clients could not deliver and the daemon has not taken up yet."""
    return sorted(path.name for path in (daemon.car_dir / "spool").glob("*"))


def check_agent(daemon: Daemon, agent: str) -> None:
    files = sorted((daemon.car_dir / "runs" / agent).glob("*.jsonl"))
    assert len(files) == RUNS
    numbers = set()
    for path in files:
        records = daemon.records(agent, path.stem)
        number = records[0]["metadata"]["number"]
        numbers.add(number)
        turns = [record for record in records if record["record"] == "turn"]
        assert [turn["output"]["text"] for turn in turns] == [f"{agent}-{number}-{n}" for n in range(TURNS)]
        assert [turn["index"] for turn in turns] == list(range(TURNS))
        ends = [record for record in records if record["record"] == "ended"]
        assert ends[-1] is records[-1]
        assert ends[-1]["termination"]["status"] == "success"
        assert len([end for end in ends if end["termination"]["kind"] == "outcome"]) == 1
    assert numbers == set(range(RUNS))
