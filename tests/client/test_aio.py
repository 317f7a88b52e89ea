"""AsyncClient: the same promises on asyncio, uvloop and trio, and under cancellation anywhere."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from carruns import AsyncClient, ConnectionLost, DaemonUnavailable
from tests.client.backends import each_backend, run_on
from tests.client.fake import FakeDaemon, Json, Store, drain

Backend = tuple[str, dict[str, Any]]


def numbers(store: Store, run_id: str) -> list[int]:
    return [turn["parameters"] for turn in store.runs[run_id].turns if "parameters" in turn]


@each_backend
def test_a_run(car: Path, sock: Path, backend: Backend) -> None:
    async def main() -> None:
        async with AsyncClient(car) as client:
            async with client.run("agent", intent="try") as run:
                for number in range(2000):
                    await run.turn(parameters=number)
                delivery = await run.succeed("well", evidence=["seen"])
            assert delivery == (2000, 0, 0, 0, "stored", "")
            trace = await client.get_trace(run.id)
            assert trace is not None
            assert len(trace) == 2002
            assert [listed.run_id for listed in await client.list_runs()] == [run.id]
            assert numbers(daemon.store, run.id) == list(range(2000))

    with FakeDaemon(sock) as daemon:
        run_on(backend, main)


@each_backend
def test_many_tasks_on_one_client(car: Path, sock: Path, backend: Backend) -> None:
    async def agent(client: AsyncClient, name: str) -> None:
        async with client.run(name, intent="try") as run:
            for number in range(300):
                await run.turn(parameters=number)
                if number % 50 == 0:
                    assert (await run.flush()).ok
                    assert await client.agent_for_run(run.id) is None
        assert numbers(daemon.store, run.id) == list(range(300))

    async def main() -> None:
        async with AsyncClient(car) as client, anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(agent, client, f"agent-{number}")

    with FakeDaemon(sock) as daemon:
        run_on(backend, main)
    assert daemon.connections == 1


@each_backend
def test_an_exception_ends_the_run_as_failure(car: Path, sock: Path, backend: Backend) -> None:
    async def main() -> None:
        async with AsyncClient(car) as client:
            with pytest.raises(ZeroDivisionError):
                async with client.run("agent", intent="try"):
                    _ = 1 / 0

    with FakeDaemon(sock) as daemon:
        run_on(backend, main)
    (run,) = daemon.store.runs.values()
    assert run.outcome is not None
    assert (run.outcome["status"], run.outcome["summary"]) == ("failure", "ZeroDivisionError: division by zero")


@each_backend
def test_a_cancelled_agent_ends_its_run_as_failure(car: Path, sock: Path, backend: Backend) -> None:
    async def main() -> None:
        async with AsyncClient(car) as client:
            with anyio.CancelScope() as scope:
                async with client.run("agent", intent="try") as run:
                    await run.turn(parameters=0)
                    scope.cancel()
                    await anyio.sleep(10)

    with FakeDaemon(sock) as daemon:
        run_on(backend, main)
    (run,) = daemon.store.runs.values()
    assert run.outcome is not None
    assert run.outcome["status"] == "failure"
    assert len(run.turns) == 1


@each_backend
@pytest.mark.parametrize("delay", [0.0, 0.0001, 0.0005, 0.001, 0.003, 0.01])
def test_cancellation_in_a_flood_loses_and_doubles_nothing(
    car: Path, sock: Path, backend: Backend, delay: float
) -> None:
    """The agent is cancelled wherever it is, in the middle of a big frame as well, and goes on."""
    done: list[int] = []

    async def flood(run: Any) -> None:
        while True:
            number = len(done)
            done.append(number)
            await run.turn(parameters=number, output="x" * 200_000)

    async def main() -> None:
        async with AsyncClient(car, budget=2) as client:
            run = await client.run("agent", intent="try")
            for _ in range(5):
                with anyio.move_on_after(delay):
                    await flood(run)
                with anyio.move_on_after(delay):
                    await run.flush()
            done.append(len(done))
            await run.turn(parameters=done[-1])
            delivery = await run.succeed()
            assert delivery.stored == len(done), delivery
            assert numbers(daemon.store, run.id) == done

    with FakeDaemon(sock) as daemon:
        run_on(backend, main)


@each_backend
def test_a_cancelled_question_does_not_disturb_the_next(car: Path, sock: Path, backend: Backend) -> None:
    def fault(_: int, message: Json) -> str | None:
        return "silent" if message["method"] == "runs.list" else None

    async def main() -> None:
        async with AsyncClient(car) as client:
            for _ in range(3):
                with anyio.move_on_after(0.01) as scope:
                    await client.list_runs()
                assert scope.cancelled_caught
                await client.ping()

    with FakeDaemon(sock, fault=fault) as daemon:
        run_on(backend, main)
    assert daemon.connections == 1


@each_backend
def test_no_daemon(car: Path, backend: Backend) -> None:
    async def main() -> None:
        async with AsyncClient(car, budget=0.02, timeout=0.05) as client:
            async with client.run("agent", intent="try") as run:
                for number in range(20):
                    await run.turn(parameters=number)
            assert run.delivery().spooled == 20
            with pytest.raises(DaemonUnavailable):
                await client.list_runs()
        store = Store()
        drain(car / "spool", store)
        assert numbers(store, run.id) == list(range(20))

    run_on(backend, main)


@each_backend
def test_a_lost_connection_wakes_every_waiting_task(car: Path, sock: Path, backend: Backend) -> None:
    def fault(_: int, message: Json) -> str | None:
        asked.append(message["method"] == "runs.append")
        if sum(asked) == 5:
            all_asked.set()
        return "silent" if asked[-1] else None

    asked: list[bool] = []
    all_asked = threading.Event()
    lost: list[int] = []

    async def ask(client: AsyncClient, number: int) -> None:
        with pytest.raises(ConnectionLost):
            await client.append("agent", "run", [])
        lost.append(number)

    async def main() -> None:
        async with AsyncClient(car, timeout=30) as client, anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(ask, client, number)
            await anyio.to_thread.run_sync(all_asked.wait)
            await anyio.to_thread.run_sync(daemon.stop)

    with FakeDaemon(sock, fault=fault) as daemon:
        run_on(backend, main)
    assert sorted(lost) == [0, 1, 2, 3, 4]


async def test_it_can_be_awaited_too(car: Path, sock: Path) -> None:
    with FakeDaemon(sock) as daemon:
        client = AsyncClient(car)
        run = await client.run("agent", intent="try", detached=True, metadata={"a": 1})
        await run.model_turn("hello", [{"name": "x"}], "opus", {"input_tokens": 1}, turn_index=4)
        await run.abandon("tired")
        await client.close()
    (stored,) = daemon.store.runs.values()
    assert stored.start["detached"] is True
    assert stored.turns[0]["output"]["assistant_text"] == "hello"
    assert stored.status == "incomplete"


@each_backend
def test_a_task_that_comes_later_does_not_read_away_what_another_waits_for(
    car: Path, sock: Path, backend: Backend
) -> None:
    """The second asker looks at the socket just when the first one's answer has come, and before the first."""

    def fault(_: int, message: Json) -> str | None:
        if message["method"] == "server.ping":
            go.wait(5)
        return "silent" if message["method"] == "runs.append" else None

    async def first(client: AsyncClient) -> None:
        await client.ping()
        answered.set()

    async def later(client: AsyncClient) -> None:
        go.set()
        daemon.settle(0.05)  # blocks the loop on purpose: the answer is there, and the loop has not seen it
        await client.append("agent", "run", [])

    async def main() -> None:
        async with AsyncClient(car, timeout=30) as client:
            await client.handshake()
            async with anyio.create_task_group() as group:
                group.start_soon(first, client)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(later, client)
                with anyio.move_on_after(3):
                    await anyio.to_thread.run_sync(answered.wait, abandon_on_cancel=True)
                was_answered = answered.is_set()
                answered.set()
                group.cancel_scope.cancel()
            assert was_answered

    go, answered = threading.Event(), threading.Event()
    with FakeDaemon(sock, fault=fault) as daemon:
        run_on(backend, main)
