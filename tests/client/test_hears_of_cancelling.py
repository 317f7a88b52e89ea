"""A run that somebody wants cancelled: where its agent hears of it, once a request, whatever happens meanwhile."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from carruns import AnswerTimeout, AsyncClient, AsyncRun, CancelRequest, Client, RunNotFound
from tests.client.backends import each_backend, run_on
from tests.support import Daemon, Wire, wait_until

REQUEST = CancelRequest("no longer wanted", "k")
OUTCOME = {"status": "give_up", "summary": "cancelled"}


def ask(wire: Wire, run_id: str, key: str = "k") -> int:
    """Ask for a cancellation; returns once the daemon has told the owners (the answer waits for the end)."""
    number = wire.post("runs.cancel", run_id=run_id, idempotency_key=key, reason="no longer wanted")
    wire.call("server.ping")
    return number


def test_looking_at_the_run_tells(daemon: Daemon) -> None:
    with Client(daemon.car_dir) as client, client.run("a", intent="i") as run:
        before = run.cancel_requested
        assert before is None
        asked = ask(wire := daemon.wire(), run.id)
        assert wait_until(lambda: run.cancel_requested) == REQUEST
        run.turn(tool="tidy up")
        assert run.give_up("cancelled").ok
        assert run.cancel_requested == REQUEST
        receipt = wire.answer(asked)["result"]
    assert receipt["status"] == "already_terminal"


def test_a_turn_is_enough_where_there_is_a_callback(daemon: Daemon) -> None:
    heard: list[CancelRequest] = []
    with Client(daemon.car_dir) as client, client.run("a", intent="i", on_cancel=heard.append) as run:
        ask(daemon.wire(), run.id)
        turns = 0

        def told() -> bool:
            nonlocal turns
            turns += 1
            run.turn(tool="t")
            return bool(heard)

        wait_until(told)
        run.flush()
        assert heard == [REQUEST]
        assert run.flush().stored == turns


def test_without_a_callback_turns_read_now_and_then(daemon: Daemon) -> None:
    with Client(daemon.car_dir) as client, client.run("a", intent="i") as run:
        ask(daemon.wire(), run.id)
        for _ in range(1100):
            run.turn(tool="t")
        assert run._session.cancelling.request == REQUEST


def test_each_request_is_told_once_over_reconnects_and_restarts(daemon: Daemon) -> None:
    heard: list[CancelRequest] = []
    with Client(daemon.car_dir) as client, client.run("a", intent="i", on_cancel=heard.append) as run:
        ask(daemon.wire(), run.id)
        wait_until(lambda: run.cancel_requested)
        daemon.kill()
        daemon.start()
        run.turn(tool="t")  # connects anew: the daemon tells it again
        assert run.flush().ok
        ask(daemon.wire(), run.id, key="another")
        client.ping()
        wait_until(lambda: (run.flush(), len(heard) > 1)[1])
        assert heard == [REQUEST, CancelRequest("no longer wanted", "another")]
        assert run.cancel_requested == REQUEST


def test_looking_alone_finds_the_daemon_again(daemon: Daemon) -> None:
    with Client(daemon.car_dir) as client, client.run("a", intent="i") as run:
        before = run._session.link
        daemon.kill()
        daemon.start()
        wait_until(lambda: not run.cancel_requested and run._session.link not in (None, before))
        ask(daemon.wire(), run.id)
        assert wait_until(lambda: run.cancel_requested) == REQUEST


def test_who_resumes_is_told(daemon: Daemon) -> None:
    wire = daemon.wire()
    run_id = daemon.wire().start("a")
    ask(wire, run_id)
    heard: list[CancelRequest] = []
    with Client(daemon.car_dir) as client, client.resume(run_id, on_cancel=heard.append) as run:
        client.ping()
        assert heard == [REQUEST]
        assert run.cancel_requested == REQUEST


def test_a_callback_may_record_and_end_the_run(daemon: Daemon) -> None:
    with Client(daemon.car_dir) as client:

        def stop(request: CancelRequest) -> None:
            run.turn(tool="tidy up")
            run.give_up(f"cancelled: {request.reason}")

        run = client.run("a", intent="i", on_cancel=stop)
        receipt = client.cancel(run.id, "no longer wanted", "k")  # its owner hears of it while it waits
        assert receipt.status == "already_terminal"
        (summary,) = client.list_runs()
        assert (summary.outcome_status, summary.turn_count) == ("give_up", 1)


def test_a_callback_that_raises_breaks_nothing(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: CancelRequest) -> None:
        raise RuntimeError("the agent's own fault")

    with (
        caplog.at_level(logging.WARNING, "carruns"),
        Client(daemon.car_dir) as client,
        client.run("a", intent="i", on_cancel=broken) as run,
    ):
        ask(daemon.wire(), run.id)
        wait_until(lambda: run.cancel_requested)
        run.turn(tool="t")
        assert run.flush().ok
    assert "the agent's own fault" in caplog.text


def test_the_client_cancels_and_gets_the_receipt(daemon: Daemon) -> None:
    wire = daemon.wire()
    with Client(daemon.car_dir) as client:
        detached = wire.start("a", detached=True)
        receipt = client.cancel(detached, "no longer wanted")
        assert (receipt.status, receipt.run_id) == ("cancelled_confirmed", detached)
        assert client.cancel(detached, "no longer wanted", receipt.idempotency_key) == receipt
        with pytest.raises(RunNotFound):
            client.cancel("nobody", "why not")
        with pytest.raises(AnswerTimeout):
            client.cancel(owned := wire.start("a"), "no longer wanted", "k", timeout=0.2)
        wire.complete(owned)
        assert client.cancel(owned, "no longer wanted", "k").status == "already_terminal"


@each_backend
def test_async(daemon: Daemon, backend: tuple[str, dict[str, Any]]) -> None:
    heard: list[CancelRequest] = []

    runs: list[AsyncRun] = []

    async def stop(request: CancelRequest) -> None:
        heard.append(request)
        await runs[0].give_up("cancelled")
        raise RuntimeError("and it may raise")

    async def main() -> None:
        async with AsyncClient(daemon.car_dir) as client:
            run = await client.run("a", intent="i", on_cancel=stop)
            runs.append(run)
            receipt = await client.cancel(run.id, "no longer wanted", "k")
            assert receipt.status == "already_terminal"
            assert run.cancel_requested == REQUEST
            other = await client.run("a", intent="i", on_cancel=heard.append)
            ask(daemon.wire(), other.id)
            with anyio.fail_after(20):
                while not other.cancel_requested:
                    await anyio.lowlevel.checkpoint()
                await other.turn(tool="t")
            await other.give_up("cancelled")

    run_on(backend, main)
    assert heard == [REQUEST, REQUEST]


@each_backend
def test_async_looking_while_another_task_reads(daemon: Daemon, backend: tuple[str, dict[str, Any]]) -> None:
    async def main() -> None:
        async with (
            AsyncClient(daemon.car_dir) as client,
            client.run("a", intent="i") as run,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(client.cancel, run.id, "no longer wanted", "k")
            with anyio.fail_after(20):
                while not run.cancel_requested:
                    await anyio.lowlevel.checkpoint()
            await run.give_up("cancelled")

    run_on(backend, main)
