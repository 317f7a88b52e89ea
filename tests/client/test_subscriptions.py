"""Following runs, against the real daemon: no record missed, none twice, over restarts too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carruns import AsyncClient, Client, DaemonUnavailable, Event, RunNotFound
from tests.client.backends import each_backend, run_on
from tests.support import Daemon

pytestmark = pytest.mark.timeout(60)


def numbers(events: list[Event]) -> list[int]:
    return [event.record["parameters"] for event in events if event.record["record"] == "turn"]


@pytest.mark.usefixtures("daemon")
def test_what_was_then_what_comes_then_the_end(car: Path) -> None:
    with Client(car) as client, client.run("agent", intent="be seen") as run:
        for number in range(10):
            run.turn(parameters=number)
        run.flush()
        with client.subscribe(run.id) as subscription:
            events = [next(subscription) for _ in range(10)]
            for number in range(10, 20):
                run.turn(parameters=number)
            run.succeed("seen")
            events += list(subscription)
    assert numbers(events) == list(range(20))
    assert events[-1].record["record"] == "ended"
    assert [event.line for event in events] == list(range(2, 23))


@pytest.mark.usefixtures("daemon")
def test_a_run_that_has_ended(car: Path) -> None:
    with Client(car) as client:
        with client.run("agent", intent="be seen") as run:
            run.turn(parameters=0)
        events = list(client.subscribe(run.id))
    assert [event.record["record"] for event in events] == ["turn", "ended"]
    assert [event.line for event in events] == [2, 3]


@pytest.mark.usefixtures("daemon")
def test_no_such_run(car: Path) -> None:
    with Client(car) as client, pytest.raises(RunNotFound):
        next(client.subscribe("nothing"))


def test_over_restarts_of_the_daemon(car: Path, daemon: Daemon) -> None:
    events: list[Event] = []
    with Client(car, timeout=20) as client:
        run = client.run("agent", intent="be seen")
        subscription = client.subscribe(run.id)
        follower = threading.Thread(target=lambda: events.extend(subscription))
        follower.start()
        for number in range(60):
            run.turn(parameters=number)
            if number % 20 == 10:
                daemon.restart()
                assert run.flush().ok
        assert run.succeed("seen").ok
        follower.join(30)
        assert not follower.is_alive()
    assert numbers(events) == list(range(60))


@pytest.mark.usefixtures("daemon")
def test_closing_ends_the_iteration_in_another_thread(car: Path) -> None:
    with Client(car) as client:
        run = client.run("agent", intent="be seen")
        run.turn(parameters=0)
        run.flush()
        subscription = client.subscribe(run.id)
        first = threading.Event()
        seen: list[Event] = []

        def follow() -> None:
            for event in subscription:
                seen.append(event)
                first.set()

        thread = threading.Thread(target=follow)
        thread.start()
        assert first.wait(10)
        subscription.close()
        thread.join(10)
        assert not thread.is_alive()
        assert len(seen) == 1


@pytest.mark.usefixtures("daemon")
def test_a_follower_who_sleeps_misses_nothing(car: Path) -> None:
    """The daemon drops events for who does not read; the follower sees the gap in the cursor and fetches them."""
    with Client(car, timeout=20) as client:
        run = client.run("agent", intent="be seen")
        subscription = client.subscribe(run.id)
        run.turn(parameters=0)
        assert numbers([next(subscription)]) == [0]
        for number in range(1, 20_000):
            run.turn(parameters=number, output="x" * 300)
        run.succeed("seen")
        assert numbers(list(subscription)) == list(range(1, 20_000))


@pytest.mark.usefixtures("daemon")
def test_watching_all_runs(car: Path) -> None:
    with Client(car) as client:
        early = client.run("early", intent="be there already")
        watch = client.watch()
        first = next(watch)
        assert (first.event, first.run_id) == ("open", early.id)
        with client.run("late", intent="come later") as late:
            late.turn(parameters=1)
        seen = [next(watch) for _ in range(3)]
        assert {event.run_id for event in seen} == {late.id}
        watch.close()
        assert list(watch) == []


@each_backend
@pytest.mark.usefixtures("daemon")
def test_async(car: Path, backend: tuple[str, dict[str, Any]]) -> None:
    async def main() -> None:
        async with AsyncClient(car) as client:
            async with client.run("agent", intent="be seen") as run:
                for number in range(10):
                    await run.turn(parameters=number)
                await run.flush()
                async with client.subscribe(run.id) as subscription:
                    events = [await anext(subscription)]
                    await run.succeed("seen")
                    events += [event async for event in subscription]
            assert numbers(events) == list(range(10))
            async with client.watch() as watch:
                await client.start(agent_id="other", intent="be seen")
                assert (await anext(watch)).agent_id == "other"

    run_on(backend, main)


def test_a_daemon_that_does_not_come_back(car: Path, daemon: Daemon) -> None:
    with Client(car, timeout=0.2) as client:
        run = client.run("agent", intent="be seen")
        run.turn(parameters=0)
        run.flush()
        subscription: Iterator[Event] = client.subscribe(run.id)
        next(subscription)
        daemon.stop()
        with pytest.raises(DaemonUnavailable):
            next(subscription)


@pytest.mark.usefixtures("daemon")
def test_a_run_that_was_cancelled(car: Path) -> None:
    with Client(car) as client:
        run_id = client.start(agent_id="agent", intent="be seen", detached=True).run_id
        client.record_turns(run_id, [{"parameters": 0}])
        client.cancel(run_id, "no longer wanted")
        events = list(client.subscribe(run_id))
    assert [event.record["record"] for event in events] == ["turn", "cancellation_requested", "ended"]
    assert [event.line for event in events] == [2, 3, 4]
    assert {event.status for event in events} == {"completed"}
