"""What an outage costs an agent: 250 ms in all by default, whatever kind it is, over however many calls."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from carruns import Client, NotStored, RunTerminal, VersionMismatch
from carruns.sync.driver import Driver
from tests.client.fake import FakeDaemon, Json
from tests.support import Daemon, wait_until

#: What a loaded machine may add to the waits that make up a promise of milliseconds.
SLACK = 0.25


@contextmanager
def costs_at_most(seconds: float) -> Iterator[None]:
    """The waits of all calls together: what the machine takes to do the work is not the outage's doing."""
    waits: list[float] = []

    def timed(driver: Driver, waiting: Any) -> None:
        began = time.monotonic()
        original(driver, waiting)
        waits.append(time.monotonic() - began)

    original = Driver._wait
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Driver, "_wait", timed)
        yield
    assert sum(waits) < seconds


def an_agent(client: Client, turns: int = 300) -> None:
    with client.run("agent", intent="work on") as run:
        for number in range(turns):
            run.turn(parameters=number)
            if number % 50 == 0:
                run.flush()
    assert run.delivery()[:4] == (0, turns, 0, 0)


@pytest.fixture
def deaf(sock: Path) -> Iterator[socket.socket]:
    """A listener that accepts nothing and reads nothing: connecting works, and then there is silence."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(sock))
        listener.listen(1)
        yield listener


def test_no_daemon(car: Path) -> None:
    with Client(car) as client, costs_at_most(0.25 + SLACK):
        an_agent(client)


def test_a_stale_socket(car: Path, sock: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(sock))
    with Client(car) as client, costs_at_most(0.25 + SLACK):
        an_agent(client)


@pytest.mark.usefixtures("deaf")
def test_a_daemon_that_never_accepts(car: Path) -> None:
    with Client(car) as client, costs_at_most(0.25 + SLACK):
        an_agent(client)


def test_a_backlog_that_is_full(car: Path, sock: Path, deaf: socket.socket) -> None:
    others = []
    deaf.listen(0)
    for _ in range(5):
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        others.append(other)
        if other.connect_ex(str(sock)):
            break
    with Client(car) as client, costs_at_most(0.25 + SLACK):
        an_agent(client)
    for other in others:
        other.close()


@pytest.mark.parametrize("kind", ["too long", "a directory", "a file", "forbidden"])
def test_a_socket_that_cannot_be(car: Path, sock: Path, kind: str) -> None:
    path = sock
    if kind == "too long":
        path = car / ("x" * 120)
    elif kind == "a directory":
        sock.mkdir()
    elif kind == "a file":
        sock.write_text("")
    else:
        path = sock / "below"
        sock.write_text("")
    with Client(car, socket=path) as client, costs_at_most(0.25 + SLACK):
        an_agent(client)


def test_a_daemon_that_is_stopped_in_the_middle(car: Path, daemon: Daemon) -> None:
    with Client(car) as client:
        run = client.run("agent", intent="work on")
        run.turn(parameters=-1)
        assert run.flush().ok
        daemon.signal(signal.SIGSTOP)
        with costs_at_most(0.25 + SLACK):
            for number in range(20_000):
                run.turn(parameters=number, output="x" * 200)
            run.flush()
        daemon.signal(signal.SIGCONT)
        wait_until(lambda: run.flush().ok)
        trace = client.get_trace(run.id)
        assert trace is not None
        assert [turn["parameters"] for turn in trace.turns] == list(range(-1, 20_000))


def test_a_call_in_a_long_outage_costs_next_to_nothing(car: Path) -> None:
    with Client(car, budget=0) as client:
        run = client.run("agent", intent="work on")
        began = time.monotonic()
        for number in range(5000):
            run.turn(parameters=number)
        each = (time.monotonic() - began) / 5000
    assert each < 0.000_5


def test_a_daemon_that_is_only_slow_is_no_outage(car: Path, sock: Path) -> None:
    """It answers, if late: an explicit flush waits for it, and nothing is spooled."""

    def fault(_: int, message: Json) -> None:
        if message["method"] == "runs.record_turns":
            slow.wait(0.01)

    slow = threading.Event()
    with FakeDaemon(sock, fault=fault), Client(car, budget=2, timeout=30) as client:
        run = client.run("agent", intent="work on")
        for number in range(100):
            run.turn(parameters=number)
            if number % 5 == 4:
                assert run.flush().ok
        assert run.succeed().ok


def test_strict_raises_instead_of_spooling(car: Path, sock: Path) -> None:
    with Client(car, strict=True, budget=0.5) as client:
        with pytest.raises(NotStored):
            client.run("agent", intent="be strict")
        with FakeDaemon(sock) as daemon:
            run = client.run("agent", intent="be strict")
            run.turn(parameters=0)
            assert run.flush().ok
            store = daemon.store
        with pytest.raises(NotStored):
            run.turn(parameters=1)  # the first may still go to a socket that nobody serves any more
            run.flush()
        with pytest.raises(NotStored):
            run.turn(parameters=2)
        assert not (car / "spool").exists()
        with FakeDaemon(sock, store):
            run.turn(parameters=3)
            assert run.succeed().ok
    seen = [turn["parameters"] for turn in store.runs[run.id].turns]
    assert seen in ([0, 3], [0, 1, 3])
    assert 2 not in seen


def test_strict_waits_for_a_daemon_that_is_slow_to_greet(car: Path, sock: Path) -> None:
    """It is there: the budget is for when it is not."""
    with (
        Client(car, strict=True, budget=0.01) as client,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow,
    ):
        slow.bind(str(sock))
        slow.listen()

        def hang_up() -> None:
            slow.accept()[0].close()

        hanging = threading.Timer(0.2, hang_up)  # far beyond the budget
        hanging.start()
        began = time.monotonic()
        with pytest.raises(NotStored):
            client.run("agent", intent="be strict")
        assert time.monotonic() - began > 0.15
        hanging.join()


def test_strict_raises_instead_of_bending(car: Path, sock: Path) -> None:
    with FakeDaemon(sock), Client(car, strict=True) as client:
        run = client.run("agent", intent="be strict")
        for bad in (object(), "\ud800", {(1, 2): 3}, _deep(200)):
            with pytest.raises(ValueError, match=r"JSON|nests"):
                run.turn(parameters=bad)
        assert run.flush().stored == 0


def _deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


def test_a_question_says_what_is_wrong(car: Path, sock: Path) -> None:
    with (
        FakeDaemon(sock, protocol=4),
        Client(car, timeout=0.5) as client,
        pytest.raises(VersionMismatch, match="protocol 4"),
    ):
        client.list_runs()


def test_a_run_with_an_outcome_is_not_gone_on_with(car: Path, sock: Path) -> None:
    with FakeDaemon(sock), Client(car) as client:
        run = client.run("agent", intent="end")
        run.succeed()
        with pytest.raises(RunTerminal):
            client.resume(run.id)


def test_a_thread_that_comes_later_does_not_read_away_what_another_waits_for(car: Path, sock: Path) -> None:
    """Many askers at once: none is left waiting for an answer that somebody else has read."""

    def fault(_: int, message: Json) -> str | None:
        return "silent" if message["method"] == "runs.append" else None

    def ask() -> None:
        for _ in range(200):
            client.ping()

    with FakeDaemon(sock, fault=fault), Client(car, timeout=5) as client, costs_at_most(4 * 5):
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
