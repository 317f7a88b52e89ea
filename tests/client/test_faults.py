"""The connection breaks at every possible point, in every way: each turn is there once, in order."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from carruns import Client, Delivery, Run
from carruns.session import MOVES, Phase, Session
from tests.client.fake import FakeDaemon, Json, Store, drain

TURNS = 12
REQUESTS = 4 + TURNS + 2


def numbers(store: Store, run: Run) -> list[int]:
    return [turn["parameters"] for turn in store.runs[run.id].turns if "parameters" in turn]


def record_a_run(client: Client, *, flush_each: int = 5) -> tuple[Run, Delivery]:
    run = client.run("agent", intent="survive")
    for number in range(TURNS):
        run.turn(parameters=number)
        if number % flush_each == flush_each - 1:
            run.flush()
    return run, run.succeed("done")


def gone_through(car: Path, store: Store, client: Client, run: Run, delivery: Delivery) -> None:
    client.close()
    drain(car / "spool", store)
    assert numbers(store, run) == list(range(TURNS)), delivery
    assert store.runs[run.id].status == "completed"
    assert list((car / "spool").glob("*")) == []
    assert delivery.stored + delivery.spooled + delivery.pending == TURNS
    assert delivery.dropped == 0


@pytest.mark.parametrize("action", ["drop before", "drop after", "half", "garbage", "lose"])
@pytest.mark.parametrize("at", range(REQUESTS + 4))
def test_one_fault_anywhere(car: Path, sock: Path, at: int, action: str) -> None:
    def fault(number: int, _: Json) -> str | None:
        return action if number == at else None

    with FakeDaemon(sock, fault=fault) as daemon:
        client = Client(car, budget=0.2, timeout=2)
        run, delivery = record_a_run(client)
        gone_through(car, daemon.store, client, run, delivery)


@pytest.mark.parametrize("at", range(0, REQUESTS, 3))
def test_silence_anywhere(car: Path, sock: Path, at: int) -> None:
    def fault(number: int, _: Json) -> str | None:
        return "silent" if number == at else None

    with FakeDaemon(sock, fault=fault) as daemon:
        client = Client(car, budget=0.05, timeout=1)
        run, delivery = record_a_run(client)
        gone_through(car, daemon.store, client, run, delivery)


@pytest.mark.parametrize("every", range(2, 12))
@pytest.mark.parametrize("action", ["drop before", "drop after", "half", "lose"])
def test_faults_again_and_again(car: Path, sock: Path, every: int, action: str) -> None:
    def fault(number: int, _: Json) -> str | None:
        return action if number % every == every - 1 else None

    with FakeDaemon(sock, fault=fault) as daemon:
        client = Client(car, budget=0.05, timeout=0.3)
        run, delivery = record_a_run(client)
        gone_through(car, daemon.store, client, run, delivery)


@pytest.mark.parametrize("gone", list(itertools.combinations(range(0, TURNS + 1, 3), 2)))
def test_the_daemon_is_away_for_a_while(car: Path, sock: Path, gone: tuple[int, int]) -> None:
    store = Store()
    daemon: FakeDaemon | None = FakeDaemon(sock, store)
    client = Client(car, budget=0.02, timeout=2)
    run = client.run("agent", intent="survive")
    for number in range(TURNS):
        if number == gone[0] and daemon:
            daemon.stop()
            daemon = None
        if number == gone[1] and not daemon:
            daemon = FakeDaemon(sock, store)
        run.turn(parameters=number)
    daemon = daemon or FakeDaemon(sock, store)
    delivery = run.succeed("done")
    gone_through(car, store, client, run, delivery)
    daemon.stop()


def test_no_daemon_at_all(car: Path) -> None:
    with Client(car, budget=0.02) as client:
        run, delivery = record_a_run(client)
    assert delivery[:5] == (0, TURNS, 0, 0, "spooled")
    assert not delivery.ok
    assert "no daemon answers" in delivery.reason
    store = Store()
    assert drain(car / "spool", store) == 1
    assert numbers(store, run) == list(range(TURNS))
    assert store.runs[run.id].status == "completed"


def test_a_turn_refused_for_good_becomes_a_gap(car: Path, sock: Path) -> None:
    with FakeDaemon(sock) as daemon, Client(car) as client:
        run = client.run("agent", intent="survive")
        for number in range(5):
            run.turn(parameters=number, tool="too large" if number == 2 else "fine")
        delivery = run.flush()
        assert (delivery.stored, delivery.dropped, delivery.ok) == (4, 1, False)
        turns = daemon.store.runs[run.id].turns
        assert [turn.get("parameters") for turn in turns] == [0, 1, None, 3, 4]
        assert turns[2]["error"] == {"kind": "gap", "lost": 1, "reason": "turn_too_large"}


def test_a_turn_refused_for_its_types_is_mended(car: Path, sock: Path) -> None:
    with FakeDaemon(sock) as daemon, Client(car) as client:
        run = client.run("agent", intent="survive")
        wrong: Json = {"tool": 7, "duration_ms": "long"}
        run.turn(parameters=1, **wrong)
        run.turn(parameters=2)
        assert run.flush().ok
        first = daemon.store.runs[run.id].turns[0]
        assert first["tool"] == "7"
        assert first["metadata"]["duration_ms"] == "long"


def test_a_refused_turn_in_the_spool_becomes_a_gap(car: Path, sock: Path) -> None:
    with Client(car, budget=0.3) as client:
        run = client.run("agent", intent="survive")
        for number in range(5):
            run.turn(parameters=number, tool="too large" if number == 2 else "fine")
        assert run.delivery().spooled == 5
        with FakeDaemon(sock) as daemon:
            delivery = run.flush()
            assert (delivery.stored, delivery.spooled, delivery.dropped) == (4, 0, 1)
            assert list((car / "spool").glob("*")) == []
            assert len(daemon.store.runs[run.id].turns) == 5


def test_a_full_disk_at_the_daemon_is_waited_out(car: Path, sock: Path) -> None:
    full = True

    def fault(_: int, message: Json) -> str | Json | None:
        if full and message["method"] == "runs.record_turns":
            return {
                "error": {"code": -32004, "message": "disk full", "data": {"kind": "storage", "errno": "ENOSPC"}}
            }
        return None

    with FakeDaemon(sock, fault=fault) as daemon, Client(car, budget=0.3) as client:
        run = client.run("agent", intent="survive")
        for number in range(3):
            run.turn(parameters=number)
        delivery = run.flush()
        assert (delivery.stored, delivery.spooled) == (0, 3)
        assert "disk full" in delivery.reason
        full = False
        for _ in range(100):
            if run.flush().ok:
                break
            daemon.settle(0.02)
        assert numbers(daemon.store, run) == [0, 1, 2]


def test_a_run_that_became_incomplete_is_reopened(car: Path, sock: Path) -> None:
    with FakeDaemon(sock) as daemon, Client(car) as client:
        run = client.run("agent", intent="survive")
        run.turn(parameters=0)
        assert run.flush().ok
        daemon.store.runs[run.id].status = "incomplete"
        run.turn(parameters=1)
        assert run.flush().ok
        assert numbers(daemon.store, run) == [0, 1]


def test_a_run_that_somebody_else_completed_drops_and_says_so(
    car: Path, sock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeDaemon(sock) as daemon, Client(car) as client:
        run = client.run("agent", intent="survive")
        run.turn(parameters=0)
        assert run.flush().ok
        daemon.store.complete({"run_id": run.id, "outcome": {"status": "done"}})
        run.turn(parameters=1)
        run.turn(parameters=2)
        delivery = run.flush()
        assert (delivery.stored, delivery.dropped, delivery.pending) == (1, 2, 0)
        run.turn(parameters=3)
        assert run.succeed("mine").end == "refused"
        assert run.delivery().dropped == 3
        assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_store_that_was_removed_gets_the_run_again(car: Path, sock: Path) -> None:
    with FakeDaemon(sock) as daemon, Client(car) as client:
        run = client.run("agent", intent="survive")
        for number in range(3):
            run.turn(parameters=number)
        assert run.flush().ok
        daemon.store.runs.clear()
        run.turn(parameters=3)
        delivery = run.succeed("after all")
        turns = daemon.store.runs[run.id].turns
        assert turns[0]["error"]["lost"] == 3
        assert numbers(daemon.store, run) == [3]
        assert (delivery.stored, delivery.dropped, delivery.end) == (1, 3, "stored")


def test_another_protocol_version_spools_turns(car: Path, sock: Path) -> None:
    with FakeDaemon(sock, protocol=4), Client(car, budget=0.05) as client:
        _, delivery = record_a_run(client)
        assert delivery.spooled == TURNS
        assert "protocol 4" in delivery.reason


def test_a_forbidden_move_costs_a_connection_and_no_turn(
    car: Path, sock: Path, defects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of the library's own: the table has no way where one is needed, once."""

    def fault(_: int, message: Json) -> str | None:
        turns = message["params"].get("turns")
        return "lose" if turns and turns[0]["parameters"] == 2 and daemon.connections == 1 else None

    monkeypatch.setitem(MOVES, Phase.LIVE, MOVES[Phase.LIVE] - {Phase.CHECKING})
    with FakeDaemon(sock, fault=fault) as daemon, Client(car) as client:
        run = client.run("agent", intent="survive")
        for number in range(TURNS):
            run.turn(parameters=number)
        assert run.succeed().ok
        assert daemon.connections == 2
        assert numbers(daemon.store, run) == list(range(TURNS))
    assert len(defects) == 1
    assert "from live to checking" in defects.pop()


def test_a_defect_that_stays_is_an_outage_to_the_agent(
    car: Path, sock: Path, defects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MOVES, Phase.CATCHING_UP, MOVES[Phase.CATCHING_UP] - {Phase.LIVE})
    with FakeDaemon(sock) as daemon, Client(car, budget=0.05) as client:
        run, delivery = record_a_run(client)
        assert len(defects) == 2  # the second time it waits
        assert delivery.end == "spooled"
        gone_through(car, daemon.store, client, run, delivery)
    assert all("from catching up to live" in text for text in defects)
    defects.clear()


def test_a_signal_handler_may_record_a_turn_in_the_middle_of_a_step(
    car: Path, sock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It brings the session to LIVE by itself, where the step that it came into was about to."""
    handled: list[int] = []
    original = Session.settle_owed

    def settle_owed(session: Session) -> None:
        original(session)
        if session.phase is Phase.CATCHING_UP and session.next_seq and not handled:
            handled.append(session.next_seq)
            run.turn(parameters=session.next_seq)

    with FakeDaemon(sock) as daemon, Client(car) as client:
        run = client.run("agent", intent="survive")
        monkeypatch.setattr(Session, "settle_owed", settle_owed)
        run.turn(parameters=0)
        daemon.stop()
        with FakeDaemon(sock, daemon.store) as next_daemon:
            run.turn(parameters=1)
            run.flush()
            run.turn(parameters=3)
            assert run.succeed().ok
            assert (handled, next_daemon.connections) == ([2], 1)
            assert numbers(daemon.store, run) == [0, 1, 2, 3]
