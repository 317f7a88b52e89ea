"""SIGTERM: what was received is finished, and nobody who does not read can put it off."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.support import Daemon, Wire, wait_until


def turn(run_id: str, seq: int) -> dict[str, object]:
    params = {"run_id": run_id, "writer": "w", "seq": seq, "turns": [{"prompt": "x" * 100}]}
    return {"method": "runs.record_turns", "params": params}


def stop(daemon: Daemon, patience: float) -> int:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    return daemon.process.wait(patience)


def test_a_client_that_asks_and_never_reads_does_not_put_it_off(daemon: Daemon, wire: Wire) -> None:
    for _ in range(50):
        wire.complete(wire.start("many"))
    run_id = wire.start()
    with Wire(daemon.socket) as deaf:
        deaf.sock.setblocking(False)
        sent = 0
        while sent < 3000:
            lines = b'{"id":1,"method":"runs.list"}\n' * 3
            try:
                deaf.sock.send(lines)
            except BlockingIOError:
                break
            sent += 1
        assert stop(daemon, 10) == 0  # the daemon's own patience is 20 s
    assert sent
    assert run_id


def test_turns_behind_questions_that_nobody_took_the_answers_of_are_stored(daemon: Daemon, wire: Wire) -> None:
    for _ in range(50):
        wire.complete(wire.start("many"))
    with Wire(daemon.socket) as deaf:
        run_id = deaf.start("agent-b")
        questions: list[dict[str, object]] = [{"id": n, "method": "runs.list"} for n in range(200)]
        deaf.send_json(*questions, *(turn(run_id, seq) for seq in range(50)))
        assert stop(daemon, 10) == 0
    path = daemon.car_dir / "runs" / "agent-b" / f"{run_id}.jsonl"
    assert path.read_bytes().count(b'"record":"turn"') == 50


@pytest.mark.parametrize("attempt", range(4))
def test_a_daemon_that_has_just_begun_ends_well_too(make_daemon: Callable[..., Daemon], attempt: int) -> None:
    daemon = make_daemon()
    daemon.process = daemon.spawn()
    begun = daemon.car_dir / ("carrunsd.sock" if attempt % 2 else "carrunsd.lock")
    wait_until(begun.exists)
    assert stop(daemon, 20) == 0
    assert not daemon.socket.exists()
