"""Many agents at once: forked processes that start together and say how it went."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

_PATIENCE = 120.0  # seconds


class Barrier(Protocol):
    def wait(self) -> object: ...


#: What an agent does: its number and a barrier in, what it measured out.  It waits at the barrier once ready.
Work = Callable[[int, Barrier], float]


def run(count: int, work: Work) -> list[float]:
    """Fork ``count`` agents, let them go at the same moment, return what each measured."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(count, timeout=_PATIENCE)
    pipes, agents = [], []
    for number in range(count):
        here, there = context.Pipe(duplex=False)
        agent = context.Process(target=_agent, args=(number, work, barrier, there))
        agent.start()
        there.close()
        pipes.append(here)
        agents.append(agent)
    try:
        answers = [_answer(pipe) for pipe in pipes]
    finally:
        for agent in agents:
            agent.join(5)
            if agent.is_alive():
                agent.kill()
    return answers


def _agent(number: int, work: Work, barrier: Barrier, out: Connection) -> None:
    try:
        out.send(work(number, barrier))
    except BaseException:
        out.send(traceback.format_exc())
        raise


def _answer(pipe: Connection) -> float:
    if not pipe.poll(_PATIENCE):
        raise TimeoutError("an agent has not answered")
    answer: Any = pipe.recv()
    if not isinstance(answer, float):
        raise RuntimeError(f"an agent failed:\n{answer}")
    return answer
